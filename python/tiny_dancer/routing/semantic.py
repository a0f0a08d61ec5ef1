"""Semantic routes: which intent a request has, or none, by example utterances or by an artifact fitted on rows."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from numbers import Real
from typing import TYPE_CHECKING, Any, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from tiny_dancer import _core, files
from tiny_dancer.errors import ArtifactError, OptionError, RequestError
from tiny_dancer.routing.encoders import check_vectors
from tiny_dancer.routing.functions import FunctionCall, fill, fill_now, read_functions
from tiny_dancer.routing.router import read_artifact
from tiny_dancer.routing.spelling import Words

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    import numpy.typing as npt

    from tiny_dancer.routing.ask import Ask
    from tiny_dancer.routing.encoders import Encoder
    from tiny_dancer.routing.functions import Function

__all__ = ["Route", "RouteChoice", "RoutesEvaluation", "SemanticRoutes", "User"]

LIKENESS_SCALE = 20.0
"""Scores per unit of cosine, of routes that nothing was fitted for."""
_VERSION = "1.0.0"
_LONGEST_UTTERANCE = 100_000
_FUNCTIONS = "function_schemas"
_FIXED_ZONES = frozenset({"UTC", "Z", "Etc/UTC", "GMT"})
_OFFSET = re.compile(r"[+-](?:[01]\d|2[0-3]):[0-5]\d")
_NESTED = ("all", "any")
_NAMES = ("tier", "tags", "language", "keywords")
_OBJECTS = ("time", "period", "rate", "tokens")
# Moments that a calendar knows in every zone: the years 1 to 9999, but for a day at either end.
_EARLIEST, _LATEST = -62_135_510_400, 253_402_214_400
_FEWEST_SWEPT = 1024
_DEEPEST = 32


@dataclass(frozen=True, slots=True)
class Route:
    """An intent and what to do with it.

    Attributes:
        name: its own.
        utterances: what people say when they mean it; three are a beginning.
        description: for people.
        target: where it leads: the name of a model or an agent, or any JSON value. It is handed on.
        priority: of two routes that overlap (the second at least half as probable), the higher one is chosen.
        conditions: when it may be given, as JSON: one of ``all``, ``any`` (lists), ``not``, ``time`` (``from``,
            ``to``,
            ``zone``, ``days``), ``period`` (``after``, ``before``), ``tier``, ``tags``, ``language``, ``keywords``
            (lists), ``rate`` (``requests``, ``seconds``), ``tokens`` (``at_least``, ``at_most``).
        threshold: least confidence at which it is given, in [0, 1].
        metadata: any JSON value; an object where there are function schemas, for artifacts keep them in it.
        function_schemas: functions in OpenAI's form, one of which the route calls: with a ``model``, asking the
            routes gives its arguments too.
    """

    name: str
    utterances: tuple[str, ...] = ()
    description: str = ""
    target: Any = None
    priority: int = 0
    conditions: Mapping[str, Any] | None = None
    threshold: float | None = None
    metadata: Any = None
    function_schemas: tuple[Mapping[str, Any], ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.strip():
            raise OptionError("name", repr(self.name), "give the route a name")
        given: Any = self.utterances
        if isinstance(given, str) or not isinstance(given, Iterable):
            raise OptionError(f"routes[{self.name}].utterances", repr(given), "give a list of texts")
        utterances = tuple(given)
        for at, utterance in enumerate(utterances):
            field_name = f"routes[{self.name}].utterances[{at}]"
            if not isinstance(utterance, str) or not utterance.strip():
                raise OptionError(field_name, repr(utterance), "give a text, or leave it out")
            if len(utterance) > _LONGEST_UTTERANCE:
                raise OptionError(field_name, f"{len(utterance):,} characters", "give what a user would say")
        if isinstance(self.priority, bool) or not isinstance(self.priority, int) or abs(self.priority) >> 63:
            raise OptionError(f"routes[{self.name}].priority", repr(self.priority), "give a whole number")
        if self.threshold is not None and not (_is_number(self.threshold) and 0 <= self.threshold <= 1):
            raise OptionError(
                f"routes[{self.name}].threshold", repr(self.threshold), "give a probability, in [0, 1]"
            )
        if not isinstance(self.description, str):
            raise OptionError(f"routes[{self.name}].description", repr(self.description), "give a text")
        if self.conditions is not None:
            _check_condition(self.conditions, f"routes[{self.name}].conditions")
        object.__setattr__(self, "utterances", utterances)
        schemas: Any = self.function_schemas
        if isinstance(schemas, str | Mapping) or not isinstance(schemas, Iterable):
            raise OptionError(f"routes[{self.name}].function_schemas", repr(schemas), "give a list of schemas")
        object.__setattr__(self, "function_schemas", tuple(schemas))
        read_functions(self.function_schemas, f"routes[{self.name}].function_schemas")
        if self.function_schemas and not isinstance(self.metadata, Mapping | None):
            raise OptionError(f"routes[{self.name}].metadata", repr(self.metadata), "give an object, or none")
        for part in ("name", "utterances", "description", "target", "conditions", "metadata", "function_schemas"):
            _check_json(getattr(self, part), f"routes[{self.name}].{part}")

    def spec(self) -> dict[str, Any]:
        """What an artifact says of it."""
        found: dict[str, Any] = {"name": self.name, "priority": self.priority}
        for key in ("target", "threshold", "conditions", "metadata"):
            if (value := getattr(self, key)) is not None:
                found[key] = value
        if self.description:
            found["description"] = self.description
        if self.function_schemas:
            found["metadata"] = {**(self.metadata or {}), _FUNCTIONS: list(self.function_schemas)}
        return found


@dataclass(frozen=True, slots=True)
class RouteChoice:
    """Where a request belongs.

    Attributes:
        name: the route, or None.
        confidence: probability that ``name`` is right, of ``best`` where it is None; given that the request is in
            scope.
        calibrated: whether that was fitted on rows the scores had not seen, and still holds.
        top: the most probable routes with their probabilities, best first.
        reason: ``most_probable``, ``priority``, ``out_of_scope``, ``below_threshold`` or ``none_allowed``.
        best: the most probable of all routes, whatever may be given.
        in_scope_score: how likely the request is one of the routes', or None where nothing was fitted.
        target: of the route.
        prediction_set: routes that hold the right one in nine of ten requests in scope, or None where not asked
            for or not calibrated.
        artifact_version: of what answered.
        read_as: the text as it was read, in normal form, where an unknown word was read as a known one; else None,
            and always where many texts are routed at once.
        function_call: of the route, its arguments filled in by the model that was named; None without one, or
            where the route calls no function.
    """

    name: str | None
    confidence: float
    calibrated: bool
    top: tuple[tuple[str, float], ...]
    reason: str
    best: str
    in_scope_score: float | None
    target: Any
    prediction_set: tuple[str, ...] | None
    artifact_version: str
    read_as: str | None = None
    function_call: FunctionCall | None = None


@dataclass(frozen=True, slots=True)
class User:
    """Who asks.

    Attributes:
        id: tells users apart whose requests are limited; None counts all together.
        tier: such as ``free``.
        tags: such as ``beta``.
    """

    id: str | None = None
    tier: str | None = None
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for part in ("id", "tier"):
            if not isinstance(getattr(self, part), str | None):
                raise OptionError(f"user.{part}", repr(getattr(self, part)), "give a text, or None")
        tags: Any = self.tags
        if not isinstance(tags, list | tuple) or not all(isinstance(tag, str) for tag in tags):
            raise OptionError("user.tags", repr(tags), "give a list of texts")


@dataclass(frozen=True, slots=True)
class RoutesEvaluation:
    """How good routes are on labelled texts.

    Attributes:
        n: texts.
        accuracy: share of the texts of routes whose most probable route is right.
        given: share of the texts of routes that are given the right route.
        calibration_error: of the confidence on texts of routes (15 bins of equal width).
        out_of_scope_auroc: how well the in-scope score tells texts of no route, or None without any.
        out_of_scope_f1: of the answer "none" for those.
        confusions: (right route, most probable one, texts), most frequent first.
    """

    n: int
    accuracy: float
    given: float
    calibration_error: float
    out_of_scope_auroc: float | None
    out_of_scope_f1: float | None
    confusions: tuple[tuple[str, str, int], ...] = ()


@dataclass(slots=True)
class _Window:
    """When requests went to a route that is limited, by user; one thread at a time."""

    seconds: float
    times: dict[str | None, deque[float]] = field(default_factory=dict)
    swept_at: int = _FEWEST_SWEPT

    def count(self, user: str | None, now: float) -> None:
        self.times.setdefault(user, deque()).append(now)
        if len(self.times) > self.swept_at:  # users who never came again
            for each in [each for each, times in self.times.items() if times[-1] <= now - self.seconds]:
                del self.times[each]
            self.swept_at = max(_FEWEST_SWEPT, 2 * len(self.times))

    def used(self, user: str | None, now: float) -> int:
        times = self.times.get(user)
        if times is None:
            return 0
        while times and times[0] <= now - self.seconds:
            times.popleft()
        if not times:
            del self.times[user]
            return 0
        return len(times)


@dataclass(frozen=True, slots=True)
class _State:
    """All that answers, replaced as one: threads see the old routes or the new ones."""

    artifact: bytes
    header: dict[str, Any]
    engine: _core.Routes
    names: tuple[str, ...]
    routes: Mapping[str, Route]
    windows: Mapping[str, _Window]
    zones: Mapping[str, ZoneInfo]
    depends_on: frozenset[str]


class SemanticRoutes:
    """Routes that answer. Share it between threads; ``add``, ``update`` and ``remove`` replace what answers at
    once, one after the other. What was counted for rates stays.

    From utterances alone a request goes to the route whose utterances are most like it, and nothing is calibrated:
    ``calibrated`` is False, and no request is out of scope. An artifact fitted on rows brings both.

    Example:
        >>> refund = Route("refund", ["I want my money back", "refund my order", "return this for a refund"])
        >>> status = Route("status", ["where is my order", "has my parcel shipped", "track my delivery"])
        >>> SemanticRoutes([refund, status])("where is the parcel I ordered?").name
        'status'
    """

    def __init__(self, routes: Sequence[Route], encoder: Encoder | None = None) -> None:
        """Routes by their utterances.

        Args:
            routes: at least one, each with at least one utterance.
            encoder: makes the vectors; None is the engine's own.

        Raises:
            OptionError: no routes, two of one name, one without utterances.
            ArtifactError: conditions that mean nothing.
        """
        self._start(encoder)
        _check_routes(routes, {})
        self._set(_from_utterances(routes, encoder, {}), {route.name: route for route in routes})

    @classmethod
    def from_bytes(cls, artifact: bytes, encoder: Encoder | None = None) -> Self:
        """Loads an artifact's bytes; see :meth:`from_file`."""
        made = cls.__new__(cls)
        made._start(encoder)
        made._set(artifact, None)
        return made

    @classmethod
    def from_file(cls, path: str | os.PathLike[str], encoder: Encoder | None = None) -> Self:
        """Loads an artifact of kind ``routes``, checks it and replays its self-checks.

        Args:
            path: of the artifact.
            encoder: the one it was fitted with, where that was not the engine's own.

        Raises:
            ArtifactError: the file is missing, no sound artifact or of another kind (see its subclasses).
            EncoderMissingError: it was fitted with another encoder than the package ships.
            OptionError: it needs an encoder that is not given, or of another name or dimension than the one given.
        """
        return cls.from_bytes(read_artifact(path), encoder)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the artifact: :meth:`from_file` gives the same answers."""
        files.write(path, self._state.artifact)

    def _start(self, encoder: Encoder | None) -> None:
        self.encoder = encoder
        self._changing = threading.RLock()
        self._counting = threading.Lock()
        self._windows: dict[str, _Window] = {}

    def _set(self, artifact: bytes, routes: Mapping[str, Route] | None) -> None:
        header = _core.read_header(artifact)
        if header["kind"] != "routes":
            raise ArtifactError("kind", header["kind"], "give an artifact of routes")
        wanted = header["encoder"]
        own = wanted.get("checksum") is not None
        if own and self.encoder is not None:
            raise OptionError("encoder", self.encoder.name, "these routes use the engine's own encoder: give none")
        if not own:
            found = None if self.encoder is None else (self.encoder.name, self.encoder.dimension)
            if found != (wanted["name"], wanted["dimension"]):
                remedy = f"these routes need {wanted['name']} with {wanted['dimension']} values"
                raise OptionError("encoder", "none" if found is None else f"{found[0]} with {found[1]}", remedy)
        engine = _core.Routes(artifact, _core.encoder_of(wanted["checksum"]) if own else None)
        if routes is None:
            routes = {each["name"]: _route_of(each) for each in header["routes"]}
        zones: set[str] = set()
        windows: dict[str, _Window] = {}
        kinds: set[str] = set()
        for name, route in routes.items():
            for kind, value in _conditions(route.conditions):
                kinds.add(kind)
                if kind == "time":
                    zones.add(value.get("zone", "UTC"))
                if kind == "rate":
                    seconds = max(float(value["seconds"]), windows[name].seconds if name in windows else 0.0)
                    windows[name] = _Window(seconds)
        offsets = {zone: _zone(zone) for zone in sorted(zones) if _is_named(zone)}
        names = tuple(each["name"] for each in header["routes"])
        with self._counting:
            for name, window in windows.items():
                if name in self._windows:
                    window.times = self._windows[name].times
            self._windows = windows
            self._state = _State(artifact, header, engine, names, dict(routes), windows, offsets, frozenset(kinds))

    @property
    def header(self) -> dict[str, Any]:
        """Everything about the artifact that is not a weight."""
        return self._state.header

    @property
    def artifact(self) -> bytes:
        """The artifact's bytes."""
        return self._state.artifact

    @property
    def routes(self) -> tuple[Route, ...]:
        """The routes, in the artifact's order."""
        state = self._state
        return tuple(state.routes[name] for name in state.names)

    @property
    def calibrated(self) -> bool:
        """Whether confidences were fitted on rows the scores had not seen, and still hold."""
        return bool(self.header.get("calibrated"))

    @property
    def depends_on(self) -> frozenset[str]:
        """Kinds of conditions that routes have: ``time``, ``tier``, ``language`` and so on."""
        return self._state.depends_on

    def __call__(
        self,
        text: str,
        *,
        limit: int = 3,
        allowed: Sequence[str] = (),
        exclude: Sequence[str] = (),
        false_alarms: float | None = None,
        least_confidence: float = 0.0,
        prediction_set: bool = False,
        now: float | datetime | None = None,
        user: User | None = None,
        language: str | None = None,
        vector: npt.NDArray[np.floating[Any]] | None = None,
        model: Ask | None = None,
    ) -> RouteChoice:
        """Decides where a text belongs.

        Args:
            text: what was said.
            limit: how many routes ``top`` lists.
            allowed: only these routes; none means all.
            exclude: not these.
            false_alarms: share of in-scope requests that may be called out of scope; None: the artifact's.
            least_confidence: below which no route is given.
            prediction_set: whether to give the conformal set.
            now: seconds since 1970 or an aware datetime, where routes depend on it. Rates are counted by it.
            user: who asks.
            language: the request's, where routes depend on it.
            vector: the text's by the router's encoder, where it is known already.
            model: fills in the arguments of the route's function, where it has one:
                :class:`EndpointModel`, or any function of its shape.

        Raises:
            RequestError: nothing to route, a vector that does not fit, ``now`` missing where a route needs it.
            OptionError: an unknown route, a number out of range, or a model within an event loop (see
                :meth:`acall`).
            ModelError: the model does not answer, or not with arguments that fit the function's schema.
        """
        state = self._state
        found = self._vector(text, vector)
        seconds = as_seconds(now)
        # Looking and counting are one, or two threads would both be given the last request of a rate.
        with self._counting if state.windows else nullcontext():
            context = _context(state, seconds, user, language)
            options = _options(limit, allowed, exclude, false_alarms, least_confidence, prediction_set, context)
            answer = state.engine.decide(text, found, state.header["encoder"]["name"], options)
            choice = _choice(state, answer, prediction_set)
            if choice.name is not None:
                self._count(state, choice.name, user, seconds)
        if model is not None and (functions := self._functions(state, choice)):
            return replace(choice, function_call=fill_now(functions, text, model))
        return choice

    @staticmethod
    def _count(state: _State, name: str, user: User | None, now: float | None) -> None:
        if name in state.windows and now is not None:
            state.windows[name].count(None if user is None else user.id, now)

    def _functions(self, state: _State, choice: RouteChoice) -> tuple[Function, ...]:
        route = None if choice.name is None else state.routes.get(choice.name)
        return () if route is None else read_functions(route.function_schemas, "function_schemas")

    async def acall(self, text: str, *, model: Ask | None = None, **options: Any) -> RouteChoice:
        """As :meth:`__call__`; where another encoder makes the vector, in a thread."""
        if self.encoder is not None and options.get("vector") is None:
            options["vector"] = (await asyncio.to_thread(self._encode, [text]))[0]
        state = self._state
        choice = self(text, **options)
        if model is not None and (functions := self._functions(state, choice)):
            return replace(choice, function_call=await fill(functions, text, model))
        return choice

    def route_many(
        self, texts: Sequence[str], *, false_alarms: float | None = None, least_confidence: float = 0.0
    ) -> list[RouteChoice]:
        """Decides n texts on all processors, each as :meth:`__call__` would without more options; ``top`` holds
        the best route alone. Routes with conditions need :meth:`__call__`."""
        state = self._state
        places, confidence, score, reason = self._columns(state, texts, false_alarms, least_confidence)
        return [
            RouteChoice(
                name=state.names[route] if route >= 0 else None,
                confidence=float(sure),
                calibrated=bool(state.header.get("calibrated")),
                top=((state.names[best], float(sure)),),
                reason=_core.ROUTE_REASONS[why],
                best=state.names[best],
                in_scope_score=None if np.isnan(inside) else float(inside),
                target=state.routes[state.names[route]].target if route >= 0 else None,
                prediction_set=None,
                artifact_version=state.header["version"],
            )
            for (route, best), sure, inside, why in zip(places.tolist(), confidence, score, reason, strict=True)
        ]

    def decide_json(self, request: str, options: str = "") -> str:
        """The engine's whole answer to ``{"text": …}``, as JSON.

        Args:
            request: where another encoder makes the vectors, with ``vector`` and its ``encoder``.
            options: those of the engine (``routes/conditions.rs``) as JSON; empty asks nothing. Rates are neither
                kept nor counted here.

        Raises:
            RequestError, OptionError: as :meth:`__call__`.
        """
        return self._state.engine.decide_json(request, options)

    def _columns(
        self, state: _State, texts: Sequence[str], false_alarms: float | None = None, least_confidence: float = 0.0
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float32], npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
        """Route (−1: none) and best as positions [n, 2], confidence, in-scope score (NaN: none) and position of
        the reason, [n] each."""
        if isinstance(texts, str):
            raise RequestError("texts", "one text", "give a list of texts")
        vectors = None if self.encoder is None else self._encode(list(texts)).tobytes()
        options = _options(0, (), (), false_alarms, least_confidence, False, {})
        found = state.engine.decide_batch(list(texts), vectors, state.header["encoder"]["name"], options)
        route, best, confidence, score, reason = found
        both = np.stack([np.frombuffer(route, "<i4"), np.frombuffer(best, "<i4")], axis=1)
        return both, np.frombuffer(confidence, "<f4"), np.frombuffer(score, "<f4"), np.frombuffer(reason, "u1")

    def route(self, name: str) -> Route:
        """The route of this name.

        Raises:
            OptionError: there is none.
        """
        return self._known(name)

    def may_give(
        self,
        name: str,
        text: str,
        *,
        now: float | datetime | None = None,
        user: User | None = None,
        language: str | None = None,
    ) -> bool:
        """Whether a route's conditions hold, however likely it is; where they do, it counts against its rate.

        Raises:
            RequestError, OptionError: as :meth:`__call__`.
        """
        state, seconds = self._state, as_seconds(now)
        if self._known(name).conditions is None:
            return True
        vector, encoder = self._vector(text, None), state.header["encoder"]["name"]
        with self._counting if state.windows else nullcontext():
            context = _context(state, seconds, user, language)
            # Of one route the probability is 1, so that nothing but its conditions can forbid it.
            options = _options(1, (name,), (), 0.0, 0.0, False, context)
            choice = _choice(state, state.engine.decide(text, vector, encoder, options), False)
            if choice.reason == "none_allowed":
                return False
            self._count(state, name, user, seconds)
        return True

    def evaluate(self, texts: Sequence[str], labels: Sequence[str | None]) -> RoutesEvaluation:
        """Judges the routes on labelled texts; None labels what belongs to no route.

        Raises:
            OptionError: another number of labels than texts, or a label that is no route.
        """
        if len(texts) != len(labels) or not len(texts):
            raise OptionError("labels", f"{len(labels)} for {len(texts)} texts", "give one label a text")
        state = self._state
        place = {name: at for at, name in enumerate(state.names)}
        unknown = next((each for each in labels if each is not None and each not in place), None)
        if unknown is not None:
            raise OptionError("labels", unknown, "no route has this name; label what belongs to none with None")
        found, confidence, score, _ = self._columns(state, texts)
        y = np.array([-1 if each is None else place[each] for each in labels])
        inside = y >= 0
        right = found[inside, 1] == y[inside]
        wrong: dict[tuple[str, str], int] = {}
        for own, best in zip(y[inside].tolist(), found[inside, 1].tolist(), strict=True):
            if own != best:
                pair = (state.names[own], state.names[best])
                wrong[pair] = wrong.get(pair, 0) + 1
        none = found[:, 0] < 0
        hits = int((none & ~inside).sum())
        return RoutesEvaluation(
            n=len(y),
            accuracy=float(right.mean()) if inside.any() else float("nan"),
            given=float((found[inside, 0] == y[inside]).mean()) if inside.any() else float("nan"),
            calibration_error=_calibration_error(confidence[inside], right) if inside.any() else float("nan"),
            out_of_scope_auroc=_area(score[inside], score[~inside])
            if inside.any() and not inside.all() and not np.isnan(score).any()
            else None,
            out_of_scope_f1=None if inside.all() else 2 * hits / int(none.sum() + (~inside).sum()),
            confusions=tuple(
                (*pair, count) for pair, count in sorted(wrong.items(), key=lambda each: (-each[1], each[0]))
            ),
        )

    def add(self, route: Route) -> None:
        """Adds a route. Nothing is calibrated afterwards: what was fitted did not know it.

        Raises:
            OptionError: its name is taken, or it has no utterances.
        """
        with self._changing:
            if route.name in self._state.routes:
                raise OptionError("name", route.name, "a route has this name: update it")
            self._rebuild([*self.routes, route])

    def update(self, route: Route) -> None:
        """Replaces the route of the same name. Where its utterances stay the same, what was fitted still holds.

        Raises:
            OptionError: no route has its name, or it has no utterances.
        """
        with self._changing:
            before = self._known(route.name)
            routes = [route if each.name == route.name else each for each in self.routes]
            if route.utterances == before.utterances:
                header = {**self.header, "routes": [each.spec() for each in routes]}
                self._set(_core.with_header(self._state.artifact, header), {each.name: each for each in routes})
                return
            self._rebuild(routes)

    def remove(self, name: str) -> None:
        """Takes a route out. Nothing is calibrated afterwards.

        Raises:
            OptionError: no route has this name, or it is the only one.
        """
        with self._changing:
            self._known(name)
            routes = [each for each in self.routes if each.name != name]
            if not routes:
                raise OptionError("name", name, "this is the only route: a router needs one")
            self._rebuild(routes)

    def _known(self, name: str) -> Route:
        routes = self._state.routes
        if name not in routes:
            raise OptionError("name", name, f"no route has this name; there are {len(routes)}")
        return routes[name]

    def _rebuild(self, routes: Sequence[Route]) -> None:
        """From prototypes: those of the artifact where a route's utterances stay the same, else its
        utterances'."""
        state = self._state
        tensors = _core.read_tensors(state.artifact)
        kept: dict[str, npt.NDArray[np.float32]] = {}
        if "prototypes" in tensors:
            rows, owner = tensors["prototypes"].astype(np.float32), tensors["prototype_routes"]
            for at, name in enumerate(state.names):
                kept[name] = rows[owner == at]
        same = {
            route.name: kept[route.name]
            for route in routes
            if route.name in kept and state.routes[route.name].utterances == route.utterances
        }
        _check_routes(routes, same)
        before = (state.header, tensors)
        self._set(_from_utterances(routes, self.encoder, same, before), {route.name: route for route in routes})

    def _encode(self, texts: list[str]) -> npt.NDArray[np.float32]:
        assert self.encoder is not None
        return check_vectors(self.encoder, self.encoder.encode(texts), len(texts))

    def _vector(self, text: str, vector: Any) -> bytes | None:
        if self.encoder is None:
            if vector is not None:
                raise RequestError(
                    "vector", "given", "these routes use the engine's own encoder: give the text alone"
                )
            return None
        if vector is None:
            if not isinstance(text, str) or not text.strip():
                raise RequestError("text", repr(text), "give a text to route")
            vector = self._encode([text])[0]
        try:
            return np.ascontiguousarray(vector, "<f4").tobytes()
        except (TypeError, ValueError) as error:
            raise RequestError("vector", str(error), f"give {self.encoder.dimension} numbers") from error


