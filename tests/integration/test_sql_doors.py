"""DuckDB and SQLite answer the shared vectors as the engine does, byte for byte, and refuse what it refuses."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import apsw
import pytest
from tests.integration.doors import count, written
from tests.integration.null_cases import check_nulls

from tiny_dancer import CallableEncoder, Router, SemanticRoutes, TaskClassifier, TinyDancerError, _core, errors
from tiny_dancer.sqlite import register as of_sqlite

if TYPE_CHECKING:
    from collections.abc import Callable

KINDS = ("requests", "routes", "candidates", "agents", "tasks")
FAILURES = {
    "ArtifactInvalid": errors.ArtifactError,
    "RequestInvalid": errors.RequestError,
    "OptionInvalid": errors.OptionError,
    "NoFeasibleModel": errors.NoFeasibleModelError,
    "CandidateInvalid": errors.CandidateError,
}


class RefusedError(Exception):
    """What a database said: an exception of the package's, or its words."""

    def __init__(self, said: TinyDancerError | str) -> None:
        self.said = said


class Database:
    """One of the databases, asked for one value at a time."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.routers: dict[tuple[str, str], Router] = {}
        self.registered: Any = None
        if name == "duckdb":
            duckdb = pytest.importorskip("duckdb", reason="needs duckdb (extra duckdb)")
            from tiny_dancer.duckdb import register

            self.connection: Any = duckdb.connect()
            self.failure: type[Exception] = duckdb.Error
            self.registers: Callable[..., None] = register
        else:
            self.connection = apsw.Connection(":memory:") if name == "apsw" else sqlite3.connect(":memory:")
            self.failure = TinyDancerError if name == "apsw" else sqlite3.OperationalError
            self.registers = of_sqlite

    def register(self, artifact: Any = "default", **given: Any) -> None:
        """Registers, unless this is what is registered already."""
        if self.registered != (artifact, given):
            self.registers(self.connection, artifact, **given)
            self.registered = (artifact, given)

    def ask(self, function: str, *arguments: Any) -> str:
        """What ``SELECT tiny_dancer_FUNCTION(…)`` gives."""
        marks = ", ".join("?" for _ in arguments)
        try:
            rows = self.connection.execute(f"SELECT tiny_dancer_{function}({marks})", arguments).fetchall()
        except self.failure as error:
            if self.name == "sqlite3":
                said = self.connection.execute("SELECT tiny_dancer_error()").fetchone()[0]
                raise RefusedError(said) from error
            raise RefusedError(error if isinstance(error, TinyDancerError) else str(error)) from error
        return rows[0][0]


@pytest.fixture(params=["duckdb", "apsw", "sqlite3"])
def database(request: pytest.FixtureRequest) -> Database:
    return Database(request.param)


def router(database: Database, path: str, changes: str) -> Router:
    """A router of a vector; its changes are the engine's, beyond what ``models`` says of them."""
    found = database.routers.get((path, changes))
    if found is None:
        data = Path(path).read_bytes()
        try:
            found = Router(data)
            if changes:
                found._engine = _core.Router(data, _core.encoder(), changes)
        except TinyDancerError as error:
            raise RefusedError(error) from error
        database.routers[path, changes] = found
    return found


@cache
def routes(path: str) -> SemanticRoutes:
    """Routes of a vector: those whose requests come as vectors name an encoder that nobody has."""
    data = Path(path).read_bytes()
    wanted = _core.read_header(data)["encoder"]
    if wanted.get("checksum") is not None:
        return SemanticRoutes.from_bytes(data)
    absent = CallableEncoder(
        lambda texts: pytest.fail(f"asked for vectors of {texts}"), wanted["name"], wanted["dimension"]
    )
    return SemanticRoutes.from_bytes(data, absent)


