"""Decisions as functions of DuckDB: ``tiny_dancer.duckdb.register(connection)``.

The functions take whole vectors of DuckDB's, as Arrow, and decide them in the engine without the interpreter lock,
so that DuckDB's threads decide side by side. They belong to the database, not to the connection: every connection
to it, in this process, has them.
"""

from __future__ import annotations

import inspect
import json
import threading
from decimal import Decimal
from itertools import compress, count
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer.errors import OptionError, RequestError
from tiny_dancer.extras import needed
from tiny_dancer.sql import Functions

with needed("duckdb"):
    import duckdb
    import pyarrow as pa

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tiny_dancer.routing import Router
    from tiny_dancer.routing.agents import AgentRegistry, AgentRouter
    from tiny_dancer.routing.semantic import SemanticRoutes
    from tiny_dancer.routing.tasks import TaskClassifier
    from tiny_dancer.storage import Agent
    from tiny_dancer.types import ModelInfo

__all__ = ["register"]

_DECISION = {
    "model": "VARCHAR",
    "quality": "DOUBLE",
    "cost": "DOUBLE",
    "confidence": "DOUBLE",
    "reason": "VARCHAR",
}
_RANKED = {
    "candidate_id": "VARCHAR",
    "score": "DOUBLE",
    "confidence": "DOUBLE",
    "uncertainty": "DOUBLE",
    "use_lightweight": "BOOLEAN",
    "in_prediction_set": "BOOLEAN",
    "error": "VARCHAR",
}
_TASK = {
    "category": "VARCHAR",
    "confidence": "DOUBLE",
    "capabilities": "VARCHAR[]",
    "language": "VARCHAR",
    "weak_quality": "DOUBLE",
}
_ROUTE = {
    "route_name": "VARCHAR",
    "confidence": "DOUBLE",
    "reason": "VARCHAR",
    "best": "VARCHAR",
    "target": "VARCHAR",
}
_AGENT = {
    "agent_name": "VARCHAR",
    "confidence": "DOUBLE",
    "estimated_cost": "DOUBLE",
    "estimated_latency": "DOUBLE",
    "expected_quality": "DOUBLE",
    "reason": "VARCHAR",
    "runner_up": "VARCHAR",
}
_ARROW = {
    "VARCHAR": pa.string(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "VARCHAR[]": pa.list_(pa.string()),
}


def register(
    connection: duckdb.DuckDBPyConnection,
    artifact: str | os.PathLike[str] | Router = "default",
    *,
    models: Mapping[str, str | ModelInfo] | None = None,
    tasks: str | os.PathLike[str] | TaskClassifier = "default",
    routes: str | os.PathLike[str] | SemanticRoutes | None = None,
    agents: Iterable[Agent] | AgentRegistry | AgentRouter = (),
    scorer: str | os.PathLike[str] | None = None,
) -> None:
    """Makes the functions of ``docs/guides/sql.md`` known to a database.

    Registering again replaces what answers, for every connection to the database; a statement under way answers by
    either. Rolling back a transaction does not undo it. What answers is kept as long as the process lives: DuckDB
    calls functions after the connection that registered them is closed, and does not keep them alive.

    Args:
        connection: to the database, in any state: it may be within a transaction, or have a result to be fetched.
        artifact: of the router: a path, ``default``, or a router that is loaded already.
        models: as :meth:`tiny_dancer.Router.load` takes them.
        tasks: artifact that tells tasks apart.
        routes: artifact of semantic routes, or routes.
        agents: who may answer, for ``ruvector_route``.
        scorer: artifact that ranks candidates.

    Raises:
        ArtifactError: an artifact that cannot be used.
        OptionError: no connection, or the database has a function of such a name that is not ours.

    Example:
        >>> import duckdb
        >>> connection = duckdb.connect()
        >>> register(connection)
        >>> connection.execute("SELECT tiny_dancer_decide('What is 2 + 2?').model").fetchall()
        [('weak',)]
    """
    if not isinstance(connection, duckdb.DuckDBPyConnection):
        raise OptionError("connection", type(connection).__name__, "give what duckdb.connect() returns")
    functions = Functions.load(artifact, models=models, tasks=tasks, routes=routes, agents=agents, scorer=scorer)
    # A connection of its own to the same database: the caller's may have a result under way, or a transaction that
    # is rolled back.
    with connection.cursor() as own, _REGISTERING:
        answering = _answering(own)
        if answering is not None:
            answering.functions = functions
            return
        _create(own, _Answering(functions))


class _Answering:
    """What answers in one database: replaced when it is registered again."""

    __slots__ = ("functions",)

    def __init__(self, functions: Functions) -> None:
        self.functions = functions


_REGISTERING = threading.Lock()
_NUMBERS = count(1)
_REGISTERED: dict[int, tuple[_Answering, list[Callable[..., Any]]]] = {}
"""What answers in each database, and its functions, to which DuckDB has pointers that keep nothing alive."""


def _answering(own: duckdb.DuckDBPyConnection) -> _Answering | None:
    """What answers in this database, or None where nothing is registered yet."""
    known = "SELECT 1 FROM duckdb_functions() WHERE function_name = 'tiny_dancer_registered'"
    if own.execute(known).fetchone() is None:
        return None
    found = own.execute("SELECT tiny_dancer_registered()").fetchone()
    return None if found is None else _REGISTERED[found[0]][0]


def _create(own: duckdb.DuckDBPyConnection, answering: _Answering) -> None:
    calls = _Calls(answering)
    kept: list[Callable[..., Any]] = []

    def create(
        name: str, function: Callable[..., Any], parameters: list[str], returned: str, **given: Any
    ) -> None:
        own.create_function(name, function, parameters, returned, **given)  # type: ignore[arg-type]
        kept.append(function)

    text, texts = "VARCHAR", "VARCHAR[]"
    decision, task, agent = _struct(_DECISION), _struct(_TASK), _struct(_AGENT)
    every: tuple[tuple[str, Callable[..., Any], list[str], str, str], ...] = (
        ("tiny_dancer_decide", calls.decide, [text], decision, "special"),
        ("tiny_dancer_decide_model", calls.decide_model, [text], text, "special"),
        ("tiny_dancer_decide_by", calls.decide_by, [text, text], text, "special"),
        ("tiny_dancer_decide_json", calls.decide_json, [text], text, "special"),
        ("tiny_dancer_quality", calls.quality, [text, text], "DOUBLE", "special"),
        ("tiny_dancer_cost", calls.cost, [text, text], "DOUBLE", "special"),
        ("tiny_dancer_rank", calls.rank, [text, texts], f"{_struct(_RANKED)}[]", "special"),
        ("tiny_dancer_rank_json", calls.rank_json, [text, text], text, "default"),
        ("tiny_dancer_embed", calls.embed, [text], "FLOAT[256]", "default"),
        ("tiny_dancer_classify", calls.classify, [text], task, "default"),
        ("tiny_dancer_classify_json", calls.classify_json, [text], text, "default"),
        ("tiny_dancer_semantic_route", calls.semantic_route, [text], _struct(_ROUTE), "default"),
        ("tiny_dancer_route_json", calls.route_json, [text], text, "special"),
        ("tiny_dancer_choose_among", calls.choose_among, [text, text], text, "special"),
        ("tiny_dancer_agent_state_after", calls.agent_state_after, [text, text], text, "special"),
        ("ruvector_route", calls.ruvector_route, [text], agent, "special"),
        ("ruvector_embed", calls.embed, [text], "FLOAT[256]", "default"),
        ("ruvector_classify_request", calls.ruvector_classify_request, [text], text, "default"),
    )
    # Asked before any is made: some versions of DuckDB would put ours beside somebody else's.
    names = ["tiny_dancer_checksum", "tiny_dancer_registered", *(name for name, *_ in every)]
    asked = "SELECT function_name FROM duckdb_functions() WHERE list_contains(?, function_name)"
    there = own.execute(asked, [names]).fetchone()
    if there is not None:
        remedy = "drop the function of this name, or register in another database"
        raise OptionError("connection", f"has a function {there[0]} already", remedy)
    number = next(_NUMBERS)
    _REGISTERED[number] = (answering, kept)
    for name, function, parameters, returned, null in every:
        create(name, _as_read(function, parameters), parameters, returned, type="arrow", null_handling=null)
    create("tiny_dancer_checksum", lambda: answering.functions.checksum, [], text, side_effects=True)
    # Last: where it is there, all are.
    create("tiny_dancer_registered", lambda: number, [], "BIGINT")


def _as_read(function: Callable[..., Any], parameters: list[str]) -> Callable[..., Any]:
    """The function with the signature by which DuckDB lets arguments after the typed ones be left out.

    It counts ``*more`` as one that has to be given, so the last that has to be is called that.
    """
    signature = inspect.signature(function)
    if all(each.kind is not inspect.Parameter.VAR_POSITIONAL for each in signature.parameters.values()):
        return function

    def call(*given: Any) -> Any:
        return function(*given)

    *first, last = [f"given_{place}" for place in range(len(parameters))]
    named = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in first]
    call.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
        [*named, inspect.Parameter(last, inspect.Parameter.VAR_POSITIONAL)]
    )
    return call


