"""What PostgreSQL's functions call where no extension may be installed: the native functions of
``crates/tiny-dancer-pg``, by their names, in plpython3u.

``plpython.sql`` beside this file declares them, and everything that stands over them in SQL. Each gets what
plpython gives it: texts, numbers, lists, bytes, JSON as text, None for null.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import OrderedDict
from types import GeneratorType
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import (
    ArtifactChecksumError,
    ArtifactError,
    ArtifactSelfCheckError,
    ArtifactVersionError,
    CandidateError,
    EncoderMissingError,
    NoFeasibleModelError,
    OptionError,
    RequestError,
    TinyDancerError,
)
from tiny_dancer.routing.agents import AgentRegistry, AgentRouter, assign
from tiny_dancer.routing.zero_shot import probabilities
from tiny_dancer.sql.functions import by_category, ranked
from tiny_dancer.storage import Agent
from tiny_dancer.storage.agents import AgentRecord
from tiny_dancer.storage.history import hash_query

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["FUNCTIONS", "PURE", "call"]

# As crates/tiny-dancer-pg/src/failure.rs has them, the most particular first.
_STATES: tuple[tuple[type[TinyDancerError], str, str], ...] = (
    (ArtifactVersionError, "TD002", "the artifact is of a version that this engine does not read"),
    (ArtifactChecksumError, "TD003", "the artifact differs from its checksum"),
    (ArtifactSelfCheckError, "TD004", "the artifact does not decide as it did when it was made"),
    (ArtifactError, "TD001", "this is no artifact, or it contradicts itself"),
    (EncoderMissingError, "TD005", "the encoder that the artifact needs is not there"),
    (RequestError, "TD006", "the request cannot be routed as it stands"),
    (OptionError, "TD007", "an option is not valid"),
    (NoFeasibleModelError, "TD008", "no model satisfies the constraints"),
    (CandidateError, "TD009", "a candidate cannot be used"),
)
_BROUGHT = tuple(sorted(path.stem for path in _core.data_path("").glob("*.safetensors")))
"""Artifacts of the package, which are there without being loaded."""
_ENCODERS = {"encoder": _core.encoder, "sentences": _core.sentence_encoder}
_TASKS, _SENTENCES = "tasks", "sentences"
"""What tells tasks apart, and encodes whole texts, where nothing is named."""
_KEPT = 16
"""Most artifacts that a backend keeps loaded: those that were used last."""


class _NoArtifactError(TinyDancerError):
    """There is no artifact of the name or checksum asked for."""


def call(server: Any, name: str, *arguments: Any) -> Any:
    """Calls a native function by its name, and raises what it refuses as an error of the server's.

    Args:
        server: the module ``plpy``.
        name: of the function.
        arguments: as its declaration has them.
    """
    try:
        answer = FUNCTIONS[name](server, *arguments)
        # Rows are made within this call, so that what is wrong with one is said as what is wrong with the others.
        return list(answer) if isinstance(answer, GeneratorType) else answer
    except TinyDancerError as error:
        _raise(server, error)


def _raise(server: Any, error: TinyDancerError) -> NoReturn:
    if isinstance(error, _NoArtifactError):
        state, message = "TD010", "there is no such artifact"
    else:
        state, message = next((state, words) for kind, state, words in _STATES if isinstance(error, kind))
    field, value, remedy = (_sayable(server, each) for each in (error.field, error.value, error.remedy))
    server.error(message, detail=f"{field}: {value}", hint=remedy, sqlstate=state, column_name=field)
    raise AssertionError(message)  # not reached: the line above raises


def _sayable(server: Any, text: str) -> str:
    """A text that the database's encoding holds, whichever it is."""
    encoding = "SELECT current_setting('server_encoding') AS name"
    if not text.isascii() and _rows(server, encoding)[0]["name"] != "UTF8":
        text = text.encode("ascii", "backslashreplace").decode()
    return text.replace("\0", "\\u0000")


# Artifacts -------------------------------------------------------------------------------------------------------

_PLANS: dict[str, Any] = {}
_LOADED: OrderedDict[tuple[str, str], Any] = OrderedDict()
"""By checksum of the bytes and changes of the models: a row that was replaced is another."""
_CHECKSUMS: dict[str, str] = {}


