"""Whether the requests of a worker are still like those a router's certificate was earned on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from tiny_dancer import _core
from tiny_dancer.gateway.status import DriftStatus

if TYPE_CHECKING:
    from tiny_dancer.routing.resilient import ResilientRouter
    from tiny_dancer.routing.watch import Watch
    from tiny_dancer.types import Decision

log = logging.getLogger("tiny_dancer.gateway")

_ONE_WORKER: Final = 100.0
"""One over the chance of a false alarm: 1 % for all workers of a gateway together."""


class Drift:
    """A watch over the requests that one router decides in one worker; begun anew with another artifact.

    Workers see different requests, and each has a watch of its own. Each rings falsely, over an endless stream,
    with probability at most 1 / (100 · workers): all of them together with at most 1 %. Belongs to the event
    loop's thread.
    """

    def __init__(self, name: str, workers: int) -> None:
        """Before the first decision.

        Args:
            name: of the router, for the log.
            workers: of the gateway.
        """
        self._name = name
        self._threshold = _ONE_WORKER * workers
        self._watch: Watch | None = None
        self._artifact = ""
        self._certified = False

    def observe(self, decision: Decision, router: ResilientRouter) -> Decision:
        """Counts a decision and gives it back: without a guarantee once the watch has rung."""
        if decision.likeness is None:
            return decision
        if decision.artifact != self._artifact:
            serving = router.serving
            if serving.artifact != decision.artifact:
                return decision  # of an artifact that was replaced in this very moment
            self._artifact, self._watch = decision.artifact, serving.watch(self._threshold)
            self._certified = serving.guarantee is not None and not serving.uncertified
        watch = self._watch
        assert watch is not None, "an artifact whose decisions have a likeness can be watched"
        before = watch.since
        found = watch.observe(decision)
        if before is None and watch.since is not None and self._certified:
            log.warning(
                "router %s: the certificate of %s is withdrawn: %s (decision %s of this worker). Calibrate it on "
                "requests as they come now",
                self._name,
                watch.artifact,
                _core.DRIFTED,
                f"{watch.since:,}",
            )
        return found

    def status(self) -> DriftStatus | None:
        """How it stands; None before the first decision that it counts."""
        watch = self._watch
        if watch is None:
            return None
        return DriftStatus(
            artifact=str(watch.artifact),
            observed=watch.observed,
            capital=watch.capital,
            threshold=watch.threshold,
            since=watch.since,
            withdrawn=self._certified and watch.since is not None,
        )

    def note(self, artifact: str) -> str | None:
        """What the operator should know of the certificate of the artifact with this checksum."""
        watch = self._watch
        if watch is None or watch.since is None or not self._certified or artifact != self._artifact:
            return None
        return f"certificate withdrawn: {_core.DRIFTED}: since decision {watch.since:,} of this worker"
