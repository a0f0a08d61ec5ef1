"""Trains the artifact the package ships, and writes its model card. Readable from top to bottom.

Run: python recipes/default_artifact.py (from the repository's root, with ../shared beside it; some minutes of
processor time, of which the artifact takes 30 seconds and the card's kinds left out the rest).

Two roles, weak and strong, learned from public tables at once: in each, a role's quality is the mean over the
models that play it (recipes/tables.py). Whoever loads this artifact routes requests of kinds it was not trained
on. So what it consists of was chosen by leaving whole kinds of requests out, beside prompt length and a constant:

* Steps: how many quantities, comparisons, conditions and statements a request makes one keep track of. A direction
  that is given, not learned: the sum of standardised cues, less a little of the length. It ranks unseen kinds
  better than length does, and unlike length it does not say that a long text with one simple task is hard.
* Kinds: which kind of request it is, from the static embedding and a few cues, on a scale of gains. The gains are
  those of the tables, and where there is no table (chat, writing, extraction …) declared: see DECLARED.
* Trees on what the kinds leave unexplained: they learn the tables' own requests, and say little about others.

Length, n-grams and the kernel memory did worse on kinds left out, and are not in it. Tables weigh as the root of
their rows: none is the traffic.

A tenth of the groups certifies, another tenth gives the figures of the card, of the very artifact that ships.
Groups (near duplicates, shared passages) are found over all tables together: some questions are in two.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tables import KINDS, NOT_SHIPPED, ROLES, SHARED, by_role, joined, ranked_roles, with_
from tiny_dancer import FeatureTable, NotCertifiedError, Outcomes, Router, _core
from tiny_dancer.evaluation.bootstrap import paired_bootstrap
from tiny_dancer.evaluation.groups import assign_groups
from tiny_dancer.evaluation.metrics import PairScorer
from tiny_dancer.evaluation.overlap import remember, training_rows
from tiny_dancer.evaluation.split import grouped_folds
from tiny_dancer.routing import featurise
from tiny_dancer.training.backends.linear import FittedLinear
from tiny_dancer.training.backends.trees import ExtraTrees, unit_embedding
from tiny_dancer.training.calibrate import calibrate
from tiny_dancer.training.export import with_self_checks
from tiny_dancer.training.fit import Fitted, fit

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from tiny_dancer.training.backends import Backend, Targets
    from tiny_dancer.training.backends.trees import FittedTrees

    Floats = npt.NDArray[np.float64]

ROOT = Path(__file__).parents[1]
SEED = 0
QUALITY_LOSS, CONFIDENCE = 0.05, 0.9
LARGEST = 512 << 10

STEPS = (
    "quantities",
    "distinct_quantities",
    "comparisons",
    "number_words",
    "statements",
    "conditions",
    "remainders",
    "totals",
    "more_than",
    "rates",
    "how_many",
)
"""Cues that count what has to be kept track of; each says more, and with the same weight."""
SMALLEST_DEVIATION = 0.25
"""A cue that is nearly always 0 would otherwise outweigh all others where it is not."""
LENGTH_DISCOUNT = 0.25
"""Taken off for each standard deviation of log length: counts grow with a text that is only long."""

KIND_CUES = (
    "mathematics_words",
    "code_punctuation",
    "operators",
    "latex",
    "letter_variables",
    "numbers",
    "quantities",
    "comparisons",
    "conditions",
    "number_words",
    "totals",
    "tools",
    "ends_question",
    "what",
    "quotes",
)
DECLARED = {
    "code_generation": 0.28,
    "other": 0.20,  # mathematics and reasoning
    "extraction": 0.10,
    "closed_qa": 0.08,
    "classification": 0.08,
    "text_generation": 0.07,
    "summarization": 0.07,
    "rewrite": 0.06,
    "brainstorming": 0.05,
    "open_qa": 0.03,
    "chatbot": 0.03,
}
"""Gain of strong over weak by kind of task: our judgement, not measured; no outcomes exist for these prompts."""
DECLARED_SOURCES = {"arena-hard/v2.0-math": 0.33}
HARDER = 0.06
"""Added where prompts were collected for being hard, but for code, which is taken to be hard anyway."""
IN_TABLES = ("gsm8k", "mbpp")
"""Sources of prompts whose outcomes the tables have."""


@dataclass(frozen=True, slots=True)
class Auxiliary:
    """Prompts without outcomes, and the gain declared for their kind.

    Attributes:
        features: n rows.
        gain: float64 [n].
        weight: float64 [n]: a kind weighs as the root of its rows, as a table does.
    """

    features: FeatureTable
    gain: Floats
    weight: Floats


def auxiliary() -> Auxiliary:
    """The task categories' prompts that may ship, but for those the tables have outcomes of."""
    from pyarrow import parquet

    rows: dict[str, list[str]] = parquet.read_table(SHARED / "task_categories_train.parquet").to_pydict()
    kept = [
        place
        for place, (licence, source) in enumerate(zip(rows["licence"], rows["source"], strict=True))
        if not NOT_SHIPPED.search(licence) and source not in IN_TABLES
    ]
    category = [rows["category"][place] for place in kept]
    source = [rows["source"][place] for place in kept]
    gain = [
        DECLARED_SOURCES.get(
            origin,
            DECLARED[kind] + (HARDER if origin.startswith("arena-hard") and kind != "code_generation" else 0.0),
        )
        for kind, origin in zip(category, source, strict=True)
    ]
    count = {kind: category.count(kind) for kind in DECLARED}
    return Auxiliary(
        featurise([rows["text"][place] for place in kept], None, None),
        np.array(gain),
        np.array([count[kind] ** -0.5 for kind in category]),
    )


