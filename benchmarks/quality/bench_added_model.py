"""A model added to a router from few outcomes: how near its expectations come to those of training with all of it.

Of each table some models are held out in turn. A router is trained on half of the rows without the model; the
model is added from 25, 50, 100 or 200 of those rows, drawn several times, and judged on the other half:
correlation and mean squared error of its expected quality, and the quality of always choosing the model expected
to be best (cost aside) over the best constant. Beside it: a constant (the mean of the same outcomes), each way by
itself, and a router trained on all rows with the model.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import table, write
from tiny_dancer import Router, _core, fit
from tiny_dancer.evaluation.split import grouped_folds
from tiny_dancer.training.change import Prior, Row, add_model
from tiny_dancer.training.data import assign_groups

TABLES = ("zeroeval", "bfcl", "llmrouter")
HELD_OUT = 3
SIZES = (25, 50, 100, 200)
DRAWS = 3
NOTE = (
    "A model added from few outcomes, judged on rows neither it nor the router saw; means over draws and models "
    "held out with standard errors. Target: nearer to training with all rows than a constant is, and no worse."
)
BACKENDS = ["linear"]
"""The quick one: what is compared is how a model is added, not what it is added to."""


def _only(outcomes: Any, models: list[int]) -> Any:
    return replace(
        outcomes,
        models=tuple(outcomes.models[m] for m in models),
        quality=outcomes.quality[:, models],
        cost=None,
        latency=None,
    )


def _figures(expected: Any, scores: Any, truth: Any, column: int, others: Any) -> dict[str, float]:
    """Of one model's expectations [n] beside those of the others [n, m - 1], on rows not seen."""
    seen = np.isfinite(truth[:, column])
    quality = truth[seen, column]
    spread = float(np.std(expected[seen]))
    all_scores = np.insert(scores, column, expected, axis=1)
    rows = np.arange(len(truth))
    complete = np.isfinite(truth).all(axis=1)
    best = truth[complete].mean(axis=0).argmax()
    chosen = truth[rows, all_scores.argmax(axis=1)][complete]
    known = truth[
        rows, np.where(others.argmax(axis=1) >= column, others.argmax(axis=1) + 1, others.argmax(axis=1))
    ]
    return {
        "correlation": float(np.corrcoef(expected[seen], quality)[0, 1]) if spread > 1e-9 else 0.0,
        "squared error": float(np.mean((np.clip(expected[seen], 0, 1) - quality) ** 2)),
        "quality over the best constant": float((chosen - truth[complete, best]).mean()),
        "quality over routing without it": float((chosen - known[complete]).mean()),
    }


def _most_alike(mean: Any, basis: Any, components: Any, quality: Any) -> Row:
    """The row of the known model that errs least, moved by an offset."""
    rows = []
    for slope in basis:
        left = quality - components @ slope
        row = Row(float((left.sum() + 10 * mean.mean()) / (len(left) + 10)), slope)
        rows.append((float(np.mean((row(components) - quality) ** 2)), row))
    return min(rows, key=lambda each: each[0])[1]


def measure(name: str) -> list[dict[str, Any]]:
    """Rows of figures of one table: by model held out, number of outcomes, draw and way."""
    outcomes = table(name)
    outcomes = outcomes.rows(np.flatnonzero(np.isfinite(outcomes.quality).all(axis=1)))
    group = assign_groups(outcomes.features, outcomes.group)
    half = grouped_folds(group, 2, 0)
    train, test = np.flatnonzero(half == 0), np.flatnonzero(half == 1)
    order = np.argsort(-outcomes.quality[train].mean(axis=0))
    held = [int(order[place]) for place in np.linspace(0, len(order) - 1, HELD_OUT).round().astype(int)]
    everything = Router(fit(_only(outcomes.rows(train), list(range(len(order)))), backends=BACKENDS).artifact)
    full = everything.route_features(outcomes.rows(test).features).scores.astype(np.float64)
    truth = outcomes.quality[test]
    found = []
    for column in held:
        rest = [m for m in range(len(order)) if m != column]
        artifact = fit(_only(outcomes.rows(train), rest), backends=BACKENDS).artifact
        router = Router(artifact)
        scores = router.route_features(outcomes.rows(test).features).scores.astype(np.float64)
        tensors = _core.read_tensors(artifact)
        mean, basis = tensors["mean"].astype(np.float64), tensors["basis"].astype(np.float64)
        prior = Prior.of(mean, basis, None, 10.0)
        components = _core.components(router._engine, outcomes.rows(test).features)
        model = outcomes.models[column]

        def note(
            way: str,
            rows: int,
            draw: int,
            expected: Any,
            others: Any = scores,
            column: int = column,
            model: str = model,
        ) -> None:
            figures = _figures(
                expected, np.delete(full, column, 1) if way == "all rows" else others, truth, column, others
            )
            found.append({"table": name, "model": model, "rows": rows, "draw": draw, "way": way, **figures})

        note("all rows", len(train), 0, full[:, column])
        for size in SIZES:
            for draw in range(DRAWS):
                generator = np.random.default_rng([size, draw, column])
                rows = generator.choice(train, size, replace=False)
                few = _only(outcomes.rows(rows), [column])
                added = add_model(artifact, model, few)
                batch = Router(added.artifact).route_features(outcomes.rows(test).features)
                note("added", size, draw, batch.scores[:, -1].astype(np.float64))
                inside, quality = _core.components(router._engine, few.features), few.quality[:, 0]
                for scale in (0.3, 3.0):
                    row = replace(prior, spread=scale**2 * prior.spread).updated(inside, quality, np.ones(size))
                    note(f"added, spread x {scale:g}", size, draw, row(components))
                level = float((quality.sum() + 10 * mean.mean()) / (size + 10))
                note("constant", size, draw, np.full(len(test), level))
                note("the model most alike", size, draw, _most_alike(mean, basis, inside, quality)(components))
    return found


def _summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    keys = sorted({(row["table"], row["rows"], row["way"]) for row in rows}, key=str)
    summary = []
    for name, size, way in keys:
        chosen = [row for row in rows if (row["table"], row["rows"], row["way"]) == (name, size, way)]
        figures: dict[str, Any] = {"table": name, "rows": size, "way": way, "runs": len(chosen)}
        for key in (
            "correlation",
            "squared error",
            "quality over the best constant",
            "quality over routing without it",
        ):
            values = np.array([row[key] for row in chosen])
            figures[key] = round(float(values.mean()), 4)
            figures[f"{key}, standard error"] = round(float(values.std() / np.sqrt(len(values))), 4)
        summary.append(figures)
    return summary


def main() -> None:
    """Measures, prints and writes."""
    rows = []
    for name in TABLES:
        rows += measure(name)
        print(name, "measured", flush=True)
    summary = _summary(rows)
    for each in summary:
        print(
            f"{each['table']:10} {each['rows']:5} {each['way']:22} r {each['correlation']:.3f} "
            f"error {each['squared error']:.4f} over constant {each['quality over the best constant']:+.4f} "
            f"± {each['quality over the best constant, standard error']:.4f}"
        )
    figures = {"tables": list(TABLES), "draws": DRAWS, "models held out": HELD_OUT, "figures": summary}
    write("added_model", figures, NOTE)


if __name__ == "__main__":
    main()
