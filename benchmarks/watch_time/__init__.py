"""Watch time by every head beside a regression of its logarithm: quality, and cost of a step."""
