"""The schema: one strict YAML file that says what the columns of a log mean.

It names the features, the tasks and the rows on which each task is defined, the roles (group, time,
sample weight) and the split. It travels with every model.
"""

from recmtl.schema.daily.sample import SampledNegatives
from recmtl.schema.definition import (
    Categorical,
    ComputedColumn,
    Condition,
    Cross,
    Datetime,
    DerivedFeature,
    EncodedFeature,
    ExactValues,
    Feature,
    Head,
    Label,
    ListCells,
    ListOf,
    Numeric,
    Outcome,
    Pairs,
    PastStatistics,
    Position,
    Roles,
    Schema,
    SideTable,
    SplitRule,
    TaskSpec,
    Text,
    TextFiles,
    Vector,
)
from recmtl.schema.differences import differences
from recmtl.schema.rules import refuse_contradictions, refuse_same_columns
from recmtl.schema.yaml_form import dump_schema, load_schema, parse_schema

__all__ = [
    "Categorical",
    "ComputedColumn",
    "Condition",
    "Cross",
    "Datetime",
    "DerivedFeature",
    "EncodedFeature",
    "ExactValues",
    "Feature",
    "Head",
    "Label",
    "ListCells",
    "ListOf",
    "Numeric",
    "Outcome",
    "Pairs",
    "PastStatistics",
    "Position",
    "Roles",
    "SampledNegatives",
    "Schema",
    "SideTable",
    "SplitRule",
    "TaskSpec",
    "Text",
    "TextFiles",
    "Vector",
    "differences",
    "dump_schema",
    "load_schema",
    "parse_schema",
    "refuse_contradictions",
    "refuse_same_columns",
]