def _options(
    limit: int,
    allowed: Sequence[str],
    exclude: Sequence[str],
    false_alarms: float | None,
    least_confidence: float,
    prediction_set: bool,
    context: Mapping[str, Any],
) -> _core.RouteOptions:
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
        raise OptionError("limit", repr(limit), "give a whole number from 0 on")
    for name, names in (("allowed", allowed), ("exclude", exclude)):
        if isinstance(names, str):
            raise OptionError(name, repr(names), "give a list of routes' names")
    for name, share in (("false_alarms", false_alarms), ("least_confidence", least_confidence)):
        if share is not None and not (_is_number(share) and 0 <= share <= 1):
            raise OptionError(name, repr(share), "give a share between 0 and 1")
    given = {
        "limit": limit,
        "allowed": list(allowed),
        "exclude": list(exclude),
        "false_alarms": None if false_alarms is None else float(false_alarms),
        "least_confidence": float(least_confidence),
        "prediction_set": prediction_set,
        "context": context,
    }
    return _core.RouteOptions(json.dumps(given))


def _context(state: _State, now: float | None, user: User | None, language: str | None) -> dict[str, Any]:
    if not isinstance(user, User | None):
        raise RequestError("user", repr(user), "give a tiny_dancer.User")
    used = {}
    if state.windows:
        if now is None:
            raise RequestError("now", "absent", "a route is limited by rate: give the time, seconds since 1970")
        who = None if user is None else user.id
        used = {name: window.used(who, now) for name, window in state.windows.items()}
    offsets = {}
    if now is not None:
        moment = datetime.fromtimestamp(now, UTC)
        for name, zone in state.zones.items():
            offset = moment.astimezone(zone).utcoffset()
            offsets[name] = 0.0 if offset is None else offset.total_seconds()
    return {
        "now": now,
        "offsets": offsets,
        "tier": None if user is None else user.tier,
        "tags": [] if user is None else list(user.tags),
        "language": language,
        "used": used,
    }


