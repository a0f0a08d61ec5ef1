"""Puts the commands together and turns errors into one readable line."""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiny_dancer._core import __version__
from tiny_dancer.cli import (
    agents_add,
    agents_deactivate,
    agents_import,
    agents_list,
    agents_search,
    agents_stats,
    analytics,
    bench,
    budget_forecast,
    budget_optimize,
    budget_remove,
    budget_set,
    budget_status,
    calibrate,
    candidates_eval,
    candidates_import,
    candidates_learn,
    candidates_predict,
    candidates_route,
    candidates_train,
    classifier_evaluate,
    classifier_predict,
    classifier_train,
    classify,
    data_check,
    data_featurise,
    data_split,
    db_backup,
    db_plpython,
    db_restore,
    db_shell,
    db_stats,
    db_vacuum,
    demo,
    evaluate,
    gateway_check,
    gateway_init,
    gateway_run,
    inspect,
    keys_create,
    keys_list,
    keys_revoke,
    mcp,
    models_add,
    models_gc,
    models_list,
    models_promote,
    models_remove,
    models_reprice,
    models_retire,
    models_rollback,
    policy_try,
    predict,
    queue_answer,
    queue_cancel,
    queue_claim,
    queue_list,
    queue_show,
    report,
    route,
    routes_add,
    routes_eval,
    routes_fit,
    routes_import,
    routes_lint,
    routes_list,
    routes_match,
    routes_predict,
    savings,
    tools_eval,
    tools_predict,
    tools_select,
    tools_train,
    train,
)
from tiny_dancer.cli.output import warn
from tiny_dancer.errors import NotCertifiedError, TinyDancerError
from tiny_dancer.extras import needed

if TYPE_CHECKING:
    from typing import TextIO

# Recent versions of typer carry a click of their own without naming its exceptions: BadParameter's base is one.
_UsageError: Any = typer.BadParameter.__bases__[0]

