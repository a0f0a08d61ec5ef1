"""The compiled engine, as typed for its sole importer."""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

CANDIDATE_FEATURES: list[str]
CANDIDATE_FEATURE_SPEC: str
DEFAULT_CANDIDATE_WEIGHTS: list[float]
CUE_NAMES: list[str]
CUES: int
EMBEDDING_DIMENSIONS: int
CHAR_BASE: int
CONFORMAL_MOST_KNOTS: int
FEATURE_SPEC: str
FORMAT: str
LONGEST_TEXT: int
REASONS: list[str]
ROUTED_BY: list[str]

Messages: TypeAlias = list[tuple[int, str]]
Options: TypeAlias = tuple[
    float | None,
    float | None,
    float | None,
    list[int],
    list[int],
    int | None,
    float | None,
    float | None,
    float | None,
]
DecisionTuple: TypeAlias = tuple[
    int,
    dict[str, float],
    dict[str, float | None] | None,
    float,
    tuple[str, ...],
    str,
    str,
    bool,
]
BatchBytes: TypeAlias = tuple[bytes, bytes, bytes, bytes, bytes, bytes]
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
]

class Encoder:
    def __init__(self, data: bytes) -> None: ...
    @property
    def checksum(self) -> str: ...
    def encode(self, texts: Sequence[str]) -> bytes: ...
    def rows(self) -> bytes: ...

class Router:
    def __init__(self, data: bytes, encoder: Encoder | None = None, changes: str | None = None) -> None: ...
    def header(self) -> str: ...
    def decide(
        self,
        request: str,
        messages: Messages | None = None,
        tools: str | None = None,
        raw_options: Options | None = None,
    ) -> DecisionTuple: ...
    def decide_batch(
        self,
        texts: Sequence[str],
        messages: Sequence[Messages | None] | None = None,
        tools: Sequence[str | None] | None = None,
        raw_options: Options | None = None,
    ) -> BatchBytes: ...
    def decide_features(
        self,
        offsets: bytes,
        ngrams: bytes,
        cues: bytes,
        embedding: bytes,
        tokens: bytes,
        raw_options: Options | None = None,
    ) -> BatchBytes: ...

class Classifier:
    def __init__(self, data: bytes, encoder: Encoder | None = None) -> None: ...
    def header(self) -> str: ...
    def predict_texts(self, texts: Sequence[str]) -> LabelBytes: ...
    def predict_vectors(self, vectors: bytes, offsets: bytes) -> LabelBytes: ...

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

class CandidateSet:
    def __init__(self, dimensions: int | None, kept: str) -> None: ...
    @staticmethod
    def over(dimensions: int, embeddings: npt.NDArray[np.float32], columns: CandidateColumns) -> CandidateSet: ...
    def append(self, columns: CandidateColumns, embeddings: npt.NDArray[np.float32] | None) -> None: ...
    def update(self, columns: CandidateColumns, embeddings: npt.NDArray[np.float32] | None) -> None: ...
    def record_use(self, id: str, helped: bool | None = None) -> None: ...
    def remove(self, ids: Sequence[str]) -> None: ...
    def __len__(self) -> int: ...
    def __contains__(self, id: str) -> bool: ...
    def ids(self) -> list[str]: ...
    def matching(self, wanted: Mapping[str, Any]) -> bytes: ...

class CandidateScorer:
    def __init__(self, data: bytes | None = None) -> None: ...
    def header(self) -> str | None: ...
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
        allowed: bytes | None = None,
    ) -> tuple[list[CandidateDecision], list[str], int | None]: ...
    def score_all(
        self,
        set: CandidateSet,
        embedding: npt.NDArray[np.float32] | None = None,
        text: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        now: float | None = None,
        encoder: Encoder | None = None,
    ) -> tuple[bytes, bytes]: ...

class Vectors:
    def __init__(self, dimensions: int, kept: str) -> None: ...
    def append(self, rows: npt.NDArray[np.float32]) -> None: ...
    def replace(self, row: int, values: npt.NDArray[np.float32]) -> None: ...
    def swap_remove(self, row: int) -> None: ...
    def __len__(self) -> int: ...
    def nearest(
        self, query: npt.NDArray[np.float32], k: int, allowed: bytes | None = None
    ) -> list[tuple[int, float]]: ...

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
    texts: Sequence[str],
    messages: Sequence[Messages | None] | None = None,
    tools: Sequence[str | None] | None = None,
) -> FeatureBytes: ...
def write_artifact(header: str, tensors: Sequence[tuple[str, str, Sequence[int], bytes]]) -> bytes: ...
def rewrite_artifact(data: bytes, header: str) -> bytes: ...
def artifact_header(data: bytes) -> str: ...
