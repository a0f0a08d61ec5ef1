"""Trains the artifact the package ships, and writes its model card. Readable from top to bottom.

Run: python recipes/default_artifact.py (from the repository's root, with ../shared beside it; about ten
minutes).

Two roles, weak and strong, learned from four public tables at once: in each, a role's quality is the mean over
the models that play it (recipes/tables.py). Whoever loads this artifact routes requests of kinds it was not
trained on. So everything that is chosen (backends, their weights, calibration, prediction set, default policy)
is chosen on whole tasks left out, not on random rows; prompt length, which carries over best of all single
signals, is a backend of its own; and the kernel and the n-grams, which carried over worse than length, are left
out.

A tenth of every table certifies, another tenth gives the figures of the card, of the very artifact that ships.
Then each table is left out in turn: what the router is worth on a kind of request it has never seen.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tables import ROLES, joined, roles, split, with_
from tiny_dancer import FeatureTable, NotCertifiedError, Outcomes, Router, _core
from tiny_dancer.evaluation.bootstrap import paired_bootstrap
from tiny_dancer.evaluation.metrics import PairScorer
from tiny_dancer.training.backends.linear import FittedLinear
from tiny_dancer.training.backends.trees import ExtraTrees
from tiny_dancer.training.calibrate import calibrate
from tiny_dancer.training.export import with_self_checks
from tiny_dancer.training.fit import Fitted, fit

if TYPE_CHECKING:
    from tiny_dancer.training.backends import Targets

ROOT = Path(__file__).parents[1]
ARTIFACT = ROOT / "python/tiny_dancer/data/default.safetensors"
CARD = ROOT / "docs/model-cards/default.md"
SEED = 0
QUALITY_LOSS, CONFIDENCE = 0.05, 0.9


@dataclass(frozen=True, slots=True)
class LengthPrior:
    """Longer requests gain more from the strong role: a direction that is given, not learned.

    In each table length alone ranks better than chance, yet a slope learned across tables takes the sign of what
    differs between tables. So the sign is fixed, and the stack only scales it.
    """

    name: str = "length"

    def fit(self, features: FeatureTable, targets: Targets, seed: int) -> FittedLinear:
        """Half the standardised log length off weak, half onto strong."""
        del seed
        length = features.cues[:, _core.CUE_NAMES.index("log_characters")].astype(np.float64)
        basis = np.linalg.lstsq(targets.quality, targets.components, rcond=None)[0]
        components = np.array([-0.5, 0.5]) @ basis / length.std()
        cues = np.zeros((len(components), _core.CUES), np.float32)
        cues[:, _core.CUE_NAMES.index("log_characters")] = components
        none = np.zeros((1, len(components)), np.int8)
        unscaled = np.zeros(len(components), np.float32)
        return FittedLinear(
            word=none,
            character=none,
            word_scale=unscaled,
            character_scale=unscaled,
            cues=cues,
            embedding=np.zeros((len(components), _core.EMBEDDING_DIMENSIONS), np.float32),
            intercept=(-components * length.mean()).astype(np.float32),
        )


def train(outcomes: Outcomes, created: str = "") -> Fitted:
    """Trains with whole tasks as groups."""
    tasks = np.unique(np.array(outcomes.task), return_inverse=True)[1].astype(np.int64)
    return fit(
        with_(outcomes, group=tasks), seed=SEED, families=((LengthPrior(),), (ExtraTrees(),)), created=created
    )


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
    halves = {name: split(part, 2, SEED) for name, (_, part) in parts.items()}
    fitted = train(joined([part for part, _ in parts.values()]), created)
    try:
        certified = calibrate(
            fitted.artifact,
            joined([half for half, _ in halves.values()]),
            max_quality_loss=QUALITY_LOSS,
            confidence=CONFIDENCE,
            date=created,
        )
        artifact = certified.artifact
    except NotCertifiedError as error:
        print(f"shipped without a certificate: {error}")
        artifact = fitted.artifact

    held_out = joined([half for _, half in halves.values()])
    router = Router(artifact)
    held = {"all four tables": figures(router, held_out)}
    held |= {name: figures(router, half) for name, (_, half) in halves.items()}
    decision = router.route_features(held_out.features).choice  # type: ignore[arg-type]
    quality = held_out.quality[np.arange(len(held_out)), decision].mean()
    policy = {
        "strong calls": f"{np.mean(decision == 1):.3f}",
        "mean quality": f"{quality:.4f}",
        "always strong": f"{held_out.quality[:, 1].mean():.4f}",
        "always weak": f"{held_out.quality[:, 0].mean():.4f}",
    }
    metrics = {"APGR": held["all four tables"]["APGR"], **policy}
    artifact = with_self_checks(_core.with_header(artifact, {**_core.read_header(artifact), "metrics": metrics}))
    assert len(artifact) <= 512 << 10, f"{len(artifact):,} bytes"
    ARTIFACT.write_bytes(artifact)

    away = {}
    for name in ROLES:
        others = joined([part for other, (part, _) in parts.items() if other != name])
        away[name] = figures(Router(train(others).artifact), roles(name))
    CARD.parent.mkdir(parents=True, exist_ok=True)
    CARD.write_text(card(artifact, held, policy, away))
    print(f"{ARTIFACT}: {len(artifact):,} bytes\n{CARD}")


def card(
    artifact: bytes,
    held: dict[str, dict[str, str]],
    policy: dict[str, str],
    away: dict[str, dict[str, str]],
) -> str:
    """The model card, in Markdown."""

    def table(rows: dict[str, dict[str, str]]) -> str:
        names = list(next(iter(rows.values())))
        lines = [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
        lines += [f"| {row} | {' | '.join(values.values())} |" for row, values in rows.items()]
        return "\n".join(lines)

    header = _core.read_header(artifact)
    training, found = header["training"], header["guarantee"]
    certificate = (
        "It carries no certificate: none could be earned."
        if found is None
        else f"Its certificate: with confidence {1 - found['delta']:.0%}, the mean quality lost against always\n"
        f"strong is below {found['epsilon']:g} ({found['rows']:,} held-out rows). It holds for the models of the\n"
        "table below, on requests like these; mapping a role to another model takes it out of every decision."
    )
    in_force = ", ".join(f"{name} {value}" for name, value in policy.items())
    who = "\n".join(
        f"| {name} | {', '.join(weak)} | {', '.join(strong)} |" for name, (weak, strong) in ROLES.items()
    )
    return f"""# Model card: the default artifact

