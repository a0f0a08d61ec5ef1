"""Decisions as functions of SQLite: ``tiny_dancer.sqlite.register(connection)``.

They belong to the connection. One of apsw's has them as tables, too: ``SELECT * FROM tiny_dancer_decide('…')``
gives all columns, where ``SELECT tiny_dancer_decide('…')`` gives the first, the model. One of Python's own
``sqlite3`` has the functions alone, and says of an error only that there was one: ``SELECT tiny_dancer_error()``
says which.
"""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer.errors import CandidateError, OptionError, RequestError
from tiny_dancer.sql import Functions
from tiny_dancer.sql.functions import AgentRow, DecisionRow, RankedRow, RouteRow, TaskRow

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    import apsw

    from tiny_dancer.routing import Router
    from tiny_dancer.routing.agents import AgentRegistry, AgentRouter
    from tiny_dancer.routing.semantic import SemanticRoutes
    from tiny_dancer.routing.tasks import TaskClassifier
    from tiny_dancer.storage import Agent
    from tiny_dancer.types import ModelInfo

__all__ = ["register"]


def register(
    connection: apsw.Connection | sqlite3.Connection,
    artifact: str | os.PathLike[str] | Router = "default",
    *,
    models: Mapping[str, str | ModelInfo] | None = None,
    tasks: str | os.PathLike[str] | TaskClassifier = "default",
    routes: str | os.PathLike[str] | SemanticRoutes | None = None,
    agents: Iterable[Agent] | AgentRegistry | AgentRouter = (),
    scorer: str | os.PathLike[str] | None = None,
) -> None:
    """Makes the functions of ``docs/guides/sql.md`` known to a connection.

    Registering again replaces what answers. Declared deterministic, so that indexes and generated columns may use
    them, are those that take the checksum of what they answer by, and refuse to answer by anything else:
    ``tiny_dancer_decide_by('…', text)``, with what ``tiny_dancer_checksum()`` says.

    Args:
        connection: of apsw (extra ``sqlite``) or of Python's ``sqlite3``.
        artifact: of the router: a path, ``default``, or a router that is loaded already. Connections share it.
        models: as :meth:`tiny_dancer.Router.load` takes them.
        tasks: artifact that tells tasks apart.
        routes: artifact of semantic routes, or routes.
        agents: who may answer, for ``ruvector_route``.
        scorer: artifact that ranks candidates.

    Raises:
        ArtifactError: an artifact that cannot be used.
        OptionError: no connection, or one that has statements under way while it is registered again.

    Example:
        >>> import sqlite3
        >>> connection = sqlite3.connect(":memory:")
        >>> register(connection)
        >>> connection.execute("SELECT tiny_dancer_decide('What is 2 + 2?')").fetchone()
        ('weak',)
    """
    if not isinstance(connection, sqlite3.Connection) and not hasattr(connection, "create_scalar_function"):
        found = type(connection).__name__
        raise OptionError("connection", found, "give what apsw.Connection(…) or sqlite3.connect(…) returns")
    functions = Functions.load(artifact, models=models, tasks=tasks, routes=routes, agents=agents, scorer=scorer)
    calls = _Calls(functions)
    if isinstance(connection, sqlite3.Connection):
        _register_own(connection, calls)
    else:
        _register_apsw(connection, calls)


