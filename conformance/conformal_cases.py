"""Which thresholds, sets and p-values the conformal vectors ask for."""

from __future__ import annotations

import random
from typing import Any

from reference.conformal import calibrate, label_scores, label_set, next_level, quantile, rank_score, relevance
from reference.errors import Refusal

Vector = dict[str, Any]


def drawn(seed: int, count: int, digits: int = 4) -> list[float]:
    """Numbers in [0, 1) with so many digits: few digits give ties."""
    generator = random.Random(seed)
    return [round(generator.random(), digits) for _ in range(count)]


def shares(seed: int, count: int) -> list[float]:
    """Probabilities in sum 1, as multiples of 1/1024: singles hold them exactly."""
    generator = random.Random(seed)
    cuts = sorted(generator.choices(range(1025), k=count - 1))
    return [(high - low) / 1024 for low, high in zip([0, *cuts], [*cuts, 1024], strict=True)]


def number(value: float) -> float | str:
    """As JSON can hold it."""
    return str(value) if value in (float("inf"), float("-inf")) else value


QUANTILES: list[tuple[str, list[float], float]] = [
    ("no score: everything is in the set", [], 0.1),
    ("one too few for a finite threshold", drawn(1, 8), 0.1),
    ("just enough: the largest", drawn(1, 9), 0.1),
    ("one in twenty of 19", drawn(2, 19), 0.05),
    ("products of decimals that doubles miss", drawn(3, 99), 0.29),
    ("the same from the other side", drawn(3, 99), 0.71),
    ("all scores equal", [0.5] * 30, 0.2),
    ("ties at the threshold", drawn(4, 40, 1), 0.3),
    ("negative scores", [score - 0.7 for score in drawn(5, 25)], 0.15),
    ("a level of 0, as adaptive inference asks for: everything", drawn(6, 20), 0.0),
    ("a level below 0", drawn(6, 20), -0.003),
    ("a level of 1: nothing", drawn(6, 20), 1.0),
    ("a level above 1", drawn(6, 20), 1.004),
]

CALIBRATIONS: list[tuple[str, list[float], list[str] | None, float]] = [
    ("one threshold", drawn(11, 50), None, 0.1),
    (
        "groups: two with a threshold of their own, one with too few",
        drawn(12, 60),
        ["a", "b", "b"] * 15 + ["c"] * 15,
        0.05,
    ),
    ("every group too small: pooled throughout", drawn(13, 30), ["a", "b", "c"] * 10, 0.08),
    ("too few rows are refused", drawn(14, 8), None, 0.1),
    ("an error rate of 0 is refused", drawn(14, 80), None, 0.0),
    ("an error rate of 1 is refused", drawn(14, 80), None, 1.0),
]

LABELS: list[tuple[str, str, list[float], float, float]] = [
    ("one sure label", "lac", [1.0, 0.0, 0.0], 0.0, 0.2),
    ("no label is probable enough: the set is empty", "lac", [0.25, 0.25, 0.25, 0.25], 0.0, 0.5),
    ("exactly at the threshold is inside", "lac", [0.5, 0.25, 0.25], 0.0, 0.75),
    ("twelve labels", "lac", shares(21, 12), 0.0, 0.92),
    ("the first label is always in", "aps", [0.0, 0.0, 1.0], 0.0, 0.0),
    ("the label that reaches the threshold is in as well", "aps", [0.5, 0.25, 0.125, 0.125], 0.0, 0.6),
    ("exactly at the threshold is inside, adaptive", "aps", [0.5, 0.25, 0.125, 0.125], 0.0, 0.75),
    ("equal labels rank by index", "aps", [0.125] * 8, 0.0, 0.3),
    ("randomised: its own probability counts in part", "aps", [0.5, 0.25, 0.125, 0.125], 0.5, 0.6),
    ("randomised sets may be empty", "aps", [0.75, 0.25], 1.0, 0.5),
    ("twelve labels, adaptive", "aps", shares(22, 12), 0.0, 0.8),
    ("twelve labels, randomised", "aps", shares(23, 12), 0.375, 0.8),
]