Written by `python recipes/default_artifact.py`; do not edit.

Routes between two roles, `weak` and `strong`, which you map to your models:
`Router.load(models={{"weak": "…", "strong": "…"}})`. {len(artifact):,} bytes; backends:
{", ".join(training["backends"])}; trained on {training["rows"]:,} rows, seed {training["seed"]}.
{certificate}

## Data
A role's quality on a request is the mean over the models that play it.

| table | weak | strong |
|---|---|---|
{who}

mmlu and gsm8k outcomes: RouteLLM (Apache-2.0), questions MMLU and GSM8K (MIT). llmrouter: LLMRouter (MIT). bfcl:
Berkeley Function Calling Leaderboard (Apache-2.0). The file holds weights and landmarks' hashed features, no text.

## Held-out figures
A tenth of each table, neither trained nor calibrated on, near-duplicates kept together; 95 % paired bootstrap
intervals. APGR as RouteLLM computes it: .5 is a random mix of the two roles, 1 the quality of always strong at no
strong call.

{table(held)}

The policy in force, on the same rows: {in_force}.
Multiple-choice tables reward guessing: a weak model that guesses right counts as right.

## Where it does not transfer
Each table predicted by a router trained on the other three:

{table(away)}

Where the difference to prompt length includes 0, this artifact is worth no more than length on requests unlike
those it was trained on: train on your own outcomes, a few hundred rows help.
"""


if __name__ == "__main__":
    main()
