"""How many candidates to keep, and how certain one is relevant: random splits of the questions of locomo.

Scores are cosine + TF-IDF, without training. locomo is evaluation only. Coverage is judged as in
``bench_conformal.py``.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
import pyarrow.parquet as pq
from bench_conformal import SPLITS, Figures, Split, coverage, r
from sklearn.feature_extraction.text import TfidfVectorizer

from common import SHARED, write
from tiny_dancer import ConformalRelevance, SplitConformalRanker, _core, conformal_quantile


def conversations() -> list[tuple[str, np.ndarray, np.ndarray]] | None:
    """Per question its conversation, the scores of all memories (cosine + TF-IDF), and which are relevant."""
    if not (SHARED / "locomo_memories.parquet").exists():
        print("skipped: locomo is absent (set TINY_DANCER_SHARED)")
        return None
    memories = pq.read_table(SHARED / "locomo_memories.parquet").to_pylist()
    questions = pq.read_table(SHARED / "locomo_questions.parquet").to_pylist()
    found = []
    for conversation in sorted({row["conversation"] for row in memories}):
        own = [row for row in memories if row["conversation"] == conversation]
        asked = [row for row in questions if row["conversation"] == conversation]
        texts, wanted = [row["text"] for row in own], [row["question"] for row in asked]
        terms = TfidfVectorizer(sublinear_tf=True, stop_words="english").fit(texts)
        lexical = (terms.transform(wanted) @ terms.transform(texts).T).toarray()
        scores = _core.encode(wanted) @ _core.encode(texts).T + lexical
        place = {row["memory_id"]: index for index, row in enumerate(own)}
        for row, each in zip(asked, scores.astype(np.float32), strict=True):
            relevant = np.zeros(len(own), np.bool_)
            relevant[[place[memory] for memory in row["evidence"] if memory in place]] = True
            if relevant.any():
                found.append((conversation, each, relevant))
    return found


def candidate_sets(questions: list[tuple[str, np.ndarray, np.ndarray]]) -> Figures:
    """Thresholds on ranks beside thresholds on scores."""
    best = [(scores, scores[relevant].max()) for _, scores, relevant in questions]
    spread = [float(scores.std()) for scores, _ in best]
    kinds = {
        "score": [-float(top) for _, top in best],
        "distance below the first": [float(scores.max() - top) for scores, top in best],
        "share of the first's score": [1 - float(top / scores.max()) for scores, top in best],
        "standard deviations above the mean": [
            -float((top - scores.mean()) / deviation)
            for (scores, top), deviation in zip(best, spread, strict=True)
        ],
    }
    per_candidate = {
        "score": [-scores for scores, _ in best],
        "distance below the first": [scores.max() - scores for scores, _ in best],
        "share of the first's score": [1 - scores / scores.max() for scores, _ in best],
        "standard deviations above the mean": [
            -(scores - scores.mean()) / deviation for (scores, _), deviation in zip(best, spread, strict=True)
        ],
    }

    def by_rank(
        calibration: np.ndarray, test: np.ndarray, alpha: float, generator: np.random.Generator
    ) -> tuple[float, float]:
        del generator
        fitted = SplitConformalRanker.conformalize(
            [questions[i][1] for i in calibration], [questions[i][2] for i in calibration], alpha=alpha
        )
        kept = [fitted.predict_set(questions[i][1]) for i in test]
        hits = [questions[i][2][each].any() for i, each in zip(test, kept, strict=True)]
        return float(np.mean(hits)), float(np.mean([len(each) for each in kept]))

    def by_score(kind: str) -> Split:
        own = np.array(kinds[kind])

        def run(
            calibration: np.ndarray, test: np.ndarray, alpha: float, generator: np.random.Generator
        ) -> tuple[float, float]:
            del generator
            threshold = conformal_quantile(own[calibration], alpha)
            sizes = [int((per_candidate[kind][i] <= threshold + 1e-6).sum()) for i in test]
            return float((own[test] <= threshold).mean()), float(np.mean(sizes))

        return run

    def by_gap_and_rank(
        calibration: np.ndarray, test: np.ndarray, alpha: float, generator: np.random.Generator
    ) -> tuple[float, float]:
        del generator
        margin = conformal_quantile(strange[calibration], alpha)
        sizes = [int((kept_below[i] <= margin + 1e-6).sum()) for i in test]
        return float((strange[test] <= margin + 1e-6).mean()), float(np.mean(sizes))

    kept_below = []
    for _, scores, _ in questions:
        falling = -np.sort(-scores)
        kept_below.append((falling[0] - falling) / scores.std() + np.log(np.arange(1, len(scores) + 1)))
    strange = np.array(
        [
            below[int((scores > scores[flags].max()).sum())]
            for below, (_, scores, flags) in zip(kept_below, questions, strict=True)
        ]
    )
    found: Figures = {
        "questions": len(questions),
        "gap and rank (used)": coverage(len(questions), by_gap_and_rank, "mean kept"),
        "rank": coverage(len(questions), by_rank, "mean kept"),
    }
    for kind in kinds:
        found[kind] = coverage(len(questions), by_score(kind), "mean kept")
    names = sorted({name for name, _, _ in questions})
    swaps, swaps_by_gap = [], []
    for i, first in enumerate(names):
        for second in names[i + 1 :]:
            inside = [index for index, (name, _, _) in enumerate(questions) if name in (first, second)]
            outside = [index for index in range(len(questions)) if index not in set(inside)]
            there, here, chance = np.array(inside), np.array(outside), np.random.default_rng(0)
            swaps.append(by_rank(there, here, 0.1, chance)[0])
            swaps_by_gap.append(by_gap_and_rank(there, here, 0.1, chance)[0])
    found["rank at 90 %, calibrated on two conversations, tested on the others"] = {
        "coverage": [r(each, 3) for each in swaps], "mean": r(np.mean(swaps), 3),
    }  # fmt: skip
    found["gap and rank at 90 %, calibrated on two conversations, tested on the others"] = {
        "coverage": [r(each, 3) for each in swaps_by_gap], "mean": r(np.mean(swaps_by_gap), 3),
    }  # fmt: skip
    return found


def relevance(questions: list[tuple[str, np.ndarray, np.ndarray]]) -> Figures:
    """p-values of a random candidate of a new question, of either class; then those of the first five, which are
    what a user sees: calibrated on all candidates, and on the first five of each question."""
    levels = (0.05, 0.1, 0.15, 0.2)
    first = [np.argsort(-scores, kind="stable")[:5] for _, scores, _ in questions]
    everything = [np.arange(len(scores)) for _, scores, _ in questions]
    below: dict[tuple[str, str], list[list[float]]] = {}
    answers: dict[str, dict[str, list[float]]] = {}
    for seed in range(SPLITS):
        generator = np.random.default_rng(seed)
        order = generator.permutation(len(questions))
        calibration, test = order[: len(order) // 2], order[len(order) // 2 :]
        for kind, kept, grouped in (
            ("all candidates, by question", everything, True),
            ("all candidates, each a draw", everything, False),
            ("first five, by question", first, True),
        ):
            fitted = ConformalRelevance.conformalize(
                np.concatenate([questions[i][1][kept[i]] for i in calibration]),
                np.concatenate([questions[i][2][kept[i]] for i in calibration]),
                question=np.repeat(calibration, [len(kept[i]) for i in calibration]) if grouped else None,
            )
            picked: dict[str, list[float]] = {"relevant": [], "irrelevant": []}
            seen = answers.setdefault(kind, {"certain": [], "right": [], "said": []})
            for i in test:
                p_values, flags = fitted.p_values(questions[i][1][kept[i]]), questions[i][2][kept[i]]
                for column, (name, own) in enumerate((("relevant", flags), ("irrelevant", ~flags))):
                    if own.any():
                        picked[name].append(generator.choice(p_values[own, column]))
                p_values, flags = fitted.p_values(questions[i][1][first[i]]), questions[i][2][first[i]]
                certain, said = p_values.min(axis=1) <= 0.15, p_values[:, 0] > p_values[:, 1]
                seen["certain"].append(float(certain.mean()))
                seen["right"].extend((said == flags)[certain].tolist())
                seen["said"].extend(said.tolist())
            for name, values in picked.items():
                shares = [float(np.mean(np.array(values) <= level)) for level in levels]
                below.setdefault((kind, name), []).append(shares)
    found: Figures = {
        "questions": len(questions),
        "splits": SPLITS,
        "knots": _core.CONFORMAL_MOST_KNOTS,
        "relevant among the first five": r(np.mean([questions[i][2][first[i]].mean() for i in range(len(first))])),
    }
    for kind, seen in answers.items():
        p_shares = {
            f"P(p of {name} <= level)": {
                str(level): r(share)
                for level, share in zip(levels, np.mean(below[kind, name], axis=0), strict=True)
            }
            for name in ("relevant", "irrelevant")
        }
        found[f"calibrated on {kind}"] = p_shares | {
            "first five: uncertainty <= .15": r(np.mean(seen["certain"])),
            "first five: right where so": r(np.mean(seen["right"])),
            "first five: called relevant": r(np.mean(seen["said"])),
        }
    return found


def main() -> None:
    """Ranks, scores and p-values."""
    questions = conversations()
    if questions:
        figures = {"candidates kept": candidate_sets(questions), "p-values": relevance(questions)}
        note = "Conformal sets of candidates and p-values of relevance over random splits of locomo's questions."
        write("conformal_candidates", figures, note)


if __name__ == "__main__":
    main()
