"""Outcomes tables: reading, writing without text, groups, splits and checks."""

from tiny_dancer.evaluation.groups import assign_groups
from tiny_dancer.training.data.check import check_outcomes
from tiny_dancer.training.data.featurised import read_feature_spec, write_featurised
from tiny_dancer.training.data.findings import DataReport, Finding, ModelSummary
from tiny_dancer.training.data.raw import DataWarning
from tiny_dancer.training.data.read import Featurise, read_outcomes

__all__ = [
    "DataReport",
    "DataWarning",
    "Featurise",
    "Finding",
    "ModelSummary",
    "assign_groups",
    "check_outcomes",
    "read_feature_spec",
    "read_outcomes",
    "write_featurised",
]
