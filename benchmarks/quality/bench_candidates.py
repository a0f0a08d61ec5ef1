"""Rankings of memories: trained on two conversations of LoCoMo, judged on the two others, all six ways.

    python benchmarks/quality/bench_candidates.py

A question's candidates are all memories of its own conversation. Intervals are over questions (bootstrap). Also:
what confidence, p-values and prediction set are worth on conversations they were not calibrated on.
`--without-fastgrnn` leaves out the slow part.
"""

from __future__ import annotations

import sys
import warnings
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import SHARED, write
from tiny_dancer import _core
from tiny_dancer.evaluation.candidates import METRICS, evaluate_rankings
from tiny_dancer.evaluation.metrics import expected_calibration_error, reliability
from tiny_dancer.training.candidates import export
from tiny_dancer.training.candidates.calibration import TOP, log_shares
from tiny_dancer.training.candidates.data import Memories, Questions, read_memories, read_questions
from tiny_dancer.training.candidates.fit import cell_tensors, fit_candidates
from tiny_dancer.training.candidates.linear import Standardised, fit_linear, shared
from tiny_dancer.training.candidates.lists import Lists, make_lists

LEVELS = (0.05, 0.1, 0.2)


def part(memories: Memories, questions: Questions, names: tuple[str, ...]) -> tuple[Memories, Questions]:
    """Two conversations and their questions."""
    kept = {name: memories.conversations[name] for name in names}
    asked = tuple(each for each in questions.answerable if each.conversation in names)
    return replace(memories, conversations=kept), replace(questions, questions=asked)


def fastgrnn(lists: Lists) -> bytes:
    """A FastGRNN step over the same features, int8, without calibration."""
    return export.build("fastgrnn", cell_tensors(lists, 0), None, {})


def without(lists: Lists, feature: str) -> bytes:
    """The linear scorer fitted as if a feature were constant."""
    features = lists.features.copy()
    features[:, _core.CANDIDATE_FEATURES.index(feature)] = 0
    rows = Standardised.of(features)
    fitted = fit_linear(rows, shared(lists.relevant, lists.offsets), lists.offsets, l2=3e-3)
    return export.build("linear", fitted.tensors(), None, {})


def confidence_of(artifact: bytes, scores: np.ndarray) -> np.ndarray:
    """The artifact's confidence in log shares [n]."""
    knots, values = (export.float_tensor(artifact, f"calibration.{name}") for name in ("scores", "probabilities"))
    return np.interp(scores, knots, values)


def p_values(artifact: bytes, scores: np.ndarray) -> np.ndarray:
    """The artifact's p-values [n, 2] of relevant and irrelevant, from log shares [n]."""
    header = _core.read_header(artifact)["relevance"]
    parts = [
        (
            header[name]["rows"],
            header[name]["step"],
            export.float_tensor(artifact, f"relevance.{name}").astype("<f4").tobytes(),
        )
        for name in ("relevant", "irrelevant")
    ]
    found = _core.ConformalRelevance.from_parts(*parts).p_values(scores.astype("<f8").tobytes())
    return np.frombuffer(found, "<f8").reshape(-1, 2)


def ranks_within(lists: Lists) -> np.ndarray:
    """Rank of every candidate within its question, from 0."""
    order = np.lexsort((lists.tie, -lists.scores, lists.question))
    rank = np.empty(len(order), int)
    rank[order] = np.arange(len(order)) - lists.offsets[lists.question]
    return rank


def set_sizes(lists: Lists, margin: float) -> np.ndarray:
    """Size of each question's prediction set, as the engine keeps them."""
    sizes = []
    for scores in lists.split(lists.scores):
        falling = -np.sort(-scores.astype(np.float64))
        strange = (falling[0] - falling) / falling.std() + np.log(np.arange(1, len(falling) + 1))
        sizes.append(int((strange <= margin).sum()))
    return np.array(sizes)


