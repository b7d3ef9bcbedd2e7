"""Models that are kept fresh: a bundle is updated by added days, and ways to do so are backtested.

parent.py          the bundle that is updated, and what it was trained with
added_days.py      the encoded log of the added days, whose vocabularies have grown
warm_start.py      its networks, trained on from the weights that they have
another_route.py   whether the tasks should share in another way now
update.py          the update as a whole
backtest.py        days scored one by one, each before it is trained on, by several strategies
"""
