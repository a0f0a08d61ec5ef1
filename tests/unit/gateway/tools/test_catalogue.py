"""Catalogues of tools that a router adds: what no model could use is refused when the configuration is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.unit.gateway.gateways import ARTIFACTS, opened

from tiny_dancer.errors import ArtifactError, ConfigError

if TYPE_CHECKING:
    from pathlib import Path

ROUTER = {"models": {"weak": "small", "strong": "large"}}


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "give a JSON file of tools"),
        ("{", "no tools; give tools as JSON"),
        ("[]", "empty"),
        ('"tools"', "no tools"),
        ("7", "no tools"),
        ('[{"description": "no name"}]', "no tools"),
        ('[{"name": "two words"}]', "a tool called 'two words'"),
        ('[{"type": "web_search"}]', "web_search is no function"),
        ('{"a": [{"name": "x"}], "b": [{"name": "x"}]}', "two tools called x"),
        ('[{"name": "x"}, {"name": "x"}]', "two tools of one name"),
        ('{"openapi": "3.1.0", "paths": {"/a": {"get": {"operationId": "x"}}}}', "x is no function"),
    ],
)
def test_a_catalogue_no_model_could_use_is_refused(tmp_path: Path, content: str | None, says: str) -> None:
    path = tmp_path / "tools.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(ConfigError) as caught:
        opened(routers={"picky": {**ROUTER, "tool_selection": {"mode": "add", "catalogue": str(path)}}})
    assert caught.value.field == "routers.picky.tool_selection.catalogue"
    assert says in str(caught.value)


@pytest.mark.parametrize("mode", ["filter", "add"])
def test_an_artifact_of_another_kind_is_refused(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "tools.json"
    path.write_text('[{"name": "x"}]')
    selection = {"mode": mode, **({"catalogue": str(path)} if mode == "add" else {})}
    for artifact in (tmp_path / "none.safetensors", path, ARTIFACTS / "pair.safetensors"):
        with pytest.raises(ArtifactError):
            opened(routers={"picky": {**ROUTER, "tool_selection": {**selection, "artifact": str(artifact)}}})
