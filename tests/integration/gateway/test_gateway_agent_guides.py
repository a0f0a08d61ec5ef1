"""The guides about agents in the gateway: their files are configurations, their code is executed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from tests.gateway_answers import Behaviour
from tests.gateway_upstream import Upstream
from tests.integration.gateway.serving import Serving
from tests.integration.gateway.test_gateway_agents import follow

if TYPE_CHECKING:
    from collections.abc import Iterator

GUIDES = Path(__file__).parents[3] / "docs" / "guides"
SAID = {"kind": "message", "messageId": "m", "parts": [{"kind": "text", "text": "Paid back."}]}


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream("agent") as found:
        yield found


def run(name: str, upstream: Upstream, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The guide's YAML serves, and its Python runs against it; the variables it leaves."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    monkeypatch.setenv("REFUNDS_KEY", "sk-refunds")
    text = (GUIDES / f"{name}.md").read_text(encoding="utf-8")
    (written,) = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    content = yaml.safe_load(written)
    for each in content["upstreams"].values():
        each["base_url"] = upstream.url
    content["log"] = {"requests": "off"}
    namespace: dict[str, Any] = {"__name__": name}
    with Serving(content, folder) as serving:
        for number, block in enumerate(re.findall(r"```python\n(.*?)```", text, re.DOTALL)):
            block = block.replace("http://127.0.0.1:8000", serving.url.removesuffix("/v1"))
            lines = [line.split("  # ")[0] for line in block.splitlines()]
            expected = [line.split("  # ")[1:] for line in block.splitlines()]
            exec(compile("\n".join(lines), f"{name}.md, block {number}", "exec"), namespace)
            follow(serving)
            for line, said in zip(lines, expected, strict=True):
                # What stands behind a statement by itself is what it says.
                if said and not line.startswith((" ", "#")) and "=" not in line.split("(")[0]:
                    if line.startswith("ask("):
                        continue  # asked once: what it says is checked by the test
                    assert repr(eval(line, namespace)) == said[0], line
    return namespace


def test_agents_from_cards(upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Behaviour(body=json.dumps({"jsonrpc": "2.0", "id": "1", "result": SAID}).encode())
    upstream.script(answer, answer)
    found = run("agents-from-cards", upstream, tmp_path, monkeypatch)
    assert found["answer"].choices[0].message.content == "Paid back."
    assert [each.json["method"] for each in upstream.received] == ["message/send"] * 2
    assert {each.header("authorization") for each in upstream.received} == {"Bearer sk-refunds"}
    from tiny_dancer import AgentRegistry, SqliteStorage

    with SqliteStorage("gateway.db") as storage:
        seen = AgentRegistry(storage=storage).statistics("refunds")
    assert (seen["outcomes"], seen["quality"]) == (2, 1.0)


def test_human_escalation(upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run("human-escalation", upstream, tmp_path, monkeypatch)
    assert (found["who"], found["said"]) == ("anna", "No: it lacks a term.")
    assert len(upstream.received) == 1, "the cheap question was the model's"


def test_the_section_of_the_gateways_guide_is_a_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    from tiny_dancer.config import parse
    from tiny_dancer.gateway.configuration.check import check
    from tiny_dancer.gateway.configuration.settings import GatewayConfig

    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    text = (GUIDES / "gateway.md").read_text(encoding="utf-8")
    (base,) = re.findall(r"```yaml\n(upstreams:.*?)```", text, re.DOTALL)
    (agents,) = re.findall(r"```yaml\n(agents:.*?)```", text, re.DOTALL)
    people = "chains: {people: {human: {keep_prompts: true}, default: gpt-4o}}\n"
    found = parse(base + people + agents, GatewayConfig, "gateway.md")
    check(found)
    assert set(found.agents.groups) == {"lawyers"}
