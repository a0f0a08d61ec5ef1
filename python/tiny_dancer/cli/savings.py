"""`tiny-dancer savings`."""

from __future__ import annotations

import math
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from tiny_dancer.cli.arguments import Json
from tiny_dancer.cli.db_database import Database
from tiny_dancer.cli.output import check_target, console, print_json, say, write_file
from tiny_dancer.cli.requests import decimals_of, key_names, moment, money, short, verdict
from tiny_dancer.errors import OptionError
from tiny_dancer.evaluation.terminal import FittedTable
from tiny_dancer.extras import require

if TYPE_CHECKING:
    from tiny_dancer.storage import RequestSummary

HELP = """What a gateway spent, and what the strongest model alone would have cost.

Spend and baseline are over the same requests: those with a price for both. How many have none is said.

Example: tiny-dancer savings gateway.db --by model --days 30 --plot savings.html"""


class By(StrEnum):
    """What to sum up by; a route is a router and what in it decided."""

    DAY = "day"
    MODEL = "model"
    KEY = "key"
    ROUTE = "route"


def savings(
    database: Database,
    by: Annotated[By, typer.Option(help="Sum up by UTC day, model that served, API key, or route.")] = By.DAY,
    days: Annotated[float | None, typer.Option(help="Only requests of the last so many days.")] = None,
    since: Annotated[
        str | None, typer.Option(help="Only requests from this UTC date on, 2026-11-01, or of the last 7d.")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw spend, baseline and savings by day: .svg, .png or .html.")
    ] = None,
    json: Json = False,
) -> None:
    require("apsw", *(["matplotlib"] if plot is not None else []))
    from tiny_dancer.cli.savings_plot import FORMATS, draw
    from tiny_dancer.evaluation.savings import savings as savings_of
    from tiny_dancer.storage import open_storage
    from tiny_dancer.storage.opening import without_password

    start = _start(days, since)
    if plot is not None:
        check_target(plot)
        if plot.suffix.lower() not in FORMATS:
            raise OptionError("plot", plot, f"give a file that ends in {', '.join(FORMATS)}")
    with open_storage(database, read_only=True, mirror=False) as storage:
        whole = storage.request_summary(since=start, percentiles=False)
        groups = storage.request_summary(by=_DIMENSIONS[by], since=start, percentiles=False)
        by_day = storage.request_summary(by="day", since=start, percentiles=False)
        names = key_names(storage) if by is By.KEY else {}
    known = [each for each in by_day if each.compared]
    found = savings_of([each.cost for each in known], [each.baseline_cost for each in known]) if known else None
    if json:
        print_json(
            {
                "by": by.value,
                "since": start,
                "total": _plain(whole),
                "over_days": found,
                "groups": [_plain((g,)) for g in groups],
            }
        )
    elif not whole:
        say(f"{without_password(database)}: no requests{'' if start is None else ' in this time'}")
    else:
        console().print(_table(by, groups, whole[0], names))
        say(*verdict(whole[0]))
        if found is not None and math.isfinite(found.saved.low):
            ends = f"{money(found.saved.low)} to {money(found.saved.high)}"
            shares = f"{found.share.low:.1%} to {found.share.high:.1%}"
            say(f"over {found.days} days: {ends} saved, {shares} (95 %, as days differ)")
    if plot is not None and whole:
        write_file(plot, draw(plot.suffix.lower(), by_day, verdict(whole[0])))
        if not json:
            say(f"{plot}: written")


def _start(days: float | None, since: str | None) -> float | None:
    """UTC seconds from which on requests count."""
    if days is None:
        return moment("since", since, time.time())
    if since is not None:
        raise OptionError("since", since, "give --since or --days, not both")
    if not 0 < days < math.inf:
        raise OptionError("days", days, "give a number of days above 0")
    return max(time.time() - 86_400 * days, 0.0)


def _plain(summaries: tuple[RequestSummary, ...]) -> dict[str, Any] | None:
    """The first of them as JSON values, or None."""
    for each in summaries:
        figures = msgspec.to_builtins(each)
        del figures["latency_percentiles"], figures["ttft_percentiles"]  # not asked for
        return {**figures, "group": _name(each), "saved": each.saved, "saved_share": each.saved_share}
    return None


def _name(summary: RequestSummary) -> str:
    """Of its group, in one text: a route is what decided, after its router's name."""
    return "/".join(each for each in summary.group if each)


def _table(
    by: By, groups: tuple[RequestSummary, ...], total: RequestSummary, names: dict[str, str]
) -> FittedTable:
    decimals = decimals_of(max(total.cost, total.baseline_cost))
    shown = [place for place, title in enumerate(_HEADERS) if total.feedback > 0 or title != "score"]
    rows = [(names.get(_name(each), _name(each)) or _NOBODY[by], _cells(each, decimals)) for each in groups]
    rows.append(("all", _cells(total, decimals)))
    return FittedTable(
        (by.value, *(_HEADERS[place] for place in shown)),
        [(name, *(cells[place] for place in shown)) for name, cells in rows],
        total=True,
    )


_HEADERS = ("requests", "failed", "tokens in", "out", "spent", "strongest", "saved", "", "unpriced", "score")
_DIMENSIONS = {By.DAY: "day", By.MODEL: "model", By.KEY: "key", By.ROUTE: ("router", "routed_by")}
_NOBODY = {By.DAY: "", By.MODEL: "(none served)", By.KEY: "(no key)", By.ROUTE: "(not routed)"}


def _cells(summary: RequestSummary, decimals: int) -> list[str]:
    """One for each of ``_HEADERS``."""
    amounts = (summary.cost, summary.baseline_cost, summary.saved)
    share = summary.saved_share
    return [
        f"{summary.requests:,}",
        f"{summary.errors:,}",
        short(summary.input_tokens),
        short(summary.output_tokens),
        *(f"{amount:,.{decimals}f}" if summary.compared else "" for amount in amounts),
        f"{share:.1%}" if summary.compared and share is not None else "",
        f"{summary.unpriced:,}",
        "" if summary.score is None else f"{summary.score:.2f}",
    ]
