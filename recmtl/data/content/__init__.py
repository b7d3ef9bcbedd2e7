"""Content of items as columns: vectors that another model made, and texts of a few words."""