def _choice(state: _State, found: _core.RouteChoiceTuple, asked_for_set: bool) -> RouteChoice:
    route, best, confidence, score, reason, top, members, read_as = found
    names = state.names
    return RouteChoice(
        name=None if route is None else names[route],
        confidence=confidence,
        calibrated=bool(state.header.get("calibrated")),
        top=tuple((names[at], probability) for at, probability in top),
        reason=reason,
        best=names[best],
        in_scope_score=score,
        target=None if route is None else state.routes[names[route]].target,
        prediction_set=tuple(names[at] for at in members)
        if asked_for_set and state.header.get("conformal")
        else None,
        artifact_version=state.header["version"],
        read_as=read_as,
    )


def _check_routes(routes: Sequence[Route], kept: Mapping[str, Any]) -> None:
    if not routes:
        raise OptionError("routes", "none", "give at least one route")
    seen = set()
    for route in routes:
        if not isinstance(route, Route):
            raise OptionError("routes", type(route).__name__, "give tiny_dancer.Route objects")
        if route.name in seen:
            raise OptionError("routes", route.name, "two routes have this name: give every route its own")
        seen.add(route.name)
        if not route.utterances and route.name not in kept:
            raise OptionError(f"routes[{route.name}].utterances", "none", "give at least one, better three")


