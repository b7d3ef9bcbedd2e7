"""Models that are kept fresh: a bundle is updated by added days, and ways to do so are compared.

parent.py          the bundle that is updated, and what it was trained with
added_days.py      the encoded log of the added days, whose vocabularies have grown
trained_on.py      its networks, trained on from the weights that they have
another_route.py   whether the tasks should share in another way now
outcome.py         the updated bundle against its parent; what changed, and why
update.py          the update as a whole
rolling/           days scored one by one, each before it is trained on, by several strategies
"""
