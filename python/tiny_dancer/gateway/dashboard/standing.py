"""How the gateway stands just now, by what its workers say: nothing of it is in the database."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from tiny_dancer._core import __version__
from tiny_dancer.gateway.dashboard.figures import GROUPINGS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiny_dancer.gateway.configuration.settings import GatewayConfig
    from tiny_dancer.gateway.status import GatewayStatus

_WORST = ("closed", "half_open", "open")


class Standing(Protocol):
    """One worker at one moment."""

    @property
    def worker(self) -> int:
        """Its number."""
        ...

    @property
    def pid(self) -> int:
        """Of the process."""
        ...

    @property
    def status(self) -> GatewayStatus:
        """How it stands."""
        ...


def standing(workers: Sequence[Standing], config: GatewayConfig, now: float) -> dict[str, Any]:
    """Workers, deployments with their breakers, and watches, as JSON values.

    A deployment's breaker is shown as the worst any worker has found; its requests and openings are all of them.
    """
    deployments: dict[tuple[str, str, int], dict[str, Any]] = {}
    drift: list[dict[str, Any]] = []
    notes: dict[str, None] = {}
    for one in workers:
        seen: dict[tuple[str, str], int] = {}
        for each in one.status.deployments:
            place = seen[each.model, each.upstream] = seen.get((each.model, each.upstream), -1) + 1
            known = deployments.setdefault(
                (each.model, each.upstream, place),
                {"model": each.model, "upstream": each.upstream, "state": "closed", "openings": 0, "in_flight": 0,
                 "resting": 0.0},
            )  # fmt: skip
            known["state"] = max(known["state"], each.state, key=_WORST.index)
            known["openings"] += each.openings
            known["in_flight"] += each.in_flight
            known["resting"] = max(known["resting"], each.resting)
        for router, watch in one.status.drift.items():
            drift.append({"router": router, "worker": one.worker, **msgspec.to_builtins(watch)})
        notes.update(dict.fromkeys(one.status.notes))
        notes.update(dict.fromkeys(text for text in (one.status.reload_error, one.status.storage_error) if text))
    return {
        "now": now,
        "version": __version__,
        "groupings": GROUPINGS,
        "expected_workers": config.workers,
        "workers": [
            {
                "worker": one.worker,
                "pid": one.pid,
                "ready": one.status.ready,
                "reasons": one.status.reasons,
                "in_flight": one.status.in_flight,
                "memory_bytes": one.status.memory_bytes,
                "dropped": one.status.dropped,
                "queued": one.status.queued,
                "artifacts": one.status.artifacts,
            }
            for one in workers
        ],
        "deployments": list(deployments.values()),
        "drift": drift,
        "notes": list(notes),
    }