def _rows(server: Any, query: str, *values: tuple[str, Any]) -> Any:
    """Rows of a query, whose plan is kept as long as the backend lives."""
    plan = _PLANS.get(query)
    if plan is None:
        plan = _PLANS[query] = server.prepare(query, [kind for kind, _ in values])
    return server.execute(plan, [value for _, value in values])


def _brought(name: str) -> str | None:
    """Checksum of an artifact of the package, or None where it has none of this name."""
    if name not in _BROUGHT:
        return None
    if name not in _CHECKSUMS:
        _CHECKSUMS[name] = hashlib.sha256(_core.data_file(f"{name}.safetensors")).hexdigest()
    return _CHECKSUMS[name]


def _artifact(server: Any, name: str | None, kind: str) -> Any:
    """What is loaded of the artifact of a name: a row of the table, or one of the package's."""
    if name is None:
        name = (
            _rows(server, "SELECT current_setting('tiny_dancer.artifact', true) AS name")[0]["name"] or "default"
        )
    found = _rows(server, "SELECT checksum, models FROM tiny_dancer.artifacts WHERE name = $1", ("text", name))
    if len(found):
        checksum, models = found[0]["checksum"], found[0]["models"] or ""
    else:
        checksum, models = _brought(name), ""
        if checksum is None:
            remedy = (
                "load one by tiny_dancer.load_artifact, or use one that there is: select name, checksum from "
                f"tiny_dancer.artifacts; the package brings {', '.join(_BROUGHT)}"
            )
            raise _NoArtifactError("artifact", name, remedy)
    key = (checksum, models)
    known = _LOADED.get(key)
    if known is None:
        if len(found):
            query = "SELECT bytes FROM tiny_dancer.artifacts WHERE name = $1"
            known = _load(server, _rows(server, query, ("text", name))[0]["bytes"], models)
        elif name in _ENCODERS:  # which the package has loaded, or loads for everything
            known = ("encoder", _ENCODERS[name]())
        else:
            known = _load(server, _core.data_file(f"{name}.safetensors"), models)
        _LOADED[key] = known
        while len(_LOADED) > _KEPT:
            _LOADED.popitem(last=False)
    _LOADED.move_to_end(key)
    found_kind, object = known
    if found_kind != kind:
        raise OptionError("artifact", f"{name} is of kind '{found_kind}'", f"name one of kind '{kind}'")
    return object


def _load(server: Any, data: bytes, models: str) -> tuple[str, Any]:
    """An artifact's kind, and what the engine makes of it."""
    if _is_encoder(data):
        return "encoder", _core.Encoder(data)
    header = _core.read_header(data)
    kind = header["kind"]
    if models and kind != "request-router":
        raise OptionError("models", f"given for an artifact of kind '{kind}'", "only a router has models")
    encoder = _encoder_of(server, _needed(header))
    if kind == "request-router":
        return kind, _core.Router(data, encoder, models or None)
    if kind == "routes":
        return kind, _core.Routes(data, encoder)
    if kind == "tasks":
        return kind, _core.Tasks(data, encoder)
    if kind == "candidates":
        return kind, _core.CandidateScorer(data)
    if kind == "tools":
        return kind, (data, encoder)
    raise ArtifactError("kind", kind, "give a router, routes, tasks, candidates, tools or an encoder")


def _is_encoder(data: bytes) -> bool:
    """Whether these are the bytes of an encoder, by what a safetensors file says of itself."""
    length = int.from_bytes(data[:8], "little")
    try:
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {}) if length <= len(data) else {}
        return bool(json.loads(metadata.get("tiny_dancer", "{}")).get("kind") == "encoder")
    except (ValueError, RecursionError, AttributeError):
        return False  # what else is wrong with them, loading says


def _needed(header: Mapping[str, Any]) -> str | None:
    """Checksum of the encoder that an artifact names."""
    named = header.get("encoder")
    if isinstance(named, dict):
        named = named.get("checksum")
    return named or (header.get("features") or {}).get("encoder")


def _encoder_of(server: Any, checksum: str | None) -> _core.Encoder | None:
    """The encoder of a checksum: one of the package's, or of the table."""
    if checksum is None:
        return None
    for brought in _ENCODERS.values():
        if brought().checksum == checksum:
            return brought()
    query = "SELECT name FROM tiny_dancer.artifacts WHERE kind = 'encoder' AND encoder = $1 ORDER BY name LIMIT 1"
    found = _rows(server, query, ("text", checksum))
    encoder: _core.Encoder | None = _artifact(server, found[0]["name"], "encoder") if len(found) else None
    return encoder


