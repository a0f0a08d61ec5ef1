"""`tiny-dancer db stats`."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from tiny_dancer.cli.arguments import Json
from tiny_dancer.cli.db_database import Database
from tiny_dancer.cli.output import print_json, say
from tiny_dancer.errors import OptionError

HELP = """Show what a database holds: candidates, decisions, cost, latency, success, requests of a gateway.

Nothing is changed; the database, its folder and its disk may be read-only.

Example: tiny-dancer db stats agent.db --days 7"""

Days = Annotated[
    float | None, typer.Option(help="Only decisions, outcomes, feedback and requests of the last so many days.")
]


def stats(database: Database, days: Days = None, json: Json = False) -> None:
    from tiny_dancer.storage import open_storage

    if days is not None and not 0 < days < float("inf"):
        raise OptionError("days", days, "give a number of days above 0")
    since = None if days is None else max(time.time() - 86_400 * days, 0.0)
    with open_storage(database, read_only=True, mirror=False) as storage:
        found = storage.get_statistics(since=since)
    if json:
        print_json(found)
        return
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in found.by_kind.items())
    lines = [f"{found.candidates:,} candidates", f"{found.routes:,} decisions{f' ({kinds})' if kinds else ''}"]
    if found.light_share is not None:
        levels = ", ".join(f"{count:,} at {level}" for level, count in found.by_level.items())
        lines.append(f"light model: {found.light_share:.1%}; fallback levels: {levels}")
        lines.append(f"expected cost: {found.cost:.6g} USD; without routing: {found.baseline_cost:.6g} USD")
    if found.latency_p50_us is not None:
        lines.append(
            f"latency: {found.latency_p50_us:.1f} µs median, {found.latency_p90_us:.1f} µs 90th, "
            f"{found.latency_p99_us:.1f} µs 99th percentile"
        )
    if found.requests:
        lines.append(f"{found.requests:,} requests through the gateway; see tiny-dancer savings")
    lines.append(f"{found.feedback:,} feedback" + _mean(", mean score", found.success_rate))
    lines.append(f"{found.outcomes:,} outcomes" + _mean(", mean quality", found.mean_quality))
    say(*lines)


def _mean(words: str, value: float | None) -> str:
    return "" if value is None else f"{words} {value:.3f}"
