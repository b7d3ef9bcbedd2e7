"""What moved the metric: which sources a study's networks hear, and what every step was worth."""