def _examine_artifact(server: Any, data: bytes | None, models: str | None) -> dict[str, Any]:
    kind, object = _load(server, data or b"", models or "")
    named = object.checksum if kind == "encoder" else _needed(_core.read_header(data or b""))
    return {"kind": kind, "encoder": named}


# Requests → models -----------------------------------------------------------------------------------------------


def _decided(answer: str) -> dict[str, Any]:
    """The engine's answer as a row of ``tiny_dancer.decision``."""
    found: dict[str, Any] = json.loads(answer)
    columns = ("guarantee", "removed", "scores", "costs", "latencies", "output_tokens")
    return found | {
        column: None if found[column] is None else json.dumps(found[column], ensure_ascii=False)
        for column in columns
    }


def _decide(server: Any, request: str | None, options: str | None, artifact: str | None) -> Any:
    return None if request is None else _decide_body(server, json.dumps(request), options, artifact)


def _decide_body(server: Any, request: str | None, options: str | None, artifact: str | None) -> Any:
    if request is None:
        return None
    return _decided(_artifact(server, artifact, "request-router").decide_json(request, options))


def _decide_many(
    server: Any, requests: list[str | None] | None, options: str | None, artifact: str | None
) -> Iterator[Any]:
    router = _artifact(server, artifact, "request-router")
    for request in requests or ():
        found = {} if request is None else _decided(router.decide_json(json.dumps(request), options))
        yield {column: found.get(column) for column in _DECISION}


_DECISION = (
    "model", "quality", "cost", "confidence", "likeness", "reason", "routed_by", "guarantee", "guarantee_note",
    "prediction_set", "removed", "scores", "costs", "latencies", "tokens", "output_tokens", "artifact_version",
)  # fmt: skip


def _decide_model(server: Any, request: str | None, options: str | None, artifact: str | None) -> str | None:
    if request is None:
        return None
    return _model(_artifact(server, artifact, "request-router"), request, options)


def _model(router: _core.Router, request: str, options: str | None) -> str:
    asked = None if options is None else _core.Options.from_json(options)
    return router.decide(request, None, asked)[0]


def _decide_by(server: Any, checksum: str | None, request: str | None, options: str | None) -> str | None:
    if checksum is None or request is None:
        return None
    query = "SELECT name FROM tiny_dancer.artifacts WHERE checksum = $1 AND models IS NULL ORDER BY name LIMIT 1"
    found = _rows(server, query, ("text", checksum))
    name = (
        found[0]["name"] if len(found) else next((each for each in _BROUGHT if _brought(each) == checksum), None)
    )
    if name is None:
        remedy = "load the artifact of this checksum by tiny_dancer.load_artifact"
        raise _NoArtifactError("checksum", checksum, remedy)
    return _model(_artifact(server, name, "request-router"), request, options)


# The engine's doors ----------------------------------------------------------------------------------------------


def _decide_json(server: Any, request: str | None, options: str | None, artifact: str | None) -> str | None:
    if request is None:
        return None
    answer: str = _artifact(server, artifact, "request-router").decide_json(request, options)
    return answer


def _route_json(server: Any, request: str | None, options: str | None, artifact: str | None) -> str | None:
    if request is None or artifact is None:
        return None
    answer: str = _artifact(server, artifact, "routes").decide_json(request, options or "")
    return answer


def _classify_json(server: Any, request: str | None, artifact: str | None) -> str | None:
    if request is None:
        return None
    answer: str = _artifact(server, artifact or _TASKS, "tasks").classify_json(request)
    return answer


def _query_hash(server: Any, request: str) -> str:
    return hash_query(request)


def _select_tools_json(
    server: Any, tools: list[str | None] | None, query: str | None, artifact: str | None, encoder: str | None
) -> str | None:
    if query is None:
        return None
    learned, by = (
        (None, _named_encoder(server, encoder)) if artifact is None else _artifact(server, artifact, "tools")
    )
    found = _core.ToolSet(by, learned)
    _added(found, tools)
    return found.select(query)


def _tool_ids(server: Any, tools: list[str | None]) -> list[str]:
    return _added(_core.ToolSet(), tools)


def _added(found: _core.ToolSet, tools: list[str | None] | None) -> list[str]:
    """Ids of tools, given as JSON in pieces, after they were added one piece after the other."""
    ids: list[str] = []
    for piece in tools or ():
        if piece is not None:
            ids += [id for parts in found.add([piece], [None]) for id, *_ in parts]
    return ids


