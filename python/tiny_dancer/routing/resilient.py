"""The router that always answers: hot reload, a circuit breaker, and fallback levels below the learned policy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from threading import Lock
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Protocol, Unpack

from msgspec.structs import replace

from tiny_dancer import _core
from tiny_dancer.registry import ArtifactFile, Registry, Reloading, ServingVersion
from tiny_dancer.resilience import (
    Bugs,
    CircuitBreaker,
    DecisionCache,
    Fallback,
    Level,
    Proposal,
    Recording,
    answer,
    hint,
)
from tiny_dancer.routing.arguments import engine_options, with_options
from tiny_dancer.routing.outage import ModelTable, Query
from tiny_dancer.routing.requests import as_engine, as_json, conversation
from tiny_dancer.routing.router import Router, new_id
from tiny_dancer.types import Decision

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Hashable, Mapping

    from tiny_dancer.errors import TinyDancerError
    from tiny_dancer.registry import Loaded, Source
    from tiny_dancer.resilience import BreakerStatus, RecordingStatus
    from tiny_dancer.routing.arguments import Asked
    from tiny_dancer.routing.outage import Left
    from tiny_dancer.routing.requests import Conversation, Request
    from tiny_dancer.types import Guarantee, ModelInfo

_NOT_COVERED = "decided by a fallback level"
_UNSEEN = ("min_quality", "threshold", "cost_weight", "policy")


class Recorder(Protocol):
    """Takes each request with its decision, in a thread of its own; may be slow and may fail."""

    def __call__(self, request: Request, decision: Decision, /) -> object:
        """Keeps them."""


@dataclass(frozen=True, slots=True)
class RouterStatus:
    """A :class:`ResilientRouter` at one moment.

    Attributes:
        version: of the artifact that serves.
        reload_error: why the last reload failed, or None.
        breaker: of the learned level.
        answered: requests answered since the router was made, by level.
        recording: of the recorder; None where there is none.
        bugs: errors of the program itself so far: no outage, though a fallback level answered. Each place they
            come from is logged once, with its traceback.
    """

    version: str
    reload_error: TinyDancerError | None
    breaker: BreakerStatus
    answered: Mapping[Level, int]
    recording: RecordingStatus | None
    bugs: int


@dataclass(frozen=True, slots=True)
class _Serving:
    router: Router
    models: ModelTable


class ResilientRouter:
    """Routes as :class:`tiny_dancer.Router` does, and goes on answering when that fails. Share it between threads.

    Levels: 0 the artifact, within a circuit breaker; 1 the decision of a similar recent request; 2 stated rules on
    the request's structure; 3 the default strong model. A decision names its level and why no better one decided.
    Recovery needs no call: half-open probes bring level 0 back.

    The caller's errors are no outage and raise as they always do. ``allowed``, ``exclude``, ``pin``, ``max_cost``,
    ``max_latency`` and context windows are kept on every level; ``min_quality``, ``threshold`` and ``cost_weight``
    need the learned policy: below it they make the choice the strong model, and ``level_reason`` says so.

    Example:
        >>> router = ResilientRouter.load()
        >>> router.route("What is 2 + 2?").level
        0
    """

    def __init__(
        self,
        source: Source,
        *,
        load: Callable[[bytes], Router] = Router,
        default_model: str | None = None,
        breaker: CircuitBreaker | None = None,
        cache: DecisionCache[Decision] | None = None,
        recorder: Recorder | None = None,
    ) -> None:
        """Loads what the source has; :meth:`load` and :meth:`from_registry` are shorter.

        Args:
            source: of the artifact, see :mod:`tiny_dancer.registry.reload`.
            load: makes the router from the artifact's bytes.
            default_model: of level 3; the artifact's best constant where None.
            breaker: of level 0; 5 failures in 60 s open it where None.
            cache: of level 1; 1,024 decisions, at most 15 minutes old, where None.
            recorder: takes each request with its decision. The answer waits neither for it nor for its recovery.

        Raises:
            ArtifactError: the first artifact cannot be loaded.
            OptionError: ``default_model`` is none of its models.
        """

        def serve(data: bytes) -> _Serving:
            router = load(data)
            return _Serving(router, ModelTable(router.header, default_model))

        self._reloading = Reloading(source, serve)
        self._breaker = CircuitBreaker() if breaker is None else breaker
        self._cache: DecisionCache[Decision] = DecisionCache() if cache is None else cache
        self._recording: Recording[tuple[Request, Decision]] | None = None
        if recorder is not None:
            self._recording = Recording(lambda record: recorder(*record))
        self._answered = [0] * len(Level)
        self._bugs = Bugs()
        self._lock = Lock()

    @classmethod
    def load(
        cls,
        artifact: str | os.PathLike[str] = "default",
        *,
        models: Mapping[str, str | ModelInfo] | None = None,
        **given: Any,
    ) -> ResilientRouter:
        """From a single file; ``models`` as in :meth:`tiny_dancer.Router.load`, the rest as in ``__init__``."""
        return cls(
            ArtifactFile(_core.router_path(artifact) or artifact), load=partial(Router, models=models), **given
        )

    @classmethod
    def from_registry(
        cls,
        folder: str | os.PathLike[str],
        name: str,
        *,
        models: Mapping[str, str | ModelInfo] | None = None,
        **given: Any,
    ) -> ResilientRouter:
        """From the version of ``name`` that serves in a registry; the rest as in :meth:`load`."""
        load = partial(Router, models=models)
        return cls(ServingVersion(Registry(folder, load=load), name), load=load, **given)

    @property
    def serving(self) -> Router:
        """The artifact that serves, as loaded: immutable, and what it was also after a reload."""
        return self._reloading.current.value.router

    @property
    def header(self) -> dict[str, Any]:
        """Everything about the artifact that serves which is not a weight; see :class:`tiny_dancer.Router`."""
        return self.serving.header

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models of the artifact that serves."""
        return self.serving.models

    @property
    def guarantee(self) -> Guarantee | None:
        """The certificate of the artifact that serves, as loaded, or None."""
        return self.serving.guarantee

    @property
    def uncertified(self) -> str:
        """Why no decision of the artifact that serves stands under a certificate; see :class:`Router`."""
        return self.serving.uncertified

    @with_options
    def route(
        self, request: Request, *, tools: object = None, response_format: object = None, **options: Unpack[Asked]
    ) -> Decision:
        """Decides one request; arguments as :meth:`tiny_dancer.Router.route`.

        Raises:
            RequestError, OptionError, NoFeasibleModelError: the caller's errors, on every level.
        """
        decision = self.decide(
            as_engine(request),
            as_json(tools, "tools"),
            engine_options(options, self.models),
            response_format=as_json(response_format, "response_format"),
        )
        if self._recording is not None:
            # A conversation goes on while it waits to be recorded.
            kept = request if isinstance(request, str) else [dict(message) for message in request]
            self._recording.put((kept, decision))
        return decision

    def decide(
        self,
        request: _core.Said,
        tools: _core.Json | None = None,
        options: _core.Options | None = None,
        *,
        system: _core.Json | None = None,
        response_format: _core.Json | None = None,
        outline: Conversation | None = None,
    ) -> Decision:
        """:meth:`route` of a request as the engine takes it (:meth:`tiny_dancer.Router.decide`); not recorded.

        ``outline`` is :func:`~tiny_dancer.routing.requests.conversation` of the request, where the caller has it.
        """
        start = perf_counter_ns()
        around = (system, response_format)
        serving = self._reloading.current  # once: the whole decision is of this version
        router = serving.value.router
        result = answer(
            self._breaker,
            lambda: router.decide(request, tools, options, system=system, response_format=response_format),
            lambda: self._fallbacks(serving, request, tools, options, outline, around),
            self._bugs,
        )
        decision = result.value
        if result.level is Level.LEARNED:
            # What another policy chose is no answer to who did not ask for it.
            if decision.routed_by in ("learned", "default") and not _unseen(options):
                turns_on = outline or conversation(request, tools)
                self._cache.put(turns_on.said, (turns_on.context, around), decision, decision.confidence)
        else:
            elapsed = (perf_counter_ns() - start) / 1000
            decision = replace(decision, level=int(result.level), level_reason=result.reason, elapsed_us=elapsed)
        with self._lock:
            self._answered[result.level] += 1
        return decision

    def outlook(
        self, tokens: int, options: _core.Options | None
    ) -> tuple[tuple[str, ...], Mapping[str, float | None] | None, Mapping[str, str] | None]:
        """What the constraints leave for a prompt of so many tokens; see :meth:`tiny_dancer.Router.outlook`."""
        return self._reloading.current.value.router.outlook(tokens, tokens, options)

    async def aroute(self, request: Request, **options: Any) -> Decision:
        """:meth:`route` for callers that await: deciding takes microseconds, so it runs where it is."""
        return self.route(request, **options)

    def reload(self) -> str:
        """Serves what the source has now, and gives its version.

        Raises:
            TinyDancerError: the source has nothing that loads; what served goes on serving.
        """
        return self._reloading.reload().version

    def watch(self, interval: float = 1.0) -> None:
        """Reloads by itself when the source changes, looked at every ``interval`` seconds, until :meth:`close`."""
        self._reloading.watch(interval)

    def close(self, timeout: float = 5.0) -> None:
        """Stops watching, and waits at most ``timeout`` seconds for what is still to be recorded."""
        self._reloading.close()
        if self._recording is not None:
            self._recording.close(timeout)

    def status(self) -> RouterStatus:
        """How it stands now; reading changes nothing."""
        with self._lock:
            answered = {level: self._answered[level] for level in Level}
        return RouterStatus(
            self._reloading.current.version,
            self._reloading.last_error,
            self._breaker.status(),
            answered,
            None if self._recording is None else self._recording.status(),
            self._bugs.count,
        )

    def _fallbacks(
        self,
        serving: Loaded[_Serving],
        request: _core.Said,
        tools: _core.Json | None,
        options: _core.Options | None,
        outline: Conversation | None,
        around: tuple[_core.Json | None, _core.Json | None],
    ) -> list[Fallback[Decision]]:
        models, router = serving.value.models, serving.value.router
        asked = options or _core.Options()
        said, context, _ = outline or conversation(request, tools)
        query = Query(request, tools, said, self._bugs)
        left = models.left(router, query, options)
        decide = partial(
            _decision, models=models, version=serving.version, artifact=router.artifact, removed=left.removed
        )
        if asked.pin is not None:
            pinned = Proposal(decide(asked.pin, "pinned", "override"), "pinned by the caller")
            return [Fallback(Level.DEFAULT, lambda: pinned)]
        unseen = _unseen(options)

        def default() -> Proposal[Decision]:
            strong = models.strong(left)
            why = f"{'the' if strong == models.default else 'in place of the'} default model"
            if unseen:
                why += f"; {' and '.join(unseen)} cannot be judged here"
            return Proposal(decide(strong, "default_model", "default"), why)

        def heuristic() -> Proposal[Decision] | None:
            light = models.light(left)
            if light is None:
                return None
            found = hint(query.features.cues[0])
            model = models.strong(left) if found.strong else light
            return Proposal(decide(model, "heuristic_rule", "heuristic"), f"rule: {found.rule}")

        if unseen:
            return [Fallback(Level.DEFAULT, default)]
        return [
            Fallback(Level.CACHED, lambda: self._cached(said, (context, around), left, asked.max_cost)),
            Fallback(Level.HEURISTIC, heuristic),
            Fallback(Level.DEFAULT, default),
        ]

    def _cached(
        self, said: str, context: Hashable, left: Left, max_cost: float | None
    ) -> Proposal[Decision] | None:
        def accept(decision: Decision) -> bool:
            affordable = max_cost is None or (decision.cost is not None and decision.cost <= max_cost)
            return decision.model in left.models and affordable

        found = self._cache.find(said, context, accept)
        if found is None:
            return None
        decision = replace(
            found.value,
            id=new_id(),
            routed_by="cache",
            guarantee=None,
            guarantee_note=_NOT_COVERED,
            removed=left.removed,
            likeness=None,  # what is known is the other request's
        )
        return Proposal(decision, f"similar request (cosine {found.similarity:.3f}, {found.age:.0f} s ago)")


def _unseen(options: _core.Options | None) -> list[str]:
    """Options that only the learned policy can keep to. A balanced policy is what the artifact has anyway."""
    if options is None:
        return []
    return [word for word in _UNSEEN if getattr(options, word) not in (None, "balanced")]


def _decision(
    model: str,
    reason: str,
    routed_by: str,
    *,
    models: ModelTable,
    version: str,
    artifact: str,
    removed: Mapping[str, str],
) -> Decision:
    return Decision(
        id=new_id(),
        model=model,
        scores=dict.fromkeys(models.names, math.nan),
        costs=None,
        quality=math.nan,
        cost=None,
        confidence=math.nan,
        prediction_set=models.names,
        reason=reason,
        routed_by=routed_by,
        guarantee=None,
        guarantee_note=_NOT_COVERED,
        artifact_version=version,
        elapsed_us=0.0,
        removed=removed,
        artifact=artifact,
    )
