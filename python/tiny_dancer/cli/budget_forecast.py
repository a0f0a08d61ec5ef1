"""`tiny-dancer budget forecast`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiny_dancer.cli.arguments import Json
from tiny_dancer.cli.budget_database import Period, check_scope, named, shown, target_of
from tiny_dancer.cli.keys_database import DEFAULT, Database
from tiny_dancer.cli.output import console, print_json, say
from tiny_dancer.errors import BudgetError, OptionError
from tiny_dancer.evaluation.terminal import FittedTable

if TYPE_CHECKING:
    from tiny_dancer.spending import BudgetForecast
    from tiny_dancer.storage import ApiKey, Budget

HELP = """Forecast when budgets run out, by what their requests have cost so far: with an interval, and the
probability that they do within the period. It needs 14 days of history, and says so where there are fewer.

Example: tiny-dancer budget forecast team=research --database gateway.db"""


def forecast(
    target: Annotated[
        str | None,
        typer.Argument(metavar="[SCOPE[=SUBJECT]]", help="Only these: a scope, or one subject of it."),
    ] = None,
    limit: Annotated[
        str | None, typer.Option(help="USD of a budget that is not set: what if there were one?")
    ] = None,
    period: Period = None,
    level: Annotated[float, typer.Option(help="Of the intervals.")] = 0.9,
    database: Database = DEFAULT,
    json: Json = False,
) -> None:
    from tiny_dancer.spending import forecast_budget
    from tiny_dancer.spending.forecast import in_words
    from tiny_dancer.storage import open_storage
    from tiny_dancer.storage.opening import without_password

    if limit is None and period is not None:
        raise OptionError("period", period, "give the limit of a budget that is not set, too")
    with open_storage(database, create=False, mirror=False, read_only=True) as storage:
        keys = storage.api_keys()
        budgets = _meant(storage.budgets(), target, limit, period, keys)
        found = [forecast_budget(storage, each, level=level) for each in budgets]
    names = {key.id: key.name for key in keys}
    if json:
        print_json([_described(each) for each in found])
    elif not found:
        say(f"{without_password(database)}: no budgets; see tiny-dancer budget set, or give --limit")
    else:
        header = ("budget", "period", "USD", "spent", "spent by the end", "a day", "runs out", "chance")
        console().print(FittedTable(header, [_cells(each, names) for each in found]))
        for each in found:
            say(f"{shown(each.budget, names)}: {in_words(each)}")


def _meant(
    budgets: tuple[Budget, ...],
    target: str | None,
    limit: str | None,
    period: str | None,
    keys: tuple[ApiKey, ...],
) -> list[Budget]:
    from tiny_dancer.storage import Budget

    scope, subject = ("all", "") if target is None else target_of(target, keys)
    check_scope(scope)
    if limit is not None:
        return [Budget(scope, subject, limit=limit, period=period)]  # type: ignore[arg-type]  # read as text
    if target is None:
        return list(budgets)
    found = [each for each in budgets if each.scope == scope and subject in ("", each.subject)]
    if not found:
        remedy = "there is none: set one, or give --limit to see what would become of it"
        raise BudgetError("budget", named(scope, subject), remedy)
    return found


def _cells(found: BudgetForecast, names: dict[str, str]) -> tuple[str, ...]:
    from tiny_dancer.spending.forecast import day

    then = found.spent_then
    return (
        shown(found.budget, names),
        found.budget.period or "for ever",
        f"{found.budget.limit:,.6g}",
        f"{found.spent:,.4g}",
        "" if then is None else f"{then.estimate:,.4g} ({then.low:,.4g} to {then.high:,.4g})",
        "" if found.pace is None else f"{found.pace:,.4g}",
        "" if found.runs_out is None else day(found.runs_out).removesuffix(" UTC"),
        "" if found.probability is None else f"{found.probability:.0%}",
    )


def _described(found: BudgetForecast) -> dict[str, Any]:
    from tiny_dancer.gateway.access.keys import written

    def moment(value: float | None) -> str | None:
        return None if value is None else written(value)

    return {
        "id": found.budget.id,
        "scope": found.budget.scope,
        "subject": found.budget.subject or None,
        "period": found.budget.period,
        "limit": found.budget.limit,
        "spent": found.spent,
        "left": found.left,
        "started": moment(found.start) if found.start > 0 else None,
        "ends": moment(found.end),
        "has_run_out": found.has_run_out,
        "probability": found.probability,
        "runs_out": moment(found.runs_out),
        "earliest": moment(found.earliest),
        "latest": moment(found.latest),
        "looks_until": moment(found.until),
        "spent_then": found.spent_then,
        "usd_a_day": found.pace,
        "days_of_history": found.days,
        "unpriced": found.unpriced,
        "untold": found.untold,
        "level": found.level,
        "unknown": found.unknown or None,
    }