def _rank_json(
    server: Any, candidates: str | None, query: str | None, artifact: str | None, encoder: str | None
) -> str | None:
    if candidates is None or query is None:
        return None
    scorer = _core.CandidateScorer() if artifact is None else _artifact(server, artifact, "candidates")
    answer: str = scorer.rank_json(candidates, query, _named_encoder(server, encoder))
    return answer


def _rank(
    server: Any,
    query: str | None,
    ids: list[Any] | None,
    texts: list[str | None] | None,
    embeddings: list[Any] | None,
    embedding: list[float] | None,
    options: str | None,
    artifact: str | None,
) -> list[dict[str, Any]]:
    if ids is None or (query is None and embedding is None):
        return []
    scorer = _core.CandidateScorer() if artifact is None else _artifact(server, artifact, "candidates")
    found = ranked(scorer, query, ids, texts, embeddings or None, embedding, options or "")
    return [each._asdict() for each in found]


def _named_encoder(server: Any, name: str | None) -> _core.Encoder | None:
    """The encoder of a name."""
    if name is None:
        return None
    found: _core.Encoder = _artifact(server, name, "encoder")
    return found


def _embed(server: Any, text: str | None, encoder: str | None) -> list[float] | None:
    if text is None:
        return None
    values: list[float] = _core.encode([text], _named_encoder(server, encoder or _SENTENCES))[0].tolist()
    return values


# Agents ----------------------------------------------------------------------------------------------------------


def _checked_agent(server: Any, declaration: str) -> str:
    return Agent.from_json(declaration).to_json()


class _Table:
    """Agents that were read, as the storage of a registry."""

    def __init__(self, records: list[AgentRecord]) -> None:
        self._records = records

    def agent_changes(self) -> int:
        return 0

    def agents(self) -> list[AgentRecord]:
        return self._records


def _agents(server: Any) -> AgentRegistry:
    """The agents of the table, as the present role sees them now.

    They are read anew for each call: what may be kept of them depends on snapshots, roles and policies of rows.
    """
    rows = _rows(server, "SELECT declared, state FROM tiny_dancer.agent ORDER BY name")
    records = [AgentRecord(Agent.from_json(row["declared"]), row["state"] or "", 0.0) for row in rows]
    return AgentRegistry(storage=_Table(records), clock=lambda: _now(server))  # type: ignore[arg-type]


def _now(server: Any) -> float:
    """UTC seconds when the present statement began."""
    query = "SELECT extract(epoch FROM statement_timestamp())::double precision AS now"
    moment: float = _rows(server, query)[0]["now"]
    return moment


def _check_agents(server: Any) -> None:
    _agents(server).engine.check_members()


def _agent_state_after(server: Any, state: str | None, outcome: str | None, half_life: float | None) -> str | None:
    return None if outcome is None else _core.agent_state_after(state or "", outcome, half_life)


def _choose_agent(server: Any, query: str) -> str:
    try:
        asked = json.loads(query)
    except (ValueError, RecursionError):
        asked = None
    if isinstance(asked, dict):
        query = json.dumps({"now": _now(server)} | asked)
    return _agents(server).engine.choose_json(query)


def _choose_among(server: Any, agents: str | None, query: str | None, half_life: float | None) -> str | None:
    if agents is None or query is None:
        return None
    found = _core.AgentSet(half_life)
    found.put(agents)
    return found.choose_json(query)


_ROUTE_OPTIONS = (
    "task", "types", "excluded", "tags", "region", "input_tokens", "cached_tokens", "output_tokens", "weights",
    "level", "explore", "qualities", "now",
)  # fmt: skip


