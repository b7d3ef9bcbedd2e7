"""How fast a network is trained, beside its peers and a plain reference, and where a step goes.

`python -m benchmarks.speed` measures, and writes `docs/benchmarks/speed.json` and its page. Every
arm is a process of its own; all take turns, so that they see the same machine.
"""
