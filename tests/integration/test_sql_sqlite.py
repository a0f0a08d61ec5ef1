"""Decisions as functions of SQLite, by apsw and by Python's own module."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any

import apsw
import numpy as np
import pytest

from tiny_dancer import (
    Agent,
    AgentRegistry,
    AgentRouter,
    ModelInfo,
    Route,
    Router,
    SemanticRoutes,
    TaskClassifier,
    _core,
)
from tiny_dancer.errors import ArtifactError, OptionError, RequestError, TinyDancerError
from tiny_dancer.sqlite import register

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PRICED = {
    "weak": ModelInfo(input_cost_per_token=1e-7, output_cost_per_token=4e-7, expected_output_tokens=200),
    "strong": ModelInfo(input_cost_per_token=2e-6, output_cost_per_token=8e-6, expected_output_tokens=300),
}
AGENTS = (
    Agent("small", capabilities=("sum",), quality=0.7, cost_per_call=0.001, latency_s=0.4),
    Agent("large", capabilities=("sum",), quality=0.9, cost_per_call=0.02, latency_s=1.5),
)
ROUTES = (
    Route("refund", ["I want my money back", "refund my order"], target="billing"),
    Route("status", ["where is my order", "has my parcel shipped"], target={"queue": 2}),
)
PROOF = "Prove that 7 divides n^7 - n for all n, step by step."


@cache
def priced() -> Router:
    return Router.load(models=PRICED)


@cache
def routed() -> SemanticRoutes:
    return SemanticRoutes(ROUTES)


def ready(connection: Any) -> Any:
    register(connection, priced(), routes=routed(), agents=AGENTS)
    return connection


@pytest.fixture(params=[apsw.Connection, sqlite3.connect])
def connection(request: pytest.FixtureRequest) -> Iterator[Any]:
    opened = ready(request.param(":memory:"))
    yield opened
    opened.close()


@pytest.fixture
def by_apsw() -> Iterator[apsw.Connection]:
    opened = ready(apsw.Connection(":memory:"))
    yield opened
    opened.close()


def one(connection: Any, expression: str, *values: Any) -> Any:
    ((value,),) = connection.execute(f"SELECT {expression}", values).fetchall()
    return value


def test_decisions_are_those_of_the_router(connection: Any) -> None:
    for text in ("What is 2 + 2?", PROOF):
        decision = priced().route(text)
        assert one(connection, "tiny_dancer_decide(?)", text) == decision.model
        assert one(connection, "tiny_dancer_decide_model(?)", text) == decision.model
        for model in ("weak", "strong"):
            assert one(connection, "tiny_dancer_quality(?, ?)", text, model) == decision.scores[model]
            assert one(connection, "tiny_dancer_cost(?, ?)", text, model) == decision.costs[model]
        answer = "tiny_dancer_decide_json(json_array(json_object('role', 'user', 'content', ?))) ->> '$.model'"
        assert one(connection, answer, text) == decision.model
    assert one(connection, "tiny_dancer_decide('x', '{\"pin\": \"strong\"}')") == "strong"


def test_null_is_null(connection: Any) -> None:
    calls = (
        "decide(NULL)", "decide(NULL, '{}')", "decide_model(NULL)", "decide_json(NULL)", "quality('x', NULL)",
        "quality(NULL, 'weak')", "cost(NULL, 'weak', NULL)", "rank(NULL, '[]', '[]')", "rank('x', NULL, '[]')",
        "rank_json(NULL, '{}')", "embed(NULL)", "embed_by('', NULL)", "classify(NULL)", "classify_json(NULL)",
        "semantic_route(NULL)", "route_json(NULL)", "choose_among(NULL, '{}')", "agent_state_after('', NULL)",
        "decide_by(NULL, 'x')",
    )  # fmt: skip
    for call in calls:
        assert one(connection, f"tiny_dancer_{call}") is None, call
    assert one(connection, "ruvector_route(NULL)") is None
    for call in ("decide('x'{})", "quality('x', 'weak'{})", "cost('x', 'weak'{})"):
        answer = one(connection, f"tiny_dancer_{call.format(', NULL')}")
        assert answer is not None and answer == one(connection, f"tiny_dancer_{call.format('')}")


FAULTS = [
    ("decide('')", "RequestError: text: empty or white space; give the text or messages of a request"),
    ("decide(12)", "RequestError: request: int; give a text, such as CAST(… AS TEXT)"),
    ("decide(x'41')", "RequestError: request: bytes; give a text, such as CAST(… AS TEXT)"),
    ("decide('x', 12)", "RequestError: options: int; give a text, such as CAST(… AS TEXT)"),
    ("decide('x', '{')", "OptionError: options"),
    ("decide('x', '{\"pin\": \"nobody\"}')", "OptionError: pin: 'nobody'; the models are weak, strong"),
    ("decide('x', '{\"max_cost\": 0}')", "NoFeasibleModelError"),
    ("quality('x', 'nobody')", "OptionError: model: nobody; the models are weak, strong"),
    ("decide_by('00', 'x')", "ArtifactError: checksum: 00; register it: what answers here is "),
    ("embed_by('00', 'x')", "ArtifactError: checksum: 00; store anew"),
    ("rank('x', '{}', '[]')", "RequestError: ids: {}; give a JSON array, such as json_group_array(…)"),
    ("rank('x', '[', '[]')", "RequestError: ids: "),
    ("rank('x', '[1]', '[\"a\"]')", "CandidateError: ids[0]: int; give every candidate an id"),
    ("rank('x', '[\"a\"]', '[]')", "CandidateError: texts: 0 for 1 ids; give one an id"),
    ("rank('x', '[\"a\"]', NULL, '[[1, 2]]', '[1]')", "CandidateError: embedding"),
    (
        "rank('x', '[\"a\"]', NULL, '[[1, 2]]', x'00')",
        "CandidateError: embedding: 1 bytes; give float32, four bytes",
    ),
    ("rank('x', '[\"a\"]', NULL, NULL, '[\"b\"]')", "CandidateError: embedding: list; give a sequence of numbers"),
    ("choose_among('[]', '{}', 'x')", "OptionError: half_life: x; give seconds, or NULL where nothing fades"),
    ("rank('x', '[\"a\"]', NULL, '[[1, \"b\"]]')", "CandidateError: candidates[0].embedding"),
    ("rank('x', '[\"a\"]', NULL, '[\"zz\"]', '[1]')", "CandidateError: embeddings[0]: 'zz'; give numbers, or hex"),
    ("rank('x', '[\"a\"]', NULL, '[\"0000\"]', '[1]')", "CandidateError: embeddings[0]: '0000'; give numbers"),
]


@pytest.mark.parametrize(("call", "said"), FAULTS)
def test_errors_name_field_value_and_remedy(connection: Any, call: str, said: str) -> None:
    if isinstance(connection, apsw.Connection):
        with pytest.raises(TinyDancerError) as caught:
            connection.execute(f"SELECT tiny_dancer_{call}").fetchall()
        assert said in f"{type(caught.value).__name__}: {caught.value}"
    else:
        with pytest.raises(sqlite3.OperationalError):
            connection.execute(f"SELECT tiny_dancer_{call}").fetchall()
        assert said in one(connection, "tiny_dancer_error()")
    assert one(connection, "tiny_dancer_decide('x')") == "weak"


def test_a_text_that_is_no_utf8_is_refused(connection: Any) -> None:
    with pytest.raises((UnicodeDecodeError, sqlite3.OperationalError)):
        connection.execute("SELECT tiny_dancer_decide(CAST(x'ff41' AS TEXT))").fetchall()
    assert one(connection, "tiny_dancer_decide('x')") == "weak"


def test_texts_of_any_length_and_characters(connection: Any) -> None:
    for text in ("a" * 2_000_000, "👩‍👩‍👧 é\u0301 \u202e", "nul \0 inside", "x\ud7ff\U0010ffff"):
        assert one(connection, "tiny_dancer_quality(?, 'weak')", text) == priced().route(text).scores["weak"]


def test_candidates_are_ranked_as_by_the_router(connection: Any) -> None:
    texts = {"1": "Anna likes tea.", "2": "The train leaves at nine.", "3": "Trains are late today."}
    connection.execute("CREATE TABLE memory (id TEXT, text TEXT)")
    connection.executemany("INSERT INTO memory VALUES (?, ?)", texts.items())
    arrays = "json_group_array(id), json_group_array(text)"
    asked = f"tiny_dancer_rank('When does the train leave?', {arrays}, NULL, NULL, '{{\"k\": 2}}') FROM memory"
    said = json.dumps([{"id": id, "text": text} for id, text in texts.items()])
    query = json.dumps({"text": "When does the train leave?", "k": 2})
    door = json.loads(_core.CandidateScorer().rank_json(said, query))["decisions"]
    right = [
        (each["candidate_id"], *(float(np.float32(each[name])) for name in ("score", "confidence", "uncertainty")))
        for each in door
    ]
    names = ("candidate_id", "score", "confidence", "uncertainty")
    assert [tuple(each[name] for name in names) for each in json.loads(one(connection, asked))] == right
    if isinstance(connection, apsw.Connection):
        rows = connection.execute(
            f"WITH given (named, said) AS (SELECT {arrays} FROM memory) SELECT found.* FROM given, "
            "tiny_dancer_rank('When does the train leave?', named, said, NULL, NULL, '{\"k\": 2}') AS found"
        ).fetchall()
        assert [row[:4] for row in rows] == right
    vectors = "'[\"a\", \"b\"]', NULL, '[[1, 0], [0.6, 0.8]]', '[0, 1]'"
    assert [each["candidate_id"] for each in json.loads(one(connection, f"tiny_dancer_rank('x', {vectors})"))] == [
        "b",
        "a",
    ]


def test_stored_vectors_are_ranked_in_one_query(connection: Any) -> None:
    """SQLite's JSON holds no BLOB: hex of one does."""
    connection.execute("CREATE TABLE memory (id TEXT, vector BLOB)")
    rows = "SELECT '1' AS id, 'Anna likes tea.' AS text UNION ALL SELECT '2', 'The train leaves at nine.'"
    connection.execute(f"INSERT INTO memory SELECT id, tiny_dancer_embed(text) FROM ({rows})")
    connection.execute("INSERT INTO memory VALUES ('3', NULL)")
    hexes = "json_group_array(CASE WHEN vector NOTNULL THEN hex(vector) END)"
    asked = f"tiny_dancer_rank('a drink', json_group_array(id), NULL, {hexes}, tiny_dancer_embed('a drink'))"
    ((found,),) = connection.execute(f"SELECT {asked} FROM memory").fetchall()
    stored = connection.execute("SELECT vector FROM memory").fetchall()
    lists = json.dumps([None if each is None else np.frombuffer(each, "<f4").tolist() for (each,) in stored])
    plain = "SELECT tiny_dancer_rank('a drink', '[\"1\", \"2\", \"3\"]', NULL, ?, tiny_dancer_embed('a drink'))"
    assert connection.execute(plain, (lists,)).fetchall() == [(found,)]
    assert json.loads(found)[0]["candidate_id"] == "1"


