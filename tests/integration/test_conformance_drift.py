"""Watches ring as the shared vectors say (`conformance/vectors/drift.json`)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiny_dancer import Router, _core

CONFORMANCE = Path(__file__).resolve().parents[2] / "conformance"
DOCUMENT = json.loads((CONFORMANCE / "vectors" / "drift.json").read_text(encoding="utf-8"))
TOLERANCE = DOCUMENT["tolerance"]["capital"]["relative"]


def vectors(what: str) -> list[Any]:
    found = [vector for vector in DOCUMENT["vectors"] if vector["what"] == what]
    assert found
    return [pytest.param(vector, id=vector["explain"]) for vector in found]


def artifact(name: str) -> bytes:
    return (CONFORMANCE / "artifacts" / f"{name}.safetensors").read_bytes()


@pytest.mark.parametrize("vector", vectors("stream"))
def test_streams(vector: Any) -> None:
    router = Router(artifact(vector["artifact"]))
    state = router._engine.drift(vector["threshold"], vector["seed"])
    for what, *given in vector["events"]:
        getattr(state, what)(*given)
    found = {name: (steps, capital, since) for name, steps, capital, since, *_ in state.alarms()}
    assert list(found) == list(vector["expect"])
    for name, expected in vector["expect"].items():
        steps, capital, since = found[name]
        assert (steps, since) == (expected["steps"], expected["since"]), name
        assert capital == pytest.approx(expected["capital"], rel=TOLERANCE), name


@pytest.mark.parametrize("vector", vectors("shift"))
def test_one_alarm(vector: Any) -> None:
    """As that of the highest quality expected, which a binding shows; its seed is the watch's and a number."""
    data = artifact("pair")
    header, tensors = _core.read_header(data), _core.read_tensors(data)
    usual = vector["usual"]
    if usual is not None:
        for name in ("quality", "gain", "confidence"):
            tensors[f"drift.{name}.knots"] = np.array(usual["knots"], np.float32)
            tensors[f"drift.{name}.counts"] = np.array(usual["counts"], np.float32)
        header = {**header, "drift": {"rows": 10, "mix": [5, 5]}}
    state = Router(_core.artifact_bytes(header, tensors))._engine.drift(1e9, (vector["seed"] - (1 << 32)) % 2**64)
    for value, expected in zip(vector["values"], vector["capital"], strict=True):
        state.decided(None, [value, value])
        name, _, capital, _, side, *_ = state.alarms()[1]
        assert name == "quality"
        assert capital * 6 == pytest.approx(expected, rel=TOLERANCE)
    assert side == vector["side"]
