"""The compiled engine, as typed for its sole importer."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

CANDIDATE_FEATURES: list[str]
CANDIDATE_FEATURE_SPEC: str
CANDIDATE_WEIGHTS: dict[str, list[float]]
"""By name, of relevance, recency, confidence and success, frequency and metadata."""
CUE_NAMES: list[str]
CUES: int
EMBEDDING_DIMENSIONS: int
CHAR_BASE: int
CONFORMAL_MOST_KNOTS: int
FEATURE_SPEC: str
FORMAT: str
__version__: str
LONGEST_TEXT: int
REASONS: list[str]
ROUTED_BY: list[str]
ROUTE_MEASURES: list[str]
ROUTE_REASONS: list[str]
REMOVALS: list[str]
TASK_EDGE: int
UNCOVERED: list[str]
LEARNED: int
MOST_KNOTS: int
WATCHED: dict[str, str]
WITHDRAWN: dict[str, str]

DecisionTuple: TypeAlias = tuple[
    str,
    dict[str, float],
    dict[str, float | None] | None,
    dict[str, float | None] | None,
    dict[str, float | None] | None,
    dict[str, str] | None,
    int,
    tuple[float, float | None],
    tuple[str, ...],
    str,
    str,
    str | None,
]
Json: TypeAlias = str | bytes
"""JSON text: as it is, or in UTF-8."""
Said: TypeAlias = str | bytes
"""What is routed: a text as ``str``, or chat messages as JSON in bytes."""
BatchBytes: TypeAlias = dict[str, bytes]
LabelBytes: TypeAlias = tuple[bytes, bytes, bytes]
FeatureBytes: TypeAlias = tuple[bytes, bytes, bytes, bytes, bytes]

CandidateColumns: TypeAlias = tuple[
    list[str],
    list[str | None],
    list[float | None],
    list[float | None],
    list[float | None],
    list[float | None],
    list[float | None],
    list[Mapping[str, Any]],
    list[str | None],
    list[float | None],
    list[float | None],
    list[Sequence[str] | None],
]
"""ids, texts, created_at (UTC seconds), access_count, success_rate, trials, confidence, metadata, groups,
positions, expires_at (UTC seconds), namespaces; one value a candidate each."""

class Encoder:
    def __init__(self, data: bytes) -> None: ...
    @property
    def checksum(self) -> str: ...
    def encode(self, texts: Sequence[str]) -> bytes: ...
    def rows(self) -> bytes: ...

AlarmTuple = tuple[str, int, float, int | None, str, int | None, bool]
"""name, steps, capital, since, side, model, whether it knows what is usual."""

class Drift:
    def decided(self, likeness: float | None, scores: Sequence[float]) -> tuple[float, float]: ...
    def decided_all(self, likeness: Sequence[float], scores: Sequence[float]) -> int: ...
    def graded(self, residual: float) -> None: ...
    def measured(
        self, model: int, quality: float, scores: Sequence[float], reference: float | None = None
    ) -> None: ...
    def alarms(self) -> list[AlarmTuple]: ...
    @property
    def rings(self) -> bool: ...

class Martingale:
    def step(self, p_value: float) -> Martingale: ...
    @property
    def capital(self) -> float: ...
    @property
    def highest(self) -> float: ...
    @property
    def steps(self) -> int: ...

class Router:
    def __init__(self, data: bytes, encoder: Encoder | None = None, changes: str | None = None) -> None: ...
    def header(self) -> str: ...
    def uncertified(self) -> str | None: ...
    def martingale(self) -> Martingale | None: ...
    def drift(self, threshold: float, seed: int) -> Drift: ...
    def usual(self, name: str) -> tuple[list[float], list[float]] | None: ...
    def decide(
        self,
        request: Said,
        tools: Json | None = None,
        options: Options | None = None,
        system: Json | None = None,
        response_format: Json | None = None,
    ) -> DecisionTuple: ...
    def decide_json(self, request: str, options: str | None = None) -> str: ...
    def decide_json_batch(self, requests: Sequence[str], options: str | None = None) -> list[str]: ...
    def outlook(
        self, tokens: int | None, at_most: int, options: Options | None = None
    ) -> tuple[tuple[str, ...], dict[str, float | None] | None, dict[str, str] | None]: ...
    def decide_batch(
        self,
        given: Sequence[Said],
        tools: Sequence[Json | None] | None = None,
        options: Options | None = None,
    ) -> BatchBytes: ...
    def decide_features(
        self,
        offsets: bytes,
        ngrams: bytes,
        cues: bytes,
        embedding: bytes,
        tokens: bytes,
        options: Options | None = None,
    ) -> BatchBytes: ...
    def components(self, offsets: bytes, ngrams: bytes, cues: bytes, embedding: bytes, tokens: bytes) -> bytes: ...

class Options:
    """What a caller asks of a decision beyond the request, by the names of :meth:`tiny_dancer.Router.route`."""

    def __init__(self, **given: object) -> None: ...
    @staticmethod
    def from_json(json: str) -> Options: ...
    @property
    def max_cost(self) -> float | None: ...
    @property
    def min_quality(self) -> float | None: ...
    @property
    def max_latency(self) -> float | None: ...
    @property
    def allowed(self) -> list[str]: ...
    @property
    def exclude(self) -> list[str]: ...
    @property
    def pin(self) -> str | None: ...
    @property
    def threshold(self) -> float | None: ...
    @property
    def cost_weight(self) -> float | None: ...
    @property
    def policy(self) -> str | None: ...
    @property
    def expected_output_tokens(self) -> float | None: ...
    @property
    def current(self) -> str | None: ...
    @property
    def cached_tokens(self) -> dict[str, float]: ...

class Prices:
    """What a model asks, from JSON by the names of an artifact's models."""

    def __init__(self, prices: str) -> None: ...
    def cost(
        self, input: float, output: float | None = None, cached: float = 0.0, written: float = 0.0
    ) -> float | None: ...
    def incomplete(self) -> tuple[str, str] | None: ...