class _Calls:
    """The functions: columns as Arrow in, columns as Arrow out."""

    def __init__(self, answering: _Answering) -> None:
        self._answering = answering

    @property
    def _functions(self) -> Functions:
        return self._answering.functions

    def decide(self, request: Any, *more: Any) -> Any:
        (options,), functions = _more(more, "options"), self._functions

        def decided(texts: list[str], asked: str) -> Any:
            found = functions.decide_batch(texts, asked)
            rows = np.arange(len(found))
            cost = found.costs[rows, found.choice]
            columns = [
                pa.array(found.models).take(pa.array(found.choice)),
                pa.array(found.scores[rows, found.choice].astype(np.float64)),
                pa.array(cost, mask=np.isnan(cost)),
                pa.array(found.confidence.astype(np.float64)),
                pa.array(found.reasons.tolist(), pa.string()),
            ]
            return pa.StructArray.from_arrays(columns, names=list(_DECISION))

        return _answered(request, options, decided)

    def decide_model(self, request: Any, *more: Any) -> Any:
        return self.decide(request, *more).field("model")

    def decide_by(self, checksum: Any, request: Any, *more: Any) -> Any:
        asked = request.is_valid()  # a null request is null whatever the checksum, as in the other databases
        for each in set(checksum.filter(asked).to_pylist()) - {None}:
            self._functions.check(each)
        if checksum.null_count:
            request = pa.compute.if_else(checksum.is_valid(), request, pa.scalar(None, pa.string()))
        return self.decide_model(request, *more)

    def decide_json(self, request: Any, *more: Any) -> Any:
        (options,), functions = _more(more, "options"), self._functions

        def decided(requests: list[str], asked: str) -> Any:
            return pa.array(functions.decide_json_batch(requests, asked), pa.string())

        return _answered(request, options, decided)

    def quality(self, request: Any, model: Any, *more: Any) -> Any:
        return self._of_model("scores", request, model, more)

    def cost(self, request: Any, model: Any, *more: Any) -> Any:
        return self._of_model("costs", request, model, more)

    def _of_model(self, table: str, request: Any, model: Any, more: Sequence[Any]) -> Any:
        (options,), functions = _more(more, "options"), self._functions
        known = functions.router.models
        places = {name: known.index(functions.known_model(name)) for name in set(model.to_pylist()) - {None}}
        rows = list(zip(request.to_pylist(), model.to_pylist(), strict=True))
        whole = [None not in row for row in rows]
        values = np.full(len(rows), np.nan)

        def decided(given: list[tuple[str, str]], asked: str) -> Any:
            found = functions.decide_batch([text for text, _ in given], asked)
            return getattr(found, table)[np.arange(len(given)), [places[name] for _, name in given]]

        if any(whole):
            asked = None if options is None else list(compress(options, whole))
            values[whole] = _grouped(list(compress(rows, whole)), asked, decided)
        return pa.array(values, mask=np.isnan(values))

    def rank(self, query: Any, ids: Any, *more: Any) -> Any:
        texts, embeddings, embedding, options = _more(more, "texts", "embeddings", "embedding", "options")
        functions = self._functions
        rows = query.to_pylist()
        vectors = None if embeddings is None else embeddings.combine_chunks()
        answers: list[Any] = []
        for row, (text, named) in enumerate(zip(rows, ids.to_pylist(), strict=True)):
            wanted = None if embedding is None else embedding[row]
            if named is None or (text is None and wanted is None):
                answers.append(None)
                continue
            found = functions.rank(
                text,
                named,
                None if texts is None else texts[row],
                None if vectors is None else _matrix(vectors[row]),
                wanted,
                None if options is None else options[row],
            )
            answers.append([each._asdict() for each in found])
        return pa.array(answers, pa.list_(_arrow_struct(_RANKED)))

    def rank_json(self, candidates: Any, query: Any) -> Any:
        rows = zip(candidates.to_pylist(), query.to_pylist(), strict=True)
        return pa.array([self._functions.rank_json(*row) for row in rows], pa.string())

    def embed(self, text: Any) -> Any:
        found = self._functions.embed(text.to_pylist())
        return pa.FixedSizeListArray.from_arrays(pa.array(found.reshape(-1)), found.shape[1])

    def classify(self, text: Any) -> Any:
        found = self._functions.classify_batch(text.to_pylist())
        return pa.array([each._asdict() for each in found], _arrow_struct(_TASK))

    def classify_json(self, request: Any) -> Any:
        return pa.array([self._functions.classify_json(each) for each in request.to_pylist()], pa.string())

    def ruvector_classify_request(self, text: Any) -> Any:
        found = [self._functions.ruvector_classify_request(each) for each in text.to_pylist()]
        return pa.array(found, pa.string())

    def semantic_route(self, query: Any) -> Any:
        found = self._functions.semantic_route_batch(query.to_pylist())
        return pa.array([each._asdict() for each in found], _arrow_struct(_ROUTE))

    def route_json(self, request: Any, *more: Any) -> Any:
        (options,), functions = _more(more, "options"), self._functions

        def routed(requests: list[str], asked: str) -> Any:
            return pa.array([functions.route_json(each, asked) for each in requests], pa.string())

        return _answered(request, options, routed)

    def choose_among(self, agents: Any, query: Any, *more: Any) -> Any:
        rows, choose = self._of_agents(agents, query, more), self._functions.choose_among
        return pa.array([None if None in row[:2] else choose(*row) for row in rows], pa.string())

    def agent_state_after(self, state: Any, outcome: Any, *more: Any) -> Any:
        rows, after = self._of_agents(state, outcome, more), self._functions.agent_state_after
        return pa.array([None if row[1] is None else after(*row) for row in rows], pa.string())

    @staticmethod
    def _of_agents(first: Any, second: Any, more: Sequence[Any]) -> Iterable[tuple[Any, ...]]:
        (half_life,) = _more(more, "half_life", as_json=())
        times = [] if half_life is None else [[_plain(each) for each in half_life]]
        return zip(first.to_pylist(), second.to_pylist(), *times, strict=True)

    def ruvector_route(self, request: Any, *more: Any) -> Any:
        names = ("optimize_for", "required_capabilities", "max_cost", "max_latency_ms", "min_quality",
                 "budget_remaining")  # fmt: skip
        columns = dict(zip(names, _more(more, *names, as_json=()), strict=True))
        answers: list[Any] = []
        for row, text in enumerate(request.to_pylist()):
            given = {name: column[row] for name, column in columns.items() if column is not None}
            asked = {name: _plain(value) for name, value in given.items() if value is not None}
            found = None if text is None else self._functions.ruvector_route(text, **asked)
            answers.append(None if found is None else found._asdict())
        return pa.array(answers, _arrow_struct(_AGENT))