def main() -> None:
    path = SHARED / "locomo_memories.parquet"
    if not path.exists():
        print(f"skipped: {path} is absent (set TINY_DANCER_SHARED)")
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        memories = read_memories(path)
        questions = read_questions(SHARED / "locomo_questions.parquet", memories)
    slow = "--without-fastgrnn" not in sys.argv
    swaps, pooled = [], []
    for names in combinations(sorted(memories.conversations), 2):
        others = tuple(name for name in memories.conversations if name not in names)
        known, asked = part(memories, questions, names)
        _, judged = part(memories, questions, others)
        sets, coarse = memories.sets(), memories.sets(quantised=True)
        linear = fit_candidates(known, asked).artifact
        train = make_lists(_core.CandidateScorer(), sets, asked.answerable)
        timeless = [replace(each, now=None) for each in judged.answerable]

        def lists(artifact: bytes | None, over=sets, about=judged.answerable) -> Lists:
            return make_lists(_core.CandidateScorer(artifact), over, about)

        found = lists(linear)
        untrained, ageless, bare = lists(None), lists(None, about=timeless), lists(without(train, "recency"))
        integers = lists(linear, over=coarse)
        methods = {
            "linear": found.ranks(found.scores),
            **found.baselines(),
            "default combination": untrained.ranks(untrained.scores),
            "default combination without recency": ageless.ranks(ageless.scores),
            "linear without recency": bare.ranks(bare.scores),
            "linear, int8 embeddings": integers.ranks(integers.scores),
        }
        if slow:
            cell = lists(fastgrnn(train))
            methods["fastgrnn"] = cell.ranks(cell.scores)
        judged_well = evaluate_rankings(methods)
        swaps.append({"trained on": names, "evaluation": judged_well})
        header = _core.read_header(linear)
        rank = ranks_within(found)
        shares = log_shares(found, found.scores.astype(np.float64))
        p = p_values(linear, shares)
        sizes = set_sizes(found, header["prediction"]["margin"])
        pooled.append(
            {
                "confidence": confidence_of(linear, shares),
                "relevant": found.relevant.astype(float),
                "rank": rank,
                "p": p,
                "uncertainty": p.min(1),
                "sizes": sizes,
                "covered": np.array(
                    [ranks[0] <= size for ranks, size in zip(methods["linear"], sizes, strict=True)]
                ),
            }
        )
        recall = {name: round(each["recall@5"].estimate, 3) for name, each in judged_well.metrics.items()}
        print(names, recall, flush=True)
    names = list(swaps[0]["evaluation"].metrics)
    mean = {
        name: {
            metric: round(float(np.mean([each["evaluation"].metrics[name][metric].estimate for each in swaps])), 4)
            for metric in METRICS
        }
        for name in names
    }
    stacked = {
        key: np.concatenate([each[key] for each in pooled])
        for key in ("confidence", "relevant", "rank", "p", "uncertainty", "covered")
    }
    figures = {
        "conversations": list(memories.conversations),
        "mean over the six ways": mean,
        "each way": [
            {
                "trained on": list(each["trained on"]),
                "questions": each["evaluation"].questions,
                "metrics": export.metrics_header(each["evaluation"]),
                "linear minus, MRR": {
                    name: [
                        round(value, 4) for value in (found["mrr"].estimate, found["mrr"].low, found["mrr"].high)
                    ]
                    for name, found in each["evaluation"].differences.items()
                },
            }
            for each in swaps
        ],
        "calibration on other conversations": calibration(stacked),
        "prediction set": {
            "asked": 0.9,
            "covered": round(float(stacked["covered"].mean()), 4),
            "covered, each way": [round(float(each["covered"].mean()), 4) for each in pooled],
            "size, each way: mean, 10 %, half, 90 %": [
                [
                    round(float(size), 1)
                    for size in (each["sizes"].mean(), *np.quantile(each["sizes"], (0.1, 0.5, 0.9)))
                ]
                for each in pooled
            ],
        },
    }
    write("candidates", figures, "LoCoMo, four conversations. [mean, low, high]; trained on two, judged on two.")


def calibration(stacked: dict[str, np.ndarray]) -> dict[str, object]:
    """Confidence against what was relevant, p-values against what they promise, among candidates ranked high."""
    found: dict[str, object] = {}
    for name, top in (("all candidates", 10**9), (f"first {TOP}", TOP), ("first", 1)):
        inside = stacked["rank"] < top
        confidence, relevant = stacked["confidence"][inside], stacked["relevant"][inside]
        found[f"expected calibration error, {name}"] = round(expected_calibration_error(confidence, relevant), 4)
        found[f"mean confidence and share relevant, {name}"] = [
            round(float(confidence.mean()), 4),
            round(float(relevant.mean()), 4),
        ]
    inside = stacked["rank"] < TOP
    bins = reliability(stacked["confidence"][inside], stacked["relevant"][inside])
    found[f"reliability, first {TOP}: confidence, share relevant, mass"] = [
        [round(float(value), 3) for value in row]
        for row in zip(bins.predicted, bins.observed, bins.mass, strict=True)
    ]
    relevant = stacked["relevant"] > 0
    found[f"share of p-values at most alpha, first {TOP}"] = {
        str(alpha): {
            "relevant": round(float((stacked["p"][inside & relevant, 0] <= alpha).mean()), 4),
            "irrelevant": round(float((stacked["p"][inside & ~relevant, 1] <= alpha).mean()), 4),
        }
        for alpha in LEVELS
    }
    first = stacked["rank"] == 0
    light = first & (stacked["confidence"] >= 0.85) & (stacked["uncertainty"] <= 0.15)
    found["light model, first candidates"] = {
        "share": round(float(light.sum() / first.sum()), 4),
        "of these relevant": round(float(stacked["relevant"][light].mean()), 4) if light.any() else None,
    }
    return found


if __name__ == "__main__":
    main()
