"""Trees on encoded columns: LightGBM, one forest a task.

Used by the baseline that every table shows, and as a source of knowledge of networks. Nothing here
is imported by a process that neither grows nor evaluates a forest.
"""