class Classifier:
    def __init__(self, data: bytes, encoder: Encoder | None = None) -> None: ...
    def header(self) -> str: ...
    def predict_texts(self, texts: Sequence[str]) -> LabelBytes: ...
    def predict_vectors(self, vectors: bytes, offsets: bytes) -> LabelBytes: ...

RouteChoiceTuple: TypeAlias = tuple[
    int | None, int, float, float | None, str, list[tuple[int, float]], list[int], str | None
]
RouteBytes: TypeAlias = tuple[bytes, bytes, bytes, bytes, bytes]

class RouteOptions:
    """What is asked of a decision among routes beyond the request, from JSON."""

    def __init__(self, json: str) -> None: ...

class Routes:
    def __init__(self, data: bytes, encoder: Encoder | None = None) -> None: ...
    def header(self) -> str: ...
    def decide(
        self,
        request: str,
        vector: bytes | None = None,
        encoder: str = "",
        options: RouteOptions | None = None,
    ) -> RouteChoiceTuple: ...
    def decide_json(self, request: str, options: str = "") -> str: ...
    def decide_batch(
        self,
        texts: Sequence[str],
        vectors: bytes | None = None,
        encoder: str = "",
        options: RouteOptions | None = None,
    ) -> RouteBytes: ...
    def scores(
        self, texts: Sequence[str], vectors: bytes | None = None, encoder: str = ""
    ) -> tuple[bytes, bytes]: ...

class Speller:
    def __init__(self, letters: str, words: bytes, levels: bytes, encoder: Encoder, pairs: bytes) -> None: ...

class Tasks:
    def __init__(self, data: bytes, encoder: Encoder | None = None) -> None: ...
    def header(self) -> str: ...
    def classify_json(self, request: str) -> str: ...
    def classify_batch(self, texts: Sequence[str]) -> list[str]: ...

class CandidateDecision:
    """One candidate of an answer.

    Attributes:
        candidate_id: the candidate.
        score: what it was ranked by.
        confidence: calibrated probability that it is relevant; the score itself without calibration.
        uncertainty: the smallest error rate at which its conformal prediction set holds a single answer (relevant,
            or not); 1 without calibration.
        use_lightweight: confident and certain enough for a light model.
        in_prediction_set: whether it belongs to the conformal prediction set of the whole answer.
        features: what the score was computed from, by name.
    """

    def __init__(
        self,
        candidate_id: str,
        score: float = 0.0,
        confidence: float = 0.0,
        uncertainty: float = 1.0,
        use_lightweight: bool = False,
        in_prediction_set: bool = False,
    ) -> None: ...
    @property
    def candidate_id(self) -> str: ...
    @property
    def score(self) -> float: ...
    @property
    def confidence(self) -> float: ...
    @property
    def uncertainty(self) -> float: ...
    @property
    def use_lightweight(self) -> bool: ...
    @property
    def in_prediction_set(self) -> bool: ...
    @property
    def features(self) -> dict[str, float]: ...
    def feature_bytes(self) -> bytes: ...