def _struct(columns: Mapping[str, str]) -> str:
    return f"STRUCT({', '.join(f'{name} {kind}' for name, kind in columns.items())})"


def _arrow_struct(columns: Mapping[str, str]) -> Any:
    return pa.struct([(name, _ARROW[kind]) for name, kind in columns.items()])


def _more(given: Sequence[Any], *names: str, as_json: Sequence[str] = ("options",)) -> list[Any]:
    """Arguments that may be left out, by their names: lists of values, None where left out.

    Options may be JSON or a struct; embeddings stay Arrow.
    """
    if len(given) > len(names):
        named = f"at most {', '.join(names)}"
        raise RequestError("arguments", f"{len(given)} after the first", f"give {named}")
    columns: list[Any] = [None] * len(names)
    for place, (name, column) in enumerate(zip(names, given, strict=False)):
        if name == "embeddings":
            columns[place] = None if pa.types.is_null(column.type) else column
            continue
        values = column.to_pylist()
        columns[place] = [_as_json(value) for value in values] if name in as_json else values
    return columns


def _as_json(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, default=_number)


def _number(value: Any) -> float:
    """Of a struct, what JSON has no form for: decimal numbers are numbers, and anything else no option can be."""
    if isinstance(value, Decimal):
        return float(value)
    raise OptionError("options", f"a {type(value).__name__} among them", "give numbers, texts, booleans and lists")