def answers(database: Database, case: dict[str, Any]) -> list[str]:
    """What the database answers to a case, but for steps that answer nothing."""
    steps = case["steps"]
    asked: list[str] = []
    if case["kind"] == "requests":
        (_, artifact, changes), (_, request, options) = steps
        database.register(artifact=router(database, artifact["file"], changes))
        return [database.ask("decide_json", request, options)]
    if case["kind"] == "routes":
        (_, artifact, _), (_, request, options) = steps
        database.register(routes=routes(artifact["file"]))
        return [database.ask("route_json", request, options)]
    if case["kind"] == "candidates":
        return [database.ask("rank_json", steps[1][1], steps[2][1])]
    if case["kind"] == "tasks":
        return [
            database.ask("classify_json", request) for operation, request, _ in steps if operation == "classify"
        ]
    half_life = json.loads(steps[0][1] or "null")
    if steps[1][0] == "putAgents":
        return [database.ask("choose_among", steps[1][1], steps[2][1], half_life)]
    for _, _, outcome in steps[1:]:
        try:
            asked.append(database.ask("agent_state_after", asked[-1] if asked else "", outcome, half_life))
        except RefusedError as refused:
            refused.before = asked  # type: ignore[attr-defined]
            raise
    return asked


def as_said(error: dict[str, str]) -> TinyDancerError:
    """The engine's error as the package raises it."""
    return FAILURES[error["code"]](error["field"], error["value"], error["remedy"])


def test_every_vector_has_the_answer_of_the_engine(database: Database, tmp_path: Path) -> None:
    path, expected = written(tmp_path, KINDS)
    database.register()
    cases = json.loads(path.read_text(encoding="utf-8"))
    same: Counter[str] = Counter()
    for case, right in zip(cases, expected, strict=True):
        about = f"{case['kind']}: {case['explain']}"
        try:
            found = answers(database, case)
        except RefusedError as refused:
            assert case["error"] is not None, f"{about}: {refused.said}"
            wanted = as_said(json.loads(right[-1]))
            if isinstance(refused.said, TinyDancerError):
                assert (type(refused.said), refused.said.args) == (type(wanted), wanted.args), about
            else:
                assert f"{type(wanted).__name__}: {wanted}" in refused.said, about
            assert getattr(refused, "before", []) == [each for each in right[:-1] if each], about
        else:
            assert case["error"] is None, about
            assert found == [each for each in right if each], about
        same[case["kind"]] += 1
    assert same == count(KINDS)


def test_null_means_the_same_in_every_database(database: Database) -> None:
    database.register()

    def ask(function: str, *arguments: Any) -> Any:
        listed = [json.dumps(each) if isinstance(each, list) else each for each in arguments]
        answer = database.ask(function, *(arguments if database.name == "duckdb" else listed))
        if function == "rank" and answer is not None:
            found = json.loads(answer) if isinstance(answer, str) else answer
            return [each["candidate_id"] for each in found]
        return answer

    check_nulls(ask, database.ask("checksum"))


def test_damaged_artifacts_are_refused_and_what_was_registered_stays(database: Database, tmp_path: Path) -> None:
    database.register()
    before = database.ask("decide_json", '"What is 2 + 2?"')
    path, expected = written(tmp_path, ("damages",))
    refused = 0
    for case, right in zip(json.loads(path.read_text(encoding="utf-8")), expected, strict=True):
        if case["encoder"] is None:  # the package has it
            continue
        with pytest.raises(errors.ArtifactError):
            database.register(artifact=case["steps"][0][1]["file"])
        assert json.loads(right[-1])["code"].startswith("Artifact"), case["explain"]
        refused += 1
    assert refused >= 15
    assert database.ask("decide_json", '"What is 2 + 2?"') == before


def test_artifacts_of_another_kind_are_refused(database: Database) -> None:
    data = Path(_core.data_path("tasks.safetensors"))
    with pytest.raises(errors.ArtifactError):
        database.register(artifact=data)
    with pytest.raises(errors.ArtifactError):
        database.register(tasks="default", routes=data)
    with pytest.raises(errors.OptionError, match="models: beside a router"):
        database.register(artifact=Router.load(), models={"weak": "small"})


def test_what_is_loaded_already_is_shared(database: Database) -> None:
    shared = Router.load(models={"weak": "small", "strong": "large"})
    database.register(artifact=shared, tasks=TaskClassifier.default())
    assert database.ask("decide_model", "What is 2 + 2?") == shared.route("What is 2 + 2?").model == "small"
    assert database.ask("checksum") == shared.checksum != Router.load().checksum
