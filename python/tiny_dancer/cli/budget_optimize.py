"""`tiny-dancer budget optimize`."""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from tiny_dancer.cli.arguments import Json
from tiny_dancer.cli.budget_database import target_of
from tiny_dancer.cli.keys_database import DEFAULT, Database
from tiny_dancer.cli.output import console, print_json, say
from tiny_dancer.errors import OptionError
from tiny_dancer.evaluation.terminal import FittedTable

if TYPE_CHECKING:
    from tiny_dancer.evaluation.allocation import AgentShare, Allocation
    from tiny_dancer.evaluation.bootstrap import Interval
    from tiny_dancer.spending import BudgetPlan

HELP = """Give a month's budget to models or agents so that the mean quality is the highest it pays for, by what
was logged: who gets which share, what a dollar more would bring, what other budgets buy, and what the plan would
have meant for the requests of the log. Exit code 1 where the budget is not enough for the quality asked for.

Example: tiny-dancer budget optimize 500 --quality 0.85 --latency-ms 3000 --database gateway.db"""


class By(StrEnum):
    """Who answers."""

    MODEL = "model"
    AGENT = "agent"


def optimize(
    monthly_budget: Annotated[str, typer.Argument(help="USD a month, as 500 or '500 USD'.")],
    quality: Annotated[float | None, typer.Option(help="What the mean quality must reach, 0 to 1.")] = None,
    latency_ms: Annotated[
        float | None, typer.Option(help="Most milliseconds that one who answers may take on average.")
    ] = None,
    by: Annotated[By, typer.Option(help="Who answers: models, or agents.")] = By.MODEL,
    days: Annotated[float, typer.Option(help="Days of the log, up to now.")] = 30.0,
    only: Annotated[
        str | None,
        typer.Option(metavar="SCOPE=SUBJECT", help="Only requests of one key, user, team, project, tag."),
    ] = None,
    agents: Annotated[
        str | None, typer.Option(help="Database of agents, for declared qualities, prices and times.")
    ] = None,
    dealt: Annotated[
        list[str] | None,
        typer.Option(help="NAME=CHANCE it was given a request with, where they were drawn at random; repeatable."),
    ] = None,
    level: Annotated[float, typer.Option(help="Of the intervals.")] = 0.9,
    database: Database = DEFAULT,
    json: Json = False,
) -> None:
    from tiny_dancer.routing.agents import AgentRegistry
    from tiny_dancer.spending import optimize_budget
    from tiny_dancer.storage import open_storage
    from tiny_dancer.storage.budgets import usd

    registry = None
    if agents is not None:
        # What is kept of them is read once; nothing is written.
        with open_storage(agents, create=False, mirror=False, read_only=True) as kept:
            registry = AgentRegistry(storage=kept)
    with open_storage(database, create=False, mirror=False, read_only=True) as storage:
        where = None
        if only is not None:
            scope, subject = target_of(only, storage.api_keys())
            where = {scope: subject}
        found = optimize_budget(
            storage,
            usd("monthly_budget", monthly_budget),
            quality,
            latency_ms,
            by=by.value,
            days=days,
            where=where,
            registry=registry,
            dealt=_chances(dealt),
            level=level,
        )
    if json:
        print_json(found)
    else:
        _show(found, quality)
    if not found.allocation.sufficient:
        raise typer.Exit(1)


def _chances(pairs: list[str] | None) -> dict[str, float] | None:
    if not pairs:
        return None
    found = {}
    for pair in pairs:
        name, separator, text = pair.rpartition("=")
        try:
            found[name] = float(text)
        except ValueError:
            separator = ""
        if not (name and separator):
            raise OptionError("dealt", pair, "give NAME=CHANCE, such as small=0.5")
    return found


def _show(found: BudgetPlan, quality: float | None) -> None:
    plan = found.allocation
    header = (found.by, "share", "requests", "USD", "quality", "ms", "good answers / USD", "known by")
    console().print(FittedTable(header, [_row(each) for each in plan.agents], words=frozenset({0, 7})))
    if len(plan.curve) > 1:
        cells = [
            (f"{each.budget:,.4g}", f"{each.quality:.4f}", f"{each.quality_per_usd:,.4g}") for each in plan.curve
        ]
        title = "what other budgets buy"
        console().print(FittedTable(("USD a month", "quality", "good answers / USD more"), cells, title))
    say("", *sentences(found, quality))


def _row(each: AgentShare) -> tuple[str, ...]:
    gets = each.share > 0
    return (
        each.agent,
        f"{each.share:.1%}",
        f"{each.requests.estimate:,.0f}" if gets else "",
        f"{each.cost.estimate:,.4g}" if gets else "",
        _number(each.quality, 3) if gets else "",
        "" if each.latency is None else f"{1000 * each.latency.estimate:,.0f}",
        "" if each.quality_per_usd is None else f"{each.quality_per_usd:,.4g}",
        each.removed or f"{each.basis} ({each.seen:,})",
    )


def _number(interval: Interval, digits: int) -> str:
    text = f"{interval.estimate:.{digits}f}"
    if math.isnan(interval.low):
        return text
    return f"{text} ({interval.low:.{digits}f} to {interval.high:.{digits}f})"


def _usd(interval: Interval) -> str:
    text = f"{interval.estimate:,.4g}"
    if math.isnan(interval.low):
        return f"{text} USD"
    return f"{text} USD ({interval.low:,.4g} to {interval.high:,.4g})"


def sentences(found: BudgetPlan, quality: float | None) -> list[str]:
    """What the plan comes to, what it would have meant, and what nobody can know, in sentences."""
    plan = found.allocation
    lines = [
        f"about {plan.volume.estimate:,.0f} requests a month, by {found.requests:,} of the last "
        f"{found.days:.3g} days: {_usd(plan.cost)}, expected quality {_number(plan.quality, 3)}",
        _enough(plan, quality),
    ]
    replay = plan.replay
    if replay.requests:
        how = "corrected by what was seen, as agents were dealt at random" if replay.unbiased else "as expected"
        saved = replay.saved.estimate
        change = f"{abs(saved):,.4g} USD {'less' if saved >= 0 else 'more'}"
        lines.append(
            f"replayed over {replay.requests:,} requests: {_usd(replay.cost)} and quality "
            f"{_number(replay.quality, 3)}, {how}; they were answered for {_usd(replay.cost_logged)} at "
            f"{_number(replay.quality_logged, 3)}: {change}, quality {_signed(replay.gained)}"
        )
    lines += [
        f"always {each.agent}: {_usd(each.cost)} and quality {_number(each.quality, 3)}; answering them as they "
        f"were saved {_usd(each.saved)}"
        for each in replay.always
    ]
    lines += [f"not known: {each}" for each in plan.unknown]
    lines += [f"left out: {count:,} requests {why}" for why, count in found.left_out.items()]
    return lines


def _signed(interval: Interval) -> str:
    return f"{interval.estimate:+.3f} ({interval.low:+.3f} to {interval.high:+.3f})"


def _enough(plan: Allocation, quality: float | None) -> str:
    if not plan.sufficient:
        return (
            f"NOT ENOUGH for a mean quality of {quality:g}: {plan.budget:,.4g} USD reach at best "
            f"{plan.quality.estimate:.3f}, and {plan.least_budget:,.4g} USD are the least that suffice"
        )
    if quality is not None:
        return f"a mean quality of {quality:g} needs {plan.least_budget:,.4g} USD a month at least"
    if plan.quality_per_usd > 0:
        return f"one USD more a month would bring {plan.quality_per_usd:,.3g} wholly good answers"
    return "more money would bring nothing: every request has the best there is for it"