def _asked(
    server: Any,
    request: str,
    optimize_for: str | None,
    required_capabilities: list[str | None] | None,
    max_cost: float | None,
    max_latency_ms: float | None,
    min_quality: float | None,
    budget_remaining: float | None,
    options: str | None,
) -> dict[str, Any]:
    """A query of the engine's; null says nothing."""
    if max_latency_ms is not None and not max_latency_ms > 0:
        raise OptionError("max_latency_ms", max_latency_ms, "give a time above 0: nothing takes none")
    further = {} if options is None else json.loads(options)
    if not isinstance(further, dict):
        raise OptionError("options", options, "give an object of options")
    unknown = next((name for name in further if name not in _ROUTE_OPTIONS), None)
    if unknown is not None:
        raise OptionError("options", unknown, f"the options are {', '.join(_ROUTE_OPTIONS)}")
    if optimize_for is not None and optimize_for not in _core.AGENT_POLICIES:
        raise OptionError("optimize_for", optimize_for, f"use one of {', '.join(_core.AGENT_POLICIES)}")
    required = required_capabilities or []
    if None in required:
        place = required.index(None) + 1
        raise OptionError(f"required_capabilities[{place}]", None, "give texts without a null among them")
    query = {
        "optimize_for": optimize_for or "balanced",
        "required_capabilities": required,
        "max_cost": max_cost,
        "max_latency": None if max_latency_ms is None else max_latency_ms / 1000,
        "min_quality": min_quality,
        "budget_remaining": budget_remaining,
        "input_tokens": float(math.ceil(len(request.encode()) / 4)),
    } | {name: value for name, value in further.items() if value is not None}
    return query if "now" in query else query | {"now": _now(server)}


def _route(server: Any, request: str | None, *asked: Any) -> dict[str, Any] | None:
    if request is None:
        return None
    query = json.dumps(_asked(server, request, *asked))
    found = json.loads(_agents(server).engine.choose_json(query))
    latency = found["latency"]
    return {
        "agent_name": found["agent"],
        "confidence": found["confidence"],
        "estimated_cost": found["cost"],
        "estimated_latency": None if latency is None else latency * 1000,
        "expected_quality": found["quality"],
        "reason": found["reason"],
        "runner_up": found["runner_up"],
    }


def _route_multi(server: Any, request: str | None, *given: Any) -> Iterator[dict[str, Any]]:
    *bounds, number, strategy, combine = given
    if request is None:
        return
    asked, agents = _asked(server, request, *bounds), _agents(server)
    number, strategy = 3 if number is None else number, strategy or "pipeline"
    required = asked["required_capabilities"]
    inferred = not required and strategy != "ensemble"
    if inferred:
        required = _about(agents, request, number)
    latency = asked["max_latency"]
    weights = {"weights": asked["weights"]} if asked["optimize_for"] == "weights" and "weights" in asked else {}
    plan = AgentRouter(agents).route_multi(
        request,
        number,
        strategy,  # type: ignore[arg-type]  # refused by name
        optimize_for=asked["optimize_for"],
        required_capabilities=required,
        combine=combine or "vote",
        types=asked.get("types", ()),
        max_cost=asked["max_cost"],
        max_latency_ms=None if latency is None else latency * 1000,
        min_quality=asked["min_quality"],
        excluded=asked.get("excluded", ()),
        tags=asked.get("tags", ()),
        region=asked.get("region"),
        budget_remaining=asked["budget_remaining"],
        input_tokens=asked["input_tokens"],
        output_tokens=asked.get("output_tokens"),
        level=asked.get("level", 0.9),
        now=asked["now"],
        **weights,
    )
    reason = plan.reason + ("; capabilities by likeness to the request" if inferred else "")
    for place, step in enumerate(plan.steps):
        yield {
            "step": place + 1,
            "agent_name": step.agent,
            "capabilities": list(step.capabilities),
            "expected_quality": step.quality,
            "estimated_cost": step.estimated_cost,
            "estimated_latency": step.estimated_latency_ms,
            "total_quality": plan.quality,
            "total_cost": plan.estimated_cost,
            "total_latency": plan.estimated_latency_ms,
            "reason": reason,
        }


_MOST_CAPABILITIES = 12
"""That are shared out among several agents (``several.rs``)."""


def _about(agents: AgentRegistry, request: str, number: int) -> list[str]:
    """The capabilities a request is most about."""
    active = (agent for agent in agents.agents if agent.active)
    known = sorted({capability for agent in active for capability in agent.capabilities})
    if not known:
        remedy = "register agents with capabilities, or use the strategy ensemble"
        raise OptionError("required_capabilities", "none, and no agent has any", remedy)
    cards = [
        {"name": name, "description": name.replace("-", " ").replace("_", " "), "capabilities": [], "examples": []}
        for name in known
    ]
    most = min(max(number, 1), _MOST_CAPABILITIES)
    found = _core.AgentCards(_core.sentence_encoder(), json.dumps(cards)).search(request, most)
    return [name for name, _, _ in found]


