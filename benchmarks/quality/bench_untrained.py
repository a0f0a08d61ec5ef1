"""The combination without training over six tables: with times and use that say nothing, help, or mislead.

    python benchmarks/quality/bench_untrained.py

LoCoMo and the made-up chats have times of their own. Tools and utterances have none: made-up ones say nothing
(`random`), or are newer (`helpful`) or older (`misleading`) for the few tools that requests ask for. Use likewise.
Recall@5 over each table's questions; of the chats also recall@1: the newest of several versions is the answer.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from candidate_tables import DAY, Table, tables, timeless

from common import SHARED, write
from tiny_dancer import Candidate, _core
from tiny_dancer.evaluation.candidates import question_metrics
from tiny_dancer.training.candidates.lists import Lists, make_lists

NOW = 1.7e9
Figures = dict[str, float]


def recalls(lists: Lists) -> np.ndarray:
    """Recall at 1 and 5 of each question, float64 [q, 2]."""
    return question_metrics(lists.ranks(lists.scores))[:, :2]


def scored(table: Table, *, documented: bool = False) -> np.ndarray:
    """Recalls of a table as it is."""
    memories, questions = table
    return recalls(make_lists(_core.CandidateScorer(None, documented), memories.sets(), questions.answerable))


def with_use(table: Table, kind: str, says: str, seed: int = 0) -> Table:
    """A table's memories with made-up times or use."""
    memories, questions = table
    chance = np.random.default_rng(seed)
    asked = {(each.conversation, id) for each in questions.answerable for id in each.evidence}

    def made(conversation: str, memory: Candidate) -> Candidate:
        # What is never asked for is neither; of the others a made-up value speaks for or against.
        speaks = (
            0 if says == "random" or (conversation, memory.id) not in asked else 1 if says == "helpful" else -1
        )
        share = chance.uniform(*{0: (0.0, 1.0), 1: (0.5, 1.0), -1: (0.0, 0.5)}[speaks])
        if kind == "times":
            return replace(memory, created_at=NOW - 365 * DAY * (1 - share))
        return replace(
            memory, access_count=round(60 * share**3), success_rate=share, trials=10, confidence=0.3 + 0.7 * share
        )

    found = {name: tuple(made(name, memory) for memory in each) for name, each in memories.conversations.items()}
    asked_then = tuple(replace(each, now=NOW) for each in questions.questions)
    return replace(memories, conversations=found), replace(questions, questions=asked_then)


def pairs_mean(values: np.ndarray, conversation: list[str]) -> float:
    """Mean over all pairs of conversations of the mean of their questions: as ``bench_candidates.py`` reports."""
    names, place = np.unique(conversation, return_inverse=True)
    return float(np.mean([values[np.isin(place, each)].mean() for each in combinations(range(len(names)), 2)]))


def main() -> None:
    """All tables, both weightings."""
    if not (SHARED / "locomo_memories.parquet").exists():
        print("skipped: the tables are absent (set TINY_DANCER_SHARED)")
        return
    figures: dict[str, Figures] = {}
    for name, table in tables().items():
        memories, questions = table
        bare = scored((memories, timeless(questions)))
        found: Figures = {"questions": len(bare), "recall@5 without times": bare[:, 1].mean()}
        if name in ("locomo", "chats"):
            for weights in ("measured", "documented"):
                own = scored(table, documented=weights == "documented")
                found |= {f"recall@5 with its times, {weights}": own[:, 1].mean()}
                if name == "chats":
                    found |= {f"recall@1 with its times, {weights}": own[:, 0].mean()}
                else:
                    conversation = [each.conversation for each in questions.answerable]
                    found |= {
                        f"the same, mean of pairs of conversations, {weights}": pairs_mean(own[:, 1], conversation)
                    }
            if name == "chats":
                found |= {"recall@1 without times": bare[:, 0].mean()}
        else:
            for kind in ("times", "use"):
                for says in ("random", "helpful", "misleading") if name == "tools seal" else ("random",):
                    changed = with_use(table, kind, says)
                    for weights in ("measured", "documented"):
                        value = scored(changed, documented=weights == "documented")[:, 1].mean()
                        found[f"recall@5 with {says} {kind}, {weights}, minus without"] = value - bare[:, 1].mean()
        figures[name] = {key: round(float(value), 4) for key, value in found.items()}
        print(name, figures[name], flush=True)
    write("untrained", figures, "Recall of the combination without training; times and use of tools made up.")


if __name__ == "__main__":
    main()
