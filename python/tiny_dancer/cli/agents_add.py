"""`tiny-dancer agents add`."""

from __future__ import annotations

from typing import Annotated

import typer

from tiny_dancer.cli.agents_database import DEFAULT, Database, registry
from tiny_dancer.cli.output import say

HELP = """Add an agent: a model, a tool, a service or a person that can answer requests.

What is declared is worth --prior-weight outcomes; what is observed moves it.

Example: tiny-dancer agents add writer --capability summarise --quality 0.8 --input-cost 0.003 --output-cost 0.015
--latency-ms 1200 --database agents.db"""


def add(
    name: Annotated[str, typer.Argument(help="What the agent goes by.")],
    type: Annotated[str, typer.Option(help="llm, tool, api, human or ensemble.")] = "llm",
    description: Annotated[str, typer.Option(help="What it does: searches read it.")] = "",
    capability: Annotated[list[str] | None, typer.Option(help="What it can do; repeatable.")] = None,
    example: Annotated[list[str] | None, typer.Option(help="A request it answers; repeatable.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="What else requests may ask for; repeatable.")] = None,
    member: Annotated[list[str] | None, typer.Option(help="Of an ensemble; repeatable.")] = None,
    region: Annotated[str | None, typer.Option(help="Where it serves.")] = None,
    quality: Annotated[float | None, typer.Option(help="Expected quality of its answers, 0 to 1.")] = None,
    prior_weight: Annotated[float, typer.Option(help="Outcomes that a declared value is worth.")] = 5.0,
    input_cost: Annotated[float | None, typer.Option(help="USD per 1,000 tokens of the prompt.")] = None,
    output_cost: Annotated[float | None, typer.Option(help="USD per 1,000 tokens of the answer.")] = None,
    cached_cost: Annotated[float | None, typer.Option(help="USD per 1,000 cached tokens of the prompt.")] = None,
    call_cost: Annotated[float | None, typer.Option(help="USD per call.")] = None,
    second_cost: Annotated[float | None, typer.Option(help="USD per second.")] = None,
    latency_ms: Annotated[float | None, typer.Option(help="Mean milliseconds to the whole answer.")] = None,
    p99_ms: Annotated[float | None, typer.Option(help="Their 99th percentile.")] = None,
    context: Annotated[int | None, typer.Option(help="Most tokens of prompt and answer.")] = None,
    max_concurrency: Annotated[int | None, typer.Option(help="Requests at a time.")] = None,
    requests_per_minute: Annotated[int | None, typer.Option(help="Requests a minute.")] = None,
    tokens_per_minute: Annotated[int | None, typer.Option(help="Tokens of prompt and answer a minute.")] = None,
    model: Annotated[
        str | None, typer.Option(help="The gateway's model it leads to; by default the one of its name.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Put it in place of one of its name.")] = False,
    database: Database = DEFAULT,
) -> None:
    from tiny_dancer.storage import Agent
    from tiny_dancer.storage.opening import without_password

    agent = Agent(
        name,
        type=type,
        description=description,
        capabilities=tuple(capability or ()),
        examples=tuple(example or ()),
        tags=tuple(tag or ()),
        members=tuple(member or ()),
        region=region,
        quality=quality,
        prior_weight=prior_weight,
        input_cost_per_1k=input_cost,
        output_cost_per_1k=output_cost,
        cached_input_cost_per_1k=cached_cost,
        cost_per_call=call_cost,
        cost_per_second=second_cost,
        latency_s=None if latency_ms is None else latency_ms / 1000.0,
        latency_p99_s=None if p99_ms is None else p99_ms / 1000.0,
        context=context,
        max_concurrency=max_concurrency,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        metadata={} if model is None else {"model": model},
    )
    with registry(database, create=True) as agents:
        agents.add(agent, replace=replace)
        say(f"{without_password(database)}: {name} added, {len(agents)} agents")