def linear(
    gain_cues: Floats, gain_embedding: Floats, intercept: float, targets: Targets, cues: Floats
) -> FittedLinear:
    """A linear gain as the engine's linear backend: half of it off weak, half onto strong; no n-grams.

    ``cues`` are those of the rows it was fitted on, float64 [n, CUES].
    """
    basis = np.linalg.lstsq(targets.quality, targets.components, rcond=None)[0]
    strong = targets.best_constant
    shape = np.where(np.arange(2) == strong, 0.5, -0.5) @ basis
    none = np.zeros((1, len(shape)), np.int8)
    unscaled = np.zeros(len(shape), np.float32)
    return FittedLinear(
        word=none,
        character=none,
        word_scale=unscaled,
        character_scale=unscaled,
        cues=np.outer(shape, gain_cues).astype(np.float32),
        cue_least=cues.min(0).astype(np.float32),
        cue_most=cues.max(0).astype(np.float32),
        embedding=np.outer(shape, gain_embedding).astype(np.float32),
        intercept=(shape * intercept).astype(np.float32),
    )


@dataclass(frozen=True, slots=True)
class Steps:
    """The sum of standardised cues in STEPS; only their means and deviations come from the rows."""

    name: str = "steps"

    def fit(self, features: FeatureTable, targets: Targets, seed: int) -> FittedLinear:
        """Signs are given; the stack scales the sum."""
        del seed
        cues = features.cues.astype(np.float64)
        mean = np.average(cues, axis=0, weights=targets.weight)
        deviation = np.sqrt(np.average((cues - mean) ** 2, axis=0, weights=targets.weight))
        chosen = np.isin(_core.CUE_NAMES, STEPS)
        weights = np.where(chosen, 1 / np.maximum(deviation, SMALLEST_DEVIATION), 0.0) / len(STEPS)
        length = _core.CUE_NAMES.index("log_characters")
        weights[length] = -LENGTH_DISCOUNT / max(deviation[length], SMALLEST_DEVIATION)
        return linear(weights, np.zeros(_core.EMBEDDING_DIMENSIONS), float(-weights @ mean), targets, cues)


