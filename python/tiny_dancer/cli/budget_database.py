"""What the `budget` commands share."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiny_dancer.errors import BudgetError
from tiny_dancer.names import hint, near

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tiny_dancer.budgets import Standing
    from tiny_dancer.storage import ApiKey, Budget, Storage

Target = Annotated[
    str,
    typer.Argument(
        metavar="SCOPE[=SUBJECT]",
        help="What it is for: all, or a key, user, team, agent, model, route, project or tag: team=research.",
    ),
]
Period = Annotated[
    str | None,
    typer.Option(
        help="day, week, month, year, a length such as 12h or 30d, or a window that moves with the clock: "
        "'rolling 30d'. Absent: once, for ever."
    ),
]
Soft = Annotated[
    bool, typer.Option("--soft", help="It refuses nothing: spent, it leaves all models but the strongest.")
]


def target_of(text: str, keys: Iterable[ApiKey]) -> tuple[str, str]:
    """Scope and subject of ``team=research``; a key may be given by name, and its id is the subject.

    Raises:
        AccessError: no key is called so.
    """
    from tiny_dancer.gateway.access.keys import find_key

    scope, _, subject = text.partition("=")
    scope, subject = scope.strip(), subject.strip()
    return scope, find_key(keys, subject).id if scope == "key" and subject else subject


def spent_before(storage: Storage, budget: Budget, now: float) -> float:
    """USD that the log has of a budget's present period, or of its window."""
    from tiny_dancer.storage.periods import PARTS, period, rolling

    part = rolling(budget.period)
    since = now - part * PARTS / 1000 if part else period(budget.period, budget.created_at, now)[0]
    if budget.starts_at is not None:
        since = max(since, budget.starts_at)
    if not budget.in_force(now):
        return 0.0
    where = {} if budget.scope == "all" else {budget.scope: budget.subject}
    found = storage.request_summary(since=since, where=where, percentiles=False)
    return sum(each.spent for each in found)


def find_budget(budgets: Iterable[Budget], scope: str, subject: str, period: str | None, soft: bool) -> Budget:
    """The budget meant: of several of one subject that of the period and kind given.

    Raises:
        BudgetError: there is none, or several.
    """
    from tiny_dancer.storage.periods import check_period

    known = list(budgets)
    found = [each for each in known if (each.scope, each.subject) == (scope, subject)]
    if not found:
        text = named(scope, subject)
        like = near(text, [named(each.scope, each.subject) for each in known])
        remedy = f"did you mean {', '.join(like)}?" if like else "`tiny-dancer budget status` lists them"
        raise BudgetError("budget", text, f"there is none: {remedy}")
    if period is not None:
        wanted = check_period("period", period)
        found = [each for each in found if each.period == wanted]
    # A soft one may stand beside a hard one of the same period: that is meant where nothing is said.
    if soft or any(each.kind == "hard" for each in found):
        found = [each for each in found if each.kind == ("soft" if soft else "hard")]
    if len(found) == 1:
        return found[0]
    if not found:
        raise BudgetError("budget", named(scope, subject), "it has none of this period and kind")
    listed = ", ".join(f"{each.period or 'for ever'} ({each.kind})" for each in found)
    raise BudgetError("budget", named(scope, subject), f"it has {len(found)}, say which by --period: {listed}")


def check_scope(scope: str) -> None:
    """Refuses what is no scope.

    Raises:
        BudgetError: it is none; the nearest is named.
    """
    from tiny_dancer.storage.budgets import SCOPES

    if scope not in SCOPES:
        raise BudgetError("scope", scope, f"{hint(scope, SCOPES)}The scopes are {', '.join(SCOPES)}")


def find_target(standings: list[Standing], target: str, keys: Iterable[ApiKey]) -> list[Standing]:
    """Those of a scope, or of one subject of it.

    Raises:
        BudgetError: there is no such scope, or no budget of that subject.
        AccessError: no key is called so.
    """
    scope, subject = target_of(target, keys)
    check_scope(scope)
    found = [each for each in standings if each.budget.scope == scope and subject in ("", each.budget.subject)]
    if subject and not found:
        raise BudgetError("budget", target, "there is none in force; `tiny-dancer budget status` lists them")
    return found


def named(scope: str, subject: str) -> str:
    """As it is given: ``team=research``, ``all``."""
    return f"{scope}={subject}" if subject else scope


def shown(budget: Budget, names: dict[str, str]) -> str:
    """As people know it: a key by its name."""
    return named(
        budget.scope, names.get(budget.subject, budget.subject) if budget.scope == "key" else budget.subject
    )


def described(standing: Standing, names: dict[str, str]) -> dict[str, Any]:
    """All of how a budget stands, as JSON values."""
    from tiny_dancer.gateway.access.keys import written

    budget = standing.budget
    return {
        "id": budget.id,
        "scope": budget.scope,
        "subject": budget.subject or None,
        "name": names.get(budget.subject) if budget.scope == "key" else None,
        "period": budget.period,
        "kind": budget.kind,
        "limit": budget.limit,
        "spent": standing.spent,
        "reserved": standing.reserved,
        "left": standing.left,
        "started": written(standing.start) if standing.start > 0 else None,
        "starts_anew": None if math.isinf(standing.end) else written(standing.end),
    }
