"""Days that are rolled over: each is scored, and only then may a strategy learn from it."""