def test_vectors_classes_routes_and_agents_are_those_of_the_package(connection: Any) -> None:
    text = "Where is the parcel I ordered?"
    (right,) = _core.encode([text], _core.sentence_encoder())
    for name in ("tiny_dancer_embed", "ruvector_embed"):
        assert (np.frombuffer(one(connection, f"{name}(?)", text), "<f4") == right).all()
    checksum = one(connection, "tiny_dancer_encoder_checksum()")
    assert one(connection, "tiny_dancer_embed_by(?, ?)", checksum, text) == right.tobytes()
    asked = "Write a Python function that reverses a list"
    (task,) = TaskClassifier.default().predict([asked])
    assert one(connection, "tiny_dancer_classify(?)", asked) == task.category
    assert one(connection, "ruvector_classify_request(?) ->> '$.classifications[0][0]'", asked) == task.category
    whole = "tiny_dancer_classify_json(json_object('text', ?)) ->> '$.weak_quality'"
    assert one(connection, whole, asked) == pytest.approx(task.weak_quality, rel=1e-6)
    assert one(connection, "tiny_dancer_semantic_route(?)", text) == "status"
    router = AgentRouter(AgentRegistry(AGENTS), router=priced())
    assert one(connection, "ruvector_route('x', 'quality')") == router.route("x", "quality").agent == "large"
    assert one(connection, "ruvector_route('x', NULL, '[\"sum\"]', 0.01)") == "small"
    assert one(connection, "ruvector_route('x', NULL, NULL, NULL, 500.0)") == "small"