def direction_of_gain(
    targets: Targets,
    other: Auxiliary,
    cues: Floats,
    said: Floats,
    length: float | None,
    *,
    ridge: float,
    cue_share: float,
) -> tuple[Floats, Floats, float]:
    """Ridge regression of the gain on what a request says and a few cues, tables and declared kinds together.

    Args:
        targets: of the tables.
        other: prompts with declared gains; they weigh as much as all tables.
        cues: of the tables' rows, then of the others, float64 [rows, cues].
        said: the same rows as vectors, float64 [rows, width].
        length: of a row of ``said``; None for what they have: the root of the mean square.
        ridge: penalty per row, relative to the square of that length.
        cue_share: of that square, for the cues.

    Returns:
        The weights of the cues, those of ``said``, and the intercept.
    """
    strong = targets.best_constant
    seen = targets.quality[:, strong] - targets.quality[:, 1 - strong]
    # The targets are centred: what they were centred at is the mean gain, which no ranking depends on.
    declared = other.gain - np.average(other.gain, weights=other.weight)
    gain = np.concatenate([seen, declared])
    weight = np.concatenate([targets.weight / targets.weight.sum(), other.weight / other.weight.sum()]) * (
        len(gain) / 2
    )
    mean, centre = (np.average(each, axis=0, weights=weight) for each in (cues, said))
    deviation = np.sqrt(np.average((cues - mean) ** 2, axis=0, weights=weight))
    used = np.isin(_core.CUE_NAMES, KIND_CUES)
    scale = np.where(used, np.sqrt(cue_share / used.sum()) / np.maximum(deviation, 1e-6), 0.0)
    if length is None:
        length = float(np.sqrt(np.average(((said - centre) ** 2).sum(1), weights=weight)))
    design = np.hstack([(cues - mean) * scale, (said - centre) / length])
    level = np.average(gain, weights=weight)
    left = (design * weight[:, None]).T @ design + ridge * len(gain) * np.eye(design.shape[1])
    found = np.linalg.solve(left, design.T @ (weight * (gain - level)))
    of_cues, of_said = scale * found[: len(scale)], found[len(scale) :] / length
    return of_cues, of_said, float(level - of_cues @ mean - of_said @ centre)


@dataclass(frozen=True, slots=True)
class Kinds:
    """Ridge regression of the gain on the static embedding and a few cues, tables and declared kinds together.

    Attributes:
        auxiliary: prompts with declared gains; they weigh as much as all tables.
        ridge: penalty per row, relative to the mean squared length of a row's embedding.
        cue_share: of that length for the cues.
    """

    auxiliary: Auxiliary
    name: str = "kinds"
    ridge: float = 0.01
    cue_share: float = 0.5

    def fit(self, features: FeatureTable, targets: Targets, seed: int) -> FittedLinear:
        """Solves the normal equations."""
        del seed
        both = (features, self.auxiliary.features)
        cues = np.vstack([each.cues for each in both]).astype(np.float64)
        embedding = np.vstack([unit_embedding(each) for each in both]).astype(np.float64)
        found = direction_of_gain(
            targets, self.auxiliary, cues, embedding, 1.0, ridge=self.ridge, cue_share=self.cue_share
        )
        return linear(*found, targets, cues)


@dataclass(frozen=True, slots=True)
class Remainder:
    """Extremely randomised trees on what the kinds leave unexplained."""

    kinds: Backend
    trees: ExtraTrees = ExtraTrees(trees=60)  # noqa: RUF009 -- frozen
    name: str = "trees_on_remainder"

    def fit(self, features: FeatureTable, targets: Targets, seed: int) -> FittedTrees:
        """Fits the kinds, then the trees; only the trees are kept."""
        explained = self.kinds.fit(features, targets, seed).predict(features)
        back = np.linalg.lstsq(targets.components, targets.quality, rcond=None)[0]
        left = replace(
            targets, components=targets.components - explained, quality=targets.quality - explained @ back
        )
        return self.trees.fit(features, left, seed)


@dataclass(frozen=True, slots=True)
class Recipe:
    """What the two artifacts that ship differ in.

    Attributes:
        artifact, card: files to write.
        script: that writes them.
        title: of the card.
        opening: its second paragraph.
        backends: made of the prompts with declared gains.
        encoder: whether the artifact reads what the static encoder makes of requests.
        remembered: how many rows trained on it remembers; None is as many as artifacts do.
    """

    artifact: Path
    card: Path
    script: str
    title: str
    opening: str
    backends: Callable[[Auxiliary], tuple[Backend, ...]]
    encoder: bool = True
    remembered: int | None = None


def with_encoder(other: Auxiliary) -> tuple[Backend, ...]:
    """Steps, kinds by embedding and cues, trees on what the kinds leave."""
    kinds = Kinds(other)
    return Steps(), kinds, Remainder(kinds)


