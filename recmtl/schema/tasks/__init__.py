"""A task as the schema states it: its label, its rows, its place in a funnel, its head."""
