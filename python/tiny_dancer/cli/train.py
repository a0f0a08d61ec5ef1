"""`tiny-dancer train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from tiny_dancer.cli.arguments import Models, Prices, Scale, Seed, Tables, listed, priced, scaled
from tiny_dancer.cli.output import check_target, progress, say, warn, write_file

if TYPE_CHECKING:
    from tiny_dancer.training.fit import Fitted
    from tiny_dancer.training.policy import PolicyName

HELP = """Train a router on outcomes tables and write the artifact.

What models cost is taken from the table. Without costs quality alone decides among more than two models, unless
--prices says what they cost; of two the better is taken as the dearer one.

Example: tiny-dancer train outcomes.parquet --out router.safetensors
Example: tiny-dancer train graded.csv --out router.safetensors --prices small=0.15/0.6/300 --prices big=2/8/300"""


_OUT_OF_REACH = 100
"""Times the rows there are: that many more nobody will collect."""


def why_constant(fitted: Fitted) -> list[str]:
    """What it would take to leave the best constant, where the policy in force stays with it."""
    if fitted.policy.kind != "constant" or not fitted.chosen:
        return []
    found, needed = fitted.policies, fitted.policies.units_needed()
    if needed is None:
        return ["  no policy is expected to be as good as it on rows like these"]
    if needed <= found.units:
        return ["  others are as good, and none of them is cheaper"]
    if needed > _OUT_OF_REACH * found.units:
        return ["  no policy gains enough for more rows like these to show it"]
    return [
        f"  the best policy is estimated to gain {found.best.gain:.4f} ± {found.best.error:.4f} in quality, which "
        f"{found.units:,} independent rows do not show; about {needed:,} would"
    ]


def _next(tables: list[Path], out: Path) -> list[str]:
    """The commands that come after."""
    stem = tables[0].with_suffix("")
    parts = " ".join(f"--out-{part} {stem}-{part}.parquet" for part in ("train", "calibrate", "test"))
    certified = out.with_name(f"{out.stem}-certified{out.suffix}")
    return [
        "next, with rows that were not trained on (HELD_OUT for a certificate, OTHERS to judge it):",
        f"  tiny-dancer calibrate {out} HELD_OUT --max-quality-loss 0.05 --out {certified}",
        f"  tiny-dancer report OTHERS --artifact {certified} --out report.html",
        f'  tiny-dancer route --artifact {certified} "a request"',
        f"none kept? tiny-dancer data split {tables[0]} {parts}",
    ]


def train(
    tables: Tables,
    out: Annotated[Path, typer.Option(help="Where to write the artifact.")],
    models: Models = None,
    scale: Scale = None,
    seed: Seed = 0,
    created: Annotated[str, typer.Option(help="Date to record; the tool reads no clock.")] = "",
    augment: Annotated[
        bool,
        typer.Option("--augment", help="Train on copies with typos and Markdown too, if held-out rows say so."),
    ] = False,
    prices: Prices = None,
    policy: Annotated[
        str, typer.Option(help="The policy in force: quality, balanced (no quality given up) or cheapest.")
    ] = "balanced",
    encoder: Annotated[
        bool, typer.Option(help="Without: an artifact for where the static encoder (7.8 MB) is too large.")
    ] = True,
    backends: Annotated[
        str | None,
        typer.Option(help="Consider these only, separated by commas; boosted_trees and fastgrnn only if named."),
    ] = None,
) -> None:
    from tiny_dancer import _core
    from tiny_dancer.training.api import fit, read_outcomes
    from tiny_dancer.training.backends import families_named
    from tiny_dancer.training.fit import steps

    check_target(out)
    names = listed(backends, "backends")
    total = steps(families_named(names)) * (2 if augment else 1)
    outcomes = read_outcomes([str(table) for table in tables], models=listed(models), scale=scaled(scale))
    with progress(total) as step:
        fitted = fit(
            outcomes,
            seed=seed,
            created=created,
            augment=augment,
            backends=names,
            policy=cast("PolicyName", policy),
            prices=priced(prices),
            encoder=encoder,
            progress=step,
        )
    write_file(out, fitted.artifact)
    learned = ", ".join(fitted.chosen) or "nothing: no backend explains held-out rows"
    lines = [
        f"{out}: {len(fitted.artifact):,} bytes, {len(outcomes):,} rows, {len(outcomes.models)} models",
        f"models: {', '.join(outcomes.models)}",
        f"learned: {learned}",
        f"policy: {policy}: {fitted.policy.kind}, best constant {outcomes.models[fitted.policy.best_constant]}",
        *why_constant(fitted),
        "expected cost: "
        + ", ".join(f"{name} {cost:.0%}" for name, cost in fitted.policies.cost.items())
        + " of it",
    ]
    if augment:
        copies = _core.read_header(fitted.artifact)["training"].get("copies")
        lines.append(f"copies: {'kept, ' + ' and '.join(copies) if copies else 'not kept, they do not help here'}")
    for name, index in ((name, index) for index, name in enumerate(outcomes.models)):
        share = float((fitted.decision == index).mean())
        if share:
            lines.append(f"  {name}: {share:.1%} of held-out rows")
    say(*lines, *_next(tables, out))
    for each in fitted.warnings:
        warn(f"warning: {each}")
