"""The compiled engine, as typed for its sole importer."""

from collections.abc import Sequence
from typing import TypeAlias

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

class Classifier:
    def __init__(self, data: bytes, encoder: Encoder | None = None) -> None: ...
    def header(self) -> str: ...
    def predict_texts(self, texts: Sequence[str]) -> LabelBytes: ...
    def predict_vectors(self, vectors: bytes, offsets: bytes) -> LabelBytes: ...

def token_steps(encoder: Encoder, texts: Sequence[str], most_steps: int) -> tuple[bytes, bytes]: ...
def featurise_batch(
    encoder: Encoder,
    texts: Sequence[str],
    messages: Sequence[Messages | None] | None = None,
    tools: Sequence[str | None] | None = None,
) -> FeatureBytes: ...
def write_artifact(header: str, tensors: Sequence[tuple[str, str, Sequence[int], bytes]]) -> bytes: ...
def rewrite_artifact(data: bytes, header: str) -> bytes: ...
def artifact_header(data: bytes) -> str: ...