class CandidateFilter:
    """Which candidates may be given at all: compiled once, shared between threads, equal to one that says the
    same.

    An expression is a mapping, and all of its members have to hold; an empty one lets everything pass.

    * ``{"user": "a"}``: the candidate has the value. Values are compared as text: ``1``, ``1.0`` and ``"1"`` are
      the same, and ``True`` and ``"true"``. Of several values any will do. ``{"user": ["a", "b"]}``: any of them.
      None, or an empty list, is nobody's.
    * ``{"year": {"$gte": 2020, "$lt": 2023}}``: operators, each on its own. ``$eq $ne`` take a value, ``$in $nin``
      a list, ``$gt $gte $lt $lte`` a number (compared with numbers) or a text (with texts, by code point),
      ``$exists`` True or False. ``$ne`` and ``$nin`` are what ``$eq`` and ``$in`` leave: candidates without the
      key pass.
    * ``{"$and": [...]}``, ``$or``, ``$nor``: expressions, at least one. ``{"$not": {...}}``.

    ``"a.b"`` is ``b`` within ``a``. The candidate's own: ``$id``, ``$group``, ``$namespace`` (a list of texts: how
    it begins; ``$eq`` and ``$ne`` compare the whole), ``$created_at``, ``$expires_at`` (seconds or ISO 8601),
    ``$success_rate``, ``$trials``, ``$confidence``. A candidate without the value passes no comparison.

    Args:
        expression: as above; nested at most 32 deep, with at most 1,000 conditions and 100,000 values.
        field: what errors call it.

    Raises:
        CandidateError: names the place of what is no filter: an unknown word, an operator beside plain keys, an
            empty ``$and``, NaN.
    """

    def __init__(self, expression: Mapping[str, Any], field: str = "where") -> None: ...
    def __eq__(self, other: object) -> bool: ...
    def __and__(self, other: CandidateFilter) -> CandidateFilter: ...
    def __hash__(self) -> int: ...

class CandidateSet:
    def __init__(self, dimensions: int | None, kept: str) -> None: ...
    @staticmethod
    def over(dimensions: int, embeddings: npt.NDArray[np.float32], columns: CandidateColumns) -> CandidateSet: ...
    def append(self, columns: CandidateColumns, embeddings: npt.NDArray[np.float32] | None) -> None: ...
    def update(self, columns: CandidateColumns, embeddings: npt.NDArray[np.float32] | None) -> None: ...
    def apply(
        self,
        removed_ids: Sequence[str],
        columns: CandidateColumns,
        embeddings: npt.NDArray[np.float32] | None = None,
    ) -> None: ...
    def use(
        self,
        ids: Sequence[str],
        access_count: Sequence[float | None],
        success_rate: Sequence[float | None],
        trials: Sequence[float | None],
        confidence: Sequence[float | None],
        expires_at: Sequence[float | None],
    ) -> None: ...
    def nearest(
        self,
        query: npt.NDArray[np.float32],
        k: int,
        where: CandidateFilter | None = None,
        now: float | None = None,
    ) -> list[tuple[str, float]]: ...
    def record_use(self, id: str, helped: bool | None = None) -> None: ...
    def remove(self, ids: Sequence[str]) -> None: ...
    def __len__(self) -> int: ...
    def __contains__(self, id: str) -> bool: ...
    def ids(self) -> list[str]: ...
    def version(self) -> tuple[int, int]: ...
    def matching(self, filter: CandidateFilter) -> bytes: ...
    def passing(
        self, where: CandidateFilter | None = None, now: float | None = None, k: int | None = None
    ) -> list[str]: ...
    def embeddings(self, ids: Sequence[str]) -> bytes: ...
    def all_pass(
        self, ids: Sequence[str], filter: CandidateFilter | None = None, now: float | None = None
    ) -> bool: ...

class CandidateScorer:
    def __init__(self, data: bytes | None = None, documented: bool = False) -> None: ...
    def header(self) -> str | None: ...
    def rank_json(self, candidates: str, query: str, encoder: Encoder | None = None) -> str: ...
    def rank(
        self,
        set: CandidateSet,
        embedding: npt.NDArray[np.float32] | None = None,
        text: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        now: float | None = None,
        encoder: Encoder | None = None,
        k: int = 5,
        diversity: float = 0.0,
        confidence_threshold: float = 0.85,
        max_uncertainty: float = 0.15,
        where: CandidateFilter | None = None,
    ) -> tuple[list[CandidateDecision], list[str], int | None, bool]: ...
    def score_all(
        self,
        set: CandidateSet,
        embedding: npt.NDArray[np.float32] | None = None,
        text: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        now: float | None = None,
        encoder: Encoder | None = None,
    ) -> tuple[bytes, bytes]: ...

