"""Synthetic outcomes tables."""

from __future__ import annotations

import itertools
import re
import zlib

import numpy as np

from tiny_dancer.types import FeatureTable, Outcomes


def features_of(prompts: tuple[str, ...]) -> FeatureTable:
    """Hashed word 1-2-grams by a stand-in for the engine's featuriser."""
    offsets, ngrams, tokens = [0], [], []
    for prompt in prompts:
        words = re.findall(r"\w+", prompt.lower())
        grams = {*words, *(f"{a} {b}" for a, b in itertools.pairwise(words))}
        ngrams += sorted({zlib.crc32(gram.encode()) % (1 << 17) for gram in grams})
        offsets.append(len(ngrams))
        tokens.append(len(words))
    n = len(prompts)
    return FeatureTable(
        ngram_offsets=np.array(offsets, dtype=np.int64),
        ngrams=np.array(ngrams, dtype=np.uint32),
        cues=np.zeros((n, 1), dtype=np.float32),
        embedding=np.zeros((n, 256), dtype=np.int8),
        tokens=np.array(tokens, dtype=np.int32),
    )


def make_outcomes(
    quality: np.ndarray,
    *,
    cost: np.ndarray | None = None,
    models: tuple[str, ...] | None = None,
    task: tuple[str, ...] | None = None,
    features: FeatureTable | None = None,
    group: np.ndarray | None = None,
) -> Outcomes:
    """An outcomes table around a quality matrix."""
    n, m = quality.shape
    return Outcomes(
        sample_id=tuple(str(i) for i in range(n)),
        task=task or ("",) * n,
        models=models or tuple("abcdefghij"[:m]),
        quality=quality.astype(np.float64),
        cost=cost,
        latency=None,
        weight=np.ones(n),
        group=np.arange(n) if group is None else group,
        features=features,
    )


def informative(n: int, seed: int, *, models: int = 2) -> tuple[np.ndarray, np.ndarray, FeatureTable]:
    """(forecast, quality, features): hard requests need the last model, and only the forecast knows which."""
    rng = np.random.default_rng(seed)
    hard = rng.random(n)
    skill = np.linspace(0.2, 1.0, models)
    chance = np.clip(1.0 - hard[:, None] * (1.1 - skill), 0.02, 0.98)
    quality = (rng.random((n, models)) < chance).astype(float)
    prompts = tuple(" ".join(f"w{rng.integers(500)}" for _ in range(rng.integers(5, 20))) for _ in range(n))
    return chance, quality, features_of(prompts)
