"""What is not installed says what to install, and nothing of it is imported before it is used."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from tiny_dancer import MissingExtraError

NEEDS = {
    "langgraph": ("langgraph", "langgraph.store.base"),
    "langchain": ("langchain", "langchain_core.documents"),
    "openai_agents": ("agents", "agents"),
    "mcp": ("mcp", "mcp.server.mcpserver"),
}


@pytest.mark.parametrize(("file", "extra", "library"), [(file, *each) for file, each in NEEDS.items()])
def test_a_library_that_is_missing_is_named_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, file: str, extra: str, library: str
) -> None:
    monkeypatch.delitem(sys.modules, f"tiny_dancer.integrations.{file}", raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'tiny-dancer\[{extra}\]'"):
        importlib.import_module(f"tiny_dancer.integrations.{file}")


def test_nothing_is_imported_before_it_is_used() -> None:
    code = "import sys, tiny_dancer.cli, tiny_dancer.storage, tiny_dancer.integrations; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"langgraph", "langchain_core", "agents", "mcp", "pydantic"} & set(loaded)