def metadata_pairs(metadata: Mapping[str, Any], field: str) -> tuple[tuple[str, str], ...]: ...
def metadata_text(value: object, field: str) -> str: ...
def number_to_seconds(number: float) -> float | None: ...
def text_to_seconds(text: str) -> float | None: ...
def token_steps(encoder: Encoder, texts: Sequence[str], most_steps: int) -> tuple[bytes, bytes]: ...

class ConformalCalibration:
    def __init__(self, json: str) -> None: ...
    @staticmethod
    def fit(score: str, scores: bytes, groups: Sequence[str] | None, alpha: float) -> ConformalCalibration: ...
    @property
    def score(self) -> str: ...
    @property
    def alpha(self) -> float: ...
    @property
    def rows(self) -> int: ...
    @property
    def threshold(self) -> float: ...
    def json(self) -> str: ...
    def thresholds(self, groups: Sequence[str | None]) -> bytes: ...

Knots: TypeAlias = tuple[float, float, bytes]

class ConformalRelevance:
    @staticmethod
    def fit(scores: bytes, relevant: bytes, questions: bytes | None, most_knots: int) -> ConformalRelevance: ...
    @staticmethod
    def from_parts(relevant: Knots, irrelevant: Knots) -> ConformalRelevance: ...
    def parts(self) -> tuple[Knots, Knots]: ...
    def p_values(self, scores: bytes) -> bytes: ...

def conformal_label_scores(
    score: str, probabilities: bytes, labels: int, uniform: bytes | None = None
) -> bytes: ...
def conformal_residuals(predicted: bytes, actual: bytes) -> bytes: ...
def conformal_intervals(predicted: bytes, thresholds: bytes) -> bytes: ...
def conformal_rank_score(scores: bytes, relevant: bytes) -> float | None: ...
def conformal_quantile(scores: bytes, alpha: float) -> float: ...
def conformal_rows_needed(alpha: float) -> float: ...
def conformal_next_level(alpha: float, gamma: float, level: float, covered: bool) -> float: ...
def featurise_batch(
    encoder: Encoder,
    given: Sequence[Said],
    tools: Sequence[Json | None] | None = None,
    spec: str = ...,
    speller: Speller | None = None,
) -> FeatureBytes: ...
def count_words(texts: Sequence[str]) -> tuple[bytes, list[int], list[tuple[str, int]]]: ...
def encode_json(value: object) -> bytes: ...
def conversation_outline(messages: bytes) -> tuple[str, int, int, int]: ...
def measured_costs(models: str, tokens: bytes, verbosity: bytes) -> bytes: ...
def policy_choices(
    policy: str, best_constant: int, cleared: Sequence[bool], guard_margin: float, quality: bytes, cost: bytes
) -> bytes: ...
def write_artifact(header: str, tensors: Sequence[tuple[str, str, Sequence[int], bytes]]) -> bytes: ...
def rewrite_artifact(data: bytes, header: str) -> bytes: ...
def artifact_header(data: bytes) -> str: ...

AGENT_POLICIES: list[str]
AGENT_TYPES: list[str]
AGENT_REMOVALS: list[str]

class AgentSet:
    """Agents that requests may go to; see ``agents.rs``."""

    def __init__(self, half_life: float | None = None) -> None: ...
    def __len__(self) -> int: ...
    def names(self) -> list[str]: ...
    def put(self, agents: str) -> None: ...
    def remove(self, name: str) -> None: ...
    def check_members(self) -> None: ...
    def set_state(self, name: str, state: str) -> None: ...
    def choose_json(self, query: str) -> str: ...
    def choose(
        self,
        query: AgentQuery,
        input_tokens: float,
        now: float,
        output_tokens: float | None = None,
        cached_tokens: float = 0.0,
        qualities: Sequence[tuple[str, float]] | None = None,
        front: bool = False,
    ) -> AgentChoice: ...
    def removed(
        self,
        query: AgentQuery,
        input_tokens: float,
        now: float,
        output_tokens: float | None = None,
        cached_tokens: float = 0.0,
    ) -> dict[str, str]: ...
    def expect(
        self,
        query: AgentQuery,
        input_tokens: bytes,
        now: float,
        output_tokens: bytes | None = None,
        qualities: bytes | None = None,
    ) -> tuple[bytes, bytes, bytes]: ...
    def several(
        self,
        query: AgentQuery,
        strategy: str,
        number: int,
        input_tokens: float,
        now: float,
        output_tokens: float | None = None,
        correlation: bytes | None = None,
    ) -> tuple[list[tuple[str, list[int], float, float, float]], float, float, float, float]: ...

