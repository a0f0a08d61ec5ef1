"""A scorer trained on one table, judged on all: ranking, whether it knows what is unlike, and what it then says.

    python benchmarks/quality/bench_transfer.py

Its own table is judged by halves: learned from 200 questions of half the conversations, or of half the
questions of the only one, judged on the others. LoCoMo is also learned from whole, and judged elsewhere.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from candidate_tables import Table, tables

from common import SHARED, write
from tiny_dancer import _core
from tiny_dancer.evaluation.candidates import evaluate_rankings
from tiny_dancer.training.candidates.fit import fit_candidates
from tiny_dancer.training.candidates.lists import Lists, make_lists

Figures = dict[str, object]


def halves(table: Table) -> tuple[Table, Table]:
    """What is learned from, and what is judged on."""
    memories, questions = table
    names = sorted(memories.conversations)
    if len(names) == 1:
        order = np.random.default_rng(0).permutation(len(questions))
        parts = [
            (memories, replace(questions, questions=tuple(questions.questions[place] for place in sorted(each))))
            for each in np.array_split(order, 2)
        ]
        return parts[0], parts[1]
    split = names[: len(names) // 2], names[len(names) // 2 :]
    first, second = (
        (
            replace(memories, conversations={name: memories.conversations[name] for name in each}),
            replace(questions, questions=tuple(one for one in questions.questions if one.conversation in each)),
        )
        for each in split
    )
    return first, second


def served(artifact: bytes, table: Table) -> Figures:
    """What the engine says of each question: prediction set, calibration, confidence of the first."""
    memories, questions = table
    scorer, sets = _core.CandidateScorer(artifact), memories.sets()
    sizes, covered, sure, right, unlike = [], [], [], [], 0
    for question in questions.answerable:
        known = sets[question.conversation]
        asked = (known.native, question.embedding, question.text, None, question.now, known.encoder)
        found, _, size, alike = scorer.rank(*asked, len(known))
        if not alike:
            unlike += 1
            continue
        kept = {each.candidate_id for each in found[:size]}
        sizes.append(size or 0)
        covered.append(bool(kept & {*question.evidence}))
        sure.append(found[0].confidence)
        right.append(found[0].candidate_id in question.evidence)
    count = len(questions.answerable)
    figures: Figures = {"questions": count, "share called unlike": round(unlike / count, 4)}
    if sizes:
        figures["of the others: sets cover"] = round(float(np.mean(covered)), 4)
        figures["their size: mean, 10 %, half, 90 %"] = [
            round(float(each), 1) for each in (np.mean(sizes), *np.quantile(sizes, (0.1, 0.5, 0.9)))
        ]
        figures["confidence of the first, share right"] = [
            round(float(np.mean(each)), 4) for each in (sure, right)
        ]
    return figures


def against_untrained(artifact: bytes, table: Table) -> Figures:
    """Trained minus untrained, with paired 95 % intervals over questions."""
    memories, questions = table
    sets = memories.sets()

    def ranks(data: bytes | None) -> list[np.ndarray]:
        lists: Lists = make_lists(_core.CandidateScorer(data), sets, questions.answerable)
        return lists.ranks(lists.scores)

    found = evaluate_rankings({"trained": ranks(artifact), "untrained": ranks(None)}).differences["untrained"]
    return {
        f"{metric}, trained minus untrained": [
            round(value, 4) for value in (found[metric].estimate, found[metric].low, found[metric].high)
        ]
        for metric in ("recall@5", "mrr")
    }


def main() -> None:
    """Every table learned from, every table judged."""
    if not (SHARED / "locomo_memories.parquet").exists():
        print("skipped: the tables are absent (set TINY_DANCER_SHARED)")
        return
    known = tables()
    parts = {name: halves(table) for name, table in known.items()}
    figures: dict[str, Figures] = {}
    for name, (learned, own) in parts.items():
        memories, questions = learned
        fitted = fit_candidates(memories, replace(questions, questions=questions.questions[:200]))
        found: Figures = {"learned from": fitted.questions, "verdict": fitted.verdict}
        for other, table in known.items():
            judged = own if other == name else table
            found[f"judged on {other}"] = served(fitted.artifact, judged) | against_untrained(
                fitted.artifact, judged
            )
            print(name, "->", other, found[f"judged on {other}"], flush=True)
        figures[name] = found
    whole = fit_candidates(*known["locomo"])
    figures["locomo, whole"] = {
        "learned from": whole.questions,
        "verdict": whole.verdict,
        **{
            f"judged on {other}": served(whole.artifact, table) | against_untrained(whole.artifact, table)
            for other, table in known.items()
            if other != "locomo"
        },
    }
    write("transfer", figures, "Candidate scorers learned from one table, judged on all. [mean, low, high].")


if __name__ == "__main__":
    main()
