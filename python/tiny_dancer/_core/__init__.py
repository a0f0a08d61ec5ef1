"""The engine: sole importer of the compiled module; numpy arrays on this side, bytes on the other."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer._core._native import (
    AGENT_POLICIES,
    AGENT_REMOVALS,
    AGENT_TYPES,
    CANDIDATE_FEATURE_SPEC,
    CANDIDATE_FEATURES,
    CANDIDATE_WEIGHTS,
    CHAR_BASE,
    CONFORMAL_MOST_KNOTS,
    CUE_NAMES,
    CUES,
    EMBEDDING_DIMENSIONS,
    FEATURE_SPEC,
    FORMAT,
    LEARNED,
    LONGEST_TEXT,
    MOST_KNOTS,
    REASONS,
    REMOVALS,
    ROUTE_MEASURES,
    ROUTE_REASONS,
    ROUTED_BY,
    TASK_EDGE,
    UNCOVERED,
    WATCHED,
    WITHDRAWN,
    AgentCards,
    AgentChoice,
    AgentQuery,
    AgentSet,
    CandidateDecision,
    CandidateFilter,
    CandidateScorer,
    CandidateSet,
    Classifier,
    ConformalCalibration,
    ConformalRelevance,
    Drift,
    Encoder,
    Martingale,
    Options,
    Prices,
    RouteOptions,
    Router,
    Routes,
    Speller,
    Tasks,
    ToolSet,
    __version__,
    agent_state_after,
    artifact_header,
    assign_batch,
    conformal_intervals,
    conformal_label_scores,
    conformal_next_level,
    conformal_quantile,
    conformal_rank_score,
    conformal_residuals,
    conformal_rows_needed,
    conversation_outline,
    count_words,
    encode_json,
    featurise_batch,
    metadata_pairs,
    metadata_text,
    number_to_seconds,
    rewrite_artifact,
    text_to_seconds,
    tool_expectations,
    write_artifact,
)
from tiny_dancer._core._native import measured_costs as _measured_costs
from tiny_dancer._core._native import policy_choices as _policy_choices
from tiny_dancer._core._native import token_steps as _token_steps
from tiny_dancer.types import FeatureTable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from tiny_dancer._core._native import (
        AlarmTuple,
        BatchBytes,
        CandidateColumns,
        DecisionTuple,
        Json,
        RouteChoiceTuple,
        Said,
    )

__all__ = [
    "AGENT_POLICIES",
    "AGENT_REMOVALS",
    "AGENT_TYPES",
    "CANDIDATE_FEATURES",
    "CANDIDATE_FEATURE_SPEC",
    "CANDIDATE_WEIGHTS",
    "CHAR_BASE",
    "CONFORMAL_MOST_KNOTS",
    "CUES",
    "CUE_NAMES",
    "EMBEDDING_DIMENSIONS",
    "FEATURE_SPEC",
    "FORMAT",
    "LARGEST_ARTIFACT",
    "LEARNED",
    "LONGEST_TEXT",
    "MOST_KNOTS",
    "REASONS",
    "REMOVALS",
    "ROUTED_BY",
    "ROUTE_MEASURES",
    "ROUTE_REASONS",
    "TASK_EDGE",
    "UNCOVERED",
    "WATCHED",
    "WITHDRAWN",
    "AgentCards",
    "AgentChoice",
    "AgentQuery",
    "AgentSet",
    "AlarmTuple",
    "BatchBytes",
    "CandidateColumns",
    "CandidateDecision",
    "CandidateFilter",
    "CandidateScorer",
    "CandidateSet",
    "Classifier",
    "ConformalCalibration",
    "ConformalRelevance",
    "DecisionTuple",
    "Drift",
    "Encoder",
    "Json",
    "Martingale",
    "Options",
    "Prices",
    "RouteChoiceTuple",
    "RouteOptions",
    "Router",
    "Routes",
    "Said",
    "Speller",
    "Tasks",
    "ToolSet",
    "__version__",
    "agent_state_after",
    "artifact_bytes",
    "assign_batch",
    "components",
    "conformal_intervals",
    "conformal_label_scores",
    "conformal_next_level",
    "conformal_quantile",
    "conformal_rank_score",
    "conformal_residuals",
    "conformal_rows_needed",
    "conversation_outline",
    "count_words",
    "data_file",
    "data_path",
    "decide_features",
    "encode",
    "encode_json",
    "encoder",
    "encoder_of",
    "feature_spec",
    "featurise",
    "measured_costs",
    "metadata_pairs",
    "metadata_text",
    "number_to_seconds",
    "policy_choices",
    "read_header",
    "read_tensors",
    "sentence_encoder",
    "text_to_seconds",
    "token_rows",
    "token_steps",
    "tool_expectations",
    "with_header",
]

LARGEST_ARTIFACT = 64 << 20
"""Bytes: the engine reads no larger file (``artifact.rs``)."""

_DTYPES = {np.dtype("<f4"): "f32", np.dtype("i1"): "i8", np.dtype("u1"): "u8", np.dtype("<u2"): "u16"}


def data_path(name: str) -> Path:
    """A file the wheel carries."""
    # Not importlib.resources: importing that takes as long as all of this package.
    return Path(__file__).parents[1] / "data" / name


def data_file(name: str) -> bytes:
    """Bytes of a file the wheel carries."""
    return data_path(name).read_bytes()


ROUTERS = ("default", "edge")
"""Request routers the wheel carries, by name; ``edge`` names no encoder."""


def router_path(name: object) -> Path | None:
    """Where the wheel has the request router of this name; None where it carries none of it."""
    return data_path(f"{name}.safetensors") if name in ROUTERS else None


@cache
def encoder() -> Encoder:
    """The static token encoder of request routers; loaded once, when first needed."""
    return Encoder(data_file("encoder.safetensors"))


@cache
def sentence_encoder() -> Encoder:
    """The static encoder fitted to vectors of whole texts; loaded once, when first needed.

    For comparing texts with texts: routes, tools. Request routers, and what was stored or trained with
    :func:`encoder`, stay with that one; the two have the same pieces and different rows, and their own checksums.
    """
    return Encoder(data_file("sentences.safetensors"))


def encoder_of(checksum: str) -> Encoder:
    """The encoder of this checksum that the wheel carries; where it carries none, one that an artifact refuses."""
    sentences = sentence_encoder()
    return sentences if sentences.checksum == checksum else encoder()


def encode(texts: Sequence[str], by: Encoder | None = None) -> npt.NDArray[np.float32]:
    """Unit embeddings of texts, float32 [n, 256]; a zero row where no token is known.

    Args:
        texts: n texts.
        by: :func:`sentence_encoder`, or another; by default :func:`encoder`.
    """
    flat = np.frombuffer((by or encoder()).encode(list(texts)), "<f4")
    return flat.reshape(-1, EMBEDDING_DIMENSIONS).copy()


def token_rows() -> npt.NDArray[np.int8]:
    """Static embeddings of the encoder's tokens, int8 [tokens, 256], by the ids of :func:`token_steps`."""
    return np.frombuffer(encoder().rows(), "i1").reshape(-1, EMBEDDING_DIMENSIONS)


