"""Policies decide which edges are kept and which lanes run.

A policy is a module that maps a temperature to one `Decision` a layer; its parameters are the
architecture parameters. `route & skip` applies both: keeps and runs multiply. Branched trees are
chosen from affinities: `affinity.py` measures them, `tree.py` says what a tree is and costs,
`best_tree.py` finds the cheapest within a budget.
"""

from recmtl.grid.gates import InstancePolicy
from recmtl.policies.affinity import rsa_affinity
from recmtl.policies.best_tree import branch_tree
from recmtl.policies.policy import Conjunction, Policy
from recmtl.policies.random_routes import random_routes
from recmtl.policies.route import Estimator, RoutePolicy
from recmtl.policies.skip import SkipPolicy, SkipVariant
from recmtl.policies.tree import Tree, all_trees, tree_cost, tree_parameters

__all__ = [
    "Conjunction",
    "Estimator",
    "InstancePolicy",
    "Policy",
    "RoutePolicy",
    "SkipPolicy",
    "SkipVariant",
    "Tree",
    "all_trees",
    "branch_tree",
    "random_routes",
    "rsa_affinity",
    "tree_cost",
    "tree_parameters",
]
