"""Does memory grow with the log? Logs of ever more rows, prepared, trained on and scored.

`python -m benchmarks.scale` measures, and writes `docs/benchmarks/scale.json` and its page. Each
step is a process of its own, whose peak of memory is told by the system.
"""
