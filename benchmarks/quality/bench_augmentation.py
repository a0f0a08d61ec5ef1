"""Does training on perturbed copies (typos, Markdown, boilerplate) pay? APGR and flips with and without.

Copies carry their row's outcomes and group, and half its weight. Boilerplate is judged by sentences no copy has.
This is the evidence behind docs/adr/0007.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))
from formats import formats

from common import draw, mean_with_interval, table, write
from tiny_dancer import Router, fit
from tiny_dancer.evaluation.metrics import apgr
from tiny_dancer.evaluation.robustness import flip_share, perturb
from tiny_dancer.routing import featurise
from tiny_dancer.training.augment import with_copies

FEW = {"gsm8k": 400, "mmlu": 1500}
DRAWS = 5
FORMS = ("typos in 5 % of words", "disclaimer of unknown words", "content-free: Latin", "no options")


def main() -> None:
    """Paired over draws."""
    figures: dict[str, object] = {}
    for name, rows in FEW.items():
        outcomes = table(name)
        if outcomes is None:
            return
        found: dict[str, list[float]] = {}
        for seed in range(DRAWS):
            train, test = draw(outcomes, rows, seed)
            held_out = outcomes.rows(test)
            assert held_out.prompt is not None and held_out.features is not None
            texts = list(held_out.prompt)
            forms = formats(texts, texts[:50])
            changed = {kind: featurise(forms[kind]) for kind in FORMS} | {
                kind: featurise([perturb(text, kind, 0) for text in texts]) for kind in ("typos", "markdown")
            }
            for label, training in (
                ("plain", outcomes.rows(train)),
                ("augmented", with_copies(outcomes.rows(train), 1)),
            ):
                router = Router(fit(training).artifact)

                def gain(features: object, router: Router = router) -> np.ndarray:
                    scores = router.route_features(features).scores.astype(np.float64)  # type: ignore[arg-type]
                    return scores[:, 1] - scores[:, 0]

                before = gain(held_out.features)
                threshold = np.median(before)
                found.setdefault(f"{label}: APGR", []).append(apgr(before, *held_out.quality.T))
                for kind, features in changed.items():
                    flips = flip_share(
                        (before >= threshold).astype(np.int64), (gain(features) >= threshold).astype(np.int64)
                    )
                    found.setdefault(f"{label}: flips under {kind}", []).append(flips)
        figures[name] = {key: mean_with_interval(values) for key, values in found.items()}
        figures[name]["APGR, augmented minus plain"] = mean_with_interval(  # type: ignore[index]
            [a - b for a, b in zip(found["augmented: APGR"], found["plain: APGR"], strict=True)]
        )
    write("augmentation", figures, "Mean over draws with 95 % interval.")


if __name__ == "__main__":
    main()
