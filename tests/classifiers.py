"""Classifiers of our own: exact heads over vectors, and a bag of embeddings over made-up texts."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tiny_dancer import _core

LABELS = ("alarm", "music", "weather", "travel", "food")
WORDS = {
    "alarm": ["wake", "alarm", "clock", "morning", "timer", "seven"],
    "music": ["play", "song", "album", "guitar", "louder", "band"],
    "weather": ["rain", "snow", "forecast", "umbrella", "wind", "sunny"],
    "travel": ["flight", "train", "ticket", "airport", "hotel", "luggage"],
    "food": ["recipe", "dinner", "soup", "bake", "pasta", "cheese"],
}
COMMON = ["please", "could", "you", "the", "for", "my", "me", "now", "what", "is", "about", "tell", "a", "to"]
DIMENSIONS = 6


def texts(n: int, seed: int) -> tuple[list[str], list[str]]:
    """n texts with their labels; every text mixes in words of other labels."""
    generator = np.random.default_rng(seed)
    labels = generator.choice(LABELS, n).tolist()
    found = []
    for row, label in enumerate(labels):
        words = [
            *generator.choice(WORDS[label], 2),
            *generator.choice(WORDS[str(generator.choice(LABELS))], 2),
            *generator.choice(COMMON, 4),
        ]
        found.append(" ".join([*generator.permutation(words), str(seed), str(row)]))
    return found, labels


def header(input_: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "format": _core.FORMAT,
        "kind": "classifier",
        "version": "1.0.0",
        "created": "2026-11-21",
        "labels": list(LABELS),
        "input": input_,
        "model": {"kind": "bag"},
        "temperature": 1.0,
        **more,
    }


def text_classifier(seed: int = 0, **more: Any) -> bytes:
    """A bag of embeddings whose head is fitted on texts of this seed by least squares."""
    found, labels = texts(400, seed)
    x = np.hstack([_core.encode(found), np.ones((400, 1))])
    y = np.array([[3.0 * (label == name) for name in LABELS] for label in labels])
    weights = np.linalg.solve(x.T @ x + np.eye(x.shape[1]), x.T @ y).T.astype(np.float32)
    tensors = {"head.weight": np.ascontiguousarray(weights[:, :-1]), "head.bias": weights[:, -1].copy()}
    input_ = {"kind": "tokens", "encoder": _core.encoder().checksum, "most_steps": 64}
    return _core.artifact_bytes(header(input_, **more), tensors)


def vector_classifier(**more: Any) -> bytes:
    """Logits are the first five of six values."""
    tensors = {"head.weight": np.eye(5, DIMENSIONS, dtype=np.float32), "head.bias": np.zeros(5, np.float32)}
    return _core.artifact_bytes(header({"kind": "vectors", "dimensions": DIMENSIONS}, **more), tensors)


def vectors(n: int, seed: int, noise: float = 1.0) -> tuple[npt.NDArray[np.float32], list[str]]:
    """n vectors with labels that :func:`vector_classifier` finds with errors: more for more noise."""
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 5, n)
    values = generator.normal(size=(n, DIMENSIONS)) * noise
    values[np.arange(n), truth] += 2.0
    return values.astype(np.float32), [LABELS[index] for index in truth]
