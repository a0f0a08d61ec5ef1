"""Decisions as functions of DuckDB: what they answer, and that no state of a connection breaks them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from tiny_dancer import (
    Agent,
    AgentRegistry,
    AgentRouter,
    Candidate,
    CandidateRouter,
    ModelInfo,
    Route,
    Router,
    SemanticRoutes,
    TaskClassifier,
    _core,
)
from tiny_dancer.errors import ArtifactError, OptionError

duckdb = pytest.importorskip("duckdb", reason="needs duckdb (extra duckdb)")

import tiny_dancer.duckdb  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

register = tiny_dancer.duckdb.register
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


@cache
def priced() -> Router:
    return Router.load(models=PRICED)


@cache
def routed() -> SemanticRoutes:
    return SemanticRoutes(ROUTES)


@pytest.fixture
def connection() -> Iterator[Any]:
    with duckdb.connect() as opened:
        opened.execute("SET threads = 2")
        register(opened, priced(), routes=routed(), agents=AGENTS)
        yield opened


def one(connection: Any, expression: str, *values: Any) -> Any:
    ((value,),) = connection.execute(f"SELECT {expression}", values).fetchall()
    return value


def requests(n: int) -> list[str]:
    """Texts that differ, one after the other for weak and strong models."""
    texts = (
        "What is the capital of France, number {}?",
        "Prove that {} divides n^2 - n for all n, step by step: ",
    )
    return [texts[row % 2].format(row) for row in range(n)]


def test_decisions_are_those_of_route_batch(connection: Any) -> None:
    texts = requests(5_000)
    rows = "SELECT unnest(?::VARCHAR[]) AS text, generate_subscripts(?, 1) AS place"
    connection.execute(f"CREATE TABLE asked AS {rows}", [texts, texts])
    found = connection.execute("SELECT unnest(tiny_dancer_decide(text)) FROM asked ORDER BY place").fetchnumpy()
    batch = priced().route_batch(texts)
    places = np.arange(len(texts))
    assert list(found) == ["model", "quality", "cost", "confidence", "reason"]
    assert found["model"].tolist() == [batch.models[choice] for choice in batch.choice]
    assert len(set(found["model"].tolist())) == 2
    assert (found["quality"] == batch.scores[places, batch.choice].astype("f8")).all()
    assert (found["cost"] == batch.costs[places, batch.choice]).all()
    assert (found["confidence"] == batch.confidence.astype("f8")).all()
    assert found["reason"].tolist() == batch.reasons.tolist()


def test_options_are_json_or_a_struct_and_may_differ_by_row(connection: Any) -> None:
    assert one(connection, "tiny_dancer_decide('x', '{\"pin\": \"strong\"}').reason") == "pinned"
    assert one(connection, "tiny_dancer_decide_model('x', {'pin': 'strong', 'max_cost': 0.5})") == "strong"
    rows = "('a', '{\"pin\": \"strong\"}'), ('b', '{\"pin\": \"weak\"}'), ('c', '{\"pin\": \"strong\"}')"
    found = connection.execute(f"SELECT x, tiny_dancer_decide_model(x, o) FROM (VALUES {rows}) given(x, o)")
    assert sorted(found.fetchall()) == [("a", "strong"), ("b", "weak"), ("c", "strong")]
    found = connection.execute(
        f"SELECT x, tiny_dancer_quality(x, 'weak', o), tiny_dancer_cost(x, 'weak', o) FROM (VALUES {rows}) g(x, o)"
    ).fetchall()
    router = priced()
    for text, quality, cost in found:
        decision = router.route(text)
        assert (quality, cost) == (decision.scores["weak"], decision.costs["weak"])


def test_null_is_null(connection: Any) -> None:
    calls = (
        "decide(NULL)", "decide(NULL, '{}')", "decide_model(NULL)", "decide_json(NULL)", "quality('x', NULL)",
        "quality(NULL, 'weak')", "cost(NULL, 'weak', NULL)", "rank(NULL, ['a'])", "rank('x', NULL)",
        "rank_json(NULL, '{}')", "embed(NULL)", "classify(NULL)", "classify_json(NULL)", "semantic_route(NULL)",
        "route_json(NULL)", "choose_among(NULL, '{}')", "agent_state_after('', NULL)",
    )  # fmt: skip
    for call in calls:
        assert one(connection, f"tiny_dancer_{call}") is None, call
    assert one(connection, "ruvector_route(NULL)") is None
    for call in ("decide('x'{})", "quality('x', 'weak'{})", "cost('x', 'weak'{})"):
        answer = one(connection, f"tiny_dancer_{call.format(', NULL')}")
        assert answer is not None and answer == one(connection, f"tiny_dancer_{call.format('')}")
    mixed = connection.execute(
        "SELECT tiny_dancer_cost(x, 'weak') IS NULL FROM (VALUES ('a'), (NULL), ('b')) v(x)"
    )
    assert mixed.fetchall() == [(False,), (True,), (False,)]
    # Columns and constants, whole vectors of them and parts.
    rows = connection.execute(
        "SELECT i % 3 = 0 AS request, i % 2 = 0 AS options, bool_and(model IS NULL), bool_and(model = 'strong')"
        " FROM (SELECT i, tiny_dancer_decide_model(CASE WHEN i % 3 > 0 THEN 'one ' || i END,"
        ' CASE WHEN i % 2 > 0 THEN \'{"pin": "strong"}\' END) AS model FROM range(6000) AS t(i))'
        " GROUP BY ALL ORDER BY ALL"
    )
    told, asked = [(False, False, False, True), (False, True, False, False)], rows.fetchall()
    assert asked == [*told, (True, False, True, None), (True, True, True, None)]


def test_a_null_request_asks_for_no_artifact(connection: Any) -> None:
    assert one(connection, "tiny_dancer_decide_by('00', NULL)") is None
    rows = connection.execute(
        "SELECT tiny_dancer_decide_by(if(text IS NULL, '00', tiny_dancer_checksum()), text) "
        "FROM (VALUES ('What is 2 + 2?'), (NULL)) asked(text)"
    )
    assert set(rows.fetchall()) == {("weak",), (None,)}
    with pytest.raises(duckdb.Error, match="ArtifactError: checksum: 00"):
        connection.execute(
            "SELECT tiny_dancer_decide_by('00', text) FROM (VALUES (NULL), ('x')) asked(text)"
        ).fetchall()


def test_a_cost_that_nobody_knows_is_null() -> None:
    with duckdb.connect() as connection:
        register(connection)
        assert one(connection, "tiny_dancer_cost('x', 'weak')") is None
        assert one(connection, "tiny_dancer_decide('x').cost") is None
        assert one(connection, "tiny_dancer_quality('x', 'weak')") > 0


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("decide('')", "RequestError: text: empty or white space; give the text or messages of a request"),
        ("decide('x', {'pin': 'nobody'})", "OptionError: pin: 'nobody'; the models are weak, strong"),
        ("decide('x', '[]')", "OptionError: options: []; give an object of options by their names"),
        ("decide('x', 12)", "OptionError: options: 12; give an object of options by their names"),
        (
            "decide('x', {'pin': DATE '2026-12-01'})",
            "OptionError: options: a date among them; give numbers, texts",
        ),
        ("decide('x', {'pin': 'weak'::BLOB})", "OptionError: options: a bytes among them; give numbers, texts"),
        ("decide('x', '{}', '{}')", "RequestError: arguments: 2 after the first; give at most options"),
        ("decide('x', {'min_quality': 2})", "OptionError: min_quality: 2; give a quality in [0, 1]"),
        ("decide('x', {'max_cost': 0})", "NoFeasibleModelError"),
        ("decide_json('{')", "RequestError: request"),
        ("quality('x', 'nobody')", "OptionError: model: nobody; the models are weak, strong"),
        (
            "rank('x', ['a', 'b'], ['one'])",
            "CandidateError: texts: 1 for 2 ids; give one an id, in the same order",
        ),
        ("rank('x', ['a', 'a'], ['b', 'c'])", "CandidateError: candidates[1].id: a"),
        ("rank('x', ['a', NULL], ['b', 'c'])", "CandidateError: ids[1]: NoneType; give every candidate an id"),
        ("rank('x', ['a'], ['b'], NULL, NULL, {'k': -1})", "-1"),
        ("rank('x', ['a'], ['b'], [[1.0]], NULL, {'k': -1})", "OptionError: options.k: -1; give a whole number"),
        ("rank('x', ['a'], ['b'], NULL, NULL, {'depth': 1})", "OptionError: options.depth: 1; the options are k"),
        ("rank('x', ['a'], NULL, [[1.0, 2.0]], [1.0])", "CandidateError: embedding"),
        ("rank('x', ['a', 'b'], NULL, [[1.0, 2.0], [1.0]])", "CandidateError: candidates[1].embedding"),
        ("rank('x', ['a'], 't')", "CandidateError: texts: a str; give a list, one an id"),
        ("rank('x', ['a'], NULL, 1, [1.0])", "CandidateError: embeddings: a int; give a list, one an id"),
        ("rank('x', ['a'], ['b'], NULL, ['x'])", "CandidateError: embedding: list; give a sequence of numbers"),
        ("rank('x', ['a'], NULL, [[]]::FLOAT[][], [])", "CandidateError: candidates[0].embedding: shape (0,)"),
        (
            "choose_among('[]', '{}', DATE '2026-12-01')",
            "OptionError: half_life: 2026-12-01; give seconds, or NULL",
        ),
        ("classify(' ')", "RequestError: text: "),
        ("semantic_route('')", "RequestError: text: "),
        ("decide_by('00', 'x')", "ArtifactError: checksum: 00; register it: what answers here is "),
    ],
)
def test_errors_name_field_value_and_remedy(connection: Any, call: str, said: str) -> None:
    with pytest.raises(duckdb.Error) as caught:
        connection.execute(f"SELECT tiny_dancer_{call}").fetchall()
    assert said in str(caught.value)
    assert one(connection, f"TRY(tiny_dancer_{call})") is None
    assert one(connection, "tiny_dancer_decide_model('x')") == "weak"


def test_without_routes_and_agents_their_functions_say_what_to_register() -> None:
    with duckdb.connect() as connection:
        register(connection)
        for call, said in (
            ("tiny_dancer_semantic_route('x')", "routes: None; register with routes="),
            ("tiny_dancer_route_json('{}')", "routes: None; register with routes="),
            ("ruvector_route('x')", "agents: None; register with agents="),
        ):
            with pytest.raises(duckdb.Error, match=said):
                connection.execute(f"SELECT {call}").fetchall()


def test_one_bad_row_of_a_parallel_query_fails_it_and_nothing_else(connection: Any) -> None:
    connection.execute("CREATE TABLE asked AS SELECT 'text ' || i AS text FROM range(300_000) rows(i)")
    connection.execute("UPDATE asked SET text = '' WHERE text = 'text 299999'")
    with pytest.raises(duckdb.Error, match="RequestError: text: empty or white space"):
        connection.execute("SELECT count(tiny_dancer_decide_model(text)) FROM asked").fetchall()
    kept = "SELECT count(tiny_dancer_decide_model(text)) FROM asked WHERE text IN ('text 1', 'text 299998')"
    assert connection.execute(kept).fetchall() == [(2,)]


def test_texts_of_any_length_and_characters(connection: Any) -> None:
    router = priced()
    for text in ("a" * 5_000_000, "👩‍👩‍👧 é\u0301 \u202e", "nul \0 inside", "x\ud7ff\U0010ffff", "\n'\"\\"):
        found = connection.execute("SELECT tiny_dancer_decide(?)", [text]).fetchone()[0]
        decision = router.route(text)
        assert (found["model"], found["quality"]) == (decision.model, decision.quality)


def test_candidates_are_ranked_as_by_the_router(connection: Any) -> None:
    texts = {"1": "Anna likes tea.", "2": "The train leaves at nine.", "3": "Trains are late today."}
    connection.execute("CREATE TABLE memory AS SELECT unnest(?::VARCHAR[]) AS id, unnest(?::VARCHAR[]) AS text",
                       [list(texts), list(texts.values())])  # fmt: skip
    found = connection.execute(
        "SELECT unnest(tiny_dancer_rank('When does the train leave?', list(id), list(text), NULL, NULL, "
        "{'k': 2}), recursive := true) FROM memory"
    )
    rows = found.fetchall()
    assert [each[0] for each in found.description] == [
        "candidate_id", "score", "confidence", "uncertainty", "use_lightweight", "in_prediction_set", "error",
    ]  # fmt: skip
    # Texts are compared by words; embeddings are made where they are asked for, as in PostgreSQL.
    said = json.dumps([{"id": id, "text": text} for id, text in texts.items()])
    asked = json.dumps({"text": "When does the train leave?", "k": 2})
    door = json.loads(_core.CandidateScorer().rank_json(said, asked))["decisions"]
    assert [(row[0], np.float32(row[1])) for row in rows] == [
        (each["candidate_id"], np.float32(each["score"])) for each in door
    ]
    meant = connection.execute(
        "SELECT unnest(tiny_dancer_rank($1, list(id), list(text), list(tiny_dancer_embed(text)), "
        "tiny_dancer_embed($1)), recursive := true) FROM memory",
        ["When does the train leave?"],
    ).fetchall()
    made = _core.encode([*texts.values(), "When does the train leave?"], _core.sentence_encoder())
    given = [Candidate(id, made[row], text) for row, (id, text) in enumerate(texts.items())]
    right = CandidateRouter().route(made[-1], given, text="When does the train leave?")
    rows = meant
    assert [row[:3] for row in rows] == [(each.candidate_id, each.score, each.confidence) for each in right]
    vectors = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.6, 0.8, 0.0]]
    right = CandidateRouter().route(
        np.array([0, 1, 0], "f4"),
        [Candidate(id, embedding=v) for id, v in zip("abc", vectors, strict=True)],
        text="x",
    )
    for kind in ("FLOAT[][]", "FLOAT[3][]", "DOUBLE[][]", "DECIMAL(4, 2)[][]"):
        found = one(
            connection,
            f"tiny_dancer_rank('x', ['a', 'b', 'c'], NULL, ?::{kind}, [0, 1, 0])",
            vectors,
        )
        assert [(each["candidate_id"], each["score"]) for each in found] == [
            (each.candidate_id, each.score) for each in right
        ], kind
    assert one(connection, "tiny_dancer_rank('x', [], [])") == []
    unsound = one(
        connection, "tiny_dancer_rank('x', ['a', 'b'], NULL, [['1', 'nan'], ['0', '1']]::FLOAT[][], [0, 1])"
    )
    assert [(each["candidate_id"], each["error"] is None) for each in unsound] == [("b", True), ("a", False)]


def test_vectors_classes_routes_and_agents_are_those_of_the_package(connection: Any) -> None:
    text = "Where is the parcel I ordered?"
    (right,) = _core.encode([text], _core.sentence_encoder())
    for name in ("tiny_dancer_embed", "ruvector_embed"):
        assert one(connection, f"{name}(?)", text) == tuple(right.tolist())
    nearer = "array_cosine_similarity(tiny_dancer_embed('my money back'), tiny_dancer_embed(?))"
    assert one(connection, nearer, "a refund, please") > one(connection, nearer, "the weather in Rome")

    asked = "Write a Python function that reverses a list"
    (task,) = TaskClassifier.default().predict([asked])
    found = one(connection, "tiny_dancer_classify(?)", asked)
    assert found == {
        "category": task.category,
        "confidence": task.confidence,
        "capabilities": list(task.capabilities),
        "language": task.language,
        "weak_quality": task.weak_quality,
    }
    found = json.loads(one(connection, "ruvector_classify_request(?)", asked))
    assert found["top_category"] == found["classifications"][0][0] == task.category
    assert sorted(share for _, share in found["classifications"]) == sorted(found["probabilities"])

    choice = routed()(text)
    found = one(connection, "tiny_dancer_semantic_route(?)", text)
    assert (found["route_name"], found["reason"]) == ("status", choice.reason)
    assert found["confidence"] == choice.confidence
    assert one(connection, "tiny_dancer_semantic_route(?).target ->> 'queue'", text) == "2"

    router = AgentRouter(AgentRegistry(AGENTS), router=priced())
    for call, options in (
        ("'x', 'quality'", {"optimize_for": "quality"}),
        (
            "'x', 'cost', ['sum'], 0.01",
            {"optimize_for": "cost", "required_capabilities": ["sum"], "max_cost": 0.01},
        ),
        ("'x', NULL, NULL, NULL, 500", {"max_latency_ms": 500}),
    ):
        found, agent = one(connection, f"ruvector_route({call})"), router.route("x", **options)
        assert (found["agent_name"], found["estimated_cost"], found["estimated_latency"], found["confidence"]) == (
            agent.agent, agent.estimated_cost, agent.estimated_latency_ms, agent.confidence,
        )  # fmt: skip
    with pytest.raises(duckdb.Error, match="NoSuitableAgentError"):
        connection.execute("SELECT ruvector_route('x', 'cost', [], 0.0)").fetchall()


def test_routes_with_conditions_ask_for_the_time() -> None:
    never = {"period": {"before": "2001-01-01T00:00:00Z"}}
    routes = SemanticRoutes([ROUTES[0], Route("status", ROUTES[1].utterances, conditions=never)])
    with duckdb.connect() as connection:
        register(connection, routes=routes)
        found = one(connection, "tiny_dancer_semantic_route('where is my order')")
        assert (found["route_name"], found["best"]) == ("refund", "status")


def test_the_checksum_names_what_decides(connection: Any, tmp_path: Path) -> None:
    checksum = one(connection, "tiny_dancer_checksum()")
    assert checksum == priced().checksum != Router.load().checksum
    assert one(connection, "tiny_dancer_decide_by(tiny_dancer_checksum(), 'x')") == "weak"
    register(connection)
    with pytest.raises(duckdb.Error, match="ArtifactError: checksum"):
        connection.execute("SELECT tiny_dancer_decide_by(?, 'x')", [checksum]).fetchall()


def test_registering_again_replaces_what_answers_for_every_connection(tmp_path: Path) -> None:
    path = tmp_path / "asked.duckdb"
    with duckdb.connect(path) as first, duckdb.connect(path) as second, first.cursor() as third:
        register(first)
        for renamed in ("small", "tiny", "least"):
            for by in (first, second, third):
                register(by, models={"weak": renamed})
                for asked in (first, second, third):
                    assert one(asked, "tiny_dancer_decide_model('What is 2 + 2?')") == renamed
        prepared = "SELECT tiny_dancer_decide_model(?)"
        assert second.execute(prepared, ["What is 2 + 2?"]).fetchone() == ("least",)


def test_no_state_of_the_connection_is_in_the_way() -> None:
    with duckdb.connect() as connection:
        connection.execute("SELECT * FROM range(10)")
        register(connection)
        assert len(connection.fetchall()) == 10
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE kept (a INTEGER)")
        connection.execute("BEGIN")
        connection.execute("INSERT INTO kept VALUES (1)")
        register(connection)
        assert one(connection, "tiny_dancer_decide_model('What is 2 + 2?')") == "weak"
        connection.execute("ROLLBACK")
        assert one(connection, "count(*) FROM kept") == 0
        assert one(connection, "tiny_dancer_decide_model('What is 2 + 2?')") == "weak"
        register(connection)
    with duckdb.connect() as connection:
        connection.execute("BEGIN")
        with pytest.raises(duckdb.Error):
            connection.execute("SELECT error('x')").fetchall()
        register(connection)
        connection.execute("ROLLBACK")
        assert one(connection, "tiny_dancer_decide_model('What is 2 + 2?')") == "weak"
    with pytest.raises(duckdb.Error):
        register(connection)  # it is closed
    with pytest.raises(OptionError, match="connection: str"):
        register(":memory:")


def test_functions_outlive_the_connection_that_registered_them(tmp_path: Path) -> None:
    """DuckDB has pointers to them; where nobody keeps them, the next call ends the process."""
    program = """