# A batch at once, and budgets ------------------------------------------------------------------------------------


def _query(asked: Mapping[str, Any], policy: str) -> _core.AgentQuery:
    """The query that all requests of a batch share; what is spent of a budget is theirs together."""
    weights = {"quality": 1.0, "cost": 10.0, "latency": 0.01} | (asked.get("weights") or {})
    return _core.AgentQuery(
        policy,
        (weights["quality"], weights["cost"], weights["latency"]),
        asked["required_capabilities"],
        asked.get("task"),
        asked.get("types", ()),
        asked.get("excluded", ()),
        asked.get("tags", ()),
        asked.get("region"),
        (asked["max_cost"], asked["budget_remaining"], asked["max_latency"]),
        asked["min_quality"],
        asked.get("level", 0.9),
        asked.get("explore"),
    )


class _Expected:
    """What is expected of each agent on each request: arrays [requests, agents]; cost NaN where one is removed."""

    def __init__(
        self,
        agents: AgentRegistry,
        query: _core.AgentQuery,
        tokens: Sequence[float],
        now: float,
        output: Sequence[float] | None = None,
    ) -> None:
        self.names = agents.engine.names()
        asked = np.array(tokens, np.float64).tobytes()
        answers = None if output is None else np.array(output, np.float64).tobytes()
        shape = (len(tokens), len(self.names))
        columns = agents.engine.expect(query, asked, now, answers, None)
        self.quality, self.cost, self.latency = (np.frombuffer(each, "<f8").reshape(shape) for each in columns)


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _batch_route(server: Any, requests: list[str | None] | None, *given: Any) -> Iterator[dict[str, Any]]:
    word, required, max_cost, max_latency_ms, min_quality, budget, options, least, capacities = given
    if requests is None:
        return
    word = word or "total_cost"
    texts = [each for each in requests if each is not None]
    if len(texts) != len(requests):
        place = requests.index(None) + 1
        raise OptionError(f"requests[{place}]", None, "give texts without a null among them")
    whole = word in ("total_cost", "quality")
    if not whole and (least is not None or capacities is not None):
        field = "min_mean_quality" if least is not None else "capacities"
        raise OptionError(field, f"beside {word}", "set optimize_for to total_cost or quality")
    if word == "quality" and least is not None:
        raise OptionError("min_mean_quality", "beside quality", "leave it out where quality is maximised")
    asked = _asked(server, "", None, required, max_cost, max_latency_ms, min_quality, budget, options)
    agents = _agents(server)
    if not texts:
        return
    names = agents.engine.names()
    if not names:
        raise NoFeasibleModelError("agents", "no agents", "register agents first")
    own = json.loads(options or "{}").get("input_tokens")
    tokens = [float(own) if own is not None else float(math.ceil(len(text.encode()) / 4)) for text in texts]
    if whole:
        asked = asked | {"budget_remaining": None}
        rooms = json.loads(capacities) if capacities is not None else {}
        unknown = next((name for name in rooms if name not in names), None)
        if unknown is not None:
            raise OptionError("capacities", unknown, "name agents that are registered")
        expected = _Expected(agents, _query(asked, "cost"), tokens, asked["now"])
        chosen = assign(
            expected.quality,
            expected.cost,
            optimize_for="quality" if word == "quality" else "total_cost",
            min_mean_quality=least,
            budget=budget,
            capacities=[rooms.get(name) for name in names] if rooms else None,
        ).columns.tolist()
    else:
        if word not in _core.AGENT_POLICIES:
            known = ", ".join(_core.AGENT_POLICIES)
            raise OptionError("optimize_for", word, f"use total_cost, or one of {known}")
        query = _query(asked, word)
        expected = _Expected(agents, query, tokens, asked["now"])
        answers = [agents.engine.choose(query, each, asked["now"]).agent for each in tokens]
        chosen = [names.index(agent) for agent in answers]
    places = (np.arange(len(texts)), chosen)
    total, mean = _known(expected.cost[places].sum()), _known(expected.quality[places].mean())
    for row, (text, column) in enumerate(zip(texts, chosen, strict=True)):
        yield {
            "request_index": row + 1,
            "request": text,
            "agent_name": names[column],
            "expected_quality": _known(expected.quality[row, column]),
            "estimated_cost": _known(expected.cost[row, column]),
            "estimated_latency": _known(expected.latency[row, column] * 1000),
            "mean_quality": mean,
            "total_cost": total,
        }


