"""Who runs the rows and the gradients of a job: this process, several, or a cluster.

An engine changes how long a job takes, never a figure of it.
"""
