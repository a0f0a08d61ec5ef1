"""Simulated users: they look at what is shown from the top, less and less far, and mark what is worth it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer._core import CANDIDATE_FEATURES
from tiny_dancer.storage import Feedback, MemoryStorage, RoutingRecord, ShownCandidate

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

WIDTH = len(CANDIDATE_FEATURES)
CANDIDATES, SHOWN = 12, 8
START = 1_700_000_000.0


def weights(**named: float) -> Floats:
    found = np.zeros(WIDTH)
    for name, value in named.items():
        found[CANDIDATE_FEATURES.index(name)] = value
    return found


TRUTH = weights(words=3.0, cosine=2.0, recency=-2.0)
LOGGING = weights(words=1.0, recency=3.0)
"""What ranked while the users were watched: it likes recent candidates, which are really worse."""


@dataclass(frozen=True)
class World:
    """Queries, each with twelve candidates: features [queries, 12, 19], chance of being worth it [queries, 12]."""

    features: npt.NDArray[np.float32]
    worth: Floats

    @classmethod
    def make(cls, queries: int, seed: int) -> World:
        random = np.random.default_rng(seed)
        features = random.random((queries, CANDIDATES, WIDTH)).astype(np.float32)
        worth = 1 / (1 + np.exp(-(features @ TRUTH - 3.0)))
        return cls(features, worth)


def agreement(scorer: Floats, world: World) -> float:
    """Mean worth of what ``scorer`` ranks first, as a share of what the best ranking gets."""
    scores = world.features @ scorer
    best = np.take_along_axis(world.worth, scores.argmax(1)[:, None], 1).mean()
    return float(best / world.worth.max(1).mean())


def watch(
    world: World,
    *,
    answers: int,
    eta: float,
    seed: int,
    noise: float = 1.0,
    policy: Floats = LOGGING,
    version: str = "untrained",
    worth: Floats | None = None,
) -> MemoryStorage:
    """A database of answers: candidates ranked by ``policy`` with noise, examined with chance 1 / position^eta."""
    random = np.random.default_rng(seed)
    storage = MemoryStorage()
    examined = 1 / np.arange(1, SHOWN + 1) ** eta
    values = world.worth if worth is None else worth
    for answer in range(answers):
        query = int(random.integers(len(world.features)))
        scores = world.features[query] @ policy
        order = np.argsort(-(scores + noise * random.standard_normal(CANDIDATES)))[:SHOWN]
        shown = tuple(
            ShownCandidate(f"c{each}", rank, float(scores[each]), None, world.features[query, each].tobytes())
            for rank, each in enumerate(order)
        )
        decision = f"d{answer}"
        storage.record_routing(
            RoutingRecord(
                decision,
                "candidates",
                shown[0].candidate_id,
                time=START + answer,
                artifact_version=version,
                query_hash=f"{query:032x}",
                shown=shown,
            ),
            wait=True,
        )
        helped = random.random(SHOWN) < examined * values[query, order]
        for rank in np.flatnonzero(helped):
            storage.record_feedback(Feedback(decision, 1.0, shown[rank].candidate_id, time=START + answer))
    return storage
