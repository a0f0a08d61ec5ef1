"""The engine routes as the readable reference does, on shared vectors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tiny_dancer import _core, errors

DOCUMENT = json.loads(
    (Path(__file__).resolve().parents[2] / "conformance" / "vectors" / "routes.json").read_text(encoding="utf-8")
)
KINDS = {"RequestInvalid": errors.RequestError, "OptionInvalid": errors.OptionError}
TOLERANCE = 1e-5


def artifact(given: dict[str, Any]) -> bytes:
    """An artifact's bytes from how the vectors write it."""
    owners = [route for route, rows in enumerate(given["prototypes"]) for _ in rows]
    rows = [row for rows in given["prototypes"] for row in rows]
    tensors: dict[str, Any] = {"prototypes": np.array(rows, np.int8), "prototype_routes": np.array(owners, "<u2")}
    if "head" in given:
        head = given["head"]
        present, weights = (
            np.zeros(1 << 18, np.uint8),
            sorted((int(key), each) for key, each in head["ngrams"].items()),
        )
        present[[key for key, _ in weights]] = 1
        entries = [(int(output), weight) for _, each in weights for output, weight in each.items()]
        tensors |= {
            "head.bias": np.array(head["bias"], "<f4"),
            "head.embedding": np.array(head["embedding"], np.int8),
            "head.embedding_scale": np.array(head["embedding_scale"], "<f4"),
            "head.ngrams": np.packbits(present, bitorder="little"),
            "head.ngram_counts": np.array([len(each) for _, each in weights], "<u2"),
            "head.ngram_outputs": np.array([output for output, _ in entries], np.uint8),
            "head.ngram_weights": np.array([weight for _, weight in entries], np.int8),
            "head.ngram_scale": np.array(head["ngram_scale"], "<f4"),
        }
    if "words" in given:
        hashes = [_core.count_words([word])[0] for word in given["words"]]
        tensors["spelling.words"] = np.frombuffer(b"".join(hashes), np.uint8).reshape(-1, 5)
        tensors["spelling.levels"] = np.array([*given["words"].values()], np.uint8)
    return _core.artifact_bytes(given["header"], tensors)


ENGINES = {
    name: _core.Routes(artifact(given), _core.sentence_encoder()) for name, given in DOCUMENT["artifacts"].items()
}


def same(found: object, expected: object) -> bool:
    if isinstance(found, float) and isinstance(expected, int | float):
        return abs(found - expected) <= TOLERANCE
    if isinstance(found, list) and isinstance(expected, list):
        return len(found) == len(expected) and all(map(same, found, expected))
    return found == expected


@pytest.mark.parametrize("vector", DOCUMENT["vectors"], ids=lambda vector: vector["explain"])
def test_the_engine_answers_as_the_reference(vector: dict[str, Any]) -> None:
    engine = ENGINES[vector["artifact"]]
    asked = json.dumps(vector["request"]), json.dumps(vector["options"])
    if "error" in vector:
        with pytest.raises(KINDS[vector["error"]]):
            engine.decide_json(*asked)
        return
    answer = json.loads(engine.decide_json(*asked))
    assert answer.keys() == vector["expect"].keys()
    assert {name: value for name, value in answer.items() if not same(value, vector["expect"][name])} == {}
