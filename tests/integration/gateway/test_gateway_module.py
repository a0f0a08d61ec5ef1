"""``python -m tiny_dancer gateway`` with processes of its own: as the command."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from tests.integration.gateway.processes import Running

if TYPE_CHECKING:
    from pathlib import Path

    from tests.gateway_upstream import Upstream


def test_it_starts_serves_replaces_its_workers_and_ends(cheap: Upstream, tmp_path: Path) -> None:
    content = {
        "workers": 2,
        "upstreams": {"cheap": {"base_url": cheap.url}},
        "models": {"small": {"deployments": [{"upstream": "cheap"}]}},
    }
    with Running(content, tmp_path, command=(sys.executable, "-m", "tiny_dancer")) as gateway:
        first = gateway.workers()
        assert gateway.chat().status_code == 200
        gateway.send(signal.SIGUSR2)
        gateway.line("2 workers replaced")
        assert gateway.chat().status_code == 200
        assert gateway.workers().keys() == first.keys()
        assert set(gateway.workers().values()).isdisjoint(first.values())
        gateway.send(signal.SIGTERM)
        assert gateway.ended() == 0
