"""Header and tensors of a candidate scorer's artifact."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer import _core
from tiny_dancer.evaluation.candidates import METRICS
from tiny_dancer.routing.candidate_set import Candidate, CandidateSet

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from tiny_dancer.evaluation.bootstrap import Interval
    from tiny_dancer.evaluation.candidates import RankingEvaluation
    from tiny_dancer.training.candidates.calibration import Calibration

_DAY = 86_400.0
_NOW = 1_750_000_000.0
SELF_CHECK = (
    Candidate("a", text="Nora moved to Porto in May 2023.", created_at=_NOW - 700 * _DAY, group="1"),
    Candidate("b", text="When does the night train to Porto leave?", created_at=_NOW - 3 * _DAY, group="2"),
    Candidate("c", text="It leaves at ten past nine.", created_at=_NOW - 3 * _DAY, group="2"),
    Candidate(
        "d",
        text="The kitchen tap drips again.",
        created_at=_NOW - 40 * _DAY,
        access_count=12,
        success_rate=0.75,
        trials=8,
        confidence=0.9,
        metadata={"speaker": "Nora"},
    ),
    Candidate("e", text="Übersetze das bitte.", created_at=_NOW, access_count=1, success_rate=0.0, trials=1),
)
"""Candidates of our own; how an artifact scores them is written into it and replayed when it is loaded."""
_QUESTION = "When did Nora move to Porto?"


def neutral_tensors() -> dict[str, npt.NDArray[np.float32]]:
    """Tensors of a scorer that nothing was calibrated for and that takes features as they are."""
    width = len(_core.CANDIDATE_FEATURES)
    return {
        "feature.mean": np.zeros(width, np.float32),
        "feature.scale": np.ones(width, np.float32),
        "calibration.scores": np.empty(0, np.float32),
        "calibration.probabilities": np.empty(0, np.float32),
    }


def build(
    scorer: str,
    tensors: Mapping[str, npt.NDArray[Any]],
    calibration: Calibration | None,
    rest: Mapping[str, Any],
    *,
    version: str = "1.0.0",
    created: str = "",
) -> bytes:
    """An artifact's bytes, self-checks included.

    Args:
        scorer: ``linear`` or ``fastgrnn``.
        tensors: the scorer's own.
        calibration: None where there is none.
        rest: what the engine does not read.
        version: semver.
        created: date as the caller gives it.
    """
    header: dict[str, Any] = {
        **rest,
        "format": _core.FORMAT,
        "kind": "candidates",
        "version": version,
        "created": created,
        "features": _core.CANDIDATE_FEATURE_SPEC,
        "scorer": scorer,
        "relevance": None,
        "prediction": None,
        "likeness": None,
        "self_check": [],
    }
    kept = {**neutral_tensors(), **tensors}
    if calibration is not None:
        kept |= calibration.tensors
        header |= calibration.header
    # What the scorer itself says of the self-check's candidates, however unlike they are.
    bare = _core.artifact_bytes({**header, "likeness": None}, kept)
    candidates = CandidateSet(SELF_CHECK)
    flat, scored = _core.CandidateScorer(bare).score_all(
        candidates.native, None, _QUESTION, {"speaker": "Nora"}, _NOW, candidates.encoder
    )
    features = np.frombuffer(flat, "<f4").reshape(len(_core.CANDIDATE_FEATURES), -1).T
    scores = np.frombuffer(scored, "<f4")
    checks = [
        {"features": [float(value) for value in row], "score": float(score)}
        for row, score in zip(features, scores, strict=True)
    ]
    return _core.with_header(bare, {**header, "self_check": checks})


def float_tensor(data: bytes, name: str) -> npt.NDArray[np.float64]:
    """A float32 tensor of an artifact that the engine has loaded, which checked every size and the checksum."""
    start = 8 + int.from_bytes(data[:8], "little")
    first, last = json.loads(data[8:start])[name]["data_offsets"]
    return np.frombuffer(data[start + first : start + last], "<f4").astype(np.float64)


def metrics_header(evaluation: RankingEvaluation) -> dict[str, Any]:
    """Figures with their 95 % intervals as JSON values: method → metric → [mean, low, high]."""
    return {method: figures(found) for method, found in evaluation.metrics.items()}


def figures(found: Mapping[str, Interval]) -> dict[str, list[float | None]]:
    """Metric → [mean, low, high]; bounds that cannot be had are None."""
    return {
        metric: [
            None if value != value else round(value, 4)
            for value in (found[metric].estimate, found[metric].low, found[metric].high)
        ]
        for metric in METRICS
    }