DEFAULT = Recipe(
    artifact=ROOT / "python/tiny_dancer/data/default.safetensors",
    card=ROOT / "docs/model-cards/default.md",
    script="recipes/default_artifact.py",
    title="the default artifact",
    opening="""Routes between two roles, `weak` and `strong`, which you map to your models:
`Router.load(models={"weak": "…", "strong": "…"})`.""",
    backends=with_encoder,
)


def train(
    recipe: Recipe, outcomes: Outcomes, table: npt.NDArray[np.str_], other: Auxiliary, created: str = ""
) -> Fitted:
    """Trains with whole tasks as groups; tables weigh as the root of their rows."""
    tasks = np.unique(np.array(outcomes.task), return_inverse=True)[1].astype(np.int64)
    _, place, count = np.unique(table, return_inverse=True, return_counts=True)
    return fit(
        with_(outcomes, group=tasks, weight=(count**-0.5)[place]),
        seed=SEED,
        families=[(backend,) for backend in recipe.backends(other)],
        encoder=recipe.encoder,
        created=created,
    )


def first_tasks(outcomes: Outcomes) -> npt.NDArray[np.int64]:
    """The rows that stay where kin (a question in two tables) counts only in the first of its tasks.

    Else one question in two tasks would make one task of them, and few would be left to leave out.
    """
    assert outcomes.features is not None
    tasks = np.unique(np.array(outcomes.task), return_inverse=True)[1]
    _, first, kin = np.unique(assign_groups(outcomes.features), return_index=True, return_inverse=True)
    return np.flatnonzero(tasks == tasks[first][kin])


def gain(router: Router, outcomes: Outcomes) -> Floats:
    """Expected quality of strong less weak."""
    assert outcomes.features is not None
    scores = router.route_features(outcomes.features).scores.astype(np.float64)
    return scores[:, 1] - scores[:, 0]


SMALLEST_GAP = 0.02
"""Below this mean gain of strong over weak there is nothing to recover: a share of it is noise."""


def figures(router: Router, outcomes: Outcomes) -> dict[str, str]:
    """APGR (RouteLLM's ten bins) with its paired 95 % interval, that of prompt length, and their difference."""
    assert outcomes.features is not None
    weak, strong = outcomes.quality.T
    gap = float((strong - weak).mean())
    found = {"rows": f"{len(outcomes):,}", "gap": f"{gap:.3f}"}
    if gap < SMALLEST_GAP:
        return found | dict.fromkeys(("APGR", "prompt length", "difference"), "no gap to recover")
    own = PairScorer(gain(router, outcomes), weak, strong)
    length = PairScorer(outcomes.features.tokens.astype(np.float64), weak, strong)

    def statistics(weights: Floats) -> Floats:
        return np.stack([own.figures(weights).apgr_binned, length.figures(weights).apgr_binned], axis=1)

    boot = paired_bootstrap(statistics, len(outcomes), group=outcomes.group, seed=SEED)

    def words(interval: Any) -> str:
        if not np.isfinite([interval.low, interval.high]).all():  # a gap that may be 0 in some resamples
            return f"{interval.estimate:.3f} [not determined]"
        return f"{interval.estimate:.3f} [{interval.low:.3f}, {interval.high:.3f}]"

    return found | {
        "APGR": words(boot.interval(0)),
        "prompt length": words(boot.interval(1)),
        "difference": words(boot.interval(0, minus=1)),
    }


def strong_share(router: Router, features: FeatureTable) -> float:
    """Share of requests that the policy in force sends to strong."""
    return float((router.route_features(features).choice == 1).mean())