_MOST_REQUESTS = 1e6
"""That a budget is given to agents for."""


def _allocate_budget(
    server: Any,
    tokens: str | None,
    monthly_budget: float | None,
    quality_threshold: float | None,
    latency_threshold_ms: float | None,
    requests_a_month: float | None,
) -> list[dict[str, Any]]:
    try:
        asked = np.array(json.loads(tokens or "[]"), np.float64).reshape(-1, 3)
    except (ValueError, TypeError) as error:
        raise OptionError("tokens", error, "give [[prompt, answer, requests], …]") from error
    for field, value, wrong, remedy in (
        ("monthly_budget", monthly_budget, lambda usd: usd < 0 or usd != usd, "give USD, 0 or more"),
        ("quality_threshold", quality_threshold, lambda q: not 0 <= q <= 1, "give a mean quality from 0 to 1"),
        ("latency_threshold_ms", latency_threshold_ms, lambda ms: not ms > 0, "give a time above 0"),
        ("requests_a_month", requests_a_month, lambda n: not 0 <= n < math.inf, "give a finite number, 0 or more"),
    ):
        if value is not None and wrong(value):
            raise OptionError(field, value, remedy)
    total = float(asked[:, 2].sum())
    if total > _MOST_REQUESTS:
        remedy = "give counts that sum to at most 1,000,000: what is asked in which proportions"
        raise OptionError("tokens", f"{total:g} requests", remedy)
    if not total:
        return []
    each = (requests_a_month or 0.0) / total
    slowest = None if latency_threshold_ms is None else latency_threshold_ms / 1000
    agents = _agents(server)
    if not agents.engine.names():
        raise NoFeasibleModelError("agents", "no agents", "register agents first")
    bounds: dict[str, Any] = dict.fromkeys(("max_cost", "budget_remaining", "min_quality"))
    query = _query(bounds | {"required_capabilities": [], "max_latency": slowest}, "cost")
    output = np.where(asked[:, 1] > 0, asked[:, 1], np.nan)
    expected = _Expected(agents, query, asked[:, 0].tolist(), _now(server), output.tolist())
    rows = np.repeat(np.arange(len(asked)), asked[:, 2].astype(np.int64))
    quality, cost, latency = expected.quality[rows], expected.cost[rows] * each, expected.latency[rows]
    try:
        found = assign(quality, cost, optimize_for="quality", budget=monthly_budget)
    except NoFeasibleModelError as error:
        field = "monthly_budget" if error.field == "budget" else error.field
        raise NoFeasibleModelError(field, error.value, error.remedy) from None
    sufficient = quality_threshold is None or found.quality >= quality_threshold - 1e-9
    counts = np.bincount(found.columns, minlength=len(expected.names))
    order = sorted(range(len(counts)), key=lambda agent: (-counts[agent], expected.names[agent].encode()))
    answers = []
    for agent in order:
        own = np.flatnonzero(found.columns == agent)
        answers.append(
            {
                "agent_name": expected.names[agent],
                "share": len(own) / total,
                "monthly_requests": len(own) * each,
                "allocated_budget": _known(cost[own, agent].sum()),
                "expected_quality": _known(quality[own, agent].mean()) if len(own) else None,
                "expected_latency": _known(latency[own, agent].mean() * 1000) if len(own) else None,
                "mean_quality": _known(found.quality),
                "total_cost": _known(found.cost),
                "sufficient": bool(sufficient),
            }
        )
    return answers


def _budget_ledger(server: Any, budget: str, start: int, since: int) -> dict[str, Any]:
    """The limit of a budget, and what all holders have drawn, as of now: whoever asks holds the budget's lock."""
    isolation = _rows(server, "SELECT current_setting('transaction_isolation') AS level")[0]["level"]
    if isolation != "read committed":
        # Such a transaction does not see what was drawn since it began: it would be promised twice.
        remedy = "reserve in a transaction of READ COMMITTED; the extension can in any"
        raise OptionError("transaction_isolation", isolation, remedy)
    query = (
        "SELECT (SELECT most FROM tiny_dancer.budget WHERE id = $1) AS most, "
        "(SELECT sum(drawn) FROM tiny_dancer.budget_spending WHERE budget = $1 "
        "AND (start = $2 OR ($3 < $2 AND start >= $3))) AS drawn"
    )
    found: dict[str, Any] = dict(_rows(server, query, ("text", budget), ("bigint", start), ("bigint", since))[0])
    return found


