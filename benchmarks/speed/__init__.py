"""How fast a network trains and scores, beside peers and a plain reference, and where a step goes.

`python -m benchmarks.speed` measures, and writes `docs/benchmarks/speed.json` and its page. Every
arm is a process of its own; they take turns, so that all meet the same conditions.
"""