def make(recipe: Recipe, created: str) -> None:
    """Trains, judges, writes."""
    other = auxiliary()
    tables = by_role()
    everything = joined(list(tables.values()))
    table = np.repeat(list(tables), [len(each) for each in tables.values()])
    kept = first_tasks(everything)
    everything, table = everything.rows(kept), table[kept]
    fold = grouped_folds(everything.group, 10, SEED)
    training = np.flatnonzero(fold > 1)
    fitted = train(recipe, everything.rows(training), table[training], other, created)
    print(fitted.explained)
    # The artifact's memory of its rows takes more for kin than groups do (questions of one form): held out are
    # those it does not know.
    assert everything.features is not None
    unknown = ~training_rows(_core.read_header(fitted.artifact), everything.features).rows
    certifying, judged = np.flatnonzero((fold == 1) & unknown), (fold == 0) & unknown
    artifact = remembering(fitted, recipe.remembered)
    try:
        artifact = calibrate(
            artifact,
            everything.rows(certifying),
            max_quality_loss=QUALITY_LOSS,
            confidence=CONFIDENCE,
            date=created,
        ).artifact
    except NotCertifiedError as error:
        print(f"shipped without a certificate: {error}")

    held_out = everything.rows(np.flatnonzero(judged))
    router = Router(artifact)
    assert held_out.features is not None
    held = {"all tables": figures(router, held_out)}
    held |= {
        kind: figures(router, everything.rows(np.flatnonzero(judged & np.isin(table, names))))
        for kind, names in KINDS.items()
    }
    decision = router.route_features(held_out.features).choice
    policy = {
        "strong calls": f"{np.mean(decision == 1):.3f}",
        "mean quality": f"{held_out.quality[np.arange(len(held_out)), decision].mean():.4f}",
        "always strong": f"{held_out.quality[:, 1].mean():.4f}",
        "always weak": f"{held_out.quality[:, 0].mean():.4f}",
    }
    metrics = {"APGR": held["all tables"]["APGR"], **policy}
    artifact = with_policies(artifact, everything.rows(certifying), metrics)
    assert len(artifact) <= LARGEST, f"{len(artifact):,} bytes exceed {LARGEST:,}"
    recipe.artifact.write_bytes(artifact)

    away, given = {}, {}
    for kind, names in KINDS.items():
        outside = np.flatnonzero(~np.isin(table, names))
        inside = everything.rows(np.flatnonzero(np.isin(table, names)))
        blind = train(recipe, everything.rows(outside), table[outside], other).artifact
        away[kind] = figures(Router(blind), inside)
    unseen = {name: ranked_roles(name) for name in ("zeroeval", "shaberi")}
    for name, whole in unseen.items():
        for task in dict.fromkeys(whole.task):
            part = whole.rows(np.flatnonzero(np.array(whole.task) == task))
            away[f"{name}: {task.rpartition('__')[2]}"] = figures(router, part)
    for name, whole in {**tables, **unseen}.items():
        assert whole.features is not None
        weak, strong = whole.quality.T
        share = strong_share(router, whole.features)
        given[name] = {"strong calls": f"{share:.2f}", "gap": f"{(strong - weak).mean():.3f}"}
    category = categories()
    for name, features in category.items():
        given[f"prompts: {name}"] = {"strong calls": f"{strong_share(router, features):.2f}", "gap": "unknown"}
    recipe.card.write_text(card(recipe, artifact, held, policy, away, given))
    print(f"{recipe.artifact}: {len(artifact):,} bytes\n{recipe.card}")


def remembering(fitted: Fitted, most: int | None) -> bytes:
    """The artifact with a memory of so many of the rows it was trained on; None leaves it as it is."""
    if most is None:
        return fitted.artifact
    header = _core.read_header(fitted.artifact)
    assert fitted.outcomes.features is not None
    seen = remember(fitted.outcomes.features, most=most)
    return _core.with_header(fitted.artifact, {**header, "training": {**header["training"], "rows_seen": seen}})


def with_policies(artifact: bytes, outcomes: Outcomes, metrics: dict[str, str]) -> bytes:
    """The artifact with its metrics, and with policies around the one in force.

    ``balanced`` is the one in force, ``quality`` always strong, and ``cheapest`` makes half as many strong calls
    as ``balanced`` on these rows.
    """
    header = {**_core.read_header(artifact), "metrics": metrics}
    in_force = header["policy"]
    if in_force["kind"] == "threshold":
        gains = gain(Router(artifact), outcomes)
        half = float(np.quantile(gains, 1 - (gains >= in_force["threshold"]).mean() / 2))
        header["policies"] = {
            "in_force": "balanced",
            "quality": {"kind": "constant", "model": header["best_constant"]},
            "balanced": in_force,
            "cheapest": {**in_force, "threshold": half},
        }
    return with_self_checks(_core.with_header(artifact, header))


