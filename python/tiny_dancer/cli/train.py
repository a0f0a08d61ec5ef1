"""`tiny-dancer train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from tiny_dancer.cli.arguments import Models, Scale, Seed, Tables, listed, scaled
from tiny_dancer.cli.output import check_target, progress, say, write_file

if TYPE_CHECKING:
    from tiny_dancer.training.fit import Fitted
    from tiny_dancer.training.policy import PolicyName

HELP = """Train a router on outcomes tables and write the artifact.

Example: tiny-dancer train outcomes.parquet --out router.safetensors"""


def why_constant(fitted: Fitted) -> list[str]:
    """What it would take to leave the best constant, where the policy in force stays with it."""
    if fitted.policy.kind != "constant" or not fitted.chosen:
        return []
    found, needed = fitted.policies, fitted.policies.units_needed()
    if needed is None:
        return ["  no policy is expected to be as good as it on rows like these"]
    if needed <= found.units:
        return ["  others are as good, and none of them is cheaper"]
    return [
        f"  the best policy gains {found.gain:+.4f} ± {found.error:.4f} in quality, which {found.units:,} rows do not "
        f"show; about {needed:,} would"
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
    policy: Annotated[
        str, typer.Option(help="The policy in force: quality, balanced (no quality given up) or cheapest.")
    ] = "balanced",
    backends: Annotated[
        str | None, typer.Option(help="Consider these only, separated by commas; fastgrnn is considered if named.")
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
    ]
    if augment:
        copies = _core.read_header(fitted.artifact)["training"].get("copies")
        lines.append(f"copies: {'kept, ' + ' and '.join(copies) if copies else 'not kept, they do not help here'}")
    for name, index in ((name, index) for index, name in enumerate(outcomes.models)):
        share = float((fitted.decision == index).mean())
        if share:
            lines.append(f"  {name}: {share:.1%} of held-out rows")
    say(*lines, *_next(tables, out))
