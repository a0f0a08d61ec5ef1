"""Whether what a worker's router decides is still like what its certificate was earned on, and comes true."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from tiny_dancer.gateway.status import DriftStatus

if TYPE_CHECKING:
    from collections.abc import Hashable

    from tiny_dancer.routing.resilient import ResilientRouter
    from tiny_dancer.routing.watch import Watch
    from tiny_dancer.types import Decision, RequestRecord

log = logging.getLogger("tiny_dancer.gateway")

_ONE_WORKER: Final = 100.0
"""One over the chance of a false alarm: 1 % for all alarms of all workers of a gateway together."""
_ARRIVAL_S: Final = 5.0
"""The request that a watch begins with arrived no longer before it."""


class Drift:
    """A watch over what one router decides in one worker; begun anew with another artifact.

    Workers see different requests, and each has a watch of its own. Each rings falsely, over an endless stream,
    with probability at most 1 / (100 · workers), whichever of its alarms it is: all of them together with at most
    1 %. Belongs to the event loop's thread.
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

    def observe(self, decision: Decision, router: ResilientRouter, source: Hashable = None) -> Decision:
        """Counts a decision and gives it back: without a guarantee once an alarm has rung.

        Args:
            decision: of the router.
            router: that decided.
            source: conversation that it belongs to, which counts once.
        """
        if decision.level != 0:
            return decision
        if decision.artifact != self._artifact:
            serving = router.serving
            if serving.artifact != decision.artifact:
                return decision  # of an artifact that was replaced in this very moment
            self._artifact, self._watch = decision.artifact, serving.watch(self._threshold)
            self._certified = serving.guarantee is not None and not serving.uncertified
        watch = self._watch
        assert watch is not None, "there is one for every artifact that decides"
        before = watch.since
        found = watch.observe(decision, source=source)
        if before is None and watch.since is not None:
            self._say()
        return found

    def learn(self, record: RequestRecord, score: float, *, in_units: bool) -> None:
        """Counts feedback on a request that the router decided.

        Args:
            record: of the request.
            score: in [0, 1].
            in_units: whether that is what the table calls quality.
        """
        watch = self._watch
        # The record does not name the artifact's bytes; requests from before the watch may be of others.
        if watch is None or record.level != 0 or record.artifact_version != watch.artifact.version:
            return
        if record.scores is None or record.time < watch.began - _ARRIVAL_S:
            return
        before = watch.since
        id = record.decision_id or record.id
        watch.learn(id, record.model, record.scores, score, in_units=False)
        if in_units:
            watch.learn(id, record.model, record.scores, score, in_units=True)
        if before is None and watch.since is not None:
            self._say()

    def _say(self) -> None:
        """Tells the operator, once."""
        watch = self._watch
        if watch is None or not self._certified:
            return
        log.warning(
            "router %s: the certificate of %s is withdrawn: %s. Calibrate it on requests as they come now",
            self._name,
            watch.artifact,
            watch.note,
        )

    def status(self) -> DriftStatus | None:
        """How it stands; None before the first decision that it counts."""
        watch = self._watch
        if watch is None:
            return None
        found = watch.status()
        return DriftStatus(
            artifact=found.artifact,
            observed=found.observed,
            capital=found.capital,
            threshold=found.threshold,
            since=found.since,
            withdrawn=self._certified and found.since is not None,
            alarms=list(found.alarms),
            measures=list(found.measures),
        )

    def note(self, artifact: str) -> str | None:
        """What the operator should know of the certificate of the artifact with this checksum."""
        watch = self._watch
        if watch is None or watch.since is None or not self._certified or artifact != self._artifact:
            return None
        return f"certificate withdrawn: {watch.note} (in one worker)"
