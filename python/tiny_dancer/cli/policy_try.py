"""`tiny-dancer policy try`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from tiny_dancer.cli.agents_database import DEFAULT, Capabilities, Database, dollars, milliseconds, registry
from tiny_dancer.cli.arguments import Json
from tiny_dancer.cli.output import console, print_json, printable, say
from tiny_dancer.evaluation.terminal import FittedTable

if TYPE_CHECKING:
    from tiny_dancer._core import AgentChoice

HELP = """Show which agent each policy would choose for a request, what that is expected to cost, and why.

Nothing is called, and nothing is counted.

Example: tiny-dancer policy try "Sum this up: ..." --capability summarise --max-cost 0.01 --database agents.db"""

_POLICIES = ("cost", "latency", "quality", "balanced", "quality_per_dollar")


def try_policy(
    request: Annotated[str, typer.Argument(metavar="REQUEST", help="What is asked.")],
    optimize_for: Annotated[str | None, typer.Option(help="One policy; else all of them.")] = None,
    capability: Capabilities = None,
    tag: Annotated[list[str] | None, typer.Option(help="What the agent must be tagged; repeatable.")] = None,
    exclude: Annotated[list[str] | None, typer.Option(help="An agent to leave out; repeatable.")] = None,
    region: Annotated[str | None, typer.Option(help="Where the agent must serve.")] = None,
    max_cost: Annotated[float | None, typer.Option(help="Most USD that may be expected.")] = None,
    max_latency_ms: Annotated[float | None, typer.Option(help="Most milliseconds that may be expected.")] = None,
    min_quality: Annotated[float | None, typer.Option(help="Least lower end of the quality, 0 to 1.")] = None,
    output_tokens: Annotated[float | None, typer.Option(help="Tokens of the answer, if known.")] = None,
    quality_per_usd: Annotated[float, typer.Option(help="Of balanced: quality that one USD is worth.")] = 10.0,
    quality_per_second: Annotated[
        float, typer.Option(help="Of balanced: quality that one second is worth.")
    ] = 0.01,
    database: Database = DEFAULT,
    json: Json = False,
) -> None:
    from tiny_dancer.errors import NoSuitableAgentError
    from tiny_dancer.routing.agents import AgentRouter

    choices: dict[str, AgentChoice | NoSuitableAgentError] = {}
    with registry(database, read_only=True) as agents:
        router = AgentRouter(agents, quality_per_usd=quality_per_usd, quality_per_second=quality_per_second)
        for policy in _POLICIES if optimize_for is None else (optimize_for,):
            try:
                choices[policy] = router.route(
                    request,
                    policy,  # type: ignore[arg-type]
                    required_capabilities=capability or (),
                    tags=tag or (),
                    excluded=exclude or (),
                    region=region,
                    max_cost=max_cost,
                    max_latency_ms=max_latency_ms,
                    min_quality=min_quality,
                    output_tokens=output_tokens,
                    front=True,
                )
            except NoSuitableAgentError as error:
                if optimize_for is not None:
                    raise
                choices[policy] = error
    if json:
        print_json({policy: _described(choice) for policy, choice in choices.items()})
        return
    header = ("policy", "agent", "quality", "USD", "ms", "confidence", "next")
    cells = [(policy, *_cells(choice)) for policy, choice in choices.items()]
    console().print(FittedTable(header, cells, words=frozenset({1, 6})))
    for policy, choice in choices.items():
        said = str(choice) if isinstance(choice, NoSuitableAgentError) else choice.reason
        say(printable(said if said.startswith(policy) else f"{policy}: {said}"))


def _described(choice: Any) -> dict[str, Any]:
    if isinstance(choice, Exception):
        return {"agent": None, "error": str(choice), "removed": getattr(choice, "removed", {})}
    names = (
        "agent", "quality", "quality_interval", "estimated_cost", "cost_interval", "estimated_latency_ms",
        "latency_interval_ms", "utility", "confidence", "runner_up", "suitable", "removed", "front", "reason",
    )  # fmt: skip
    return {name: getattr(choice, name) for name in names}


def _cells(choice: Any) -> tuple[str, ...]:
    if isinstance(choice, Exception):
        return ("none", "", "", "", "", "")
    return (
        choice.agent,
        f"{choice.quality:.3f}",
        dollars(choice.estimated_cost),
        milliseconds(choice.estimated_latency_ms),
        f"{choice.confidence:.2f}",
        choice.runner_up or "",
    )
