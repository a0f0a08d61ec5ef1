"""FastGRNN, phase by phase, on digits and clinc150, and as a backend of the request router on mmlu and gsm8k.

Accuracy is on rows held out from training, stopping and calibration; one seed. About ten variants (state size,
learning rate, dropout, activation, pooling) were compared on clinc150's held-out rows before. The
router's figures are shares of held-out differences between models explained, five folds.
"""

from __future__ import annotations

import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import SHARED, draw, table, write
from tiny_dancer.evaluation.missing import observed
from tiny_dancer.evaluation.split import grouped_folds
from tiny_dancer.training.backends import Targets, families_named
from tiny_dancer.training.fastgrnn.data import Examples, read_examples
from tiny_dancer.training.fastgrnn.run import Settings, fit_classifier
from tiny_dancer.training.heads import components_basis
from tiny_dancer.training.stacking import choose_stack, out_of_fold

FORMS = ("sparse", "int4", "int8")
ROWS = {"gsm8k": 672, "mmlu": 1500}
FAMILIES = ["extra_trees", "memory", "boosted_trees", "linear", "fastgrnn"]


def classifier(examples: Examples, validation: Examples | None, settings: Settings) -> dict[str, Any]:
    """The training table as data."""
    start = time.perf_counter()
    fitted = fit_classifier(examples, validation, settings=settings)
    phases = [
        {
            **{key: value for key, value in asdict(phase).items() if key != "correct"},
            "accuracy": round(phase.accuracy, 4),
            "interval": [round(bound, 4) for bound in phase.interval],
        }
        for phase in fitted.phases
    ]
    assert fitted.difference is not None
    return {
        "seconds": round(time.perf_counter() - start),
        "phases": phases,
        "fastgrnn_minus_bag": [round(float(x), 4) for x in asdict(fitted.difference).values()],
        "written": fitted.model,
    }


def backend(name: str, rows: int) -> dict[str, float]:
    """Share explained by each family alone, all together, and all but FastGRNN; rows drawn once."""
    outcomes = table(name)
    if outcomes is None:
        return {}
    outcomes = outcomes.rows(np.sort(draw(outcomes, rows, 0)[0]))
    assert outcomes.features is not None
    weight = np.ones(len(outcomes))
    quality = observed(outcomes).completed
    centred = quality - quality.mean(axis=0)
    basis = components_basis(centred, weight)
    targets = Targets(centred @ basis, centred, weight, 1)
    folds = grouped_folds(outcomes.group, 5, 0)
    backends = [family[0] for family in families_named(FAMILIES)]
    found = out_of_fold(backends, outcomes.features, targets, folds, 0, lambda _: None)
    names = [each.name for each in backends]
    alone = [[at] for at in range(len(names))]
    stack = choose_stack(names, alone, found, targets, basis, folds, outcomes.group)
    wanted = [*names, " + ".join(names), " + ".join(names[:-1])]
    return {key: round(stack.explained[key], 4) for key in wanted} | {"chosen": len(stack.chosen)}


def main() -> None:
    """Both classifiers, then both tables."""
    digits = load_digits()
    figures: dict[str, Any] = {
        "digits": classifier(
            Examples(tuple(map(str, digits.target)), None, np.float32(digits.images / 16), "digits"),
            None,
            Settings(hidden=64, teacher_hidden=64, forms=FORMS),
        )
    }
    if (SHARED / "clinc150_train.parquet").exists():
        figures["clinc150"] = classifier(
            read_examples(SHARED / "clinc150_train.parquet"),
            read_examples(SHARED / "clinc150_val.parquet"),
            Settings(hidden=256, teacher_hidden=128, forms=FORMS),
        )
    figures["router"] = {name: backend(name, rows) for name, rows in ROWS.items()}
    write(
        "fastgrnn_training",
        figures,
        "held-out rows, 95 % intervals (Wilson; paired bootstrap for differences), one seed; about ten variants"
        " were compared on clinc150's held-out rows before",
    )


if __name__ == "__main__":
    main()
