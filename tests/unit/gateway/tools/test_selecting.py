"""Which router's selection a request gets, and what is then known of it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.unit.gateway.gateways import caller, chooser, opened

from tiny_dancer.gateway.account.tokens import Prompt, tokens_saved
from tiny_dancer.gateway.choosing.incoming import Incoming, parse
from tiny_dancer.gateway.choosing.offering import select_tools
from tiny_dancer.gateway.tools.kept import Kept

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tiny_dancer.gateway.choosing.serving import Serving
    from tiny_dancer.gateway.tools.offered import Offered

ROUTER = {"models": {"weak": "small", "strong": "large"}}
TOOLS = [{"name": f"tool_{number}", "description": "words " * 200} for number in range(50)]


@pytest.fixture(scope="module")
def serving() -> Iterator[Serving]:
    picky = {**ROUTER, "tool_selection": {"mode": "filter", "top_k": 2}}
    roles = {"edit": {"model": "router-picky"}, "apply": {"model": "small"}}
    found = opened(routers={"default": ROUTER, "picky": picky}, roles=roles)
    yield found
    found.close()


def selected(serving: Serving, *, endpoint: Any = "messages", **fields: Any) -> tuple[Incoming, Offered | None]:
    said = (
        {"prompt": "tool"} if endpoint == "completions" else {"messages": [{"role": "user", "content": "tool 7"}]}
    )
    body = {"model": "router-picky", "tools": TOOLS, **said, **fields}
    incoming = parse(endpoint, json.dumps(body).encode(), {})
    return incoming, asyncio.run(select_tools(serving, incoming, Kept()))


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({}, 2),
        ({"model": "router-picky-0.3"}, 2),
        ({"model": "auto", "td": {"role": "edit"}}, 2),
        ({"model": "auto", "td": {"role": "apply"}}, None),
        ({"model": "auto", "td": {"role": "apply", "tool_selection": 3}}, None),
        ({"model": "auto"}, None),
        ({"model": "auto", "td": {"tool_selection": 3}}, 3),
        ({"model": "router-cheapest", "td": {"tool_selection": 3}}, 3),
        ({"td": {"pin": "small"}}, None),
        ({"td": {"tool_selection": "off"}}, None),
        ({"model": "nothing of this name"}, None),
        ({"endpoint": "completions"}, None),
    ],
)
def test_a_router_selects_for_its_own_requests(serving: Serving, fields: dict[str, Any], sent: int | None) -> None:
    incoming, offered = selected(serving, **fields)
    assert (None if offered is None else offered.sent) == sent
    assert len(json.loads(bytes(incoming.fields["tools"]))) == (50 if sent is None else sent)


def test_tokens_are_those_of_what_is_sent(serving: Serving) -> None:
    model = serving.models["small"]

    def asked(**td: object) -> tuple[Offered | None, Prompt, int]:
        incoming, offered = selected(serving, td=td)
        plan = chooser().plan(serving, incoming, caller())
        assert plan.decision is not None
        return offered, Prompt(incoming, plan), plan.decision.tokens

    _, whole, whole_tokens = asked(tool_selection="off")
    offered, left, left_tokens = asked()
    assert offered is not None
    assert whole.tokens(model) - left.tokens(model) == pytest.approx(tokens_saved(offered), abs=1)
    assert left_tokens < whole_tokens / 10
    assert left.most_tokens(model) < whole.most_tokens(model) / 10
    assert (left.most_cost(model) or 0.0) < (whole.most_cost(model) or 0.0)
