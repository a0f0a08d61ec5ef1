"""The SDKs for Node, OpenAI's and Anthropic's. Installed once into pytest's cache; without node or its registry
this is skipped."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.gateway_upstream import Behaviour
from tests.integration.gateway.serving import LARGE, SMALL, TIMEOUT

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gateway_upstream import Upstream
    from tests.integration.gateway.serving import Serving

SCRIPT = Path(__file__).with_name("client.mjs")
RESPONSES = Path(__file__).with_name("responses.mjs")
MESSAGES = Path(__file__).with_name("messages.mjs")


@pytest.fixture(scope="session")
def node_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where node finds the SDKs."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("needs node and npm")
    cache = getattr(request.config, "cache", None)
    folder = tmp_path_factory.mktemp("node") if cache is None else cache.mkdir("node-sdks")
    if not (folder / "node_modules" / "@anthropic-ai" / "sdk" / "package.json").exists():
        command = [
            npm,
            "install",
            "--no-audit",
            "--no-fund",
            "--fetch-retries=1",
            "--prefix",
            str(folder),
            "openai@6",
            "@anthropic-ai/sdk",
        ]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip("npm's registry does not answer")
        if done.returncode:
            pytest.skip(f"npm could not install them: {done.stderr.strip()[-200:]}")
    return folder


def run(script: Path, url: str, folder: Path) -> Any:
    """What a script prints that finds the SDK in this folder."""
    copied = folder / script.name
    copied.write_bytes(script.read_bytes())
    done = subprocess.run(["node", str(copied), url], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_node_sdk(gateway: Serving, cheap: Upstream, node_folder: Path) -> None:
    found = run(SCRIPT, gateway.url, node_folder)
    answer = "Hello there, my friend."
    assert found["chat"] == answer
    assert found["model"] in ("small", "large")
    assert "".join(found["pieces"]) == answer
    assert [piece for piece in found["pieces"] if piece] == list(Behaviour().pieces)
    assert found["call"] == {"name": "weather", "arguments": '{"city": "Oslo"}'}
    assert found["response"] == answer
    assert {"auto", "small", "large"} <= set(found["models"])
    assert found["embedding"] == [0.25, -0.5, 1.0]
    assert found["error"] == {"name": "NotFoundError", "status": 404, "code": "model_not_found"}
    assert cheap.received[-1].gone.wait(TIMEOUT), "leaving a stream lets the upstream go"


def test_responses_of_servers_that_have_none(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream, node_folder: Path
) -> None:
    serving = start(
        upstreams={
            "cheap": {"base_url": cheap.url, "responses": "chat"},
            "strong": {"kind": "anthropic", "base_url": strong.url},
        },
        models={
            "small": {**SMALL, "deployments": [{"upstream": "cheap"}]},
            "large": {**LARGE, "deployments": [{"upstream": "strong"}]},
        },
    )
    answer = "Hello there, my friend."
    said = {"whole": answer, "deltas": answer, "final": answer, "tokens": 35, "call": {"city": "Oslo"}}
    assert run(RESPONSES, serving.url, node_folder) == {"small": said, "large": said}


def test_the_anthropic_sdk(
    start: Callable[..., Serving], cheap: Upstream, strong: Upstream, node_folder: Path
) -> None:
    serving = start(
        upstreams={
            "cheap": {"base_url": cheap.url},
            "strong": {"kind": "anthropic", "base_url": strong.url},
        },
        models={
            "small": {**SMALL, "deployments": [{"upstream": "cheap"}]},
            "large": {**LARGE, "deployments": [{"upstream": "strong"}]},
        },
    )
    answer = "Hello there, my friend."
    found = run(MESSAGES, serving.url, node_folder)
    for each in found.values():
        assert sum(each.pop("tokens")) == 35
    said: dict[str, Any] = {
        "whole": answer,
        "deltas": answer,
        "final": answer,
        "stop": "end_turn",
        "call": {"city": "Oslo"},
    }
    said["error"] = [True, "no such thing"]
    assert found == {"small": said, "large": said}
