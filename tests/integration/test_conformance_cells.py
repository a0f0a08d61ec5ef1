"""The cell in every form gives the states of the shared vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiny_dancer import Classifier, _core

PATH = Path(__file__).resolve().parents[2] / "conformance" / "vectors" / "fastgrnn.json"
DOCUMENT = json.loads(PATH.read_text(encoding="utf-8"))


@pytest.mark.parametrize("vector", DOCUMENT["vectors"], ids=lambda vector: vector["explain"])
def test_states(vector: dict[str, Any]) -> None:
    """Seen through a head that is the identity: what a binding without the cell itself can do."""
    dtypes = {"F32": "<f4", "I8": "i1", "U8": "u1", "U16": "<u2"}
    tensors = {
        name: np.array(tensor["values"], dtypes[tensor["dtype"]]).reshape(tensor["shape"])
        for name, tensor in vector["tensors"].items()
    }
    inputs, hidden = np.array(vector["inputs"], "<f4"), np.array(vector["hidden"])
    width = hidden.shape[1]
    head = {"head.weight": np.eye(width, dtype="<f4"), "head.bias": np.zeros(width, "<f4")}
    header = {
        "format": _core.FORMAT,
        "kind": "classifier",
        "version": "1.0.0",
        "labels": [f"value {at}" for at in range(width)],
        "input": {"kind": "vectors", "dimensions": inputs.shape[1]},
        "model": {"kind": "fastgrnn"},
    }
    classifier = Classifier.from_bytes(_core.artifact_bytes(header, tensors | head))
    states = classifier.predict_logits([inputs[: step + 1] for step in range(len(inputs))])
    np.testing.assert_allclose(states, hidden, rtol=0, atol=DOCUMENT["tolerance"]["hidden"]["absolute"])
