"""`tiny-dancer budget remove`."""

from __future__ import annotations

from tiny_dancer.cli.budget_database import Period, Soft, Target, find_budget, shown, target_of
from tiny_dancer.cli.keys_database import DEFAULT, Database
from tiny_dancer.cli.output import say

HELP = """Remove a budget: nothing is refused for it any more. A gateway that is running knows within seconds. What
was spent of it stays on record, and counts where it is set again within the period.

Example: tiny-dancer budget remove team=research --period month"""


def remove(target: Target, period: Period = None, soft: Soft = False, database: Database = DEFAULT) -> None:
    from tiny_dancer.storage import open_storage
    from tiny_dancer.storage.opening import without_password

    with open_storage(database, create=False, mirror=False) as storage:
        keys = storage.api_keys()
        budget = find_budget(storage.budgets(), *target_of(target, keys), period, soft)
        storage.delete_budget(budget.id)
    name = shown(budget, {key.id: key.name for key in keys})
    where = without_password(database)
    say(f"{where}: the {budget.kind} budget of {name} ({budget.period or 'for ever'}) is removed")
