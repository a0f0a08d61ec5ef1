"""Is a request recognised as unlike the rows a certificate was earned on? Level on like rows, power on others.

The test is fitted on half of a table's rows (in whole groups, at most 2,000); like rows are the other half,
unlike ones are other tables. Beside it, calibrated the same way on the same rows: how unusual the length alone
is, and the cosine of the embedding to the rows' centroid. Neither needs an artifact's weights.

How much of what is missed could be told at all: ``with labels`` is the same form of score, fitted to tell the rows
from half of the very kind whose other half it is judged on. Nobody has those labels beforehand: a ceiling.
llmrouter's 14 tasks are judged as a whole and by halves, where some of those left out are like some of the others
in format and matter (commonsense and openbook questions, ARC and MMLU).

A watch is then given unlike requests after a thousand like ones: how many does it take to ring?
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import SHARED, table, write
from tiny_dancer import Router, _core, fit
from tiny_dancer.evaluation.groups import assign_groups
from tiny_dancer.evaluation.split import grouped_folds
from tiny_dancer.training.likeness import LEVEL, conformal_steps, discriminant, with_likeness

if TYPE_CHECKING:
    from collections.abc import Callable

    from tiny_dancer.types import FeatureTable

OUTCOMES = ("mmlu", "gsm8k", "zeroeval", "shaberi", "bfcl", "llmrouter")
PROMPTS = {"clinc150_train": "text", "banking77_train": "text", "task_categories_train": "text"}
TASKS = (
    "agentverse-logicgrid",
    "agentverse-mgsm",
    "arc_challenge",
    "commongen",
    "commonsense_qa",
    "gpqa",
    "gsm8k",
    "human_eval",
    "math",
    "mbpp",
    "mmlu",
    "natural_qa",
    "openbook_qa",
    "trivia_qa",
)
EARNED_ON = {
    "mmlu": ("mmlu",),
    "gsm8k": ("gsm8k",),
    "zeroeval": ("zeroeval",),
    "zeroeval, code": ("zeroeval: crux",),
    "zeroeval, mathematics": ("zeroeval: math-l5",),
    "shaberi": ("shaberi",),
    "bfcl": ("bfcl",),
    "mmlu and gsm8k": ("mmlu", "gsm8k"),
    "gsm8k, bfcl and shaberi": ("gsm8k", "bfcl", "shaberi"),
    "llmrouter": ("llmrouter",),
    "llmrouter, every other task": tuple(f"llmrouter: {task}" for task in TASKS[::2]),
    "llmrouter, the other tasks": tuple(f"llmrouter: {task}" for task in TASKS[1::2]),
}
KIN = {
    "llmrouter": {"mmlu", "gsm8k", "zeroeval", "zeroeval: crux", "zeroeval: math-l5"},
    "mmlu": {"llmrouter"},
    "gsm8k": {"llmrouter"},
    "zeroeval": {"zeroeval: crux", "zeroeval: math-l5"},
    "zeroeval: crux": {"zeroeval"},
    "zeroeval: math-l5": {"zeroeval"},
    **{
        f"llmrouter: {task}": {"llmrouter", "mmlu", "gsm8k", "zeroeval", "zeroeval: crux", "zeroeval: math-l5"}
        for task in TASKS
    },
}
"""Tables that hold the same kinds of request: not counted as unlike."""
ROWS = 600
DRAWS = 6
THRESHOLD = 100.0

Score = "Callable[[FeatureTable], np.ndarray]"


def kinds() -> dict[str, tuple[FeatureTable, np.ndarray]]:
    """Features and groups of every kind of request, by name."""
    from pyarrow import parquet

    found = {}
    for name in OUTCOMES:
        outcomes = table(name)
        if outcomes is None:
            return {}
        assert outcomes.features is not None
        found[name] = (outcomes.features, outcomes.group)
        if name in ("zeroeval", "llmrouter"):
            task = np.array(parquet.read_table(SHARED / f"{name}.parquet")["eval_name"].to_pylist())
            for each in np.unique(task):
                rows = np.flatnonzero(task == each)
                found[f"{name}: {each}"] = (outcomes.features.rows(rows), outcomes.group[rows])
    for name, column in PROMPTS.items():
        features = _core.featurise(parquet.read_table(SHARED / f"{name}.parquet")[column].to_pylist()[::5])
        found[name] = (features, assign_groups(features))
    return found


def joined(parts: list[tuple[FeatureTable, np.ndarray]]) -> tuple[FeatureTable, np.ndarray]:
    """Several kinds as one table."""
    from tiny_dancer.types import FeatureTable

    offsets, groups, at, first = [np.zeros(1, np.int64)], [], 0, 0
    for features, group in parts:
        offsets.append(features.ngram_offsets[1:] + at)
        at += int(features.ngram_offsets[-1])
        groups.append(group + first)
        first += int(group.max()) + 1

    def stacked(name: str) -> np.ndarray:
        return np.concatenate([getattr(features, name) for features, _ in parts])

    features = FeatureTable(
        ngram_offsets=np.concatenate(offsets),
        ngrams=stacked("ngrams"),
        cues=stacked("cues"),
        embedding=stacked("embedding"),
        tokens=stacked("tokens"),
    )
    return features, np.concatenate(groups)


def units(features: FeatureTable) -> np.ndarray:
    """Unit embeddings, float64 [n, 256]."""
    embedding = features.embedding.astype(np.float64)
    return embedding / np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), 1e-9)


def trivial(fitting: FeatureTable) -> dict[str, Score]:
    """Scores without a fit: distance of the length from its mean, and of the embedding from its centroid."""
    length = float(fitting.cues[:, 0].mean())
    centroid = units(fitting).mean(0)
    return {
        "length": lambda features: np.abs(features.cues[:, 0] - length),
        "cosine": lambda features: -units(features) @ centroid,
    }


def p_values(score: Score, calibration: FeatureTable, features: FeatureTable) -> np.ndarray:
    """Conformal p-values of a score that was not fitted on the calibration rows."""
    knots, values = conformal_steps(score(calibration))
    return values[np.searchsorted(knots, score(features).astype(np.float32), side="left")]


def half_of(kind: tuple[FeatureTable, np.ndarray], half: int) -> FeatureTable:
    """At most 600 rows of every second group of a kind: 0 is judged on, 1 taught where labels are."""
    features, group = kind
    rows = np.flatnonzero(group % 2 == half)
    return features.rows(rows[:: max(1, len(rows) // ROWS)])


def told_with_labels(rows: tuple[FeatureTable, np.ndarray], kind: tuple[FeatureTable, np.ndarray]) -> np.ndarray:
    """Which of a kind are flagged where the score was fitted to tell half of that kind from the rows."""
    features, group = rows
    taught, folds = half_of(kind, 1), grouped_folds(group, 5, 0)
    scores = np.empty(len(features))
    for fold in range(5):
        inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        scores[outside] = discriminant(features.rows(inside), taught)(features.rows(outside))
    knots, values = conformal_steps(scores)
    found = discriminant(features, taught)(half_of(kind, 0)).astype(np.float32)
    return values[np.searchsorted(knots, found, side="left")] <= LEVEL


def interval(flagged: np.ndarray) -> list[float]:
    """Share, and its 95 % interval (Wilson)."""
    n, share = len(flagged), float(flagged.mean())
    middle, half = share + 1.92 / n, 1.96 * np.sqrt(share * (1 - share) / n + 0.96 / n**2)
    return [
        round(float(x), 4) for x in (share, (middle - half) / (1 + 3.84 / n), (middle + half) / (1 + 3.84 / n))
    ]


def steps_to_ring(router: Router, like: np.ndarray, unlike: np.ndarray) -> int | None:
    """Unlike requests it takes after a thousand like ones; None where it does not ring, −1 where it had before."""
    state = router._engine.martingale()
    assert state is not None
    random = np.random.default_rng(0)
    for p in random.choice(like, 1000):
        state = state.step(float(p))
    if state.highest >= THRESHOLD:
        return -1
    for number, p in enumerate(random.permutation(unlike), 1):
        state = state.step(float(p))
        if state.highest >= THRESHOLD:
            return number
    return None


def main() -> None:
    """Every kind against every other."""
    every = kinds()
    if not every:
        return
    # The test stands beside the weights and needs none of them: any artifact carries it, this one without its own.
    carrier_rows = table("gsm8k")
    assert carrier_rows is not None
    carrier = fit(carrier_rows.rows(np.arange(15))).artifact
    figures: dict[str, object] = {}
    totals: dict[str, list[tuple[float, float, float]]] = {}
    for name, parts in EARNED_ON.items():
        features, group = joined([every[part] for part in parts])
        order = np.random.default_rng(1).permutation(int(group.max()) + 1)[group]
        by_group = np.argsort(order, kind="stable")
        half = min(len(by_group) // 2, 2000)
        fitted, like = np.sort(by_group[:half]), np.sort(by_group[half:][: 4 * ROWS])
        artifact = with_likeness(carrier, features.rows(fitted), group[fitted])
        router = Router(artifact)
        excluded = set(parts) | {kin for part in parts for kin in KIN.get(part, ())}
        # Tasks of llmrouter are kinds of their own where it is earned on tasks of it.
        tasks = any(part.startswith("llmrouter: ") for part in parts)
        others = [each for each in every if each not in excluded and (tasks or not each.startswith("llmrouter: "))]
        scores = trivial(features.rows(fitted[::2]))
        calibration = features.rows(fitted[1::2])
        p_of: dict[str, Callable[[FeatureTable], np.ndarray]] = {
            "likeness": lambda rows, router=router: router.route_features(rows).likeness,
            **{
                trivial_name: lambda rows, score=score, calibration=calibration: p_values(score, calibration, rows)
                for trivial_name, score in scores.items()
            },
        }
        entry: dict[str, object] = {
            "rows": len(fitted),
            "bytes in the artifact": len(artifact) - len(carrier),
        }
        for method, p in p_of.items():
            unlike = {}
            for other in others:
                unlike[other] = interval(p(half_of(every[other], 0)) <= LEVEL)
            flagged = interval(p(features.rows(like)) <= LEVEL)
            power = [share for share, *_ in unlike.values()]
            entry[method] = {"like rows flagged": flagged, "unlike rows flagged": unlike}
            reached = float(np.mean(np.array(power) >= 0.9))
            totals.setdefault(method, []).append((flagged[0], float(np.mean(power)), reached))
        ceiling = {
            other: interval(told_with_labels((features.rows(fitted), group[fitted]), every[other]))
            for other in others
        }
        entry["with labels"] = {"unlike rows flagged": ceiling}
        power = [share for share, *_ in ceiling.values()]
        totals.setdefault("with labels", []).append(
            (LEVEL, float(np.mean(power)), float(np.mean(np.array(power) >= 0.9)))
        )
        # The share flagged varies from one draw of rows to another; on average it must not exceed the level.
        shares = []
        for draw in range(2, 2 + DRAWS):
            order = np.random.default_rng(draw).permutation(int(group.max()) + 1)[group]
            again = np.argsort(order, kind="stable")
            one, other = np.sort(again[:half]), np.sort(again[half:][: 4 * ROWS])
            drawn = Router(with_likeness(carrier, features.rows(one), group[one]))
            shares.append(float((drawn.route_features(features.rows(other)).likeness <= LEVEL).mean()))
        entry[f"like rows flagged, mean of {DRAWS} further draws"] = round(float(np.mean(shares)), 4)
        like_p = router.route_features(features.rows(like)).likeness
        rings = {}
        for other in others:
            some = half_of(every[other], 0)
            rings[other] = steps_to_ring(router, like_p, router.route_features(some).likeness)
        entry["unlike requests until a watch rings, after 1,000 like ones"] = rings
        figures[name] = entry
    figures["over all"] = {
        method: {
            "like rows flagged, mean": round(float(np.mean([each[0] for each in found])), 4),
            "unlike rows flagged, mean": round(float(np.mean([each[1] for each in found])), 4),
            "pairs flagged at .9 or more": round(float(np.mean([each[2] for each in found])), 4),
        }
        for method, found in totals.items()
    }
    write(
        "likeness",
        figures,
        "Shares with 95 % intervals (Wilson). Targets: like ≤ .05 within the interval, unlike ≥ .9. Kinds that a "
        "table shares with another (llmrouter holds MMLU, GSM8K, code and mathematics) are left out as unlike.",
    )


if __name__ == "__main__":
    main()
