"""Does memory grow with the log? Longer and longer logs are prepared, trained on and scored.

`python -m benchmarks.scale` measures, and writes `docs/benchmarks/scale.json` and its page. Each
step is a process of its own; the system reports the peak of its memory.
"""
