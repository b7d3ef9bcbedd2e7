"""Trees on encoded columns: LightGBM, one forest a task.

Used by the baseline that every table shows, and as a source of knowledge of the networks. Only
`recmtl.forest.grow` and `recmtl.forest.forests` import LightGBM, which is slow to load.
"""
