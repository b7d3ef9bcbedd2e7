"""The schema: one strict YAML file that says what the columns of a log mean.

It names the features, the tasks and the rows on which each task is defined, the roles (group, time,
sample weight) and the split. It travels with every model.
"""

from recmtl.schema.checks import refuse_contradictions
from recmtl.schema.definition import (
    Categorical,
    Condition,
    Feature,
    ListOf,
    Numeric,
    Roles,
    Schema,
    SideTable,
    Split,
    Task,
)
from recmtl.schema.dump import dump_schema
from recmtl.schema.load import load_schema, parse_schema

__all__ = [
    "Categorical",
    "Condition",
    "Feature",
    "ListOf",
    "Numeric",
    "Roles",
    "Schema",
    "SideTable",
    "Split",
    "Task",
    "dump_schema",
    "load_schema",
    "parse_schema",
    "refuse_contradictions",
]