def categories() -> dict[str, FeatureTable]:
    """Prompts by kind of task, those that may not ship: nothing was trained on them."""
    from pyarrow import parquet

    rows: dict[str, list[str]] = parquet.read_table(SHARED / "task_categories_train.parquet").to_pydict()
    kept = [place for place, licence in enumerate(rows["licence"]) if NOT_SHIPPED.search(licence)]
    features = featurise([rows["text"][place] for place in kept], None, None)
    category = np.array([rows["category"][place] for place in kept])
    return {str(each): features.rows(np.flatnonzero(category == each)) for each in np.unique(category)}


def card(
    recipe: Recipe,
    artifact: bytes,
    held: dict[str, dict[str, str]],
    policy: dict[str, str],
    away: dict[str, dict[str, str]],
    given: dict[str, dict[str, str]],
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
        f"strong is below {found['epsilon']:g} ({found['rows']:,} held-out groups). It holds for the models of\n"
        "the table below, on requests like these; mapping a role to another model takes it out of every decision."
    )
    in_force = ", ".join(f"{name} {value}" for name, value in policy.items())
    who = "\n".join(
        f"| {name} | {', '.join(weak)} | {', '.join(strong)} |" for name, (weak, strong) in ROLES.items()
    )
    declared = ", ".join(f"{name} {value:g}" for name, value in DECLARED.items())
    name = recipe.artifact.stem
    return f"""# Model card: {recipe.title}

Written by `python {recipe.script}`; do not edit.

{recipe.opening} {len(artifact):,} bytes; backends:
{", ".join(training["backends"])}; trained on {training["rows"]:,} rows, seed {training["seed"]}.
{certificate}

**The share of calls its threshold gives depends on your traffic.** Set the share you want, from 200 prompts
without any labels: `tiny-dancer calibrate {name} PROMPTS --share 0.3 --out mine.safetensors`; or let it follow
the traffic: `Router.load({"" if name == "default" else f'"{name}"'}).follow_share("strong", 0.3)`.

## Data
A role's quality on a request is the mean over the models that play it.

| table | weak | strong |
|---|---|---|
{who}

mmlu and gsm8k outcomes: RouteLLM (Apache-2.0), questions MMLU and GSM8K (MIT). llmrouter: LLMRouter (MIT). bfcl:
Berkeley Function Calling Leaderboard (Apache-2.0). Beside them {auxiliary_rows():,} prompts of task categories,
whose licences allow it, for which no outcomes exist; their gains are **declared by kind, not measured**:
{declared}
(more for prompts collected as hard). The file holds weights, no text.

## Held-out figures
The rows of a tenth of the groups, neither trained nor calibrated on. Rows that are kin (near duplicates, shared
passages) are one group, also across tables: gsm8k and llmrouter share questions. Rows that nearly equal some
trained on are left out. 95 % paired bootstrap intervals
over groups. `gap` is the quality of always strong less that of always weak. APGR as RouteLLM computes it: .5 is a
random mix of the two roles, 1 the quality of always strong at no strong call.

{table(held)}

The policy in force, on the same rows: {in_force}.
Multiple-choice tables reward guessing: a weak model that guesses right counts as right.

## What it is worth on kinds of requests it has not seen
Each kind predicted by a router made in the same way from the others. zeroeval (15 models) and shaberi (169, in
Japanese) are predicted by this very artifact, which never saw them; there weak and strong are the worst and best
third of the models.

{table(away)}

Where the interval of an APGR includes .5 it orders requests of that kind no better than chance, and where the
difference to prompt length includes 0, no better than their length: train on your own outcomes, a few hundred rows
help. What it does give there is an order between kinds, and a dial that keeps its share.

## What its threshold gives
Share of strong calls under the policy in force, by table (mostly rows trained on, but for zeroeval and shaberi),
and by kind of prompt, on prompts nothing was trained on:

{table(given)}
"""


def auxiliary_rows() -> int:
    """How many prompts have a declared gain."""
    return len(auxiliary().gain)


def created(default: str) -> str:
    """The date to record, from the command line."""
    parser = argparse.ArgumentParser(description="Train an artifact that ships, and write its model card.")
    parser.add_argument("--created", default=default, help="date to record")
    return str(parser.parse_args().created)


if __name__ == "__main__":
    make(DEFAULT, created("2026-11-30"))
