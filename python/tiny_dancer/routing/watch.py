"""A watch over a stream of requests: it rings once they have become unlike what a certificate was earned on."""

from __future__ import annotations

import math
from threading import Lock
from typing import TYPE_CHECKING, NamedTuple, Unpack

import msgspec
import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tiny_dancer.routing.arguments import Asked
    from tiny_dancer.routing.requests import Request
    from tiny_dancer.types import Decision


class ArtifactName(NamedTuple):
    """Which artifact decides.

    Attributes:
        version: which several may share.
        checksum: as of :class:`~tiny_dancer.types.Decision`.
    """

    version: str
    checksum: str

    def __str__(self) -> str:
        return f"artifact {self.version} ({self.checksum})"


class Watch:
    """Decides as its router does, and withdraws the guarantee once requests have changed.

    A conformal test martingale bets on each decision's ``likeness`` (Vovk, Nouretdinov and Gammerman 2003): as
    long as requests are exchangeable with the rows the certificate was earned on, it ever reaches ``threshold``
    with probability at most 1 / ``threshold``, however long the stream (Ville 1939). Single unlike requests lose
    the guarantee one by one, watch or no watch; the watch is for a change that no single one shows. Order counts:
    requests like the rows that come sorted, by subject or by length, have changed, and ring.

    Made by :meth:`Router.watch`. It keeps some 70 numbers, and belongs to one stream: one tenant, say, or one
    route. Share it between threads.

    Attributes:
        threshold: capital at which it rings.
        artifact: whose decisions it observes.
    """

    def __init__(
        self,
        route: Callable[..., Decision],
        state: _core.Martingale,
        threshold: float,
        artifact: ArtifactName,
    ) -> None:
        self._route = route
        self._state = state
        self._since: int | None = None
        self._lock = Lock()
        self.threshold = threshold
        self.artifact = artifact

    @classmethod
    def over(
        cls,
        route: Callable[..., Decision],
        state: _core.Martingale | None,
        threshold: float,
        artifact: ArtifactName,
    ) -> Watch:
        """A watch from its beginning.

        Raises:
            OptionError: a threshold that is not above 1, or an artifact that cannot say what requests are like.
        """
        number = isinstance(threshold, int | float | np.number) and not isinstance(threshold, bool)
        if not number or not 1 < threshold < math.inf:
            remedy = "give one over the chance of a false alarm, such as 100 for 1 %"
            raise OptionError("threshold", repr(threshold), remedy)
        if state is None:
            raise OptionError(
                "watch",
                "the artifact cannot say what requests are like",
                "train or calibrate it with this version",
            )
        return cls(route, state, threshold, artifact)

    @property
    def capital(self) -> float:
        """What betting against "nothing has changed" has made of 1 by now."""
        return self._state.capital

    @property
    def observed(self) -> int:
        """Decisions observed."""
        return self._state.steps

    @property
    def since(self) -> int | None:
        """The decision, counted from 1, at which it rang; None while it has not. It does not stop ringing."""
        return self._since

    def route(
        self, request: Request, *, tools: object = None, response_format: object = None, **options: Unpack[Asked]
    ) -> Decision:
        """:meth:`Router.route`, observed."""
        decision = self._route(request, tools=tools, response_format=response_format, **options)
        return self.observe(decision)

    def observe(self, decision: Decision) -> Decision:
        """Counts a decision of this router, and gives it back: without a guarantee once the watch has rung.

        A decision without ``likeness`` (a fallback's) is not counted.

        Raises:
            OptionError: a decision of another artifact, whose likeness is to other rows.
        """
        if decision.artifact != self.artifact.checksum:
            theirs = ArtifactName(decision.artifact_version, decision.artifact)
            raise OptionError(
                "decision",
                f"of {theirs}, and this watch is over {self.artifact}",
                "observe each router's decisions with a watch of its own",
            )
        with self._lock:
            if decision.likeness is not None:
                self._state = self._state.step(decision.likeness)
                if self._since is None and self._state.highest >= self.threshold:
                    self._since = self._state.steps
            since = self._since
        if since is None or decision.guarantee is None:
            return decision
        note = f"{_core.DRIFTED}: since decision {since} of this watch"
        return msgspec.structs.replace(decision, guarantee=None, guarantee_note=note)
