"""Everything about images: data sets, networks, metrics, and the study of ways to share.

Images are one kind of problem beside tables: the grid, the policies, the search and the training
loop are the same code. `ImageProblem` gives them rows, networks and metrics of images.
"""
