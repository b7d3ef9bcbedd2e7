"""What serving costs and withstands: latency beside a peer, memory over time, calibration, chaos.

`python -m benchmarks.serving latency|soak|calibration|chaos` measures one of them and writes it
into `docs/benchmarks/serving.json`, and all that is known there onto the page beside it.
"""