def token_steps(texts: Sequence[str], most_steps: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint32]]:
    """The tokens that a classifier of texts steps through, and nothing else does: what to train it on.

    Known tokens of the head and tail of each text, in order; of more than ``most_steps`` the first three quarters
    and the last quarter of that many.

    Returns:
        Offsets, int64 [n + 1], and token ids, uint32: text i has ``ids[offsets[i]:offsets[i + 1]]``.

    Raises:
        RequestError: a text that is no valid Unicode.
    """
    offsets, ids = _token_steps(encoder(), texts, most_steps)
    return np.frombuffer(offsets, "<i8"), np.frombuffer(ids, "<u4")


def feature_spec() -> str:
    """JSON that identifies the features of this engine: featurised tables carry it."""
    return json.dumps({"spec": FEATURE_SPEC, "encoder": encoder().checksum, "cues": CUES}, sort_keys=True)


def featurise(
    requests: Sequence[Said],
    tools: Sequence[Json | None] | None = None,
    spec: str = FEATURE_SPEC,
    by: Encoder | None = None,
    speller: Speller | None = None,
) -> FeatureTable:
    """Features of n requests, computed on all processors.

    Args:
        requests: n texts as ``str``, or chat messages as JSON in bytes.
        tools: per row None or the JSON of the functions offered.
        spec: the feature specification, of an artifact's header.
        by: the encoder, where it is not :func:`encoder`.
        speller: reads unknown words as known ones first.

    Raises:
        RequestError: a row holds nothing but white space, no valid Unicode, or JSON that is none.
    """
    offsets, ngrams, cues, embedding, tokens = featurise_batch(by or encoder(), requests, tools, spec, speller)
    return FeatureTable(
        ngram_offsets=np.frombuffer(offsets, "<i8"),
        ngrams=np.frombuffer(ngrams, "<u4"),
        cues=np.frombuffer(cues, "<f4").reshape(-1, CUES),
        embedding=np.frombuffer(embedding, "i1").reshape(-1, EMBEDDING_DIMENSIONS),
        tokens=np.frombuffer(tokens, "<i4"),
        spec=spec,
    )


_COSINES = ("option_cosine_mean", "option_cosine_highest", "stem_option_cosine")
_ENCODER_CUES = [CUE_NAMES.index(name) for name in _COSINES]


def without_encoder(features: FeatureTable) -> FeatureTable:
    """What an artifact that names no encoder sees of requests: no embedding, and not how alike options are.

    Tokens stay as they were counted: by word pieces here, while the engine without an encoder counts each word,
    number and symbol as one.
    """
    cues = features.cues.copy()
    cues[:, _ENCODER_CUES] = 0
    return replace(features, cues=cues, embedding=np.zeros_like(features.embedding))


