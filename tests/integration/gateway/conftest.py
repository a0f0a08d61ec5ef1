"""Two upstreams and a gateway in front of them, real servers all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.gateway_upstream import Upstream
from tests.integration.gateway.serving import Serving, settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def _upstreams() -> Iterator[tuple[Upstream, Upstream]]:
    with Upstream("cheap") as cheap, Upstream("strong") as strong:
        yield cheap, strong


@pytest.fixture
def cheap(_upstreams: tuple[Upstream, Upstream]) -> Upstream:
    """Serves the model ``small``; remembers nothing of other tests."""
    _upstreams[0].forget()
    return _upstreams[0]


@pytest.fixture
def strong(_upstreams: tuple[Upstream, Upstream]) -> Upstream:
    """Serves the model ``large``; remembers nothing of other tests."""
    _upstreams[1].forget()
    return _upstreams[1]


@pytest.fixture(scope="module")
def _shared(_upstreams: tuple[Upstream, Upstream], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with Serving(settings(*_upstreams), tmp_path_factory.mktemp("gateway")) as serving:
        yield serving


@pytest.fixture
def gateway(_shared: Serving, cheap: Upstream, strong: Upstream) -> Serving:
    """A gateway with the usual settings, shared by a module: no test may leave a breaker open behind it."""
    _shared.wake()
    return _shared


@pytest.fixture
def start(cheap: Upstream, strong: Upstream, tmp_path: Path) -> Iterator[Callable[..., Serving]]:
    """Starts a gateway of the test's own; keywords replace top-level keys of the usual settings."""
    running: list[Serving] = []

    def begin(**more: Any) -> Serving:
        folder = tmp_path / str(len(running))
        folder.mkdir()
        serving = Serving(settings(cheap, strong, **more), folder).__enter__()
        running.append(serving)
        return serving

    yield begin
    for each in running:
        each.__exit__()
