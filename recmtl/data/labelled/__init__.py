"""What is done with rows by their labels: late ones have windows, many negatives are sampled."""
