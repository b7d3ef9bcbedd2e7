"""What serving costs and withstands: latency beside a peer, memory over time, calibration, chaos.

`python -m benchmarks.serving latency|heard|soak|calibration|chaos` measures one of them and adds it
to `docs/benchmarks/serving.json`; the page beside it shows everything that the file holds.
"""
