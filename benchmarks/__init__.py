"""Measurements, each a module or package with a command of its own."""

# First of all, since it says how threads wait: to this process, and to those that it starts.
import recmtl as recmtl