def _from_utterances(
    routes: Sequence[Route],
    encoder: Encoder | None,
    kept: Mapping[str, npt.NDArray[np.float32]],
    before: tuple[Mapping[str, Any], Mapping[str, npt.NDArray[Any]]] | None = None,
) -> bytes:
    """An artifact of prototypes: those ``kept`` by a route's name, else its utterances'. It knows the words of all
    utterances, and those of the artifact ``before`` it."""
    new = [utterance for route in routes if route.name not in kept for utterance in route.utterances]
    encoded: npt.NDArray[np.float32] | None = None
    if new:
        encoded = (
            _core.encode(new, _core.sentence_encoder())
            if encoder is None
            else check_vectors(encoder, encoder.encode(new), len(new))
        )
    parts, at = [], 0
    for route in routes:
        if route.name in kept or encoded is None:
            parts.append(kept[route.name])
            continue
        parts.append(encoded[at : at + len(route.utterances)])
        at += len(route.utterances)
    rows = np.concatenate(parts)
    largest = np.abs(rows).max(axis=1, keepdims=True)
    header = {
        "format": _core.FORMAT,
        "kind": "routes",
        "version": _VERSION,
        "routes": [route.spec() for route in routes],
        "spec": _core.FEATURE_SPEC,
        "encoder": encoder_spec(encoder),
        "model": {"kind": "prototypes", "scale": LIKENESS_SCALE},
        "calibrated": False,
    }
    tensors = {
        "prototypes": np.rint(rows / np.where(largest == 0, 1, largest) * 127).astype(np.int8),
        "prototype_routes": np.repeat(np.arange(len(routes)), [len(part) for part in parts]).astype("<u2"),
    }
    if encoder is None:
        words = Words.of([utterance for route in routes for utterance in route.utterances])
        if before is not None:
            words = words.with_those_of(*before)
        header["spelling"] = words.header()
        tensors |= words.tensors()
    return _core.artifact_bytes(header, tensors)


