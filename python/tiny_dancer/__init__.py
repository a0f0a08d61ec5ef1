"""Tiny Dancer decides in microseconds which model is worth calling, with a guarantee on the quality given up.

``Router.load()`` gives the shipped router. :func:`fit`, :func:`calibrate` and :func:`evaluate` make, certify and
judge one from a table of what each model scored (`train` extra).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tiny_dancer._core import __version__
from tiny_dancer.errors import (
    AccessError,
    ArtifactChecksumError,
    ArtifactError,
    ArtifactSelfCheckError,
    ArtifactVersionError,
    BudgetError,
    BudgetExceededError,
    CandidateError,
    ConfigError,
    DataError,
    EncoderMissingError,
    MissingExtraError,
    ModelError,
    NoFeasibleModelError,
    NoSuitableAgentError,
    NotCertifiedError,
    OptionError,
    QueueError,
    RegistryError,
    RequestError,
    StorageError,
    TinyDancerError,
    TrainingError,
)
from tiny_dancer.extras import needed as _needed
from tiny_dancer.routing import Classifier, Router, Watch
from tiny_dancer.types import (
    Classification,
    Decision,
    DecisionBatch,
    FeatureTable,
    Guarantee,
    ModelInfo,
    Outcomes,
    PriceTier,
)

if TYPE_CHECKING:
    from tiny_dancer._core import AgentChoice, CandidateDecision, CandidateFilter
    from tiny_dancer.budgets import Budgets
    from tiny_dancer.evaluation.conformal import (
        AdaptiveConformal,
        SplitConformalClassifier,
        SplitConformalRanker,
        SplitConformalRegressor,
        conformal_quantile,
    )
    from tiny_dancer.evaluation.relevance import ConformalRelevance
    from tiny_dancer.evaluation.results import Evaluation
    from tiny_dancer.registry import Registry
    from tiny_dancer.resilience import CircuitBreaker
    from tiny_dancer.routing.agents import AgentAssignment, AgentLoad, AgentPlan, AgentRegistry, AgentRouter
    from tiny_dancer.routing.ask import EndpointModel
    from tiny_dancer.routing.candidate_answer import CandidateDecisions, CandidateRouterConfig
    from tiny_dancer.routing.candidate_set import Candidate, CandidateSet
    from tiny_dancer.routing.candidates import CandidateRouter
    from tiny_dancer.routing.chain import (
        Chain,
        ChainDecision,
        ChainRouter,
        HumanStep,
        JudgeStep,
        LearnedStep,
        SemanticStep,
    )
    from tiny_dancer.routing.decider import Decider
    from tiny_dancer.routing.encoders import CachedEncoder, CallableEncoder, EndpointEncoder
    from tiny_dancer.routing.functions import FunctionCall
    from tiny_dancer.routing.pricing import most_cost
    from tiny_dancer.routing.questions import Answer, Question
    from tiny_dancer.routing.resilient import ResilientRouter
    from tiny_dancer.routing.rules import Rule
    from tiny_dancer.routing.semantic import Route, RouteChoice, RoutesEvaluation, SemanticRoutes, User
    from tiny_dancer.routing.tasks import TaskClassification, TaskClassifier
    from tiny_dancer.routing.tool_search import DeferredTools, ToolSearch, search_tool_kind
    from tiny_dancer.routing.tools import SelectedTool, ToolSelection, ToolSelector
    from tiny_dancer.routing.walk import CannedAnswer, Hop
    from tiny_dancer.spending import BudgetForecast, BudgetPlan, forecast_budget, optimize_budget
    from tiny_dancer.storage import Agent, AgentOutcome, Budget, MemoryStorage, QueuedRequest, SqliteStorage
    from tiny_dancer.training.api import add_model, calibrate, evaluate, fit, read_outcomes, split_outcomes
    from tiny_dancer.training.calibrate import Calibrated
    from tiny_dancer.training.change import Added
    from tiny_dancer.training.estimator import RouterEstimator
    from tiny_dancer.training.fit import Fitted
    from tiny_dancer.training.routes.fit import FitReport
    from tiny_dancer.training.routes.router import SemanticRouter


__all__ = [
    "AccessError",
    "AdaptiveConformal",
    "Added",
    "Agent",
    "AgentAssignment",
    "AgentChoice",
    "AgentLoad",
    "AgentOutcome",
    "AgentPlan",
    "AgentRegistry",
    "AgentRouter",
    "Answer",
    "ArtifactChecksumError",
    "ArtifactError",
    "ArtifactSelfCheckError",
    "ArtifactVersionError",
    "Budget",
    "BudgetError",
    "BudgetExceededError",
    "BudgetForecast",
    "BudgetPlan",
    "Budgets",
    "CachedEncoder",
    "Calibrated",
    "CallableEncoder",
    "Candidate",
    "CandidateDecision",
    "CandidateDecisions",
    "CandidateError",
    "CandidateFilter",
    "CandidateRouter",
    "CandidateRouterConfig",
    "CandidateSet",
    "CannedAnswer",
    "Chain",
    "ChainDecision",
    "ChainRouter",
    "CircuitBreaker",
    "Classification",
    "Classifier",
    "ConfigError",
    "ConformalRelevance",
    "DataError",
    "Decider",
    "Decision",
    "DecisionBatch",
    "DeferredTools",
    "EncoderMissingError",
    "EndpointEncoder",
    "EndpointModel",
    "Evaluation",
    "FeatureTable",
    "FitReport",
    "Fitted",
    "FunctionCall",
    "Guarantee",
    "Hop",
    "HumanStep",
    "JudgeStep",
    "LearnedStep",
    "MemoryStorage",
    "MissingExtraError",
    "ModelError",
    "ModelInfo",
    "NoFeasibleModelError",
    "NoSuitableAgentError",
    "NotCertifiedError",
    "OptionError",
    "Outcomes",
    "PriceTier",
    "Question",
    "QueueError",
    "QueuedRequest",
    "Registry",
    "RegistryError",
    "RequestError",
    "ResilientRouter",
    "Route",
    "RouteChoice",
    "Router",
    "RouterEstimator",
    "RoutesEvaluation",
    "Rule",
    "SelectedTool",
    "SemanticRouter",
    "SemanticRoutes",
    "SemanticStep",
    "SplitConformalClassifier",
    "SplitConformalRanker",
    "SplitConformalRegressor",
    "SqliteStorage",
    "StorageError",
    "TaskClassification",
    "TaskClassifier",
    "TinyDancerError",
    "ToolSearch",
    "ToolSelection",
    "ToolSelector",
    "TrainingError",
    "User",
    "Watch",
    "__version__",
    "add_model",
    "calibrate",
    "conformal_quantile",
    "evaluate",
    "fit",
    "forecast_budget",
    "most_cost",
    "optimize_budget",
    "read_outcomes",
    "search_tool_kind",
    "split_outcomes",
]

_LAZY = {
    "AdaptiveConformal": "tiny_dancer.evaluation.conformal",
    "Added": "tiny_dancer.training.change",
    "Agent": "tiny_dancer.storage",
    "AgentAssignment": "tiny_dancer.routing.agents",
    "AgentChoice": "tiny_dancer._core",
    "AgentLoad": "tiny_dancer.routing.agents",
    "AgentOutcome": "tiny_dancer.storage",
    "AgentPlan": "tiny_dancer.routing.agents",
    "AgentRegistry": "tiny_dancer.routing.agents",
    "AgentRouter": "tiny_dancer.routing.agents",
    "Answer": "tiny_dancer.routing.questions",
    "Budget": "tiny_dancer.storage",
    "Budgets": "tiny_dancer.budgets",
    "BudgetForecast": "tiny_dancer.spending",
    "BudgetPlan": "tiny_dancer.spending",
    "CachedEncoder": "tiny_dancer.routing.encoders",
    "Calibrated": "tiny_dancer.training.calibrate",
    "CallableEncoder": "tiny_dancer.routing.encoders",
    "Candidate": "tiny_dancer.routing.candidate_set",
    "CandidateDecision": "tiny_dancer._core",
    "CandidateDecisions": "tiny_dancer.routing.candidate_answer",
    "CandidateFilter": "tiny_dancer._core",
    "CandidateRouter": "tiny_dancer.routing.candidates",
    "CandidateRouterConfig": "tiny_dancer.routing.candidate_answer",
    "CandidateSet": "tiny_dancer.routing.candidate_set",
    "CannedAnswer": "tiny_dancer.routing.walk",
    "Chain": "tiny_dancer.routing.chain",
    "ChainDecision": "tiny_dancer.routing.chain",
    "ChainRouter": "tiny_dancer.routing.chain",
    "CircuitBreaker": "tiny_dancer.resilience",
    "ConformalRelevance": "tiny_dancer.evaluation.relevance",
    "Decider": "tiny_dancer.routing.decider",
    "EndpointEncoder": "tiny_dancer.routing.encoders",
    "EndpointModel": "tiny_dancer.routing.ask",
    "Evaluation": "tiny_dancer.evaluation.results",
    "FitReport": "tiny_dancer.training.routes.fit",
    "Fitted": "tiny_dancer.training.fit",
    "FunctionCall": "tiny_dancer.routing.functions",
    "Hop": "tiny_dancer.routing.walk",
    "HumanStep": "tiny_dancer.routing.chain",
    "JudgeStep": "tiny_dancer.routing.chain",
    "LearnedStep": "tiny_dancer.routing.chain",
    "MemoryStorage": "tiny_dancer.storage",
    "QueuedRequest": "tiny_dancer.storage",
    "Question": "tiny_dancer.routing.questions",
    "Registry": "tiny_dancer.registry",
    "ResilientRouter": "tiny_dancer.routing.resilient",
    "Route": "tiny_dancer.routing.semantic",
    "RouteChoice": "tiny_dancer.routing.semantic",
    "RouterEstimator": "tiny_dancer.training.estimator",
    "RoutesEvaluation": "tiny_dancer.routing.semantic",
    "Rule": "tiny_dancer.routing.rules",
    "SemanticRouter": "tiny_dancer.training.routes.router",
    "SemanticRoutes": "tiny_dancer.routing.semantic",
    "SemanticStep": "tiny_dancer.routing.chain",
    "SplitConformalClassifier": "tiny_dancer.evaluation.conformal",
    "SplitConformalRanker": "tiny_dancer.evaluation.conformal",
    "SplitConformalRegressor": "tiny_dancer.evaluation.conformal",
    "SqliteStorage": "tiny_dancer.storage",
    "DeferredTools": "tiny_dancer.routing.tool_search",
    "SelectedTool": "tiny_dancer.routing.tools",
    "ToolSearch": "tiny_dancer.routing.tool_search",
    "search_tool_kind": "tiny_dancer.routing.tool_search",
    "TaskClassification": "tiny_dancer.routing.tasks",
    "TaskClassifier": "tiny_dancer.routing.tasks",
    "ToolSelection": "tiny_dancer.routing.tools",
    "ToolSelector": "tiny_dancer.routing.tools",
    "User": "tiny_dancer.routing.semantic",
    "add_model": "tiny_dancer.training.api",
    "calibrate": "tiny_dancer.training.api",
    "conformal_quantile": "tiny_dancer.evaluation.conformal",
    "evaluate": "tiny_dancer.training.api",
    "fit": "tiny_dancer.training.api",
    "most_cost": "tiny_dancer.routing.pricing",
    "forecast_budget": "tiny_dancer.spending",
    "optimize_budget": "tiny_dancer.spending",
    "read_outcomes": "tiny_dancer.training.api",
    "split_outcomes": "tiny_dancer.training.api",
}
"""Names that need the `train` extra, or that routing can do without: imported when first used."""


_OF_DATABASES = ("duckdb", "postgres", "sqlite")
"""Modules for databases: ``tiny_dancer.duckdb.register(connection)`` needs no import of its own."""


def __getattr__(name: str) -> Any:
    if name in _OF_DATABASES:
        return import_module(f"tiny_dancer.{name}")
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with _needed():
        return getattr(import_module(_LAZY[name]), name)
