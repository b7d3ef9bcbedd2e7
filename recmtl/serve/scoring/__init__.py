"""Raw rows to scored columns, and the reasons of a score."""
