"""What is done with a day of rows when a bundle serves: watch it, and compare it with another."""
