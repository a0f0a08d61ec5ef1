"""What int8 weights cost: APGR with int8 tables and leaves, and with the same weights left in floating point.

Landmarks' embeddings are int8 in the features already; their cues are rounded in both.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from common import draw, mean_with_interval, table, write
from tiny_dancer.evaluation.metrics import apgr
from tiny_dancer.training.backends import FAMILIES, Targets, linear, trees
from tiny_dancer.training.backends.quantise import quantise
from tiny_dancer.training.heads import components_basis

FEW = {"gsm8k": 400, "mmlu": 1500}
DRAWS = 5


def exact(table: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Stands in for :func:`quantise`: the weights as they are."""
    return table, np.ones(table.shape[1], np.float32)


def main() -> None:
    """Backends that hold quantised weights, each alone."""
    figures: dict[str, object] = {}
    for name, rows in FEW.items():
        outcomes = table(name)
        if outcomes is None:
            return
        assert outcomes.features is not None
        found: dict[str, list[float]] = {}
        for seed in range(DRAWS):
            train, test = draw(outcomes, rows, seed)
            quality = outcomes.quality[train] - outcomes.quality[train].mean(axis=0)
            weight = np.ones(len(train))
            basis = components_basis(quality, weight)
            targets = Targets(quality @ basis, quality, weight, 1)
            for backend in (family[0] for family in FAMILIES if family[0].name != "memory"):
                scores = []
                for room_quantise in (quantise, exact):
                    linear.quantise = trees.quantise = room_quantise
                    fitted = backend.fit(outcomes.features.rows(train), targets, 0)
                    predicted = fitted.predict(outcomes.features.rows(test)) @ basis.T
                    scores.append(apgr(predicted[:, 1] - predicted[:, 0], *outcomes.quality[test].T))
                found.setdefault(f"{backend.name}, int8", []).append(scores[0])
                found.setdefault(f"{backend.name}, int8 minus float", []).append(scores[0] - scores[1])
        figures[name] = {key: mean_with_interval(values) for key, values in found.items()}
    write("int8", figures, "APGR, mean over draws with 95 % interval.")


if __name__ == "__main__":
    main()