def test_tables_have_the_columns(by_apsw: apsw.Connection) -> None:
    by_apsw.execute("CREATE TABLE asked (text TEXT)")
    by_apsw.executemany("INSERT INTO asked VALUES (?)", [("What is 2 + 2?",), (PROOF,), (None,)])
    rows = by_apsw.execute("SELECT text, found.* FROM asked, tiny_dancer_decide(text) AS found")
    names = [name for name, *_ in rows.get_description()]
    assert names == ["text", "model", "quality", "cost", "confidence", "reason"]
    found = rows.fetchall()
    assert len(found) == 2
    for text, model, quality, cost, confidence, reason in found:
        right = priced().route(text)
        assert (model, quality, cost) == (right.model, right.quality, right.cost)
        assert (confidence, reason) == (right.confidence, right.reason)
    pinned = "SELECT reason FROM tiny_dancer_decide('x') WHERE options = '{\"pin\": \"weak\"}'"
    assert by_apsw.execute(pinned).fetchall() == [("pinned",)]
    (task,) = by_apsw.execute("SELECT * FROM tiny_dancer_classify('Write a Python function')").fetchall()
    assert (task[0], json.loads(task[2])) == ("code_generation", ["coding"])
    (route,) = by_apsw.execute(
        "SELECT route_name, target FROM tiny_dancer_semantic_route('where is my order')"
    ).fetchall()
    assert route == ("status", '{"queue": 2}')
    (agent,) = by_apsw.execute("SELECT * FROM ruvector_route('x', 'quality')").fetchall()
    choice = AgentRouter(AgentRegistry(AGENTS), router=priced()).route("x", "quality")
    assert agent[:4] == ("large", choice.confidence, 0.02, 1500.0)
    with pytest.raises(apsw.SQLError, match="no query solution"):
        by_apsw.execute("SELECT * FROM tiny_dancer_decide").fetchall()
    with pytest.raises(RequestError, match="text: empty"):
        by_apsw.execute("SELECT * FROM tiny_dancer_decide('')").fetchall()