def _register_own(connection: sqlite3.Connection, calls: _Calls) -> None:
    last = [None]

    def remembered(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            try:
                return function(*given)
            except Exception as error:
                last[0] = f"{type(error).__name__}: {error}"  # type: ignore[call-overload]
                raise

        return call

    try:
        for name, arguments, deterministic, function in calls.every():
            connection.create_function(name, arguments, remembered(function), deterministic=deterministic)
        connection.create_function("tiny_dancer_error", 0, lambda: last[0])
    except sqlite3.OperationalError as error:
        raise _under_way() from error


def _register_apsw(connection: apsw.Connection, calls: _Calls) -> None:
    import apsw

    from tiny_dancer.sql.apsw_tables import register_table

    try:
        for name, arguments, deterministic, function in calls.every():
            # Innocuous: nothing is read or changed but the arguments, so that views and triggers may use them.
            connection.create_scalar_function(
                name, function, arguments, deterministic=deterministic, flags=apsw.SQLITE_INNOCUOUS
            )
    except apsw.BusyError as error:
        raise _under_way() from error
    for name, columns, rows in calls.tables():
        register_table(connection, name, columns, rows)


def _under_way() -> OptionError:
    remedy = "fetch their rows, or close their cursors, before registering again"
    return OptionError("connection", "has statements under way", remedy)


class _Calls:
    """The functions: values of SQLite in and out; lists and objects are JSON."""

    def __init__(self, functions: Functions) -> None:
        self._functions = functions

    def every(self) -> Iterator[tuple[str, int, bool, Callable[..., Any]]]:
        """Name, number of arguments, whether deterministic, and what is called."""
        functions = self._functions
        for name in ("tiny_dancer_decide", "tiny_dancer_decide_model"):
            for arguments in (1, 2):
                yield name, arguments, False, _strict(lambda *given: functions.decide(*given).model, 1)
        for name, fewest, function in (
            ("decide_json", 1, functions.decide_json),
            ("quality", 2, functions.quality),
            ("cost", 2, functions.cost),
        ):
            for arguments in (fewest, fewest + 1):
                yield f"tiny_dancer_{name}", arguments, False, _strict(function, fewest)
        for arguments in (2, 3):
            yield "tiny_dancer_decide_by", arguments, True, _strict(functions.decide_by, 2)
        for name in ("tiny_dancer_embed", "ruvector_embed"):
            yield name, 1, False, _strict(lambda text: functions.embed([text]).tobytes())
        yield "tiny_dancer_embed_by", 2, True, _strict(lambda *given: functions.embed_by(*given).tobytes())
        yield "tiny_dancer_classify", 1, False, _strict(lambda text: functions.classify(text).category)
        yield "ruvector_classify_request", 1, False, _strict(functions.ruvector_classify_request)
        yield "tiny_dancer_classify_json", 1, False, _strict(functions.classify_json)
        for arguments in (3, 4, 5, 6):
            yield "tiny_dancer_rank", arguments, False, self._rank_json_rows
        yield "tiny_dancer_rank_json", 2, False, _strict(functions.rank_json)
        yield (
            "tiny_dancer_semantic_route",
            1,
            False,
            _strict(lambda text: functions.semantic_route(text).route_name),
        )
        for arguments in (1, 2):
            yield "tiny_dancer_route_json", arguments, False, _strict(functions.route_json, 1)
        for arguments in (2, 3):
            yield "tiny_dancer_choose_among", arguments, True, _strict(functions.choose_among, 2)
            yield "tiny_dancer_agent_state_after", arguments, True, _after(functions)
        for arguments in range(1, 8):
            yield "ruvector_route", arguments, False, lambda *given: next(self._agent(*given), (None,))[0]
        yield "tiny_dancer_checksum", 0, False, lambda: functions.checksum
        yield "tiny_dancer_encoder_checksum", 0, False, lambda: functions.encoder_checksum

    def tables(self) -> Iterator[tuple[str, Sequence[str], Callable[..., Any]]]:
        """Name, columns, and what gives the rows."""
        functions = self._functions

        def decide(request: Any, options: Any = "{}") -> Iterator[tuple[Any, ...]]:
            if request is not None:
                yield functions.decide(request, options)

        def rank(
            query: Any,
            ids: Any,
            texts: Any = None,
            embeddings: Any = None,
            embedding: Any = None,
            options: Any = "{}",
        ) -> Iterator[tuple[Any, ...]]:
            yield from self._rank(query, ids, texts, embeddings, embedding, options) or ()

        def classify(text: Any) -> Iterator[tuple[Any, ...]]:
            if text is not None:
                found = functions.classify(text)
                yield found._replace(capabilities=json.dumps(found.capabilities))  # type: ignore[arg-type]

        def semantic_route(query: Any) -> Iterator[tuple[Any, ...]]:
            if query is not None:
                yield functions.semantic_route(query)

        def ruvector_route(
            request: Any,
            optimize_for: Any = None,
            required_capabilities: Any = None,
            max_cost: Any = None,
            max_latency_ms: Any = None,
            min_quality: Any = None,
            budget_remaining: Any = None,
        ) -> Iterator[tuple[Any, ...]]:
            asked = optimize_for, required_capabilities, max_cost, max_latency_ms, min_quality, budget_remaining
            yield from self._agent(request, *asked)

        yield "tiny_dancer_decide", DecisionRow._fields, decide
        yield "tiny_dancer_rank", RankedRow._fields, rank
        yield "tiny_dancer_classify", TaskRow._fields, classify
        yield "tiny_dancer_semantic_route", RouteRow._fields, semantic_route
        yield "ruvector_route", AgentRow._fields, ruvector_route

    def _rank(
        self,
        query: Any,
        ids: Any,
        texts: Any = None,
        embeddings: Any = None,
        embedding: Any = None,
        options: Any = "{}",
    ) -> list[RankedRow] | None:
        if ids is None or (query is None and embedding is None):
            return None
        return self._functions.rank(
            query,
            _list(ids, "ids"),
            None if texts is None else _list(texts, "texts"),
            None if embeddings is None else _vectors(embeddings),
            _vector(embedding),
            options,
        )

    def _rank_json_rows(self, *given: Any) -> str | None:
        found = self._rank(*given)
        return None if found is None else json.dumps([each._asdict() for each in found], ensure_ascii=False)

    def _agent(self, request: Any, *given: Any) -> Iterator[AgentRow]:
        names = ("optimize_for", "required_capabilities", "max_cost", "max_latency_ms", "min_quality",
                 "budget_remaining")  # fmt: skip
        asked = {name: value for name, value in zip(names, given, strict=False) if value is not None}
        if "required_capabilities" in asked:
            asked["required_capabilities"] = _list(asked["required_capabilities"], "required_capabilities")
        if request is not None:
            yield self._functions.ruvector_route(request, **asked)


def _strict(function: Callable[..., Any], first: int | None = None) -> Callable[..., Any]:
    """NULL for NULL, of all arguments or of the first so many."""

    def call(*given: Any) -> Any:
        return None if None in given[:first] else function(*given)

    return call


def _after(functions: Functions) -> Callable[..., Any]:
    """NULL where no outcome is given; no state is that before the first."""

    def call(state: Any, outcome: Any, *half_life: Any) -> Any:
        return None if outcome is None else functions.agent_state_after(state, outcome, *half_life)

    return call


def _vector(value: Any) -> Any:
    """A JSON array of numbers, or float32 as :meth:`Functions.embed` gives them here."""
    if isinstance(value, bytes):
        if len(value) % 4:
            remedy = "give float32, four bytes a number, as tiny_dancer_embed does"
            raise CandidateError("embedding", f"{len(value)} bytes", remedy)
        return np.frombuffer(value, "<f4")
    return None if value is None else _list(value, "embedding")


def _vectors(value: Any) -> list[Any]:
    """A JSON array of arrays of numbers, or of float32 in hexadecimal digits, as SQLite's JSON holds no BLOB."""
    found = _list(value, "embeddings")
    for row, each in enumerate(found):
        if isinstance(each, str):
            try:
                found[row] = np.frombuffer(bytes.fromhex(each), "<f4")
            except ValueError as error:
                field = f"embeddings[{row}]"
                raise CandidateError(field, repr(each), "give numbers, or hex(…) of float32") from error
    return found


def _list(value: Any, field: str) -> list[Any]:
    """A JSON array.

    Raises:
        RequestError: it is none.
    """
    try:
        found = json.loads(value) if isinstance(value, str) else None
    except (ValueError, RecursionError) as error:
        raise RequestError(field, str(error), "give a JSON array, such as json_group_array(…)") from error
    if not isinstance(found, list):
        raise RequestError(field, str(value), "give a JSON array, such as json_group_array(…)")
    return found
