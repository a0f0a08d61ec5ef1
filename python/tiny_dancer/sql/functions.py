"""The functions that a database calls: values as SQL has them in, rows and JSON out.

Those whose names end in ``json`` are the engine's doors: JSON text in, the engine's own text out. The others take
plain texts and give rows. None has a clock or state, but for routes with conditions, which ask for the time.

Options that are None ask nothing. A request that is None has no answer: whoever calls gives NULL for it.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import ArtifactError, CandidateError, OptionError, RequestError, TinyDancerError
from tiny_dancer.routing import Router, read_artifact
from tiny_dancer.routing.agents import AgentRegistry, AgentRouter
from tiny_dancer.routing.candidate_set import Candidate, CandidateSet, as_filter, float_row
from tiny_dancer.routing.semantic import SemanticRoutes
from tiny_dancer.routing.tasks import TaskClassifier
from tiny_dancer.storage.agents import DEFAULT_HALF_LIFE_S

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    from tiny_dancer._core import AgentChoice
    from tiny_dancer.routing.semantic import RouteChoice
    from tiny_dancer.routing.tasks import TaskClassification
    from tiny_dancer.storage import Agent
    from tiny_dancer.types import DecisionBatch, ModelInfo


class DecisionRow(NamedTuple):
    """What :meth:`Functions.decide` answers, as :class:`~tiny_dancer.types.Decision` explains it."""

    model: str
    quality: float
    cost: float | None
    confidence: float
    reason: str


class RankedRow(NamedTuple):
    """A candidate of :meth:`Functions.rank`: columns as :class:`~tiny_dancer.CandidateDecision` explains them."""

    candidate_id: str
    score: float | None
    confidence: float | None
    uncertainty: float | None
    use_lightweight: bool | None
    in_prediction_set: bool | None
    error: str | None = None
    """Why the candidate took no part; it comes last then, and the others are None."""


class TaskRow(NamedTuple):
    """What :meth:`Functions.classify` answers, as :class:`~tiny_dancer.TaskClassification` explains it."""

    category: str
    confidence: float
    capabilities: list[str]
    language: str | None
    weak_quality: float


class RouteRow(NamedTuple):
    """What :meth:`Functions.semantic_route` answers, as :class:`~tiny_dancer.RouteChoice` explains it."""

    route_name: str | None
    confidence: float
    reason: str
    best: str
    target: str | None
    """As JSON."""


class AgentRow(NamedTuple):
    """What :meth:`Functions.ruvector_route` answers."""

    agent_name: str
    confidence: float
    estimated_cost: float | None
    estimated_latency: float | None
    """In milliseconds."""
    expected_quality: float
    reason: str
    runner_up: str | None


_RANK_OPTIONS = (
    "k",
    "diversity",
    "confidence_threshold",
    "max_uncertainty",
    "where",
    "metadata",
    "now",
)
_UNSOUND = "its embedding holds NaN or infinity: encode it again"
_default_router = cache(Router.load)
_default_tasks = cache(TaskClassifier.default)
_engine_options = lru_cache(256)(_core.Options.from_json)


@dataclass(frozen=True, slots=True)
class Functions:
    """What decides, and the functions that ask it. Immutable; share it between threads and connections.

    Attributes:
        router: decides which model answers.
        tasks: tells tasks apart; None is the package's, loaded when first asked.
        routes: intents, or None where none were given.
        agents: who may answer, or None where none were given.
        scorer: ranks candidates.
    """

    router: Router
    tasks: TaskClassifier | None
    routes: SemanticRoutes | None
    agents: AgentRouter | None
    scorer: _core.CandidateScorer

    @classmethod
    def load(
        cls,
        artifact: str | os.PathLike[str] | Router = "default",
        *,
        models: Mapping[str, str | ModelInfo] | None = None,
        tasks: str | os.PathLike[str] | TaskClassifier = "default",
        routes: str | os.PathLike[str] | SemanticRoutes | None = None,
        agents: Iterable[Agent] | AgentRegistry | AgentRouter = (),
        scorer: str | os.PathLike[str] | None = None,
    ) -> Functions:
        """Loads what is given by path; what is loaded already is shared, not copied.

        Args:
            artifact: of the router.
            models: as :meth:`tiny_dancer.Router.load` takes them.
            tasks: artifact that tells tasks apart.
            routes: artifact of semantic routes; without one, functions of routes are refused.
            agents: who may answer; without any, functions of agents are refused.
            scorer: artifact that ranks candidates; None is the combination without training.

        Raises:
            ArtifactError: an artifact that cannot be used.
            OptionError: ``models`` beside a router, and as :meth:`tiny_dancer.Router.load`.
        """
        if isinstance(artifact, Router):
            if models:
                raise OptionError("models", "beside a router", "load the router with these models")
            router = artifact
        elif artifact == "default" and not models:
            router = _default_router()
        else:
            router = Router.load(artifact, models=models)
        if not isinstance(tasks, TaskClassifier):
            tasks = None if tasks == "default" else TaskClassifier.from_file(tasks)  # type: ignore[assignment]
        if routes is not None and not isinstance(routes, SemanticRoutes):
            routes = SemanticRoutes.from_file(routes)
        if not isinstance(agents, AgentRouter):
            registry = agents if isinstance(agents, AgentRegistry) else AgentRegistry(agents)
            agents = AgentRouter(registry, router=router) if len(registry) else None  # type: ignore[assignment]
        trained = None if scorer is None else read_artifact(scorer)
        return cls(router, tasks, routes, agents, _core.CandidateScorer(trained))  # type: ignore[arg-type]

    @property
    def checksum(self) -> str:
        """Of what decides: :attr:`tiny_dancer.Router.checksum`."""
        return self.router.checksum

    @property
    def encoder_checksum(self) -> str:
        """Of the encoder that embeds."""
        return _core.sentence_encoder().checksum

    def decide(self, request: object, options: object = "") -> DecisionRow:
        """The model for a request.

        Args:
            request: a text. Messages go through :meth:`decide_json`.
            options: as JSON, by the names of :class:`~tiny_dancer.routing.arguments.Asked`; empty asks nothing.

        Raises:
            RequestError, OptionError, NoFeasibleModelError: as :meth:`tiny_dancer.Router.route`.
        """
        found = self.router.decide(_text(request, "request"), None, _options(options))
        return DecisionRow(found.model, found.quality, found.cost, found.confidence, found.reason)

    def decide_by(self, checksum: object, request: object, options: object = "") -> str:
        """The model for a request, by the artifact of this checksum: the same for ever, or an error.

        Raises:
            ArtifactError: another artifact answers here.
        """
        self.check(checksum)
        return self.decide(request, options).model

    def check(self, checksum: object) -> None:
        """Refuses to decide by another artifact than the caller's.

        Raises:
            ArtifactError: it is another one.
        """
        if checksum != self.checksum:
            remedy = f"register it: what answers here is {self.checksum}; or store anew what was stored by it"
            raise ArtifactError("checksum", checksum, remedy)

    def decide_batch(self, requests: Sequence[str], options: object = "") -> DecisionBatch:
        """:meth:`decide` of n texts, on all processors and without the interpreter lock."""
        try:
            return self.router.decide_batch(requests, _options(options))
        except TinyDancerError as error:
            raise _without_row(error) from error

    def decide_json(self, request: object, options: object = "") -> str:
        """The engine's whole answer to a request: a JSON string, messages or the body of a call.

        Args:
            request: JSON.
            options: as :meth:`decide`.
        """
        return self.router.decide_json(_text(request, "request"), _json(options))

    def decide_json_batch(self, requests: Sequence[str], options: object = "") -> list[str]:
        """:meth:`decide_json` of n requests, on all processors and without the interpreter lock."""
        try:
            return self.router.decide_json_batch(requests, _json(options))
        except TinyDancerError as error:
            raise _without_row(error) from error

    def quality(self, request: object, model: object, options: object = "") -> float:
        """Quality expected of a model's answer, in [0, 1]."""
        found = self.router.decide(_text(request, "request"), None, _options(options))
        return found.scores[self.known_model(model)]

    def cost(self, request: object, model: object, options: object = "") -> float | None:
        """USD expected of a model's answer; None where nobody knows."""
        found = self.router.decide(_text(request, "request"), None, _options(options))
        name = self.known_model(model)
        return None if found.costs is None else found.costs[name]

    def known_model(self, model: object) -> str:
        """A model of the router's.

        Raises:
            OptionError: there is none of this name.
        """
        if not isinstance(model, str) or model not in self.router.models:
            raise OptionError("model", model, f"the models are {', '.join(self.router.models)}")
        return model

    def rank(
        self,
        query: object,
        ids: Sequence[object],
        texts: Sequence[str | None] | None = None,
        embeddings: Sequence[Sequence[float] | None] | npt.NDArray[np.float32] | None = None,
        embedding: Sequence[float] | npt.NDArray[np.float32] | None = None,
        options: object = "",
    ) -> list[RankedRow]:
        """Candidates for a query, best first; equal scores in the order of ids.

        Args:
            query: a text, or None where the embedding says what is looked for.
            ids: of n candidates.
            texts: what they say, which is compared by words.
            embeddings: theirs, of any encoder; :meth:`embed` makes some.
            embedding: the query's.
            options: as JSON: ``k``, ``diversity``, ``confidence_threshold``, ``max_uncertainty``, ``where``,
                ``metadata`` and ``now``.

        Raises:
            CandidateError: columns of different lengths, an id that is none, an embedding that does not fit.
            OptionError: an unknown option, or one outside its range.
        """
        said = None if query is None else _text(query, "query")
        return ranked(self.scorer, said, ids, texts, embeddings, embedding, _json(options))

    def rank_json(self, candidates: object, query: object) -> str:
        """Ranks candidates given as JSON for a query given as JSON, by words and the embeddings they bring."""
        return self.scorer.rank_json(_text(candidates, "candidates"), _text(query, "query"))

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Unit vectors of n texts, float32 [n, 256], by the encoder that compares whole texts."""
        return _core.encode([_text(text, "text") for text in texts], _core.sentence_encoder())

    def embed_by(self, checksum: object, text: object) -> npt.NDArray[np.float32]:
        """:meth:`embed` of one text, by the encoder of this checksum: the same for ever, or an error.

        Raises:
            ArtifactError: another encoder embeds here.
        """
        if checksum != self.encoder_checksum:
            remedy = f"store anew what was stored by it: the encoder here is {self.encoder_checksum}"
            raise ArtifactError("checksum", checksum, remedy)
        found: npt.NDArray[np.float32] = self.embed([_text(text, "text")])[0]
        return found

    def classify(self, text: object) -> TaskRow:
        """What kind of task a text is."""
        return _task_row(self._tasks.predict([_text(text, "text")])[0])

    def classify_batch(self, texts: Sequence[str]) -> list[TaskRow]:
        """:meth:`classify` of n texts, on all processors and without the interpreter lock."""
        try:
            return [_task_row(each) for each in self._tasks.predict(texts)]
        except TinyDancerError as error:
            raise _without_row(error) from error

    def classify_json(self, request: object) -> str:
        """The whole answer to ``{"text": …}``, as JSON."""
        return self._tasks.classify_json(_text(request, "request"))

    def ruvector_classify_request(self, text: object) -> str:
        """What kind of task a text is, with all categories by probability, as JSON."""
        answer = self._tasks.classify_json(json.dumps({"text": _text(text, "text")}))
        return by_category(answer, self._tasks.categories)

    @property
    def _tasks(self) -> TaskClassifier:
        return _default_tasks() if self.tasks is None else self.tasks

    def semantic_route(self, query: object) -> RouteRow:
        """The intent that a text belongs to; its name is None where none may be given."""
        routes, text = self._given_routes, _text(query, "query")
        return _route_row(routes(text, now=time.time() if routes.depends_on else None))

    def semantic_route_batch(self, queries: Sequence[str]) -> list[RouteRow]:
        """:meth:`semantic_route` of n texts."""
        routes = self._given_routes
        if routes.depends_on:
            return [self.semantic_route(query) for query in queries]
        try:
            return [_route_row(each) for each in routes.route_many(queries)]
        except TinyDancerError as error:
            raise _without_row(error) from error

    def route_json(self, request: object, options: object = "") -> str:
        """The whole answer of the routes to ``{"text": …}``, as JSON."""
        return self._given_routes.decide_json(_text(request, "request"), _json(options))

    @property
    def _given_routes(self) -> SemanticRoutes:
        if self.routes is None:
            raise OptionError("routes", None, "register with routes=, an artifact of semantic routes")
        return self.routes

    def choose_among(self, agents: object, query: object, half_life: float | None = DEFAULT_HALF_LIFE_S) -> str:
        """Chooses among agents given as JSON for a query given as JSON; the whole answer as JSON.

        Args:
            agents: a list, as the engine takes them.
            query: likewise.
            half_life: seconds after which what was observed counts half; None: always in full.
        """
        found = _core.AgentSet(_seconds(half_life))
        found.put(_text(agents, "agents"))
        return found.choose_json(_text(query, "query"))

    def agent_state_after(
        self, state: object, outcome: object, half_life: float | None = DEFAULT_HALF_LIFE_S
    ) -> str:
        """What is known of an agent after one more outcome, as JSON; without a ``state`` it is the first."""
        before = "" if state is None else _text(state, "state")
        return _core.agent_state_after(before, _text(outcome, "outcome"), _seconds(half_life))

    def ruvector_route(
        self,
        request: object,
        optimize_for: object = "balanced",
        required_capabilities: Sequence[str] = (),
        max_cost: float | None = None,
        max_latency_ms: float | None = None,
        min_quality: float | None = None,
        budget_remaining: float | None = None,
    ) -> AgentRow:
        """The agent for a request, among those registered.

        Raises:
            NoSuitableAgentError: no agent is left.
            OptionError: no agents were registered, and as :meth:`tiny_dancer.AgentRouter.route`.
        """
        if self.agents is None:
            raise OptionError("agents", None, "register with agents=, a list of tiny_dancer.Agent")
        found: AgentChoice = self.agents.route(
            _text(request, "request"),
            optimize_for,  # type: ignore[arg-type]  # refused by name
            required_capabilities=required_capabilities,
            max_cost=max_cost,
            max_latency_ms=max_latency_ms,
            min_quality=min_quality,
            budget_remaining=budget_remaining,
        )
        return AgentRow(
            found.agent,
            found.confidence,
            found.estimated_cost,
            found.estimated_latency_ms,
            found.quality,
            found.reason,
            found.runner_up,
        )


def ranked(
    scorer: _core.CandidateScorer,
    query: str | None,
    ids: Sequence[object],
    texts: Sequence[str | None] | None,
    embeddings: Sequence[Sequence[float] | None] | npt.NDArray[np.float32] | None,
    embedding: Sequence[float] | npt.NDArray[np.float32] | None,
    options: str,
) -> list[RankedRow]:
    """See :meth:`Functions.rank`."""
    asked = _object(options, "options", _RANK_OPTIONS)
    for name, column in (("texts", texts), ("embeddings", embeddings)):
        if column is not None and not isinstance(column, list | tuple | np.ndarray):
            raise CandidateError(name, f"a {type(column).__name__}", "give a list, one an id, in the same order")
        if column is not None and len(column) != len(ids):
            raise CandidateError(name, f"{len(column)} for {len(ids)} ids", "give one an id, in the same order")
    named = []
    for row, each in enumerate(ids):
        if not isinstance(each, str):
            raise CandidateError(f"ids[{row}]", type(each).__name__, "give every candidate an id, a text")
        named.append(each)
    if embeddings is None or not len(embeddings):
        return _ranked_by_words(scorer, query, named, texts, embedding, asked)
    rows = [Candidate(id, embeddings[row], None if texts is None else texts[row]) for row, id in enumerate(named)]
    candidates = CandidateSet(rows)
    found, unsound, *_ = scorer.rank(
        candidates.native,
        None if embedding is None else float_row(embedding, "embedding", candidates.dimensions),
        query,
        asked.get("metadata"),
        asked.get("now"),
        None,
        _number(asked, "k", 5, int),
        _number(asked, "diversity", 0.0, float),
        _number(asked, "confidence_threshold", 0.85, float),
        _number(asked, "max_uncertainty", 0.15, float),
        None if asked.get("where") is None else as_filter(asked["where"]),
    )
    decided = [
        RankedRow(
            each.candidate_id,
            each.score,
            each.confidence,
            each.uncertainty,
            each.use_lightweight,
            each.in_prediction_set,
        )
        for each in found
    ]
    return [*decided, *(_out(id, _UNSOUND) for id in unsound)]


def _ranked_by_words(
    scorer: _core.CandidateScorer,
    query: str | None,
    ids: Sequence[str],
    texts: Sequence[str | None] | None,
    embedding: Sequence[float] | npt.NDArray[np.float32] | None,
    asked: Mapping[str, Any],
) -> list[RankedRow]:
    said = [None] * len(ids) if texts is None else texts
    candidates = [{"id": id, "text": text} for id, text in zip(ids, said, strict=True)]
    try:
        wanted = None if embedding is None else [float(value) for value in embedding]
    except (TypeError, ValueError):
        remedy = "give a sequence of numbers"
        raise CandidateError("embedding", type(embedding).__name__, remedy) from None
    given = {"text": query, "embedding": wanted}
    answer = json.loads(scorer.rank_json(json.dumps(candidates), json.dumps({**asked, **given})))
    decided = [
        RankedRow(
            each["candidate_id"],
            _single(each["score"]),
            _single(each["confidence"]),
            _single(each["uncertainty"]),
            each["use_lightweight"],
            each["in_prediction_set"],
        )
        for each in answer["decisions"]
    ]
    return [*decided, *(_out(each["candidate_id"], each["reason"]) for each in answer["errors"])]


def _single(value: float) -> float:
    """A number that was written as short as single precision allows, as it is in double."""
    return float(np.float32(value))


def _out(id: str, why: str) -> RankedRow:
    return RankedRow(id, None, None, None, None, None, why)


def by_category(answer: str, categories: Sequence[str]) -> str:
    """A classifier's answer with ``top_category`` and ``classifications``: names and shares, likeliest first."""
    found = json.loads(answer)
    pairs = zip(categories, found["probabilities"], strict=True)
    found["classifications"] = sorted(([name, share] for name, share in pairs), key=lambda each: -each[1])
    found["top_category"] = found["category"]
    return json.dumps(found, ensure_ascii=False)


