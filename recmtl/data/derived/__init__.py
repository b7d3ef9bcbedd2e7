"""What rows derive of their own columns: lengths of lists, ages, exact values, parts of times."""
