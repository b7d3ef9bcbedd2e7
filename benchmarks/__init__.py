"""Measurements; each module or package is a command: `python -m benchmarks.NAME`."""

# Imported first: it sets how the threads of this process, and of those it starts, wait.
import recmtl as recmtl
