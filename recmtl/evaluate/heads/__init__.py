"""Metrics that fit the models of labels: order of values, ordered classes, quantiles, counts."""
