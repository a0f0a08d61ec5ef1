"""The guides about the gateway: what they tell to run runs, and what they list is what there is."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from tests.gateway_upstream import Behaviour
from tests.integration.gateway.serving import SMALL, Serving

from tiny_dancer.config import parse
from tiny_dancer.gateway.choosing.incoming import OPTION_HEADERS, Options
from tiny_dancer.gateway.configuration import settings as config
from tiny_dancer.gateway.configuration.check import check
from tiny_dancer.gateway.openapi import openapi_document
from tiny_dancer.gateway.operate.demo import demo_config, stand_ins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.gateway_upstream import Upstream

ROOT = Path(__file__).parents[3]
GUIDES = ROOT / "docs" / "guides"
GATEWAY = (GUIDES / "gateway.md").read_text(encoding="utf-8")
SECTIONS: dict[str, Any] = {
    "The file": config.GatewayConfig,
    "`upstreams.NAME`": config.Upstream,
    "`upstreams.NAME.timeouts`": config.Timeouts,
    "`models.NAME`": config.Model,
    "`models.NAME.deployments`": config.Deployment,
    "`models.NAME.tiers`": config.PriceTier,
    "`routers.NAME`": config.Router,
    "`routers.NAME.artifact`": config.RegistryVersion,
    "`routers.NAME.tool_selection`": config.ToolSelection,
    "`routes.NAME`": config.Routes,
    "`chains.NAME`": config.Chain,
    "`chains.NAME.override`": config.OverrideRule,
    "`chains.NAME.semantic`": config.SemanticStep,
    "`chains.NAME.learned`": config.LearnedStep,
    "`chains.NAME.judge`": config.JudgeStep,
    "`chains.NAME.human`": config.HumanStep,
    "A target that answers": config.Canned,
    "`agents`": config.Agents,
    "`agents.groups.NAME`": config.AgentGroup,
    "`agents.ensembles.NAME`": config.Ensemble,
    "`roles.ROLE`": config.RoleDefault,
    "`decide`": config.Decide,
    "`retries`": config.Retries,
    "`breaker`": config.Breaker,
    "`sessions`": config.Sessions,
    "`access`": config.Access,
    "`limits`": config.Limits,
    "`log`": config.Log,
    "`telemetry`": config.Telemetry,
}


@pytest.fixture
def demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serving]:
    """The demo in this process, on a port that is free; the test runs in the folder of its database."""
    for name in ("OPENAI_BASE_URL", "OPENAI_API_KEY", "HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    with stand_ins(pause=0) as (small, large):
        content = msgspec.to_builtins(demo_config(small, large))
        content["log"] = {"requests": "off"}
        with Serving(content, tmp_path) as serving:
            yield serving


def test_from_openai_in_one_line_runs(demo: Serving, tmp_path: Path) -> None:
    text = (GUIDES / "from-openai.md").read_text(encoding="utf-8")
    assert demo_config("", "").listen == "127.0.0.1:8000", "the guide's address is the demo's"
    text = text.replace("http://127.0.0.1:8000", demo.url.removesuffix("/v1"))
    blocks = re.findall(r"```(python|sh)\n(.*?)```", text, re.DOTALL)
    assert len(blocks) >= 9
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    namespace: dict[str, Any] = {}
    for number, (language, block) in enumerate(blocks):
        if language == "python":
            exec(compile(block, f"from-openai.md, block {number}", "exec"), namespace)
            continue
        demo.gateway.services.accounting.flush(30)
        ended = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block],
            cwd=tmp_path,
            env={**os.environ, "PATH": path, "NO_PROXY": "*"},
            capture_output=True,
            timeout=120,
            check=False,
        )
        assert ended.returncode == 0, (block, ended.stderr.decode())
        assert ended.stdout, block
    saved = namespace["client"].base_url
    assert str(saved).startswith(demo.url)


def rows(heading: str) -> dict[str, str]:
    """Keys and defaults of one table."""
    found = re.search(rf"^### {re.escape(heading)}$(.*?)(?=^###? |\Z)", GATEWAY, re.MULTILINE | re.DOTALL)
    assert found, heading
    listed = {}
    for keys, default in re.findall(r"^\| (`[^|]*`) \| ([^|]*?) ?\| ", found[1], re.MULTILINE):
        listed.update(dict.fromkeys(re.findall(r"`(\w+)`", keys), default))
    return listed


def written(field: msgspec.structs.FieldInfo) -> str:
    """A default as the guide writes it."""
    if field.required:
        return "required"
    if field.default in (None, msgspec.NODEFAULT):
        return ""
    text = str(field.default).lower() if isinstance(field.default, bool) else str(field.default)
    return f"`{text.removesuffix('.0')}`"


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_key_is_explained_with_its_default(heading: str) -> None:
    expected = {field.encode_name: written(field) for field in msgspec.structs.fields(SECTIONS[heading])}
    assert rows(heading) == expected


def test_every_section_of_the_configuration_has_its_table() -> None:
    found = {
        kind
        for kind in vars(config).values()
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct) and msgspec.structs.fields(kind)
    }
    # What models and tiers have in common stands in both.
    assert found - {config.TokenPrices} == set(SECTIONS.values())
    assert set(re.findall(r"^### (.*)$", GATEWAY.split("## Every key")[1], re.MULTILINE)) == set(SECTIONS)


def test_its_configuration_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    block = re.findall(r"```yaml\n(upstreams:.*?)```", GATEWAY, re.DOTALL)
    assert len(block) == 1
    found = parse(block[0], config.GatewayConfig, "gateway.md")
    check(found)
    assert set(found.models) == {"gpt-4o-mini", "gpt-4o"}


@pytest.mark.parametrize("name", ["gateway", "support-triage"])
def test_its_chains_are_ones(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    base = re.findall(r"```yaml\n(upstreams:.*?)```", GATEWAY, re.DOTALL)[0]
    text = (GUIDES / f"{name}.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(routes:.*?)```", text, re.DOTALL)
    agent = "  orders-agent: {deployments: [{upstream: openai}], cost_per_request: 0}\nrouters:"
    found = parse(base.replace("routers:", agent) + block, config.GatewayConfig, f"{name}.md")
    check(found)
    assert set(found.chains) == {"triage"}


def test_its_selections_of_tools_can_be_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-x")
    file, tools = (
        re.findall(rf"```yaml\n({first}:.*?)```", GATEWAY, re.DOTALL)[0] for first in ("upstreams", "routers")
    )
    text = file.split("routers:")[0] + tools
    found = parse(text, config.GatewayConfig, "gateway.md")
    check(found)
    assert all(each.tool_selection is not None for each in found.routers.values())


def test_its_tool_search_runs(start: Callable[..., Serving], cheap: Upstream) -> None:
    upstreams = {"cheap": {"base_url": cheap.url, "api_key": "sk-of-cheap", "responses": "chat"}}
    models = {"gpt-4o-mini": {**SMALL, "deployments": [{"upstream": "cheap"}]}}
    serving = start(upstreams=upstreams, models=models, routers={})
    cheap.script(
        Behaviour(tool=("tool_search_tool_bm25", '{"query": "weather forecast"}')),
        Behaviour(tool=("get_weather", '{"city": "Oslo"}')),
        Behaviour(pieces=("Yes, from nine.",)),
        Behaviour(tool=("tool_search", '{"paths": ["crm"]}')),
        Behaviour(tool=("crm__list_orders", "{}")),
    )
    section = GATEWAY.split("### Tool search")[1].split("\n## ")[0]
    section = section.replace("http://127.0.0.1:8080", serving.url.removesuffix("/v1")).replace("td-...", "none")
    blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    assert len(blocks) == 2
    namespace: dict[str, Any] = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"gateway.md, tool search, block {number}", "exec"), namespace)
    assert len(cheap.received) == 5


def test_endpoints_options_and_headers_are_those_there_are() -> None:
    document = json.loads(openapi_document())
    endpoints = GATEWAY.split("## Endpoints")[1].split("\n## ")[0]
    assert set(re.findall(r"(/(?:v\d|openapi|rerank)[\w/.{}]*)", endpoints)) >= set(document["paths"])
    options = GATEWAY.split("## Routing options")[1].split("\n## ")[0]
    listed = dict(re.findall(r"^\| `(x-td-[\w-]+)` \| `(\w+)` \|", options, re.MULTILINE))
    assert listed == {name.decode(): option for name, option in OPTION_HEADERS.items()}
    assert set(listed.values()) == set(Options.__struct_fields__)
    answered = set(re.findall(r"`(x-td-[\w-]+|x-request-id)`", options.split("Every answer says")[1]))
    assert answered == set(document["components"]["headers"]) - {"retry-after"}


def test_every_code_it_lists_is_one_the_gateway_sends() -> None:
    errors = GATEWAY.split("\n## Errors")[1].split("\n## ")[0]
    listed = {
        code
        for row in re.findall(r"^\| \d{3}[^|]*\|([^|]*)\|", errors, re.MULTILINE)
        for code in re.findall(r"`(\w+)`", row)
    }
    assert len(listed) > 15
    folder = ROOT / "python" / "tiny_dancer" / "gateway"
    source = "\n".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
    assert not {code for code in listed if f'"{code}"' not in source}


@pytest.mark.parametrize("name", ["gateway", "from-openai"])
def test_links_lead_somewhere(name: str) -> None:
    text = (GUIDES / f"{name}.md").read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)", text):
        assert (GUIDES / target).resolve().exists(), target
    headings = {
        re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in re.findall(r"^#+ (.*)$", text, re.M)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", text)) <= headings
