"""Calibration: increasing maps that make a head's probabilities mean what they say."""