import gc, sys
import duckdb
import tiny_dancer.duckdb

first, second = duckdb.connect(sys.argv[1]), duckdb.connect(sys.argv[1])
tiny_dancer.duckdb.register(first)
first.close()
del first
gc.collect()
print(second.execute("SELECT tiny_dancer_decide_model('x'), tiny_dancer_checksum() IS NULL").fetchall())
tiny_dancer.duckdb.register(second)
print(second.execute("SELECT len(tiny_dancer_embed('x'))").fetchall())
"""
    run = [sys.executable, "-c", program, str(tmp_path / "asked.duckdb")]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:2] == ["[('weak', False)]", "[(256,)]"]


def test_a_database_read_only_and_its_views(tmp_path: Path) -> None:
    path = tmp_path / "asked.duckdb"
    with duckdb.connect(path) as connection:
        register(connection)
        connection.execute("CREATE TABLE asked AS SELECT 'What is 2 + 2?' AS text")
        connection.execute("CREATE VIEW decided AS SELECT tiny_dancer_decide_model(text) AS model FROM asked")
    with duckdb.connect(path, read_only=True) as connection:
        with pytest.raises(duckdb.Error, match="tiny_dancer_decide_model"):
            connection.execute("SELECT * FROM decided").fetchall()
        register(connection)
        assert connection.execute("SELECT * FROM decided").fetchall() == [("weak",)]


def test_a_function_of_somebody_elses_stays(tmp_path: Path) -> None:
    with duckdb.connect() as connection:
        connection.create_function("ruvector_embed", lambda text: text, ["VARCHAR"], "VARCHAR")
        with pytest.raises(OptionError, match="connection: has a function ruvector_embed already"):
            register(connection)
        assert one(connection, "ruvector_embed('mine')") == "mine"
        ours = "count(*) FROM duckdb_functions() WHERE function_name LIKE 'tiny_dancer%'"
        assert one(connection, ours) == 0
        connection.remove_function("ruvector_embed")
        register(connection)
        assert one(connection, "len(ruvector_embed('x'))") == 256


def test_many_threads_ask_and_register(connection: Any) -> None:
    texts = requests(400)
    right = [each.model for each in priced().route_batch(texts)]

    def ask(_: int) -> list[str]:
        with connection.cursor() as own:
            own.execute(
                "SELECT tiny_dancer_decide_model(text) FROM (SELECT unnest(?::VARCHAR[]) AS text)", [texts]
            )
            return [model for (model,) in own.fetchall()]

    def again(_: int) -> None:
        register(connection, priced(), routes=routed(), agents=AGENTS)

    with ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(ask, place) for place in range(12)]
        registered = [pool.submit(again, place) for place in range(4)]
        assert all(each.result() == right for each in asked)
        assert all(each.result() is None for each in registered)


def test_a_query_can_be_interrupted(connection: Any) -> None:
    said: list[str] = []

    def ask() -> None:
        try:
            connection.execute(
                "SELECT count(tiny_dancer_decide_model('text ' || i)) FROM range(1_000_000_000) r(i)"
            )
            connection.fetchall()
        except duckdb.InterruptException as error:
            said.append(str(error))

    asking = threading.Thread(target=ask)
    asking.start()
    while asking.is_alive():
        connection.interrupt()
        asking.join(0.02)
    assert len(said) == 1
    assert one(connection, "tiny_dancer_decide_model('What is 2 + 2?')") == "weak"


def test_databases_share_one_artifact() -> None:
    with duckdb.connect() as first, duckdb.connect() as second:
        register(first)
        register(second)
        *_, one_of, other = tiny_dancer.duckdb._REGISTERED.values()
        assert one_of[0].functions.router is other[0].functions.router
        assert one_of[0] is not other[0]


def test_an_artifact_that_is_no_file(connection: Any, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="No such file"):
        register(connection, tmp_path / "none.safetensors")
    assert one(connection, "tiny_dancer_decide_model('What is 2 + 2?')") == "weak"


def test_what_a_statement_leaves_out_is_not_decided(connection: Any) -> None:
    connection.execute("CREATE TABLE asked AS SELECT CASE WHEN i % 7 = 3 THEN '' ELSE 'text ' || i END AS text "
                       "FROM range(5_000) rows(i)")  # fmt: skip
    guarded = "count(CASE WHEN text <> '' THEN tiny_dancer_decide_model(text) END) FROM asked"
    filled = one(connection, "count(*) FROM asked WHERE text <> ''")
    assert 0 < one(connection, guarded) == filled < 5_000
    assert one(connection, "count(TRY(tiny_dancer_decide_model(text))) FROM asked") == filled
    assert (
        one(connection, "count(*) FROM asked WHERE text = 'none' AND tiny_dancer_decide_model(text) = 'weak'") == 0
    )
    connection.execute("CREATE TABLE kept (text VARCHAR, model VARCHAR GENERATED ALWAYS AS "
                       "(tiny_dancer_decide_model(text)) VIRTUAL)")  # fmt: skip
    connection.execute("INSERT INTO kept VALUES ('What is 2 + 2?')")
    assert connection.execute("SELECT * FROM kept").fetchall() == [("What is 2 + 2?", "weak")]


def test_a_prepared_statement_answers_by_what_is_registered_when_it_runs(connection: Any) -> None:
    connection.execute("PREPARE asked AS SELECT tiny_dancer_decide_model($1)").fetchall()
    assert connection.execute("EXECUTE asked('What is 2 + 2?')").fetchall() == [("weak",)]
    register(connection, models={"weak": "small"})
    assert connection.execute("EXECUTE asked('What is 2 + 2?')").fetchall() == [("small",)]
