"""An artifact is loaded by its kind."""

from __future__ import annotations

import pytest

from tiny_dancer import ArtifactError, Router, _core
from tiny_dancer.routing import loading

DEFAULT = _core.data_file("default.safetensors")


def test_a_request_router_is_a_router() -> None:
    assert isinstance(loading.load_any(DEFAULT), Router)


def test_a_kind_without_a_loader_is_refused_with_those_that_have_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "LOADERS", {"classifier": bytes})
    with pytest.raises(ArtifactError, match=r"'request-router'.*this version loads classifier"):
        loading.load_any(DEFAULT)


def test_what_is_no_artifact_is_refused() -> None:
    with pytest.raises(ArtifactError):
        loading.load_any(b"no artifact")
