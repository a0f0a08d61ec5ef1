"""A watch over a stream of decisions and of what became of them: once it rings, the guarantee is withdrawn."""

from __future__ import annotations

import math
import time
from collections import OrderedDict, deque
from collections.abc import Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, Unpack

import msgspec
import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import OptionError
from tiny_dancer.routing.window import Measure, compare, compare_mix
from tiny_dancer.types import Decision

if TYPE_CHECKING:
    from collections.abc import Hashable

    import numpy.typing as npt

    from tiny_dancer.routing.arguments import Asked
    from tiny_dancer.routing.requests import Request
    from tiny_dancer.types import Guarantee

WINDOW: Final = 1000
"""Decisions that :class:`Measure` looks back at."""
_SOURCES: Final = 512
"""A source counts again once as many others have."""
_JUDGED: Final = 4096
"""Decisions of which it is remembered that an outcome, or feedback, has been counted."""
_NUMBERS: Final = ("likeness", "quality", "gain", "confidence")
_OF_OUTCOMES: Final = ("calibration", "risk")


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


class Watched(Protocol):
    """What a watch asks of its router; see :class:`Router`.

    Attributes:
        header: of the artifact.
        artifact: which one, by checksum.
        models: by name.
        guarantee: the certificate, or None.
    """

    header: dict[str, Any]
    artifact: str
    models: tuple[str, ...]
    guarantee: Guarantee | None

    def route(
        self, request: Request, *, tools: object = None, response_format: object = None, **options: Unpack[Asked]
    ) -> Decision:
        """Decides one request."""
        ...

    def drift_state(self, threshold: float) -> _core.Drift:
        """The engine's state, before the first decision."""
        ...

    def usual(self, name: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None:
        """Knots and counts of what is usual."""
        ...


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """One of the alarms of a watch.

    Attributes:
        name: ``likeness`` of requests; ``quality``, the highest expected of any model; ``gain``, what the best
            other model is expected to be above the best constant; ``feedback`` beside expected quality;
            ``calibration``: outcomes beside expected quality, model by model; ``risk``: the certificate's promise.
        watches: the same in words.
        observed: decisions counted; of ``feedback`` feedback, of ``calibration`` and ``risk`` outcomes.
        capital: what betting against "nothing has changed" has made of this alarm's share of 1.
        since: at which of those observed, from 1, it rang; None while it has not. It does not stop ringing.
        note: which way things have changed, so far as can be told; or why this alarm cannot ring.
        reference: what it compares with: ``artifact``, ``first 128``, or ``none``.
    """

    name: str
    watches: str
    observed: int
    capital: float
    since: int | None
    note: str
    reference: str


class WatchStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A :class:`Watch` at one moment.

    Attributes:
        artifact: whose decisions it counts, by version and checksum.
        observed: decisions counted.
        capital: the largest of the alarms'.
        threshold: capital at which one rings.
        since: the decision at which the first rang; None while none has.
        alarms: in a fixed order.
        measures: of the last decisions, in a fixed order.
    """

    artifact: str
    observed: int
    capital: float
    threshold: float
    since: int | None
    alarms: tuple[Alarm, ...]
    measures: tuple[Measure, ...]

    @property
    def ringing(self) -> tuple[str, ...]:
        """Names of the alarms that have rung."""
        return tuple(each.name for each in self.alarms if each.since is not None)


class Watch:
    """Decides as its router does, and withdraws the guarantee once something has changed.

    Six alarms bet against "nothing has changed". As long as decisions are exchangeable with those on the rows the
    certificate was earned on, and outcomes are on average what was expected, any of them ever rings with
    probability at most 1 / ``threshold``, however long the stream (Ville 1939; the capital is dealt out evenly):

    - ``likeness``, ``quality`` and ``gain`` are conformal test martingales over what each decision says by itself
      (Vovk, Nouretdinov and Gammerman 2003). Order counts: requests that come sorted have changed. An artifact
      that does not say what is usual of the latter two has it learned from the first 128 decisions.
    - ``feedback`` is one over feedback less expected quality (:meth:`feedback`), usual being the first 128.
    - ``calibration`` and ``risk`` test by betting (Waudby-Smith and Ramdas 2023) whether outcomes in the unit of
      the table (:meth:`outcome`) are within .05 of what was expected, and what the certificate bounds below it.

    Outcomes and feedback exist of the model that served alone, may be late, and may be few. They must come
    whatever their size: where only complaints arrive, complaints are what is tested.

    Made by :meth:`Router.watch`. Belongs to one stream: one tenant, say, or one route. Share it between threads.

    Attributes:
        threshold: capital at which an alarm rings.
        artifact: whose decisions it observes.
        note: why the guarantee is withdrawn, by which alarm and since when; empty while none has rung.
        began: UTC seconds when it was made.
    """

    def __init__(self, router: Watched, state: _core.Drift, threshold: float) -> None:
        """See :meth:`Router.watch`."""
        self._router = router
        self._state = state
        self._since: int | None = None
        self._observed = 0
        self._lock = Lock()
        self._window: deque[tuple[float, float, float, float, str]] = deque(maxlen=WINDOW)
        self._sources: OrderedDict[Hashable, None] = OrderedDict()
        self._judged: OrderedDict[tuple[str, bool], None] = OrderedDict()
        self.note = ""
        self.began = time.time()
        self.threshold = threshold
        self.artifact = ArtifactName(router.header["version"], router.artifact)

    @classmethod
    def over(cls, router: Watched, threshold: float) -> Watch:
        """A watch from its beginning.

        Raises:
            OptionError: a threshold that is not above 1.
        """
        number = isinstance(threshold, int | float | np.number) and not isinstance(threshold, bool)
        if not number or not 1 < threshold < math.inf:
            remedy = "give one over the chance of a false alarm, such as 100 for 1 %"
            raise OptionError("threshold", repr(threshold), remedy)
        return cls(router, router.drift_state(float(threshold)), threshold)

    @property
    def capital(self) -> float:
        """The largest capital of any alarm, of 1 for all together."""
        with self._lock:
            return max(alarm[2] for alarm in self._state.alarms())

    @property
    def observed(self) -> int:
        """Decisions observed and counted."""
        return self._observed

    @property
    def since(self) -> int | None:
        """The decision, counted from 1, by which the first alarm rang; None while none has."""
        return self._since

    def route(
        self,
        request: Request,
        *,
        tools: object = None,
        response_format: object = None,
        source: Hashable = None,
        **options: Unpack[Asked],
    ) -> Decision:
        """:meth:`Router.route`, observed; ``source`` as of :meth:`observe`."""
        decision = self._router.route(request, tools=tools, response_format=response_format, **options)
        return self.observe(decision, source=source)

    def observe(self, decision: Decision, *, source: Hashable = None) -> Decision:
        """Counts a decision of this router, and gives it back: without a guarantee once an alarm has rung.

        A fallback's decision is not counted. Requests of one source, such as a conversation, are alike, which no
        alarm allows for: a source counts once, and again once 512 others have. Where none is given, a request that
        looks the same in every number counts as one of the same source.

        Raises:
            OptionError: a decision of another artifact.
        """
        self._check(decision)
        with self._lock:
            if decision.level == 0 and self._is_new(decision, source):
                scores = list(decision.scores.values())
                quality, gain = self._state.decided(decision.likeness, scores)
                usual = decision.routed_by in ("learned", "default")
                likeness = math.nan if decision.likeness is None else decision.likeness
                confidence = decision.confidence if usual else math.nan
                self._window.append((likeness, quality, gain, confidence, decision.model if usual else ""))
                self._observed += 1
                self._look()
            note = self.note
        if not note or decision.guarantee is None:
            return decision
        return msgspec.structs.replace(decision, guarantee=None, guarantee_note=note)

    def feedback(self, decision: Decision, score: float) -> None:
        """How an answer was received, in [0, 1]: a thumb, a grade. Of each decision the first counts.

        Compared with earlier feedback, so that its unit does not matter, as long as who gives it stays the same.

        Raises:
            OptionError: a score outside [0, 1], or a decision of another artifact.
        """
        self._check(decision)
        self.learn(decision.id, decision.model, decision.scores, _share("score", score), in_units=False)

    def outcome(self, decision: Decision, quality: float | Mapping[str, float]) -> None:
        """What the model that served really scored, in the unit of the table. Of each decision the first counts.

        Args:
            decision: of this router.
            quality: in [0, 1]; or by model, where others answered as well: that of the certificate's reference
                then need not be guessed.

        Raises:
            OptionError: a quality outside [0, 1], none of the model that served, or another artifact's decision.
        """
        self._check(decision)
        known = {decision.model: quality} if not isinstance(quality, Mapping) else quality
        if decision.model not in known:
            raise OptionError(
                "quality", ", ".join(map(repr, known)), f"{decision.model} has served: give its quality"
            )
        found = {model: _share("quality", each) for model, each in known.items()}
        guarantee = self._router.guarantee
        reference = None if guarantee is None else found.get(guarantee.reference)
        self.learn(
            decision.id, decision.model, decision.scores, found[decision.model], in_units=True, reference=reference
        )

    def learn(
        self,
        id: str,
        model: str,
        scores: Mapping[str, float],
        value: float,
        *,
        in_units: bool,
        reference: float | None = None,
    ) -> None:
        """:meth:`outcome` (``in_units``) or :meth:`feedback` where only these are left of a decision."""
        if model not in scores or not math.isfinite(scores[model]):
            return
        with self._lock:
            if not _remember(self._judged, (id, in_units), _JUDGED):
                return
            if in_units:
                listed = [scores.get(name, math.nan) for name in self._router.models]
                if model in self._router.models:
                    self._state.measured(self._router.models.index(model), value, listed, reference)
            else:
                self._state.graded(value - scores[model])
            self._look()

    def status(self) -> WatchStatus:
        """How it stands; reading changes nothing."""
        with self._lock:
            alarms, window = self._state.alarms(), list(self._window)
            observed, since = self._observed, self._since
        return WatchStatus(
            artifact=str(self.artifact),
            observed=observed,
            capital=max(alarm[2] for alarm in alarms),
            threshold=self.threshold,
            since=since,
            alarms=tuple(self._alarm(alarm) for alarm in alarms),
            measures=tuple(self._measures(window)),
        )

    def _check(self, decision: Decision) -> None:
        if not isinstance(decision, Decision):
            raise OptionError("decision", type(decision).__name__, "give what route or the router returned")
        if decision.artifact != self.artifact.checksum:
            theirs = ArtifactName(decision.artifact_version, decision.artifact)
            raise OptionError(
                "decision",
                f"of {theirs}, and this watch is over {self.artifact}",
                "observe each router's decisions with a watch of its own",
            )

    def _is_new(self, decision: Decision, source: Hashable) -> bool:
        if source is None:
            source = (decision.tokens, decision.likeness, *decision.scores.values())
        return _remember(self._sources, source, _SOURCES)

    def _look(self) -> None:
        """Has an alarm rung for the first time?"""
        if self._since is None and self._state.rings:
            self._since = self._observed
            name, _, _, since, *_ = next(alarm for alarm in self._state.alarms() if alarm[3] is not None)
            self.note = f"{_core.WITHDRAWN[name]}: alarm {name} since {_unit(name)} {since} of this watch"

    def _alarm(self, alarm: _core.AlarmTuple) -> Alarm:
        name, observed, capital, since, side, model, known = alarm
        note, reference = side, "artifact"
        if name == "likeness":
            note, reference = (
                ("", "artifact") if known else ("the artifact cannot say what requests are like", "none")
            )
        elif name == "risk" and not known:
            note, reference = "no certificate of quality", "none"
        elif name == "calibration" and model is not None:
            note = f"{self._router.models[model]}: {side}"
        elif name == "feedback" or (name in _NUMBERS and self._router.usual(name) is None):
            reference = f"first {_core.LEARNED}"
            note = side if known else f"learns what is usual from the first {_core.LEARNED}"
        return Alarm(
            name=name,
            watches=_core.WATCHED[name],
            observed=observed,
            capital=capital,
            since=since,
            note=note,
            reference=reference,
        )

    def _measures(self, window: list[tuple[float, float, float, float, str]]) -> list[Measure]:
        columns = np.array([each[:4] for each in window], dtype=np.float64).reshape(-1, 4)
        found = [compare(name, columns[:, place], self._router.usual(name)) for place, name in enumerate(_NUMBERS)]
        spec = self._router.header.get("drift")
        chosen = [each[4] for each in window]
        counts = np.array([chosen.count(model) for model in self._router.models], dtype=np.float64)
        found.append(compare_mix(counts, None if spec is None else np.array(spec["mix"], dtype=np.float64)))
        return found


def _unit(alarm: str) -> str:
    """What an alarm counts."""
    return "outcome" if alarm in _OF_OUTCOMES else "feedback" if alarm == "feedback" else "decision"


def _remember(seen: OrderedDict[Any, None], key: Hashable, most: int) -> bool:
    """Whether it is not among the last ones; remembered then."""
    if key in seen:
        return False
    seen[key] = None
    if len(seen) > most:
        seen.popitem(last=False)
    return True


def _share(field: str, value: object) -> float:
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool | np.bool_)
    if not number or not 0 <= value <= 1:  # type: ignore[operator]
        raise OptionError(field, repr(value), "give a number in [0, 1]")
    return float(value)  # type: ignore[arg-type]
