"""A share of the requests that follows drift: the threshold is a quantile of the gains seen last.

A fixed threshold gives its share on traffic like that it was set on; on other traffic, or the same questions
formatted otherwise, all gains may lie on one side of it. What survives better is the ranking. So the caller keeps
a window of the gains seen last, and each request is held against the quantile of those before it. Where n gains
have been seen, a new one like them is among the j largest with probability j / (n + 1), whatever their
distribution (rank of an exchangeable value; Vovk, Gammerman and Shafer 2005, section 2.2); j is taken so that
this is the share.

Requests that are level with the quantile are given out by turns, by the share given so far: identical requests,
too, are shared as asked. Nothing is random, so the same requests in the same order get the same decisions.

No certificate covers what is decided so: one is earned by a policy that was fixed before the rows it was tested
on, and here the policy changes with the traffic.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer.errors import OptionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tiny_dancer.routing.requests import Request
    from tiny_dancer.types import Decision

FEWEST, MOST = 20, 100_000
"""Gains a window may hold."""
WINDOW = 500
"""Gains a window holds where nothing else is asked: a share is then kept within some points, and follows within
hundreds of requests."""


def two_models(header: Mapping[str, Any], names: Iterable[str]) -> tuple[str, str]:
    """The names of the best constant model and of the other one.

    Raises:
        OptionError: the artifact has not exactly two models.
    """
    listed = tuple(names)
    if len(listed) != 2:
        remedy = "between more than two, turn a dial on a table of prompts (calibrate --share or --cost-cut)"
        raise OptionError(
            "share", f"an artifact of {len(listed)} models", f"a share is one of two models; {remedy}"
        )
    policy = header["policy"]
    strong: int = policy["strong"] if policy["kind"] == "threshold" else header["best_constant"]
    return listed[strong], listed[1 - strong]


class ShareWindow:
    """The gains seen last, and the threshold that gives a share of such requests to the strong model.

    Bounded, deterministic; threads may share it. At most ``window`` gains and as many choices are held.
    """

    def __init__(self, share: float, window: int = WINDOW, expected: Iterable[float] = ()) -> None:
        """An empty window.

        Args:
            share: of the requests for the strong model, in [0, 1].
            window: gains to hold.
            expected: gains of requests like those the artifact knows, such as the levels of its policy path. They
                stand in for the first :data:`FEWEST` requests, one leaving with each.

        Raises:
            OptionError: a share or window outside its range.
        """
        if isinstance(share, bool) or not isinstance(share, int | float | np.number) or not 0 <= share <= 1:
            raise OptionError("share", repr(share), "give a share between 0 and 1, such as 0.3")
        whole = isinstance(window, int | np.integer) and not isinstance(window, bool)
        if not whole or not FEWEST <= window <= MOST:
            raise OptionError("window", repr(window), f"give a number of requests from {FEWEST} to {MOST:,}")
        self.share, self.window = float(share), int(window)
        known = sorted(float(each) for each in expected if math.isfinite(each))
        places = np.linspace(0, len(known) - 1, min(FEWEST, len(known))) if known else np.zeros(0)
        self._ordered = [known[round(place)] for place in places]
        self._stand_ins = list(self._ordered)
        self._seen: deque[float] = deque()
        self._given: deque[bool] = deque()
        self._given_count = 0
        self._lock = Lock()

    def threshold(self) -> float:
        """The least gain worth the strong model, for the next request."""
        with self._lock:
            return self._threshold()

    def _threshold(self) -> float:
        # No gain is larger than 1 or smaller than -1.
        if self.share in (0.0, 1.0):
            return 2.0 if self.share == 0.0 else -2.0
        # Whether the next choice of the strong model keeps the share given nearer to the one asked for.
        due = self._given_count + 0.5 <= self.share * (len(self._given) + 1)
        ordered = self._ordered
        if not ordered:
            return -2.0 if due else 2.0
        rank = round(self.share * (len(ordered) + 1))
        level = ordered[-min(max(rank, 1), len(ordered))]
        return level if due and rank > 0 else math.nextafter(level, math.inf)

    def saw(self, gain: float, strong: bool) -> None:
        """Takes in a decision: the expected gain of the strong model, and whether it was chosen.

        A gain that is no number (of a fallback level, say) is left out.
        """
        if not math.isfinite(gain):
            return
        with self._lock:
            insort(self._ordered, gain)
            self._seen.append(gain)
            self._given.append(strong)
            self._given_count += strong
            # What stands in leaves from both ends in turn, so that its quantiles stay where they were.
            if self._stand_ins:
                self._forget(self._stand_ins.pop(0 if len(self._stand_ins) % 2 else -1))
            if len(self._seen) > self.window:
                self._forget(self._seen.popleft())
                self._given_count -= self._given.popleft()

    def _forget(self, gain: float) -> None:
        del self._ordered[bisect_left(self._ordered, gain)]

    @property
    def given(self) -> float:
        """Share of the requests in the window that the strong model was chosen for; NaN before the first."""
        with self._lock:
            return self._given_count / len(self._given) if self._given else math.nan

    def __len__(self) -> int:
        """Requests in the window."""
        return len(self._seen)


class ShareFollower:
    """Routes so that a model answers a share of the requests, whatever they are; made by ``Router.follow_share``.

    The caller keeps it, one for each stream of requests; threads may share it. Memory is bounded by the window.

    Attributes:
        model: that the share is of.
        share: asked for.
        window: requests whose gains are remembered.
    """

    def __init__(
        self,
        route: Callable[..., Decision],
        header: Mapping[str, Any],
        names: tuple[str, ...],
        model: str | None,
        share: float,
        window: int,
    ) -> None:
        """See :meth:`tiny_dancer.Router.follow_share`; ``header`` and ``names`` are the artifact's."""
        strong, weak = two_models(header, names)
        self.model = strong if model is None else model
        if self.model not in names:
            raise OptionError("share", repr(model), f"the models are {', '.join(names)}")
        # Checked before it is turned round.
        ShareWindow(share, window)
        self.share, self.window = float(share), int(window)
        self._route = route
        self._strong, self._weak = strong, weak
        of_strong = self.share if self.model == strong else 1 - self.share
        self._gains = ShareWindow(of_strong, window, header.get("policy_path") or ())

    def route(self, request: Request, **options: Any) -> Decision:
        """Decides one request as :meth:`tiny_dancer.Router.route`, by the quantile of the gains before it.

        The decision says ``routed_by`` ``override`` and stands under no certificate: the policy changes with the
        traffic, and a certificate is of one policy.

        Raises:
            OptionError: a threshold or cost weight beside the share; else as :meth:`tiny_dancer.Router.route`.
        """
        for option in ("threshold", "cost_weight", "policy"):
            if options.get(option) is not None:
                raise OptionError(option, options[option], "the share sets the threshold: leave it out")
        decision = self._route(request, **{**options, "threshold": self._gains.threshold()})
        gain = decision.scores[self._strong] - decision.scores[self._weak]
        self._gains.saw(gain, decision.model == self._strong)
        return decision

    @property
    def given(self) -> float:
        """Share of the last requests, at most ``window``, that the model was chosen for; NaN before the first."""
        given = self._gains.given
        return given if self.model == self._strong else 1 - given

    @property
    def threshold(self) -> float:
        """The least gain that is worth the dearer model now."""
        return self._gains.threshold()
