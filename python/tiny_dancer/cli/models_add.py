"""`tiny-dancer models add`: a version to a registry, or a model to an artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiny_dancer import _core
from tiny_dancer.cli.arguments import Prices, priced
from tiny_dancer.cli.models_registry import registry
from tiny_dancer.cli.output import check_target, say, warn, write_file
from tiny_dancer.errors import OptionError

HELP = """Add an artifact to a registry as a new version, or a model to an artifact; the first argument tells
which.

FOLDER NAME ARTIFACT: the artifact is stored once it has loaded and its self-checks have held. It does not serve
until it is promoted.

ARTIFACT NAME: the artifact learns of a further model. --from gives outcomes of it, of which some dozens will do;
--like names a model it is expected to be like, which without outcomes is all that is known, and said with every
decision. Its certificate ends: it was earned with other models.

Example: tiny-dancer models add registry support router.safetensors --bump minor
Example: tiny-dancer models add router.safetensors new-model --from outcomes.csv --out router-2.safetensors
Example: tiny-dancer models add router.safetensors new --like old --prices new=2/8/300 --out r2.safetensors"""


def add(
    where: Annotated[str, typer.Argument(metavar="FOLDER|ARTIFACT", help="A registry's folder, or an artifact.")],
    name: Annotated[str, typer.Argument(help="Of the versions in the registry, or of the new model.")],
    artifact: Annotated[Path | None, typer.Argument(help="Path of an artifact, for a registry.")] = None,
    version: Annotated[
        str | None, typer.Option(help="Registry: MAJOR.MINOR.PATCH; absent, the highest is bumped.")
    ] = None,
    bump: Annotated[str | None, typer.Option(help="Registry: major, minor or patch (default).")] = None,
    note: Annotated[str | None, typer.Option(help="Registry: a remark to keep with the version.")] = None,
    table: Annotated[Path | None, typer.Option("--from", help="Model: table with its outcomes.")] = None,
    like: Annotated[
        str | None, typer.Option(help="Model: the artifact's model it is expected to be like.")
    ] = None,
    prior_rows: Annotated[
        float | None, typer.Option(help="Model: outcomes that what is known of others counts for; 10 if absent.")
    ] = None,
    prices: Prices = None,
    out: Annotated[Path | None, typer.Option(help="Model: where to write the artifact.")] = None,
) -> None:
    of_model = {"--from": table, "--like": like, "--prior-rows": prior_rows, "--prices": prices, "--out": out}
    of_registry = {"ARTIFACT": artifact, "--version": version, "--bump": bump, "--note": note}
    if where in _core.ROUTERS or Path(where).is_file():
        wrong = [option for option, value in of_registry.items() if value is not None]
        if wrong:
            remedy = f"{where} is an artifact, to which a model is added; to store it give FOLDER NAME ARTIFACT"
            raise OptionError("models add", wrong[0], remedy)
        _add_model(where, name, table, like, prior_rows, prices, out)
        return
    wrong = [option for option, value in of_model.items() if value is not None]
    if wrong:
        remedy = f"{where} is no file; give an artifact to add a model to"
        raise OptionError("models add", wrong[0], remedy)
    if artifact is None:
        raise OptionError(
            "models add", f"{where} {name}", "give FOLDER NAME ARTIFACT, or ARTIFACT NAME with --from"
        )
    notes = {} if note is None else {"note": note}
    added = registry(Path(where)).add(name, artifact, version=version, bump=bump or "patch", notes=notes)
    say(f"{name} {added.version} added ({added.kind}, {added.size:,} bytes, sha256 {added.sha256[:12]}…)")


def _add_model(
    where: str,
    name: str,
    table: Path | None,
    like: str | None,
    prior_rows: float | None,
    prices: list[str] | None,
    out: Path | None,
) -> None:
    from tiny_dancer.training.api import add_model
    from tiny_dancer.training.change import PRIOR_ROWS

    if out is None:
        raise OptionError("out", "missing", "say where to write the artifact; nothing is replaced silently")
    check_target(out)
    given = priced(prices)
    others = [each for each in given if each != name]
    if others:
        raise OptionError("prices", others[0], f"give the price of {name}; others are changed by models reprice")
    rows = PRIOR_ROWS if prior_rows is None else prior_rows
    added = add_model(where, name, table, like=like, prior_rows=rows, price=given.get(name))
    write_file(out, added.artifact)
    lines = [f"{out}: {name} added, {added.method}, {added.rows:,} rows"]
    if added.error == added.error:  # NaN where nothing could be left out
        lines.append(
            f"  squared error on rows left out {added.error:.4f}, of a constant {added.constant_error:.4f}"
        )
    say(*lines)
    for each in added.notes:
        warn(f"note: {each}")