def encoder_spec(encoder: Encoder | None) -> dict[str, Any]:
    """An encoder as an artifact names it; None is the engine's own."""
    if encoder is None:
        checksum = _core.sentence_encoder().checksum
        return {"name": "tiny-dancer", "dimension": _core.EMBEDDING_DIMENSIONS, "checksum": checksum}
    return {"name": encoder.name, "dimension": encoder.dimension}


def _route_of(spec: Mapping[str, Any]) -> Route:
    metadata = spec.get("metadata")
    schemas: Any = ()
    if isinstance(metadata, Mapping) and isinstance(metadata.get(_FUNCTIONS), list):
        schemas = metadata[_FUNCTIONS]
        try:
            read_functions(schemas, _FUNCTIONS)
            metadata = {key: value for key, value in metadata.items() if key != _FUNCTIONS} or None
        except OptionError:
            schemas = ()  # of an artifact from before routes had functions: it stays as it was given
    return Route(
        name=spec["name"],
        description=spec.get("description", ""),
        target=spec.get("target"),
        priority=spec.get("priority", 0),
        conditions=spec.get("conditions"),
        threshold=spec.get("threshold"),
        metadata=metadata,
        function_schemas=tuple(schemas),
    )


def _conditions(condition: Any) -> Iterable[tuple[str, Any]]:
    """Every part of a condition with its kind, nested ones too."""
    if not isinstance(condition, Mapping):
        return
    for kind, value in condition.items():
        if kind in ("all", "any") and isinstance(value, list | tuple):
            for part in value:
                yield from _conditions(part)
        elif kind == "not":
            yield from _conditions(value)
        else:
            yield kind, value


