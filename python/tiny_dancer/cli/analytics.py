"""`tiny-dancer analytics`."""

from __future__ import annotations

import io
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from tiny_dancer.cli.analytics_files import as_csv, as_parquet, as_plain
from tiny_dancer.cli.analytics_text import TIMES, Span, most_spent, show_all, show_groups
from tiny_dancer.cli.db_database import Database
from tiny_dancer.cli.output import as_json, check_target, console, say, write_file
from tiny_dancer.cli.requests import key_names, moment
from tiny_dancer.errors import OptionError
from tiny_dancer.extras import require

if TYPE_CHECKING:
    from tiny_dancer.storage import RequestSummary

HELP = """What a gateway's requests came to, over all or by dimensions: how many, failed, spent and saved, latency,
confidence, feedback.

Dimensions: day, hour, model, upstream, endpoint, key, asked, router, routed_by, variant, role, status, error,
agent, route, user, team, project, tag, guarantee.
Percentiles are exact: the least latency that at least so many of the requests reach. Times are UTC.

Example: tiny-dancer analytics gateway.db --by model,day --since 7d --filter status=200 --format csv"""


class Format(StrEnum):
    """How figures are written."""

    TEXT = "text"
    JSON = "json"
    CSV = "csv"
    PARQUET = "parquet"


def analytics(
    database: Database,
    by: Annotated[
        list[str] | None,
        typer.Option(metavar="DIMENSION", help="Sum up by it: one, or several with commas; else over all."),
    ] = None,
    since: Annotated[
        str | None,
        typer.Option(help="Only requests from this UTC date or time on, 2026-11-01, or of the last 7d."),
    ] = None,
    until: Annotated[
        str | None, typer.Option(help="Only requests before this UTC date or time, or before so long ago.")
    ] = None,
    filter: Annotated[
        list[str] | None,
        typer.Option(
            metavar="DIMENSION=VALUE",
            help="Only requests of this value; repeatable: of one dimension any, of several all must hold.",
        ),
    ] = None,
    top: Annotated[
        int | None, typer.Option(min=1, help="Only so many groups: of most spending, then of most requests.")
    ] = None,
    format: Annotated[
        Format | None, typer.Option(help="Else as the name of --out ends, else a table for people.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write instead of printing.")] = None,
) -> None:
    kind = _format(format, out)
    require("apsw", *(["pyarrow"] if kind is Format.PARQUET else []))
    from tiny_dancer.storage import open_storage
    from tiny_dancer.storage.opening import without_password

    if out is not None:
        check_target(out)
    now = time.time()
    begin, end = moment("since", since, now), moment("until", until, now)
    names = tuple(name.strip() for each in by or [] for name in each.split(","))
    where = _where(filter)
    span = Span(begin, end, now)
    with open_storage(database, read_only=True, mirror=False) as storage:
        groups = storage.request_summary(by=names, since=begin, until=end, where=where)
        whole = storage.request_summary(since=begin, until=end, where=where) if names else groups
        keys: dict[str, str] = {}
        trend: tuple[RequestSummary, ...] = ()
        if kind is Format.TEXT:
            keys = key_names(storage)
            if not TIMES.intersection(names):
                trend = storage.request_summary(
                    by=(*names, span.unit), since=begin, until=end, where=where, percentiles=False
                )
    shown = most_spent(groups, top)
    if kind is Format.JSON:
        head = {"by": names, "since": begin, "until": end, "where": where}
        content = as_json({**head, **as_plain(names, whole, shown)}).encode()
    elif kind is Format.CSV:
        content = as_csv(names, shown)
    elif kind is Format.PARQUET:
        content = as_parquet(names, shown)
    elif whole:
        terminal = console() if out is None else Console(file=io.StringIO(), width=110)
        if names:
            show_groups(terminal, names, groups, shown, whole[0], trend, span, keys)
        else:
            show_all(terminal, whole[0], trend, span)
        if out is None:
            return
        content = terminal.file.getvalue().encode()  # type: ignore[attr-defined]
    else:
        future = begin is not None and begin > now
        narrowed = begin is not None or end is not None
        said = " in this time, which begins in the future" if future else " in this time" if narrowed else ""
        say(f"{without_password(database)}: no requests{said}" + (" that pass the filter" if where else ""))
        return
    if out is None:
        # For programs: UTF-8, whatever the terminal has.
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
    else:
        write_file(out, content)
        say(f"{out}: written")


def _format(asked: Format | None, out: Path | None) -> Format:
    if asked is None:
        ends = "" if out is None else out.suffix.lower().removeprefix(".")
        return Format(ends) if ends in set(Format) - {Format.TEXT} else Format.TEXT
    if asked is Format.PARQUET and out is None:
        raise OptionError("format", "parquet", "give --out as well: it is no text")
    return asked


def _where(filters: list[str] | None) -> dict[str, list[str]]:
    """Values by dimension."""
    found: dict[str, list[str]] = {}
    for each in filters or []:
        name, equals, value = each.partition("=")
        if not equals:
            raise OptionError("filter", each, "give DIMENSION=VALUE, such as model=gpt-4o")
        found.setdefault(name.strip(), []).append(value)
    return found
