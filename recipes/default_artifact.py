"""Trains the artifact the package ships, and writes its model card. Readable from top to bottom.

Run: python recipes/default_artifact.py (from the repository's root, with ../shared beside it; about ten minutes).

Two roles, weak and strong, learned from four public tables at once: in each, a role's quality is the mean over the
models that play it (recipes/tables.py). A fifth of every table is held out; all figures of the card are of the
very artifact that ships, on those rows. Then each table is left out in turn: what the router is worth on a kind of
request it has never seen.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from tables import ROLES, joined, roles, split
from tiny_dancer import Outcomes, Router, _core, fit
from tiny_dancer.evaluation.bootstrap import paired_bootstrap
from tiny_dancer.evaluation.metrics import PairScorer

ROOT = Path(__file__).parents[1]
ARTIFACT = ROOT / "python/tiny_dancer/data/default.safetensors"
CARD = ROOT / "docs/model-cards/default.md"
SEED = 0


def gain(router: Router, outcomes: Outcomes) -> np.ndarray:
    """Expected quality of strong less weak."""
    assert outcomes.features is not None
    scores = router.route_features(outcomes.features).scores.astype(np.float64)
    return scores[:, 1] - scores[:, 0]


def figures(router: Router, outcomes: Outcomes) -> dict[str, str]:
    """APGR (RouteLLM's ten bins) with its paired 95 % interval, that of prompt length, and their difference."""
    assert outcomes.features is not None
    weak, strong = outcomes.quality.T
    own = PairScorer(gain(router, outcomes), weak, strong)
    length = PairScorer(outcomes.features.tokens.astype(np.float64), weak, strong)

    def statistics(weights: np.ndarray) -> np.ndarray:
        return np.stack([own.figures(weights).apgr_binned, length.figures(weights).apgr_binned], axis=1)

    boot = paired_bootstrap(statistics, len(outcomes), group=outcomes.group, seed=SEED)

    def words(interval: object) -> str:
        return f"{interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}]"  # type: ignore[attr-defined]

    return {
        "APGR": words(boot.interval(0)),
        "prompt length": words(boot.interval(1)),
        "difference": words(boot.interval(0, minus=1)),
    }


def main() -> None:
    """Trains, judges, writes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--created", default="2026-11-21", help="date to record")
    created = parser.parse_args().created

    parts = {name: split(roles(name), 5, SEED) for name in ROLES}
    training = joined([part for part, _ in parts.values()])
    held_out = joined([part for _, part in parts.values()])
    fitted = fit(training, seed=SEED, created=created)
    router = Router(fitted.artifact)

    held = {"all four tables": figures(router, held_out)}
    held |= {name: figures(router, part) for name, (_, part) in parts.items()}
    decision = router.route_features(held_out.features).choice  # type: ignore[arg-type]
    quality = held_out.quality[np.arange(len(held_out)), decision].mean()
    policy = {
        "strong calls": f"{np.mean(decision == 1):.3f}",
        "mean quality": f"{quality:.4f}",
        "always strong": f"{held_out.quality[:, 1].mean():.4f}",
        "always weak": f"{held_out.quality[:, 0].mean():.4f}",
    }
    metrics = {"APGR": held["all four tables"]["APGR"], **policy}
    artifact = _core.with_header(fitted.artifact, {**_core.read_header(fitted.artifact), "metrics": metrics})
    assert len(artifact) <= 512 << 10, f"{len(artifact):,} bytes"
    ARTIFACT.write_bytes(artifact)

    away = {}
    for name in ROLES:
        others = joined([part for other, (part, _) in parts.items() if other != name])
        away[name] = figures(Router(fit(others, seed=SEED).artifact), roles(name))
    CARD.parent.mkdir(parents=True, exist_ok=True)
    CARD.write_text(card(len(artifact), training, held, policy, away, fitted.chosen))
    print(f"{ARTIFACT}: {len(artifact):,} bytes\n{CARD}")


def card(
    size: int,
    training: Outcomes,
    held: dict[str, dict[str, str]],
    policy: dict[str, str],
    away: dict[str, dict[str, str]],
    chosen: tuple[str, ...],
) -> str:
    """The model card, in Markdown."""

    def table(rows: dict[str, dict[str, str]]) -> str:
        names = list(next(iter(rows.values())))
        lines = [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
        lines += [f"| {row} | {' | '.join(values.values())} |" for row, values in rows.items()]
        return "\n".join(lines)

    who = "\n".join(
        f"| {name} | {', '.join(weak)} | {', '.join(strong)} |" for name, (weak, strong) in ROLES.items()
    )
    return f"""# Model card: the default artifact

Written by `python recipes/default_artifact.py`; do not edit.

Routes between two roles, `weak` and `strong`, which you map to your models:
`Router.load(models={{"weak": "…", "strong": "…"}})`. {size:,} bytes; backends: {", ".join(chosen)}; trained on
{len(training):,} rows, seed {SEED}. It carries no certificate: a guarantee speaks of your models and your
requests, so calibrate on your own outcomes (`tiny-dancer calibrate`).

## Data
A role's quality on a request is the mean over the models that play it.

| table | weak | strong |
|---|---|---|
{who}

mmlu and gsm8k outcomes: RouteLLM (Apache-2.0), questions MMLU and GSM8K (MIT). llmrouter: LLMRouter (MIT). bfcl:
Berkeley Function Calling Leaderboard (Apache-2.0). The file holds weights and landmarks' hashed features, no text.

## Held-out figures
A fifth of each table, groups of near-duplicates kept whole; 95 % paired bootstrap intervals. APGR as RouteLLM
computes it: .5 is a random mix of the two roles, 1 the area of always-strong quality at no strong call.

{table(held)}

The default policy (same quality as always strong, fewer strong calls; set on training rows) on the same rows:
{", ".join(f"{name} {value}" for name, value in policy.items())}. Multiple-choice tables reward guessing: a weak
model that guesses right counts as right.

## Where it does not transfer
Each table predicted by a router trained on the other three:

{table(away)}

Where the difference to prompt length includes 0, this artifact is worth no more than length on requests unlike
those it was trained on: train on your own outcomes, a few hundred rows help.
"""


if __name__ == "__main__":
    main()