def _text(value: object, field: str) -> str:
    if isinstance(value, str):
        return value
    raise RequestError(field, type(value).__name__, "give a text, such as CAST(… AS TEXT)")


def _seconds(half_life: object) -> float | None:
    """A half-life; None: what was observed never fades. The engine says which numbers are none."""
    if half_life is None or (isinstance(half_life, int | float) and not isinstance(half_life, bool)):
        return half_life
    raise OptionError("half_life", half_life, "give seconds, or NULL where nothing fades")


def _json(options: object) -> str:
    """Options as JSON, empty where none are given."""
    return "" if options is None else _text(options, "options")


def _options(given: object) -> _core.Options | None:
    text = _json(given)
    return _engine_options(text) if text else None


def _object(given: object, field: str, known: Sequence[str]) -> Mapping[str, Any]:
    """A JSON object with these keys alone; empty text is an empty one."""
    text = _text(given, field)
    if not text.strip():
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise OptionError(field, str(error), "give a JSON object") from error
    if not isinstance(found, dict):
        raise OptionError(field, text, "give a JSON object")
    unknown = next((key for key in found if key not in known), None)
    if unknown is not None:
        raise OptionError(f"{field}.{unknown}", found[unknown], f"the options are {', '.join(known)}")
    return found


def _number(asked: Mapping[str, Any], name: str, default: Any, kind: type) -> Any:
    value = asked.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | (float if kind is float else int)) or value < 0:
        wanted = "a whole number, 0 or more" if kind is int else "a number, 0 or more"
        raise OptionError(f"options.{name}", value, f"give {wanted}")
    return value


_ROW = re.compile(r"requests\[\d+\]\.")


def _without_row(error: TinyDancerError) -> TinyDancerError:
    """The same error: rows of a chunk have no numbers that whoever wrote the statement knows."""
    return type(error)(_ROW.sub("", error.field), error.value, error.remedy)


def _task_row(found: TaskClassification) -> TaskRow:
    return TaskRow(found.category, found.confidence, list(found.capabilities), found.language, found.weak_quality)


def _route_row(found: RouteChoice) -> RouteRow:
    target = None if found.target is None else json.dumps(found.target, ensure_ascii=False)
    return RouteRow(found.name, found.confidence, found.reason, found.best, target)