def test_only_what_names_its_artifact_may_be_stored(connection: Any) -> None:
    checksum = one(connection, "tiny_dancer_checksum()")
    connection.execute(
        "CREATE TABLE asked (text TEXT, model TEXT GENERATED ALWAYS AS "
        f"(tiny_dancer_decide_by('{checksum}', text)) STORED)"
    )
    connection.execute(f"CREATE INDEX by_model ON asked (tiny_dancer_decide_by('{checksum}', text, '{{}}'))")
    for call in ("decide(text)", "decide_json(text)", "quality(text, 'weak')", "embed(text)", "classify(text)"):
        with pytest.raises((apsw.SQLError, sqlite3.OperationalError), match="non-deterministic"):
            connection.execute(f"CREATE INDEX refused ON asked (tiny_dancer_{call})")
    connection.execute("INSERT INTO asked (text) VALUES ('What is 2 + 2?'), (?)", (PROOF,))
    rows = connection.execute("SELECT text, model FROM asked").fetchall()
    assert rows == [(text, priced().route(text).model) for text in ("What is 2 + 2?", PROOF)]
    found = f"text FROM asked WHERE tiny_dancer_decide_by('{checksum}', text, '{{}}') = 'strong'"
    plan = connection.execute(f"EXPLAIN QUERY PLAN SELECT {found}").fetchall()
    assert "USING INDEX by_model" in plan[0][3]
    assert one(connection, found) == PROOF
    # By other prices it is another router: nothing it would decide gets into the table.
    register(connection)
    with pytest.raises((ArtifactError, sqlite3.OperationalError)):
        connection.execute("INSERT INTO asked (text) VALUES ('more')")
    assert one(connection, "count(*) FROM asked") == 2