def _plain(value: Any) -> Any:
    """Decimal numbers as floats: what is written with a point is decimal in DuckDB."""
    return float(value) if isinstance(value, Decimal) else value


def _matrix(scalar: Any) -> Any:
    """Embeddings of one row as an array [n, D] where that is what they are, else as they are; None for none."""
    if not pa.types.is_nested(scalar.type):
        return scalar.as_py()
    vectors = scalar.values
    if vectors is None:
        return None
    if vectors.null_count == 0 and len(vectors):
        flat = vectors.flatten()
        widths = set(pa.compute.list_value_length(vectors).unique().to_pylist())
        if len(widths) == 1 and flat.null_count == 0 and pa.types.is_floating(flat.type):
            return flat.to_numpy(zero_copy_only=False).reshape(len(vectors), -1)
    return vectors.to_pylist()


def _answered(request: Any, options: list[str | None] | None, work: Callable[[list[str], str], Any]) -> Any:
    """What ``work`` makes of requests, as :func:`_grouped`; null of those that are null."""
    rows = request.to_pylist()
    if not request.null_count:
        return _grouped(rows, options, work)
    there = [place for place, row in enumerate(rows) if row is not None]
    asked = None if options is None or not there else [options[place] for place in there]
    found = _grouped([rows[place] for place in there], asked, work)
    places = np.full(len(rows), -1)
    places[there] = np.arange(len(there))
    return found.take(pa.array(places, mask=places < 0))


def _grouped(rows: list[Any], options: list[str | None] | None, work: Callable[[list[Any], str], Any]) -> Any:
    """What ``work`` makes of the rows, those with the same options at once, in the order of the rows."""
    if options is None:
        return work(rows, "")
    places: dict[str, list[int]] = {}
    for place, each in enumerate(options):
        places.setdefault(each or "", []).append(place)
    if len(places) == 1:
        return work(rows, options[0] or "")
    parts = [work([rows[place] for place in those], each) for each, those in places.items()]
    order = np.argsort(np.concatenate(list(places.values())), kind="stable")
    if isinstance(parts[0], np.ndarray):
        return np.concatenate(parts)[order]
    return pa.concat_arrays(parts).take(pa.array(order))