def _is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _check_json(value: Any, place: str) -> None:
    """Refuses what an artifact's header cannot hold."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise OptionError(place, str(error), "give JSON values and valid Unicode alone") from error


def _check_condition(condition: Any, place: str, depth: int = 0) -> None:
    """Refuses what is no condition by its form; what is in it is checked by the engine."""
    kind, value = next(iter(condition.items())) if isinstance(condition, Mapping) and condition else (None, None)
    if kind not in ("not", *_NESTED, *_NAMES, *_OBJECTS) or len(condition) > 1:
        kinds = ", ".join((*_NESTED, "not", *_OBJECTS, *_NAMES))
        raise ArtifactError(
            place, repr(condition), f"give an object of one of {kinds}; several go into all or any"
        )
    place = f"{place}.{kind}"
    if depth > _DEEPEST:
        raise ArtifactError(place, f"nested more than {_DEEPEST} deep", "give a flatter condition")
    if kind == "not":
        _check_condition(value, place, depth + 1)
    elif kind in _OBJECTS:
        if not isinstance(value, Mapping):
            raise ArtifactError(place, repr(value), "give an object")
        zone = value.get("zone", "UTC")
        if not isinstance(zone, str) or (zone.startswith(("+", "-")) and not _OFFSET.fullmatch(zone)):
            remedy = "give UTC, an offset such as +02:00, or a name such as Europe/Berlin"
            raise ArtifactError(f"{place}.zone", repr(zone), remedy)
    elif not isinstance(value, list | tuple):
        raise ArtifactError(place, repr(value), "give a list")
    elif kind in _NESTED:
        for at, each in enumerate(value):
            _check_condition(each, f"{place}[{at}]", depth + 1)
    elif not all(isinstance(each, str) for each in value):
        raise ArtifactError(place, repr(value), "give a list of texts")


def _is_named(zone: str) -> bool:
    return zone not in _FIXED_ZONES and not zone.startswith(("+", "-"))


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        remedy = "give UTC, an offset such as +02:00, or a name such as Europe/Berlin"
        raise OptionError("zone", name, remedy) from error


def as_seconds(now: float | datetime | None) -> float | None:
    """UTC seconds.

    Raises:
        RequestError: no time, or one without its zone.
    """
    if now is None:
        return None
    remedy = "give a datetime with its zone, or seconds since 1970"
    if isinstance(now, datetime):
        if now.tzinfo is None:
            raise RequestError("now", now, remedy)
        now = now.timestamp()
    if not _is_number(now) or not _EARLIEST <= now <= _LATEST:
        raise RequestError("now", repr(now), remedy)
    return float(now)


def _calibration_error(confidence: npt.NDArray[Any], right: npt.NDArray[Any], bins: int = 15) -> float:
    """Expected calibration error over bins of equal width (Naeini et al. 2015)."""
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    found = 0.0
    for each in np.unique(place):
        inside = place == each
        found += inside.mean() * abs(confidence[inside].mean() - right[inside].mean())
    return float(found)


def _area(inside: npt.NDArray[Any], outside: npt.NDArray[Any]) -> float:
    """Probability that an in-scope text scores higher than one out of scope, ties counting half (AUROC)."""
    ordered = np.sort(outside)
    below = np.searchsorted(ordered, inside, "left") + np.searchsorted(ordered, inside, "right")
    return float(below.mean() / (2 * len(ordered)))
