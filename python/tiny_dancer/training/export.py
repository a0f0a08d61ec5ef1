"""Header and tensors of an artifact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer import _core
from tiny_dancer.routing.router import needs_encoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tiny_dancer.training.backends import FittedBackend
    from tiny_dancer.training.costs import CostHead
    from tiny_dancer.training.heads import MonotoneMap
    from tiny_dancer.training.likeness import Likeness
    from tiny_dancer.training.policy import Policy

    Floats = npt.NDArray[np.float64]

SELF_CHECK_TEXTS = (
    "What is the capital of France?",
    "A baker sells 12 rolls for $3.60. How much do 45 rolls cost, and how much change is left from $20?",
    "Which of the following is a prime number?\nA. 21\nB. 23\nC. 25\nD. 27\nAnswer:",
    "def f(xs):\n    return sorted(set(xs))[-2]\n\nWhy does this raise an IndexError for [3, 3]?",
    "Übersetze ins Englische: „Der frühe Vogel fängt den Wurm.“ 早起的鸟儿有虫吃。",
)
"""Requests of our own whose decisions every artifact carries: loading replays them."""


@dataclass(frozen=True, slots=True)
class Heads:
    """What turns components into expectations.

    Attributes:
        mean: float64 [m].
        basis: float64 [m, r].
        stack: float64 [backends, r].
        calibration: one map a model.
        confidence: margin over the best other model → probability that none is better.
        cost: the cost head.
        latency: per model (constant, per token) or None.
        set_width: of the prediction set.
        set_coverage: it was calibrated for.
        likeness: the test of requests against the rows, or None.
    """

    mean: Floats
    basis: Floats
    stack: Floats
    calibration: tuple[MonotoneMap, ...]
    confidence: MonotoneMap
    cost: CostHead
    latency: tuple[tuple[float, float] | None, ...]
    set_width: float
    set_coverage: float
    likeness: Likeness | None = None


def _padded(maps: Sequence[MonotoneMap]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Maps with one number of knots: the last value is held on knots beyond the end."""
    most = max(len(each.knots) for each in maps)
    knots = np.zeros((len(maps), most), np.float32)
    values = np.zeros((len(maps), most), np.float32)
    for row, each in enumerate(maps):
        extra = most - len(each.knots)
        knots[row] = np.append(each.knots, each.knots[-1] + np.arange(1, extra + 1))
        values[row] = np.append(each.values, np.full(extra, each.values[-1]))
    return knots, np.clip(values, 0, 1)


def build(
    models: Sequence[str],
    backends: Sequence[FittedBackend],
    heads: Heads,
    policy: Policy,
    rest: dict[str, Any],
    *,
    encoder: bool = True,
    version: str,
    created: str,
) -> bytes:
    """An artifact's bytes, self-checks included.

    Args:
        models: m names.
        backends: the fitted scorers, in order of ``heads.stack``.
        heads: what turns their components into expectations.
        policy: the policy in force.
        rest: what the engine does not read (data digest, metrics, policy path).
        encoder: whether it reads what the static encoder makes of requests.
        version: of the artifact (semver).
        created: date as the caller gives it; may be empty.
    """
    names = [f"b{index}" for index in range(len(backends))]
    tensors: dict[str, npt.NDArray[Any]] = {
        f"{name}.{tensor}": values
        for name, backend in zip(names, backends, strict=True)
        for tensor, values in backend.tensors().items()
    }
    components = heads.basis.shape[1] if backends else 0
    tensors["mean"] = heads.mean.astype(np.float32)
    tensors["basis"] = np.ascontiguousarray(heads.basis[:, :components], np.float32)
    tensors["stack"] = np.ascontiguousarray(heads.stack[:, :components], np.float32)
    tensors["calibration_knots"], tensors["calibration_values"] = _padded(heads.calibration)
    confidence_knots, confidence_values = _padded([heads.confidence])
    tensors["confidence_knots"], tensors["confidence_values"] = confidence_knots[0], confidence_values[0]
    tensors["verbosity"] = heads.cost.verbosity.astype(np.float32)
    header: dict[str, Any] = {
        "format": _core.FORMAT,
        "kind": "request-router",
        "version": version,
        "created": created,
        "models": [
            {
                "name": name,
                "latency": None if latency is None else list(latency),
                "cleared": cleared,
                **cost,
            }
            for name, cost, latency, cleared in zip(
                models, heads.cost.header(), heads.latency, policy.cleared, strict=True
            )
        ],
        "best_constant": policy.best_constant,
        "features": {"spec": _core.FEATURE_SPEC, "encoder": _core.encoder().checksum if encoder else None},
        "backends": [{"kind": backend.kind, "name": name} for name, backend in zip(names, backends, strict=True)],
        "components": components,
        "policy": policy.header(),
        "guard_margin": policy.guard_margin,
        "set_width": heads.set_width,
        "set_coverage": heads.set_coverage,
        "guarantee": None,
        "self_check": [],
        **rest,
    }
    if heads.likeness is not None:
        header["likeness"] = heads.likeness.header()
        tensors |= heads.likeness.tensors
    return with_self_checks(_core.artifact_bytes(header, tensors))


def with_self_checks(data: bytes) -> bytes:
    """The artifact with self-checks recorded from its own decisions; those it had are replaced."""
    header = {**_core.read_header(data), "self_check": []}
    bare = _core.with_header(data, header)
    router = _core.Router(bare, _core.encoder() if needs_encoder(header) else None)
    names = [model["name"] for model in header["models"]]
    checks = []
    for text in SELF_CHECK_TEXTS:
        model, scores, *_ = router.decide(text)
        checks.append({"text": text, "choice": names.index(model), "quality": [scores[name] for name in names]})
    return _core.with_header(bare, {**header, "self_check": checks})