application = typer.Typer(
    name="tiny-dancer",
    help="Decides in microseconds which model is worth calling, with a guarantee on the quality given up.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
data = typer.Typer(
    help="Outcomes tables: check them, split them, take the text out of them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
application.add_typer(data, name="data")
candidates = typer.Typer(
    help="Memories, tools or documents worth passing on: train, rank, judge, learn from use.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
application.add_typer(candidates, name="candidates")
classifier = typer.Typer(
    help="Labels for texts or sequences of vectors: train, apply, judge.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
application.add_typer(classifier, name="classifier")
tools = typer.Typer(
    help="Which of many tools a request needs: select, apply, judge, learn from use.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
application.add_typer(tools, name="tools")
routes = typer.Typer(
    help="Intents: fit routes on texts, apply, judge, change and check them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
application.add_typer(routes, name="routes")
agents = typer.Typer(
    help="Who can answer requests: models, tools, services, people. Add, import, list, search them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
application.add_typer(agents, name="agents")
policy = typer.Typer(
    help="Which agent a policy would choose, and why.", no_args_is_help=True, rich_markup_mode=None
)
application.add_typer(policy, name="policy")
models = typer.Typer(
    help="Versions of artifacts: add, promote, roll back, retire.", no_args_is_help=True, rich_markup_mode=None
)
application.add_typer(models, name="models")
database = typer.Typer(
    help="Databases of agents: statistics, backup, restore, vacuum.", no_args_is_help=True, rich_markup_mode=None
)
application.add_typer(database, name="db")
keys = typer.Typer(
    help="API keys of a gateway: create, list, revoke.", no_args_is_help=True, rich_markup_mode=None
)
application.add_typer(keys, name="keys")
budget = typer.Typer(
    help="Budgets: set, status, remove, forecast, optimize.", no_args_is_help=True, rich_markup_mode=None
)
application.add_typer(budget, name="budget")
queue = typer.Typer(
    help="Requests that wait for a person: list, show, claim, answer, cancel.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
application.add_typer(queue, name="queue")
gateway = typer.Typer(help=gateway_run.HELP, rich_markup_mode=None)
gateway.callback(invoke_without_command=True)(gateway_run.run)
application.add_typer(gateway, name="gateway")
application.command("demo", help=demo.HELP)(demo.demo)
application.command("route", help=route.HELP)(route.route)
application.command("train", help=train.HELP)(train.train)
application.command("predict", help=predict.HELP)(predict.predict)
application.command("classify", help=classify.HELP)(classify.classify)
application.command("calibrate", help=calibrate.HELP)(calibrate.calibrate)
application.command("evaluate", help=evaluate.HELP)(evaluate.evaluate)
application.command("report", help=report.HELP)(report.report)
application.command("inspect", help=inspect.HELP)(inspect.inspect)
application.command("bench", help=bench.HELP)(bench.bench)
application.command("mcp", help=mcp.HELP)(mcp.serve)
application.command("analytics", help=analytics.HELP)(analytics.analytics)
application.command("savings", help=savings.HELP)(savings.savings)
candidates.command("train", help=candidates_train.HELP)(candidates_train.train)
candidates.command("eval", help=candidates_eval.HELP)(candidates_eval.evaluate)
candidates.command("predict", help=candidates_predict.HELP)(candidates_predict.predict)
candidates.command("import", help=candidates_import.HELP)(candidates_import.import_table)
candidates.command("route", help=candidates_route.HELP)(candidates_route.route)
candidates.command("learn", help=candidates_learn.HELP)(candidates_learn.learn)
classifier.command("train", help=classifier_train.HELP)(classifier_train.train)
classifier.command("predict", help=classifier_predict.HELP)(classifier_predict.predict)
classifier.command("evaluate", help=classifier_evaluate.HELP)(classifier_evaluate.evaluate)
tools.command("train", help=tools_train.HELP)(tools_train.train)
tools.command("select", help=tools_select.HELP)(tools_select.select)
tools.command("predict", help=tools_predict.HELP)(tools_predict.predict)
tools.command("eval", help=tools_eval.HELP)(tools_eval.evaluate)
routes.command("fit", help=routes_fit.HELP)(routes_fit.fit)
routes.command("predict", help=routes_predict.HELP)(routes_predict.predict)
routes.command("eval", help=routes_eval.HELP)(routes_eval.evaluate)
routes.command("match", help=routes_match.HELP)(routes_match.match)
routes.command("list", help=routes_list.HELP)(routes_list.list_routes)
routes.command("add", help=routes_add.HELP)(routes_add.add)
routes.command("import", help=routes_import.HELP)(routes_import.import_routes)
routes.command("lint", help=routes_lint.HELP)(routes_lint.lint)
agents.command("add", help=agents_add.HELP)(agents_add.add)
agents.command("import", help=agents_import.HELP)(agents_import.import_agents)
agents.command("list", help=agents_list.HELP)(agents_list.list_agents)
agents.command("search", help=agents_search.HELP)(agents_search.search)
agents.command("stats", help=agents_stats.HELP)(agents_stats.stats)
agents.command("deactivate", help=agents_deactivate.HELP)(agents_deactivate.deactivate)
policy.command("try", help=policy_try.HELP)(policy_try.try_policy)
database.command("stats", help=db_stats.HELP)(db_stats.stats)
database.command("backup", help=db_backup.HELP)(db_backup.backup)
database.command("restore", help=db_restore.HELP)(db_restore.restore)
database.command("vacuum", help=db_vacuum.HELP)(db_vacuum.vacuum)
database.command("shell", help=db_shell.HELP)(db_shell.shell)
database.command("plpython", help=db_plpython.HELP)(db_plpython.plpython)
keys.command("create", help=keys_create.HELP)(keys_create.create)
keys.command("list", help=keys_list.HELP)(keys_list.list_keys)
keys.command("revoke", help=keys_revoke.HELP)(keys_revoke.revoke)
budget.command("set", help=budget_set.HELP)(budget_set.set_budget)
budget.command("status", help=budget_status.HELP)(budget_status.status)
budget.command("remove", help=budget_remove.HELP)(budget_remove.remove)
budget.command("forecast", help=budget_forecast.HELP)(budget_forecast.forecast)
budget.command("optimize", help=budget_optimize.HELP)(budget_optimize.optimize)
queue.command("list", help=queue_list.HELP)(queue_list.list_requests)
queue.command("show", help=queue_show.HELP)(queue_show.show)
queue.command("claim", help=queue_claim.HELP)(queue_claim.claim)
queue.command("answer", help=queue_answer.HELP)(queue_answer.answer)
queue.command("cancel", help=queue_cancel.HELP)(queue_cancel.cancel)
gateway.command("check", help=gateway_check.HELP)(gateway_check.check)
gateway.command("init", help=gateway_init.HELP)(gateway_init.init)
data.command("check", help=data_check.HELP)(data_check.check)
data.command("featurise", help=data_featurise.HELP)(data_featurise.featurise)
data.command("split", help=data_split.HELP)(data_split.split)
models.command("list", help=models_list.HELP)(models_list.list_versions)
models.command("add", help=models_add.HELP)(models_add.add)
models.command("reprice", help=models_reprice.HELP)(models_reprice.reprice)
models.command("remove", help=models_remove.HELP)(models_remove.remove)
models.command("promote", help=models_promote.HELP)(models_promote.promote)
models.command("rollback", help=models_rollback.HELP)(models_rollback.rollback)
models.command("retire", help=models_retire.HELP)(models_retire.retire)
models.command("gc", help=models_gc.HELP)(models_gc.collect)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"tiny-dancer {__version__}")
        raise typer.Exit


@application.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    del category, filename, lineno, file, line
    warn(f"warning: {message}")


def main() -> None:
    """Runs the command line: exit 0 done, 1 failed, 2 bad usage or bad input."""
    warnings.showwarning = _show_warning
    try:
        # Not standalone: usage errors come here too, to be one line like all others. Commands import what they
        # need when they run.
        with needed():
            code = application(standalone_mode=False, prog_name="tiny-dancer")
        sys.exit(code or 0)
    except _UsageError as error:
        message = error.format_message()
        if "\n" in message:  # the help a bare `tiny-dancer data` asks for
            error.show()
        else:
            where = error.ctx.command_path if error.ctx else "tiny-dancer"
            warn(f"error: {message.rstrip('.')}; see {where} --help")
        sys.exit(2)
    except typer.Abort:
        sys.exit(130)
    except NotCertifiedError as error:
        warn(f"not certified: {error}")
        sys.exit(1)
    except TinyDancerError as error:
        warn(f"error: {error}")
        for other in getattr(error, "__notes__", ()):  # further problems of the same file
            warn(f"error: {other}")
        sys.exit(2)
    except OSError as error:
        warn(f"error: {error.filename or 'file'}: {error.strerror}; check the path")
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
