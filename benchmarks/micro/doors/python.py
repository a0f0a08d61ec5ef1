"""The Python package: `Router.route`, and a set of candidates ranked by its embeddings."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import numpy as np

from doors import Given, Measured
from tiny_dancer import Candidate, CandidateRouter, CandidateSet, Router

if TYPE_CHECKING:
    from collections.abc import Callable

LABEL = "Python"
PASSES, RANKINGS, K = 1, 100, 10


def measure(given: Given) -> Measured | str:
    """In this process, one thread."""
    texts = json.loads(given.requests.read_text(encoding="utf-8"))
    router = Router(given.artifact.read_bytes())

    def decide() -> None:
        for _ in range(PASSES):
            for text in texts:
                router.route(text)

    known = json.loads(given.candidates.read_text(encoding="utf-8"))
    rows = np.array(known["rows"], np.float32)
    candidates = CandidateSet([Candidate(f"{row:010}", embedding=each) for row, each in enumerate(rows)])
    query, ranker = np.array(known["query"], np.float32), CandidateRouter()

    def rank() -> None:
        for _ in range(RANKINGS):
            ranker.route(query, candidates, k=K)

    decide_us = best(given.rounds, PASSES * len(texts), decide)
    return Measured(decide_us, best(given.rounds, RANKINGS, rank), "a text to an object")


def best(rounds: int, calls: int, work: Callable[[], None]) -> float:
    """Microseconds a call, in the best round."""
    found = []
    for _ in range(rounds):
        begun = time.perf_counter()
        work()
        found.append((time.perf_counter() - begun) / calls * 1e6)
    return min(found)