def decide_features(router: Router, features: FeatureTable, options: Options | None = None) -> BatchBytes:
    """Decisions for featurised requests, laid out as :meth:`Router.decide_batch` gives them."""
    return router.decide_features(*_as_bytes(features), options)


def components(router: Router, features: FeatureTable) -> npt.NDArray[np.float64]:
    """What a router's backends make of featurised requests, float64 [n, components].

    A model's quality before calibration is its mean plus its row of the basis times these.
    """
    flat = np.frombuffer(router.components(*_as_bytes(features)), "<f4")
    return flat.reshape(len(features), -1).astype(np.float64)


def _as_bytes(features: FeatureTable) -> tuple[bytes, bytes, bytes, bytes, bytes]:
    return (
        np.ascontiguousarray(features.ngram_offsets, "<i8").tobytes(),
        np.ascontiguousarray(features.ngrams, "<u4").tobytes(),
        np.ascontiguousarray(features.cues, "<f4").tobytes(),
        np.ascontiguousarray(features.embedding, "i1").tobytes(),
        np.ascontiguousarray(features.tokens, "<i4").tobytes(),
    )


def measured_costs(
    models: Sequence[tuple[tuple[float, float, float] | None, Mapping[str, Any] | None]],
    tokens: npt.NDArray[np.float64],
    verbosity: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """USD of n requests by what m models were measured to cost, float64 [n, m], as the engine expects it.

    Args:
        models: of each (constant, per prompt token, per unit of verbosity), or None: its column is NaN; and where
            it was measured, ``cost_seen`` of an artifact's header, or None.
        tokens: [n]
        verbosity: [n]
    """
    columns = (np.ascontiguousarray(column, "<f8").tobytes() for column in (tokens, verbosity))
    return np.frombuffer(_measured_costs(json.dumps(list(models)), *columns), "<f8").reshape(
        len(tokens), len(models)
    )


def policy_choices(
    policy: Mapping[str, Any],
    *,
    best_constant: int,
    cleared: Sequence[bool],
    guard_margin: float,
    quality: npt.NDArray[np.float64],
    cost: npt.NDArray[np.float64] | None,
) -> npt.NDArray[np.int64]:
    """The model a policy chooses for each of n requests, int64 [n], as the engine chooses.

    Args:
        policy: as in an artifact's header.
        best_constant: index of the model that is best for all requests.
        cleared: per model, whether the best constant may be left for it.
        guard_margin: value by which another model must beat it.
        quality: expected, float64 [n, m].
        cost: the same in USD, NaN where unknown; None where no model has a price.

    Raises:
        OptionError: shapes that disagree, or a policy that weighs a cost nobody knows.
    """
    expected = np.ascontiguousarray(quality, "<f8").tobytes()
    costs = b"" if cost is None else np.ascontiguousarray(cost, "<f8").tobytes()
    chosen = _policy_choices(json.dumps(policy), best_constant, list(cleared), guard_margin, expected, costs)
    return np.frombuffer(chosen, "<i8")


def artifact_bytes(header: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """An artifact file from its header and its tensors (float32, int8, uint8 or uint16).

    Raises:
        ArtifactError: a header field or tensor the engine would refuse.
    """
    flat = [
        (name, _DTYPES[array.dtype], list(array.shape), np.ascontiguousarray(array).tobytes())
        for name, array in sorted(tensors.items())
    ]
    return write_artifact(json.dumps(header, sort_keys=True, allow_nan=False), flat)


def read_tensors(data: bytes) -> dict[str, npt.NDArray[Any]]:
    """The tensors of an artifact, as :func:`artifact_bytes` takes them.

    Raises:
        ArtifactError: the bytes are no sound artifact.
    """
    artifact_header(data)  # refuses what is unsound
    start = 8 + int.from_bytes(data[:8], "little")
    layout = json.loads(data[8:start])
    types: dict[str, Any] = {word.upper(): dtype for dtype, word in _DTYPES.items()}
    return {
        name: np.frombuffer(
            data[start + spec["data_offsets"][0] : start + spec["data_offsets"][1]], types[spec["dtype"]]
        ).reshape(spec["shape"])
        for name, spec in layout.items()
        if name != "__metadata__"
    }


def read_header(data: bytes) -> dict[str, Any]:
    """The header of an artifact, its self-checks not run.

    Raises:
        ArtifactError: the bytes are no sound artifact.
    """
    header: dict[str, Any] = json.loads(artifact_header(data))
    return header


def with_header(data: bytes, header: Mapping[str, Any]) -> bytes:
    """The artifact ``data`` with another header; tensors stay as they are."""
    return rewrite_artifact(data, json.dumps(header, sort_keys=True, allow_nan=False))
