"""Requests and outcomes of our own making, and routers fitted to them once a session."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer import Outcomes, fit, read_outcomes
from tiny_dancer._core import data_file
from tiny_dancer.routing import featurise

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from tiny_dancer import Fitted

    Floats = npt.NDArray[np.float64]
    Flags = npt.NDArray[np.bool_]

WORDS = (
    "apple",
    "bridge",
    "candle",
    "desert",
    "engine",
    "forest",
    "garden",
    "hammer",
    "island",
    "jacket",
    "kettle",
    "ladder",
    "market",
    "needle",
    "orange",
    "pencil",
    "quarry",
    "ribbon",
    "saddle",
    "tunnel",
    "umbrella",
    "valley",
    "window",
    "yellow",
    "zebra",
    "anchor",
    "basket",
    "copper",
    "dragon",
    "elbow",
    "feather",
    "guitar",
    "harbour",
    "insect",
    "jungle",
    "kitchen",
    "lantern",
    "mirror",
    "napkin",
    "ocean",
    "pepper",
    "quilt",
    "rocket",
    "silver",
    "ticket",
    "uncle",
    "velvet",
    "whistle",
    "yogurt",
    "bottle",
    "cactus",
    "donkey",
    "eagle",
    "falcon",
    "glacier",
    "honey",
    "iceberg",
    "jewel",
    "koala",
    "lemon",
)


def requests(n: int, seed: int = 0) -> tuple[tuple[str, ...], Flags]:
    """n distinct requests, and whether each is hard: the hard ones carry numbers to reckon with."""
    generator = np.random.default_rng(seed)
    hard = generator.random(n) < 0.5
    texts = []
    for each in hard:
        words = list(generator.choice(WORDS, generator.integers(8, 18)))
        if each:
            for place in (1, 4, 6):
                words.insert(place, str(generator.integers(12, 9999)))
            texts.append("Compute " + " ".join(words) + "?")
        else:
            texts.append("Describe " + " ".join(words) + ".")
    return tuple(texts), hard


def outcomes(texts: tuple[str, ...], quality: Any, **given: Any) -> Outcomes:
    """Outcomes of texts with the engine's features; models are named a, b, c, … unless named."""
    values = np.asarray(quality, np.float64)
    n, m = values.shape
    defaults: dict[str, Any] = {
        "sample_id": tuple(f"s{row}" for row in range(n)),
        "task": ("",) * n,
        "models": tuple(f"m{column}" for column in range(m))
        if m > 26
        else tuple("abcdefghijklmnopqrstuvwxyz"[:m]),
        "cost": None,
        "latency": None,
        "weight": np.ones(n),
        "group": np.arange(n),
        "prompt": texts,
        "features": featurise(texts),
    }
    return Outcomes(quality=values, **{**defaults, **given})


def pair(n: int, seed: int = 0) -> Outcomes:
    """A weak model that fails on hard requests and a strong one that rarely does; 0/1 with noise; no costs."""
    texts, hard = requests(n, seed)
    generator = np.random.default_rng(seed + 1000)
    weak = generator.random(n) < np.where(hard, 0.15, 0.92)
    strong = generator.random(n) < 0.9
    return outcomes(texts, np.stack([weak, strong], axis=1), models=("weak", "strong"))


def trio(n: int, seed: int = 0, *, missing: float = 0.0, **given: Any) -> Outcomes:
    """Three models with costs: cheap (easy requests only), middling (hard ones only), dear (both)."""
    texts, hard = requests(n, seed)
    generator = np.random.default_rng(seed + 2000)
    chance = np.stack([np.where(hard, 0.1, 0.9), np.where(hard, 0.88, 0.2), np.full(n, 0.9)], axis=1)
    quality = (generator.random((n, 3)) < chance).astype(np.float64)
    quality[generator.random((n, 3)) < missing] = np.nan
    tokens = np.array([len(text) for text in texts])[:, None]
    cost = tokens * np.array([1e-7, 1e-6, 1e-5]) * generator.uniform(0.9, 1.1, (n, 3))
    return outcomes(texts, quality, **{"models": ("cheap", "middling", "dear"), "cost": cost, **given})


def hardness(texts: tuple[str, ...]) -> Flags:
    """Whether each of :func:`requests`' texts is hard."""
    return np.array([text.startswith("Compute") for text in texts])


@cache
def fitted_pair() -> Fitted:
    """The policy in force is the one that routes: 400 rows do not show that no quality is lost by routing here."""
    return fit(pair(400), policy="cheapest")


@cache
def fitted_trio() -> Fitted:
    """As :func:`fitted_pair`."""
    return fit(trio(400), policy="cheapest")


@cache
def sample(folder: Path) -> Outcomes:
    """The bundled sample."""
    path = folder / "sample.parquet"
    path.write_bytes(data_file("sample.parquet"))
    return read_outcomes(path)
