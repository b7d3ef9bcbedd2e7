"""The sections of the report: each maps a part of the results to HTML, or to None without it."""
