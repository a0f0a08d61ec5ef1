"""Tiny Dancer decides in microseconds which model is worth calling, with a guarantee on the quality given up.

``Router.load()`` gives the shipped router. :func:`fit`, :func:`calibrate` and :func:`evaluate` make, certify and
judge one from a table of what each model scored (`train` extra).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tiny_dancer._version import __version__
from tiny_dancer.errors import (
    ArtifactChecksumError,
    ArtifactError,
    ArtifactSelfCheckError,
    ArtifactVersionError,
    CandidateError,
    DataError,
    EncoderMissingError,
    MissingExtraError,
    NoFeasibleModelError,
    NotCertifiedError,
    OptionError,
    RegistryError,
    RequestError,
    StorageError,
    TinyDancerError,
    TrainingError,
)
from tiny_dancer.routing import Classifier, Router
from tiny_dancer.types import Classification, Decision, DecisionBatch, FeatureTable, Guarantee, ModelInfo, Outcomes

if TYPE_CHECKING:
    from tiny_dancer.evaluation.conformal import (
        AdaptiveConformal,
        SplitConformalClassifier,
        SplitConformalRanker,
        SplitConformalRegressor,
        conformal_quantile,
    )
    from tiny_dancer.evaluation.relevance import ConformalRelevance
    from tiny_dancer.evaluation.results import Evaluation
    from tiny_dancer.training.api import calibrate, evaluate, fit, read_outcomes
    from tiny_dancer.training.calibrate import Calibrated
    from tiny_dancer.training.estimator import RouterEstimator
    from tiny_dancer.training.fit import Fitted


__all__ = [
    "AdaptiveConformal",
    "ArtifactChecksumError",
    "ArtifactError",
    "ArtifactSelfCheckError",
    "ArtifactVersionError",
    "Calibrated",
    "CandidateError",
    "Classification",
    "Classifier",
    "ConformalRelevance",
    "DataError",
    "Decision",
    "DecisionBatch",
    "EncoderMissingError",
    "Evaluation",
    "FeatureTable",
    "Fitted",
    "Guarantee",
    "MissingExtraError",
    "ModelInfo",
    "NoFeasibleModelError",
    "NotCertifiedError",
    "OptionError",
    "Outcomes",
    "RegistryError",
    "RequestError",
    "Router",
    "RouterEstimator",
    "SplitConformalClassifier",
    "SplitConformalRanker",
    "SplitConformalRegressor",
    "StorageError",
    "TinyDancerError",
    "TrainingError",
    "__version__",
    "calibrate",
    "conformal_quantile",
    "evaluate",
    "fit",
    "read_outcomes",
]

_LAZY = {
    "AdaptiveConformal": "tiny_dancer.evaluation.conformal",
    "Calibrated": "tiny_dancer.training.calibrate",
    "ConformalRelevance": "tiny_dancer.evaluation.relevance",
    "Evaluation": "tiny_dancer.evaluation.results",
    "Fitted": "tiny_dancer.training.fit",
    "RouterEstimator": "tiny_dancer.training.estimator",
    "SplitConformalClassifier": "tiny_dancer.evaluation.conformal",
    "SplitConformalRanker": "tiny_dancer.evaluation.conformal",
    "SplitConformalRegressor": "tiny_dancer.evaluation.conformal",
    "calibrate": "tiny_dancer.training.api",
    "conformal_quantile": "tiny_dancer.evaluation.conformal",
    "evaluate": "tiny_dancer.training.api",
    "fit": "tiny_dancer.training.api",
    "read_outcomes": "tiny_dancer.training.api",
}
"""Names that need the `train` extra, or that routing can do without: imported when first used."""


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module(_LAZY[name]), name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("tiny_dancer"):
            raise
        raise MissingExtraError(error.name, "not installed", "pip install 'tiny-dancer[train]'") from error