# Routes by likeness, and kinds of tasks --------------------------------------------------------------------------


def _unit(values: Sequence[float | None], field: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    found = np.array([math.nan if value is None else value for value in values], np.float64)
    wrong = np.flatnonzero(~np.isfinite(found))
    if len(wrong):
        raise OptionError(field, f"[{wrong[0] + 1}] is no finite number", "give finite numbers")
    length = float(np.sqrt((found * found).sum()))
    if not length > 0:
        remedy = "give a vector of another length than 0, such as tiny_dancer.embed gives"
        raise OptionError(field, "all 0" if len(found) else "empty", remedy)
    return found / length


def _direction(server: Any, embedding: str, field: str) -> list[float]:
    """The numbers of a vector that is written as a list, of those that have a direction."""
    text = embedding.strip()
    try:
        if text[:1] + text[-1:] not in ("{}", "[]"):
            raise ValueError(text)
        values = [float(np.float32(each)) for each in text[1:-1].split(",")] if text[1:-1].strip() else []
    except ValueError:
        raise OptionError(field, text[:40], "give a list of numbers without nulls, such as real[]") from None
    _unit(values, field)
    return values


_USUAL_ROUTES = 3


def _semantic_route(
    server: Any, embedding: Sequence[float | None] | None, top_k: int | None
) -> list[dict[str, Any]]:
    if embedding is None:
        return []
    top_k = _USUAL_ROUTES if top_k is None else top_k
    if top_k < 1:
        raise OptionError("top_k", top_k, "ask for one route or more")
    wanted = _unit(embedding, "embedding")
    query = "SELECT name, target_agent, priority, embedding FROM tiny_dancer.semantic_route"
    routes = list(_rows(server, query))
    likeness = np.zeros(len(routes))
    for place, route in enumerate(routes):
        field = f"embedding of route '{route['name']}'"
        direction = _unit(route["embedding"], field)
        if direction.shape != wanted.shape:
            value = f"{len(direction)} numbers, the request has {len(wanted)}"
            remedy = "compare vectors of one encoder: create the route anew, or give the request's vector yourself"
            raise OptionError(field, value, remedy)
        likeness[place] = direction @ wanted
    if not routes:
        return []
    confidence = probabilities(likeness)
    order = sorted(
        range(len(routes)),
        key=lambda place: (-likeness[place], -routes[place]["priority"], routes[place]["name"].encode()),
    )
    return [
        {
            "route_name": routes[place]["name"],
            "similarity": min(max(float(likeness[place]), -1.0), 1.0),
            "target_agent": routes[place]["target_agent"],
            "confidence": float(confidence[place]),
            "priority": routes[place]["priority"],
        }
        for place in order[:top_k]
    ]


def _classify_request(server: Any, request: str | None, artifact: str | None) -> str | None:
    if request is None:
        return None
    tasks: _core.Tasks = _artifact(server, artifact or _TASKS, "tasks")
    categories = json.loads(tasks.header())["categories"]
    return by_category(tasks.classify_json(json.dumps({"text": request})), categories)


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "examine_artifact": _examine_artifact,
    "decide": _decide,
    "decide_body": _decide_body,
    "decide_many": _decide_many,
    "decide_model": _decide_model,
    "decide_by": _decide_by,
    "decide_json": _decide_json,
    "route_json": _route_json,
    "classify_json": _classify_json,
    "select_tools_json": _select_tools_json,
    "tool_ids": _tool_ids,
    "rank": _rank,
    "rank_json": _rank_json,
    "embed": _embed,
    "query_hash": _query_hash,
    "checked_agent": _checked_agent,
    "check_agents": _check_agents,
    "agent_state_after": _agent_state_after,
    "choose_agent": _choose_agent,
    "choose_among": _choose_among,
    "route": _route,
    "route_multi": _route_multi,
    "batch_route": _batch_route,
    "allocate_budget": _allocate_budget,
    "budget_ledger": _budget_ledger,
    "direction": _direction,
    "semantic_route": _semantic_route,
    "classify_request": _classify_request,
}
"""By name, as the extension's script has them without ``_wrapper``."""

PURE = frozenset(("tool_ids", "query_hash", "checked_agent", "agent_state_after", "choose_among", "direction"))
"""Those that ask the server nothing. Others do so in a subtransaction, which a parallel query does not allow."""
