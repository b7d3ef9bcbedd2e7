"""Statistics of the past: sums by key and period, and what a row may know of them."""
