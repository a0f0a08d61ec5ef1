"""What PostgreSQL's functions call where no extension may be installed: the native functions of
``crates/tiny-dancer-pg``, by their names, in plpython3u.

``plpython.sql`` beside this file declares them, and everything that stands over them in SQL. Each gets what
plpython gives it: texts, numbers, lists, bytes, JSON as text, None for null.
"""

from __future__ import annotations

import json
from types import GeneratorType
from typing import TYPE_CHECKING, Any, NoReturn

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
from tiny_dancer.sql.functions import by_category, ranked
from tiny_dancer.sql.plpython_agents import (
    agent_state_after,
    allocate_budget,
    batch_route,
    budget_ledger,
    check_agents,
    checked_agent,
    choose_agent,
    choose_among,
    direction,
    route,
    route_multi,
    semantic_route,
)
from tiny_dancer.sql.plpython_server import (
    BROUGHT,
    NoArtifactError,
    artifact_of,
    encoder_named,
    encoder_needed,
    loaded,
    rows_of,
    where_brought,
)
from tiny_dancer.storage.history import hash_query

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

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
_TASKS, _SENTENCES = "tasks", "sentences"
"""What tells tasks apart, and encodes whole texts, where nothing is named."""


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
    if isinstance(error, NoArtifactError):
        state, message = "TD010", "there is no such artifact"
    else:
        state, message = next((state, words) for kind, state, words in _STATES if isinstance(error, kind))
    field, value, remedy = (_sayable(server, each) for each in (error.field, error.value, error.remedy))
    server.error(message, detail=f"{field}: {value}", hint=remedy, sqlstate=state, column_name=field)
    raise AssertionError(message)  # not reached: the line above raises


def _sayable(server: Any, text: str) -> str:
    """A text that the database's encoding holds, whichever it is."""
    encoding = "SELECT current_setting('server_encoding') AS name"
    if not text.isascii() and rows_of(server, encoding)[0]["name"] != "UTF8":
        text = text.encode("ascii", "backslashreplace").decode()
    return text.replace("\0", "\\u0000")


def _examine_artifact(server: Any, data: bytes | None, models: str | None) -> dict[str, Any]:
    kind, object = loaded(server, data or b"", models or "")
    named = object.checksum if kind == "encoder" else encoder_needed(_core.read_header(data or b""))
    return {"kind": kind, "encoder": named}


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
    return _decided(artifact_of(server, artifact, "request-router").decide_json(request, options))


def _decide_many(
    server: Any, requests: list[str | None] | None, options: str | None, artifact: str | None
) -> Iterator[Any]:
    router = artifact_of(server, artifact, "request-router")
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
    return _model(artifact_of(server, artifact, "request-router"), request, options)


def _model(router: _core.Router, request: str, options: str | None) -> str:
    asked = None if options is None else _core.Options.from_json(options)
    return router.decide(request, None, asked)[0]


def _decide_by(server: Any, checksum: str | None, request: str | None, options: str | None) -> str | None:
    if checksum is None or request is None:
        return None
    query = "SELECT name FROM tiny_dancer.artifacts WHERE checksum = $1 AND models IS NULL ORDER BY name LIMIT 1"
    found = rows_of(server, query, ("text", checksum))
    name = (
        found[0]["name"]
        if len(found)
        else next((each for each in BROUGHT if where_brought(each) == checksum), None)
    )
    if name is None:
        remedy = "load the artifact of this checksum by tiny_dancer.load_artifact"
        raise NoArtifactError("checksum", checksum, remedy)
    return _model(artifact_of(server, name, "request-router"), request, options)


def _decide_json(server: Any, request: str | None, options: str | None, artifact: str | None) -> str | None:
    if request is None:
        return None
    answer: str = artifact_of(server, artifact, "request-router").decide_json(request, options)
    return answer


def _route_json(server: Any, request: str | None, options: str | None, artifact: str | None) -> str | None:
    if request is None or artifact is None:
        return None
    answer: str = artifact_of(server, artifact, "routes").decide_json(request, options or "")
    return answer


def _classify_json(server: Any, request: str | None, artifact: str | None) -> str | None:
    if request is None:
        return None
    answer: str = artifact_of(server, artifact or _TASKS, "tasks").classify_json(request)
    return answer


def _query_hash(server: Any, request: str) -> str:
    return hash_query(request)


def _select_tools_json(
    server: Any, tools: list[str | None] | None, query: str | None, artifact: str | None, encoder: str | None
) -> str | None:
    if query is None:
        return None
    learned, by = (
        (None, encoder_named(server, encoder)) if artifact is None else artifact_of(server, artifact, "tools")
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
    scorer = _core.CandidateScorer() if artifact is None else artifact_of(server, artifact, "candidates")
    answer: str = scorer.rank_json(candidates, query, encoder_named(server, encoder))
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
    scorer = _core.CandidateScorer() if artifact is None else artifact_of(server, artifact, "candidates")
    found = ranked(scorer, query, ids, texts, embeddings or None, embedding, options or "")
    return [each._asdict() for each in found]


def _embed(server: Any, text: str | None, encoder: str | None) -> list[float] | None:
    if text is None:
        return None
    values: list[float] = _core.encode([text], encoder_named(server, encoder or _SENTENCES))[0].tolist()
    return values


def _classify_request(server: Any, request: str | None, artifact: str | None) -> str | None:
    if request is None:
        return None
    tasks: _core.Tasks = artifact_of(server, artifact or _TASKS, "tasks")
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
    "checked_agent": checked_agent,
    "check_agents": check_agents,
    "agent_state_after": agent_state_after,
    "choose_agent": choose_agent,
    "choose_among": choose_among,
    "route": route,
    "route_multi": route_multi,
    "batch_route": batch_route,
    "allocate_budget": allocate_budget,
    "budget_ledger": budget_ledger,
    "direction": direction,
    "semantic_route": semantic_route,
    "classify_request": _classify_request,
}
"""By name, as the extension's script has them without ``_wrapper``."""
PURE = frozenset(("tool_ids", "query_hash", "checked_agent", "agent_state_after", "choose_among", "direction"))
"""Those that ask the server nothing. Others do so in a subtransaction, which a parallel query does not allow."""