class AgentQuery:
    """What is asked of a choice, without what changes from request to request.

    Bounds are USD, USD that are left, and seconds.
    """

    def __init__(
        self,
        policy: str,
        weights: tuple[float, float, float],
        required: Sequence[str],
        task: str | None,
        types: Sequence[str],
        excluded: Sequence[str],
        tags: Sequence[str],
        region: str | None,
        bounds: tuple[float | None, float | None, float | None],
        min_quality: float | None,
        level: float,
        explore: float | None,
    ) -> None: ...

class AgentChoice:
    """The agent that was chosen, and why.

    Attributes:
        agent: its name.
        quality: expected of the answer, from 0 to 1; 0 where the call fails.
        quality_interval: both ends of what is believed of it; None where a trained router said it.
        estimated_cost: USD, or None where nobody knows.
        cost_interval: both ends, or None.
        estimated_latency_ms: or None where nobody knows.
        latency_interval_ms: both ends, or None.
        utility: what the policy maximises.
        confidence: probability that its true utility is no less than the runner-up's.
        runner_up: the next agent, or None where nothing else was left.
        suitable: how many agents no constraint removed.
        policy: its name.
        reason: in words.
        removed: by agent, the constraint that removed it.
        front: agents that no other beats in quality, cost and time at once, by cost; None where not asked for.
    """

    @property
    def agent(self) -> str: ...
    @property
    def quality(self) -> float: ...
    @property
    def quality_interval(self) -> tuple[float, float] | None: ...
    @property
    def estimated_cost(self) -> float | None: ...
    @property
    def cost_interval(self) -> tuple[float, float] | None: ...
    @property
    def estimated_latency_ms(self) -> float | None: ...
    @property
    def latency_interval_ms(self) -> tuple[float, float] | None: ...
    @property
    def utility(self) -> float: ...
    @property
    def confidence(self) -> float: ...
    @property
    def runner_up(self) -> str | None: ...
    @property
    def suitable(self) -> int: ...
    @property
    def policy(self) -> str: ...
    @property
    def reason(self) -> str: ...
    @property
    def removed(self) -> dict[str, str]: ...
    @property
    def front(self) -> list[str] | None: ...

class AgentCards:
    """Cards of agents, to search; see ``search.rs``."""

    def __init__(self, encoder: Encoder, cards: str) -> None: ...
    def __len__(self) -> int: ...
    def search(self, request: str, k: int) -> list[tuple[str, float, float]]: ...

def agent_state_after(state: str, outcome: str, half_life: float | None = None) -> str:
    """The sums over an agent's outcomes with one more, JSON."""

def assign_batch(
    agents: int,
    quality: bytes,
    cost: bytes,
    capacities: Sequence[int | None],
    minimise_cost: bool,
    min_mean_quality: float | None = None,
    budget: float | None = None,
) -> tuple[bytes, float, float, float, float, float, list[float]]:
    """Agents of n requests, uint32 as bytes; total USD, mean quality, bound, gap, multiplier, prices."""

class ToolSet:
    """Tools that requests are compared with; see ``tools.rs``."""

    def __init__(self, encoder: Encoder | None = None, artifact: bytes | None = None) -> None: ...
    def header(self) -> str | None: ...
    def __len__(self) -> int: ...
    def contains(self, id: str) -> bool: ...
    def add(self, given: Sequence[str], ids: Sequence[str | None]) -> list[list[tuple[str, str, str, str]]]: ...
    def remove(self, ids: Sequence[str]) -> None: ...
    def select(self, query: str) -> str: ...
    def select_texts(self, texts: Sequence[str], k: int) -> list[tuple[list[str], list[float]]]: ...
    def score_texts(self, texts: Sequence[str]) -> bytes: ...
    def search_pattern(self, pattern: str, limit: int) -> list[str]: ...

def tool_expectations(artifact: bytes, encoder: Encoder, texts: Sequence[str]) -> list[bytes]:
    """What an artifact of learned use expects of each of its tools, float32 as bytes, for each text."""
