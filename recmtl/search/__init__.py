"""The search of routes: weights and policy in turn, then the choice among frozen routes."""
