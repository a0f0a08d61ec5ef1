"""Classifier artifacts: header, tensors, temperature, self-checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer import _core
from tiny_dancer.routing import Classifier
from tiny_dancer.training.export import SELF_CHECK_TEXTS
from tiny_dancer.training.fastgrnn import quantise, reference
from tiny_dancer.training.fastgrnn.data import TOKEN_SCALE

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tiny_dancer.training.fastgrnn.cell import Activation, Parameters
    from tiny_dancer.training.fastgrnn.data import Inputs
    from tiny_dancer.training.fastgrnn.quantise import Scales, Tensors

    Floats = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.int64]

_CHUNK = 512


@dataclass(frozen=True, slots=True)
class Exported:
    """A model as the engine will hold it.

    Attributes:
        kind: `fastgrnn` or `bag`.
        tensors: by the engine's names.
    """

    kind: str
    tensors: Tensors


def export_cell(model: Parameters, activation: Activation, form: str, scales: Scales | None) -> Exported:
    """The model in a form: `f32`, `int8`, `int4`, or `sparse` (int8 weights that are not 0)."""
    weights: quantise.Form = "int8" if form == "sparse" else form  # type: ignore[assignment]
    used = None if weights == "f32" else scales
    tensors = quantise.cell_tensors(model, "cell", weights, activation, used, sparse=form == "sparse")
    return Exported("fastgrnn", tensors | quantise.head_tensors(model, "head", weights, used))


def cell_logits(exported: Exported, inputs: Inputs) -> Floats:
    """What the engine will say before the temperature: float32 [n, L]."""
    cell = reference.Cell.read(exported.tensors, "cell", inputs.dimensions)
    found = []
    for start in range(0, len(inputs.length), _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, len(inputs.length)))
        state = cell.last_state(inputs.dense(rows), inputs.length[rows])
        found.append(reference.logits(exported.tensors, state))
    return np.concatenate(found)


def fit_temperature(logits: Floats, label: Ints) -> float:
    """The T that makes softmax(logits / T) likeliest on these rows (Guo et al. 2017, arXiv:1706.04599)."""

    def loss(temperature: float) -> float:
        scaled = logits.astype(np.float64) / temperature
        shifted = scaled - scaled.max(1, keepdims=True)
        return float((np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(label)), label]).mean())

    grid = np.geomspace(0.2, 10, 200)
    return float(grid[np.argmin([loss(each) for each in grid])])


def classifier_artifact(
    exported: Exported,
    labels: Sequence[str],
    steps: int | None,
    dimensions: int,
    temperature: float,
    rest: dict[str, Any],
    *,
    version: str,
    created: str,
) -> bytes:
    """An artifact's bytes, self-checks included.

    Args:
        exported: kind and tensors.
        labels: L names.
        steps: most steps of a text, or None for vectors.
        dimensions: of a step's vector.
        temperature: that divides the logits.
        rest: what the engine does not read (metrics, data digest).
        version: of the artifact (semver).
        created: date as the caller gives it; may be empty.
    """
    kind: dict[str, Any] = {"kind": "vectors", "dimensions": dimensions}
    if steps is not None:
        kind = {
            "kind": "tokens",
            "encoder": _core.encoder().checksum,
            "most_steps": steps,
            "scale": TOKEN_SCALE,
        }
    header: dict[str, Any] = {
        "format": _core.FORMAT,
        "kind": "classifier",
        "version": version,
        "created": created,
        "labels": list(labels),
        "input": kind,
        "model": {"kind": exported.kind},
        "temperature": temperature,
        "conformal": None,
        "self_check": [],
        **rest,
    }
    bare = _core.artifact_bytes(header, exported.tensors)
    return _core.with_header(bare, {**header, "self_check": _self_checks(bare, labels, steps, dimensions)})


def _self_checks(bare: bytes, labels: Sequence[str], steps: int | None, dimensions: int) -> list[dict[str, Any]]:
    """Inputs of our own with what the artifact says of them: loading replays them."""
    classifier = Classifier.from_bytes(bare)
    generator = np.random.default_rng(0)
    waves = [np.round(generator.normal(0, 1, (2, dimensions)), 3).astype(np.float32) for _ in range(3)]
    inputs: Sequence[Any] = waves if steps is None else SELF_CHECK_TEXTS
    return [
        {
            "input": each if isinstance(each, str) else each.tolist(),
            "label": labels[int(row.argmax())],
            "probabilities": row.tolist(),
        }
        for each, row in zip(inputs, classifier.predict_proba(inputs), strict=True)
    ]