def test_views_and_triggers_of_a_schema_that_is_not_trusted(by_apsw: apsw.Connection) -> None:
    by_apsw.execute("PRAGMA trusted_schema = OFF")
    by_apsw.execute("CREATE TABLE asked (text TEXT, model TEXT)")
    by_apsw.execute(
        "CREATE TRIGGER decided AFTER INSERT ON asked BEGIN "
        "UPDATE asked SET model = tiny_dancer_decide(text) WHERE rowid = new.rowid; END"
    )
    by_apsw.execute("CREATE VIEW shown AS SELECT found.model FROM asked, tiny_dancer_decide(asked.text) AS found")
    by_apsw.execute("INSERT INTO asked (text) VALUES ('What is 2 + 2?')")
    assert by_apsw.execute("SELECT asked.model, shown.model FROM asked, shown").fetchall() == [("weak", "weak")]


def test_registering_again_replaces_what_answers(connection: Any) -> None:
    register(connection, models={"weak": "small"})
    assert one(connection, "tiny_dancer_decide('What is 2 + 2?')") == "small"
    cursor = connection.execute('SELECT tiny_dancer_decide(value) FROM json_each(\'["a", "b", "c"]\')')
    assert next(cursor) == ("small",)
    with pytest.raises(OptionError, match="connection: has statements under way; fetch their rows"):
        register(connection)
    assert cursor.fetchall() == [("small",), ("small",)]
    register(connection)
    assert one(connection, "tiny_dancer_decide('What is 2 + 2?')") == "weak"


def test_the_module_is_there_without_an_import_of_its_own() -> None:
    program = """
import sqlite3
import tiny_dancer

connection = sqlite3.connect(":memory:")
tiny_dancer.sqlite.register(connection)
print(connection.execute("SELECT tiny_dancer_decide('What is 2 + 2?')").fetchone())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "('weak',)\n"


def test_connections_that_are_none(tmp_path: Path) -> None:
    closed = sqlite3.connect(":memory:")
    closed.close()
    with pytest.raises(sqlite3.ProgrammingError):
        register(closed)
    other = apsw.Connection(":memory:")
    other.close()
    with pytest.raises(apsw.ConnectionClosedError):
        register(other)
    with pytest.raises(OptionError, match="connection: str"):
        register(":memory:")


@pytest.mark.parametrize("opened", [apsw.Connection, sqlite3.connect])
def test_threads_with_connections_of_their_own_share_the_artifact(opened: Callable[..., Any]) -> None:
    texts = [f"text {place}" for place in range(50)]
    right = [priced().route(text).model for text in texts]

    def ask(_: int) -> list[str]:
        connection = ready(opened(":memory:"))
        found = [one(connection, "tiny_dancer_decide(?)", text) for text in texts]
        connection.close()
        return found

    with ThreadPoolExecutor(6) as pool:
        assert all(found == right for found in pool.map(ask, range(12)))


def test_a_query_can_be_interrupted(connection: Any) -> None:
    own = isinstance(connection, sqlite3.Connection)
    if own:
        connection = ready(sqlite3.connect(":memory:", check_same_thread=False))
    said: list[str] = []
    endless = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "

    def ask() -> None:
        try:
            connection.execute(f"{endless} SELECT count(tiny_dancer_decide('text ' || i)) FROM n").fetchall()
        except (apsw.InterruptError, sqlite3.OperationalError) as error:
            said.append(str(error))

    asking = threading.Thread(target=ask)
    asking.start()
    while asking.is_alive():
        connection.interrupt()
        asking.join(0.02)
    assert "interrupt" in said[0]
    assert one(connection, "tiny_dancer_decide('What is 2 + 2?')") == "weak"
    if own:
        connection.close()
