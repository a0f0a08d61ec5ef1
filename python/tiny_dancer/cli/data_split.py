"""`tiny-dancer data split`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tiny_dancer.cli.arguments import Seed
from tiny_dancer.cli.output import check_table, say, write_file
from tiny_dancer.errors import OptionError

HELP = """Split a table into rows to train on, to test on and, where asked for, to calibrate on.

Equal requests, near duplicates, shared passages, and rows of one `group` or `sample_id` lie in one part. The parts
have the table's own rows and columns, labels untouched. With --by-time the latest rows are tested on: a group goes
where its latest row does, so that nothing trained on is later than what is judged.

Example: tiny-dancer data split outcomes.csv --out-train train.csv --out-test test.csv --share 0.3"""


def split(
    table: Annotated[Path, typer.Argument(help="Outcomes table of any form; its labels are not looked at.")],
    out_train: Annotated[Path, typer.Option(help="Table to write: rows to train on.")],
    out_test: Annotated[Path, typer.Option(help="Table to write: rows to test on.")],
    out_calibrate: Annotated[Path | None, typer.Option(help="Table to write: rows to calibrate on.")] = None,
    share: Annotated[
        float | None,
        typer.Option(help="Of the rows in each part that is not trained on; else 0.3, or 0.2 in each of two."),
    ] = None,
    by_time: Annotated[
        str | None,
        typer.Option(metavar="COLUMN", help="Column of numbers, dates or ISO 8601; the latest are last."),
    ] = None,
    seed: Seed = 0,
) -> None:
    from tiny_dancer.routing import featurise
    from tiny_dancer.training.data.split import split_table

    outs = {"train": out_train, **({"calibrate": out_calibrate} if out_calibrate else {}), "test": out_test}
    for name, path in outs.items():
        check_table(path, f"out-{name}")
    if len({path.resolve() for path in (table, *outs.values())}) <= len(outs):
        shown = ", ".join(map(str, outs.values()))
        raise OptionError("out", shown, "give each part, and the table, a file of its own")
    held_out = len(outs) - 1
    shares = [share if share is not None else 0.3 if held_out == 1 else 0.2] * held_out
    found = split_table(table, shares, featurise=featurise, by_time=by_time, seed=seed)
    contents = {name: found.content(part, path) for part, (name, path) in enumerate(outs.items())}
    for part, (name, path) in enumerate(outs.items()):
        write_file(path, contents[name])
        inside = found.part == part
        groups = len(set(found.group[inside].tolist()))
        say(f"{path}: {int(inside.sum()):,} rows to {name} on, in {groups:,} groups")