RANKS: list[tuple[str, list[float], list[bool]]] = [
    ("first", [3.0, 2.0, 1.0], [True, False, False]),
    ("the better of two counts", [3.0, 2.0, 1.0, 0.0], [False, True, False, True]),
    ("last", [3.0, 2.0, 1.0], [False, False, True]),
    ("equal scores count against it", [1.0, 2.0, 1.0, 1.0, 0.5], [False, False, True, False, False]),
    ("none is relevant", [1.0, 2.0], [False, False]),
]

_FLAGS = [index % 4 == 1 for index in range(40)]
RELEVANCE: list[tuple[str, list[float], list[bool], list[int] | None, int, list[float]]] = [
    ("every score has its knot", drawn(31, 40, 2), _FLAGS, None, 1000, [-1.0, 0.0, 0.25, 0.5, 0.99, 2.0]),
    ("room for seven of each", drawn(32, 40), _FLAGS, None, 7, [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0]),
    ("ties", drawn(33, 40, 1), _FLAGS, None, 1000, [0.1, 0.25, 0.5, 0.75, 0.9]),
    # Powers of two of each class a question, so that sums of weights are exact in whatever order.
    ("questions weigh the same, whatever their number of candidates", [value / 1024 for value in range(40)],
     [index % 5 == 1 for index in range(40)], [0] * 20 + [1] * 10 + [2] * 10, 16,
     [0.0, 0.005, 0.0107, 0.02, 0.03, 0.04]),
    ("scores that singles do not hold are rounded up", [0.1, 0.2, 0.3, 0.1, 0.2, 0.3], [True, False] * 3, None,
     1000, [0.1, 0.2, 0.3, 0.10000000000000001, 0.30000000000000004]),
]  # fmt: skip

LEVELS: list[tuple[str, float, float, list[bool]]] = [
    ("a miss lowers the level, hits raise it", 0.1, 0.05, [True, False, True, True]),
    ("many misses: below 0", 0.1, 0.08, [False, False, False]),
    ("many hits: above 1", 0.9, 0.3, [True] * 4),
]


def conformal_vectors() -> list[Vector]:
    """Every case with its answer."""
    found: list[Vector] = []
    for explain, scores, alpha in QUANTILES:
        answer = number(quantile(scores, alpha))
        found.append({"explain": explain, "what": "quantile", "scores": scores, "alpha": alpha, "expect": answer})
    for explain, scores, groups, alpha in CALIBRATIONS:
        vector: Vector = {"explain": explain, "what": "calibration", "scores": scores, "alpha": alpha}
        if groups is not None:
            vector["groups"] = groups
        try:
            thresholds = calibrate(scores, groups, alpha)
            own = {group: value for group, value in thresholds.items() if group is not None}
            vector["expect"] = {"threshold": thresholds[None], "groups": own}
        except Refusal as refusal:
            vector["expect"] = {"error": refusal.kind}
        found.append(vector)
    for explain, method, probabilities, uniform, threshold in LABELS:
        described: Vector = {"method": method, "probabilities": probabilities, "uniform": uniform}
        expect = {
            "scores": label_scores(method, probabilities, uniform),
            "set": label_set(method, probabilities, uniform, threshold),
        }
        vector = {"explain": explain, "what": "labels", **described, "threshold": threshold, "expect": expect}
        found.append(vector)
    for explain, scores, relevant in RANKS:
        answer_rank = rank_score(scores, relevant)
        found.append(
            {"explain": explain, "what": "rank", "scores": scores, "relevant": relevant, "expect": answer_rank}
        )
    for explain, scores, relevant, questions, room, asked in RELEVANCE:
        vector = {"explain": explain, "what": "relevance", "scores": scores, "relevant": relevant}
        if questions is not None:
            vector["questions"] = questions
        pairs = [relevance(scores, relevant, questions, room, score) for score in asked]
        found.append({**vector, "most_knots": room, "asked": asked, "expect": [list(pair) for pair in pairs]})
    for explain, alpha, gamma, covered in LEVELS:
        levels = [alpha]
        for each in covered:
            levels.append(next_level(alpha, gamma, levels[-1], each))
        inputs: Vector = {"alpha": alpha, "gamma": gamma, "covered": covered}
        found.append({"explain": explain, "what": "adaptive", **inputs, "expect": levels[1:]})
    return found
