"""PostgreSQL without the extension: the same functions in plpython, in a server of the tests' own."""

from __future__ import annotations

import atexit
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.integration.doors import ROOT, count, written
from tests.integration.null_cases import check_nulls
from tests.missing import missing
from tests.postgres import Server, programs

from tiny_dancer import Agent, AgentRegistry, AgentRouter, Router, TaskClassifier, _core
from tiny_dancer.sql import plpython, plpython_script

psycopg = pytest.importorskip("psycopg", reason="needs psycopg (extra postgres)")

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

KINDS = ("requests", "routes", "tools", "candidates", "agents", "tasks")
STATES = {
    "RequestInvalid": "TD006",
    "OptionInvalid": "TD007",
    "NoFeasibleModel": "TD008",
    "CandidateInvalid": "TD009",
}
SHARED_LIBRARY = "plpython3.so"
LIBRARIES = Path(sysconfig.get_paths()["platlib"])
NEEDED = ("numpy", "numpy.libs", "msgspec", "yaml")


def seen_by_others(folder: Path, names: Iterable[str]) -> str:
    """A folder that the server's user may read; a copy of what is needed of it where it is not such a one."""
    if os.geteuid() != 0 or all(each.stat().st_mode & 0o001 for each in (folder, *folder.parents)):
        return str(folder)
    copy = Path(tempfile.mkdtemp(prefix="tdpy"))
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    copy.chmod(0o755)
    for name in names:
        if (folder / name).exists():
            shutil.copytree(folder / name, copy / name)
    return str(copy)


@cache
def server() -> Server:
    """A server whose Python finds this package."""
    folder = programs()
    if folder is None:
        missing("PostgreSQL (Debian: postgresql)")
    libraries = subprocess.run([folder / "pg_config", "--pkglibdir"], capture_output=True, text=True, check=False)
    known = Path(libraries.stdout.strip()) if libraries.returncode == 0 else folder.parent / "lib"
    if not (known / SHARED_LIBRARY).exists():
        missing("plpython3u (Debian: postgresql-plpython3-15)")
    packages = [seen_by_others(ROOT / "python", ("tiny_dancer",)), seen_by_others(LIBRARIES, NEEDED)]
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(packages)
    try:
        made = Server(folder, {"max_parallel_workers_per_gather": "2"})
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return made


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A database with the script in it."""
    own = server()
    found = own.database()
    with psycopg.connect(found, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION plpython3u")
        connection.execute("CREATE FUNCTION pg_temp.version() RETURNS int[] LANGUAGE plpython3u AS "
                           "$$import sys; return list(sys.version_info[:2])$$")  # fmt: skip
        (version,) = connection.execute("SELECT pg_temp.version()").fetchone() or ([],)
        if version != list(sys.version_info[:2]):
            own.remove()
            missing(f"a plpython3u of Python {sys.version_info[0]}.{sys.version_info[1]}")
        connection.execute(plpython_script())
    yield found
    own.remove()


@pytest.fixture
def connection(url: str) -> Iterator[Any]:
    """A connection whose changes are undone."""
    with psycopg.connect(url) as opened:
        yield opened
        opened.rollback()


def one(connection: Any, expression: str, *values: Any) -> Any:
    ((value,),) = connection.execute(f"SELECT {expression}", values).fetchall()
    return value


def test_the_script_is_what_the_extension_says() -> None:
    check = [sys.executable, str(ROOT / "tools" / "plpython_script.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    command = [sys.executable, "-m", "tiny_dancer", "db", "plpython"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == plpython_script()


def tool() -> Any:
    """What makes the script."""
    spec = importlib.util.spec_from_file_location("plpython_script", ROOT / "tools" / "plpython_script.py")
    assert spec is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def test_functions_are_declared_as_the_extension_declares_them() -> None:
    """Names, arguments with defaults, and results; but for arrays of any type, which plpython does not take."""
    made = tool()

    def declared(texts: Iterable[str]) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for statement in (each for text in texts for each in made.statements(text)):
            words = re.search(r"^CREATE FUNCTION tiny_dancer\.(\w+)(\(.*?)\bLANGUAGE\b", statement, re.S | re.M)
            if words:
                of_any_type = r'(?:anycompatible|"any") DEFAULT NULL::real\[\]'
                plain = re.sub(of_any_type, "double precision[] DEFAULT NULL", words[2])
                found.setdefault(words[1], []).append(" ".join(plain.split()))
        return found

    parts = [(made.PARTS / f"{name}.sql").read_text(encoding="utf-8") for name in made.ORDER]
    own, others = declared([plpython_script()]), declared(parts)
    assert others.keys() - own.keys() == {"compare_agents"}
    assert {name: own[name] for name in others if name in own} == {
        name: declaration for name, declaration in others.items() if name in own
    }


def test_statements_end_where_they_end() -> None:
    made = tool()
    body = (
        "CREATE FUNCTION tiny_dancer.f(a text) RETURNS int BEGIN ATOMIC SELECT CASE WHEN a = ';' THEN 1 END; END;"
    )
    text = f"-- one; two\nSELECT ';';\n{body}\nDO $x$ SELECT 'a;'; $x$;"
    assert [each.strip() for each in made.statements(text)] == [
        "-- one; two\nSELECT ';';", body, "DO $x$ SELECT 'a;'; $x$;",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="no statement ends here: SELECT 1"):
        made.statements("SELECT 1")
    native = (
        "CREATE FUNCTION tiny_dancer.rank(query text, ids text[] DEFAULT ARRAY['a', 'b'], OUT id text)\n"
        "    LANGUAGE c STABLE\n    AS 'MODULE_PATHNAME', 'rank_wrapper';"
    )
    assert made.in_plpython(native, "rank").endswith(
        "LANGUAGE plpython3u STABLE\n    AS $python$\nfrom tiny_dancer.sql.plpython import call\n"
        'return call(plpy, "rank", query, ids)\n$python$;'
    )


def test_every_function_declared_is_there_and_none_beside() -> None:
    declared = {
        line.split('"')[1] for line in plpython_script().splitlines() if line.startswith("return call(plpy")
    }
    assert declared <= plpython.FUNCTIONS.keys()
    assert {"decide", "decide_body", "decide_json", "embed", "rank_json"} <= declared


def cannot_be_said(case: dict[str, Any]) -> bool:
    """No text of PostgreSQL's holds a NUL."""
    return any("\0" in part for step in case["steps"] for part in step if isinstance(part, str))


def test_every_vector_has_the_answer_of_the_engine(connection: Any, tmp_path: Path) -> None:
    path, expected = written(tmp_path, KINDS)
    loaded: dict[tuple[str, str], str] = {}
    same, left_out = dict.fromkeys(KINDS, 0), dict.fromkeys(KINDS, 0)

    def artifact(file: str, changes: str) -> str:
        if (file, changes) not in loaded:
            name = f"artifact {len(loaded)}"
            models = changes or None
            connection.execute(
                "SELECT tiny_dancer.load_artifact(%s, %b, %s::jsonb)", [name, Path(file).read_bytes(), models]
            )
            loaded[file, changes] = name
        return loaded[file, changes]

    def answers(case: dict[str, Any]) -> list[str]:
        steps = case["steps"]
        if case["kind"] == "requests":
            (_, file, changes), (_, request, options) = steps
            name = artifact(file["file"], changes)
            return [one(connection, "tiny_dancer.decide_json(%s, %s, %s)::text", request, options, name)]
        if case["kind"] == "routes":
            (_, file, _), (_, request, options) = steps
            return [
                one(
                    connection,
                    "tiny_dancer.route_json(%s, %s, %s)::text",
                    request,
                    options,
                    artifact(file["file"], ""),
                )
            ]
        if case["kind"] == "tools":
            pieces = [step[1] for step in steps if step[0] == "addTools"]
            encoder = None if case["encoder"] is None else "sentences"
            ids = [json.dumps(one(connection, "tiny_dancer.tool_ids(%s)", [each])) for each in pieces]
            selected = "tiny_dancer.select_tools_json(%s, %s, NULL, %s)::text"
            return [*ids, one(connection, selected, pieces, steps[-1][1], encoder)]
        if case["kind"] == "candidates":
            return [one(connection, "tiny_dancer.rank_json(%s, %s)::text", steps[1][1], steps[2][1])]
        if case["kind"] == "tasks":
            asked = [step[1] for step in steps if step[0] == "classify"]
            return [one(connection, "tiny_dancer.classify_json(%s)::text", each) for each in asked]
        half_life = json.loads(steps[0][1] or "null")
        if steps[1][0] == "putAgents":
            return [one(connection, "tiny_dancer.choose_among(%s, %s, %s)", steps[1][1], steps[2][1], half_life)]
        state, found = "", []
        for _, _, outcome in steps[1:]:
            state = one(connection, "tiny_dancer.agent_state_after(%s, %s, %s)", state, outcome, half_life)
            found.append(state)
        return found

    for case, right in zip(json.loads(path.read_text(encoding="utf-8")), expected, strict=True):
        about = f"{case['kind']}: {case['explain']}"
        if cannot_be_said(case):
            left_out[case["kind"]] += 1
            continue
        connection.execute("SAVEPOINT asked")
        before = dict(loaded)
        try:
            found = answers(case)
        except psycopg.Error as error:
            connection.execute("ROLLBACK TO asked")
            loaded = before
            assert case["error"] is not None, f"{about}: {error}"
            wanted = json.loads(right[-1])
            assert error.diag.sqlstate == STATES[wanted["code"]], about
            assert error.diag.column_name == wanted["field"], about
            assert (error.diag.message_hint or "").startswith(wanted["remedy"][:100]), about
        else:
            assert case["error"] is None, about
            wanted = [each for each in right if each]
            assert found[-1:] == wanted[-1:], about
            assert list(map(json.loads, found)) == list(map(json.loads, wanted)), about
        same[case["kind"]] += 1
    assert {kind: same[kind] + left_out[kind] for kind in KINDS} == count(KINDS)
    assert sum(left_out.values()) <= 2


def test_decisions_are_those_of_the_router(connection: Any) -> None:
    connection.execute("SET extra_float_digits = 3")
    for text in ("What is 2 + 2?", "Prove that 7 divides n^7 - n for all n, step by step.", "é\u0301 👩‍👩‍👧"):
        right = Router.load().route(text)
        assert one(connection, "tiny_dancer.decide_model(%s)", text) == right.model
        columns = "model, quality, confidence, reason, routed_by, prediction_set, tokens, guarantee_note"
        found = connection.execute(f"SELECT {columns}, scores FROM tiny_dancer.decide(%s)", [text]).fetchone()
        assert found[0] == right.model
        assert found[1] == right.quality
        assert found[2] == pytest.approx(right.confidence, rel=1e-6)
        assert found[3:8] == (
            right.reason,
            right.routed_by,
            list(right.prediction_set),
            right.tokens,
            right.guarantee_note,
        )
        assert found[8] == pytest.approx(right.scores)
        messages = psycopg.types.json.Jsonb([{"role": "user", "content": text}])
        assert one(connection, "(tiny_dancer.decide(%s)).model", messages) == right.model
    found = connection.execute(
        "SELECT model FROM tiny_dancer.decide_many(ARRAY['a', NULL, 'b'], '{\"pin\": \"strong\"}')"
    )
    assert found.fetchall() == [("strong",), (None,), ("strong",)]
    assert one(connection, "tiny_dancer.decide_model(NULL)") is None
    assert one(connection, "(tiny_dancer.decide(NULL::text)) IS NULL")


def test_vectors_and_kinds_of_tasks_are_those_of_the_package(connection: Any) -> None:
    text = "Where is the parcel I ordered?"
    for name, by in (("sentences", _core.sentence_encoder()), ("encoder", _core.encoder())):
        (right,) = _core.encode([text], by)
        assert one(connection, "tiny_dancer.embed(%s, %s)", text, name) == pytest.approx(right.tolist(), rel=1e-6)
    (task,) = TaskClassifier.default().predict(["Write a Python function that reverses a list"])
    asked = json.dumps({"text": "Write a Python function that reverses a list"})
    assert one(connection, "tiny_dancer.classify_json(%s)", asked)["category"] == task.category


def test_null_means_the_same_in_every_database(connection: Any) -> None:
    def ask(function: str, *arguments: Any) -> Any:
        marks = ", ".join("%s" for _ in arguments)
        if function == "rank":
            found = connection.execute(f"SELECT candidate_id FROM tiny_dancer.rank({marks})", arguments).fetchall()
            return [row[0] for row in found] or None
        return one(connection, f"tiny_dancer.{function}({marks})::text", *arguments)

    default = _core.data_file("default.safetensors")
    check_nulls(ask, hashlib.sha256(default).hexdigest())


def test_errors_have_sqlstate_detail_and_hint(connection: Any) -> None:
    for call, state, detail, hint in (
        ("decide('')", "TD006", "text: empty or white space", "give the text or messages of a request"),
        ("decide('x', '{\"pin\": \"nobody\"}')", "TD007", "pin: 'nobody'", "the models are weak, strong"),
        (
            "decide('x', '{\"min_quality\": 1}')",
            "TD008",
            "constraints: min_quality=1 removed",
            "relax one of them",
        ),
        ("decide('x', artifact := 'none')", "TD010", "artifact: none", "load one by tiny_dancer.load_artifact"),
        ("decide('x', artifact := '../default')", "TD010", "artifact: ../default", "load one by"),
        ("decide('x', artifact := 'tasks')", "TD007", "artifact: tasks is of kind 'tasks'", "name one of kind"),
        ("decide_by('00', 'x')", "TD010", "checksum: 00", "load the artifact of this checksum"),
        ("load_artifact('bad', 'abc'::bytea)", "TD001", "file: 3 bytes", ""),
        ("rank_json('[', '{}')", "TD009", "candidates: ", ""),
    ):
        connection.execute("SAVEPOINT asked")
        with pytest.raises(psycopg.Error) as caught:
            connection.execute(f"SELECT tiny_dancer.{call}")
        connection.execute("ROLLBACK TO asked")
        said = caught.value.diag
        assert said.sqlstate == state, call
        assert (said.message_detail or "").startswith(detail), said.message_detail
        assert (said.message_hint or "").startswith(hint), said.message_hint


def test_an_artifact_is_what_the_table_says_now(url: str) -> None:
    data = _core.data_file("default.safetensors")
    with psycopg.connect(url, autocommit=True) as one_of, psycopg.connect(url, autocommit=True) as other:
        asked = "tiny_dancer.decide_model('What is 2 + 2?', artifact := 'mine')"
        for name in ("small", "tiny"):
            models = json.dumps([{"name": name}, {}])
            checksum = one(one_of, "tiny_dancer.load_artifact('mine', %b, %s::jsonb)", data, models)
            assert one(one_of, asked) == one(other, asked) == name
        one_of.execute("SET tiny_dancer.artifact = 'mine'")
        assert one(one_of, "tiny_dancer.decide_model('What is 2 + 2?')") == "tiny"
        one_of.execute("RESET tiny_dancer.artifact")
        assert one(one_of, "tiny_dancer.decide_model('What is 2 + 2?')") == "weak"
        with pytest.raises(psycopg.Error), one_of.transaction():
            one_of.execute("SELECT tiny_dancer.load_artifact('mine', %b)", [data])
            assert one(one_of, asked) == "weak"
            one_of.execute("SELECT 1 / 0")
        assert one(one_of, asked) == one(other, asked) == "tiny"
        one_of.execute("SELECT tiny_dancer.load_artifact('mine', %b)", [data])
        assert one(other, "tiny_dancer.decide_by(%s, 'What is 2 + 2?')", checksum) == "weak"
        one_of.execute("CREATE TABLE asked (text text)")
        one_of.execute(f"CREATE INDEX by_model ON asked (tiny_dancer.decide_by('{checksum}', text))")
        with pytest.raises(psycopg.errors.InvalidObjectDefinition, match="IMMUTABLE"):
            one_of.execute("CREATE INDEX refused ON asked (tiny_dancer.decide_model(text))")
        one_of.execute("DROP TABLE asked; DELETE FROM tiny_dancer.artifacts")
        with pytest.raises(psycopg.Error, match="there is no such artifact"):
            other.execute(f"SELECT {asked}")


def test_no_query_is_made_parallel_and_one_that_takes_too_long_ends(connection: Any) -> None:
    connection.execute("CREATE TABLE many AS SELECT 'text ' || i AS text FROM generate_series(1, 4000) AS i")
    connection.execute("SET LOCAL parallel_setup_cost = 0")
    connection.execute("SET LOCAL parallel_tuple_cost = 0")
    connection.execute("SET LOCAL min_parallel_table_scan_size = 0")
    counted = "count(*) FILTER (WHERE tiny_dancer.decide_model(text) = 'weak') FROM many"
    plan = "\n".join(line for (line,) in connection.execute(f"EXPLAIN (COSTS OFF) SELECT {counted}"))
    # A function in plpython asks the server in a subtransaction, which a parallel query does not allow.
    assert "Workers Planned" not in plan
    texts = [f"text {place}" for place in range(1, 4001)]
    right = sum(choice == 0 for choice in Router.load().route_batch(texts).choice)
    assert one(connection, counted) == right
    connection.execute("SET LOCAL statement_timeout = 50")
    with pytest.raises(psycopg.errors.QueryCanceled):
        connection.execute(
            "SELECT count(tiny_dancer.decide_model('text ' || i)) FROM generate_series(1, 100000000) AS i"
        )


def test_backends_beside_each_other(url: str) -> None:
    texts = [f"text {place}" for place in range(40)]
    right = [Router.load().route(text).model for text in texts]

    def ask(_: int) -> list[str]:
        with psycopg.connect(url) as own:
            return [one(own, "tiny_dancer.decide_model(%s)", text) for text in texts]

    with ThreadPoolExecutor(4) as pool:
        assert all(found == right for found in pool.map(ask, range(4)))


def test_a_database_of_another_encoding(url: str) -> None:
    own = server()
    found = own.database("latin", options="TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
    with psycopg.connect(found, autocommit=True) as connection:
        connection.execute(plpython_script())
        assert one(connection, "tiny_dancer.decide_model('caf\u00e9')") == Router.load().route("caf\u00e9").model
        with pytest.raises(psycopg.Error) as caught:
            connection.execute("SELECT tiny_dancer.decide('x', '{\"max_cost\": 1}')")
        assert caught.value.diag.sqlstate == "TD007"
        assert "models={name: ModelInfo(" in (caught.value.diag.message_hint or "")


@pytest.fixture
def registered(connection: Any) -> Any:
    """A connection that sees two agents."""
    for name, quality, cost, latency in (("small", 0.7, 0.001, 400), ("large", 0.9, 0.02, 1500)):
        call = "SELECT tiny_dancer.ruvector_register_agent(%s, 'llm', ARRAY['sum'], NULL, %s, %s, %s)"
        connection.execute(call, [name, cost, latency, quality])
    return connection


def test_agents_are_those_of_the_registry(registered: Any) -> None:
    router = AgentRouter(
        AgentRegistry(
            [
                Agent("small", capabilities=("sum",), quality=0.7, cost_per_call=0.001, latency_s=0.4),
                Agent("large", capabilities=("sum",), quality=0.9, cost_per_call=0.02, latency_s=1.5),
            ]
        )
    )
    columns = "agent_name, confidence, estimated_cost, estimated_latency, expected_quality, reason, runner_up"
    for policy in ("quality", "cost", "balanced", "latency"):
        right = router.route("Sum this up", policy)
        found = registered.execute(
            f"SELECT {columns} FROM tiny_dancer.ruvector_route('Sum this up', %s)", [policy]
        )
        assert found.fetchone() == (
            right.agent, right.confidence, right.estimated_cost, right.estimated_latency_ms, right.quality,
            right.reason, right.runner_up,
        )  # fmt: skip
    rows = registered.execute("SELECT * FROM tiny_dancer.ruvector_batch_route(ARRAY['a', 'b'])").fetchall()
    assert [row[:3] for row in rows] == [(1, "a", "small"), (2, "b", "small")]
    limited = "SELECT agent_name FROM tiny_dancer.batch_route(ARRAY['a', 'b'], min_mean_quality := 0.8)"
    assert sorted(name for (name,) in registered.execute(limited)) == ["large", "small"]
    plan = registered.execute(
        "SELECT agent_name FROM tiny_dancer.ruvector_route_multi('Sum this up', 2, 'ensemble')"
    )
    assert sorted(name for (name,) in plan) == ["large", "small"]
    registered.execute("SELECT tiny_dancer.observe_agent('large', 0.1) FROM generate_series(1, 30)")
    assert one(registered, "(tiny_dancer.ruvector_route('Sum this up', 'quality')).agent_name") == "small"
    endless = "'quality', max_cost := 'infinity', max_latency_ms := 'infinity', budget_remaining := 'infinity'"
    assert one(registered, f"(tiny_dancer.ruvector_route('Sum this up', {endless})).agent_name") == "small"
    for call, state in (
        ("ruvector_route('x', 'cost', max_cost := 0)", "TD008"),
        ("ruvector_route('x', 'nope')", "TD007"),
        ("ruvector_register_agent('bad', quality_score := 2)", "TD009"),
        ("ruvector_register_agent('small')", "23505"),
    ):
        registered.execute("SAVEPOINT asked")
        with pytest.raises(psycopg.Error) as caught:
            registered.execute(f"SELECT tiny_dancer.{call}")
        assert caught.value.diag.sqlstate == state, call
        registered.execute("ROLLBACK TO asked")


def test_routes_by_likeness_and_kinds_of_tasks(registered: Any) -> None:
    for name, description in (("refund", "money back for an order"), ("status", "where a parcel is")):
        registered.execute("SELECT tiny_dancer.ruvector_create_route(%s, %s, NULL, 'small')", [name, description])
    asked = "SELECT route_name, target_agent FROM tiny_dancer.ruvector_semantic_route('I want my money back', 1)"
    assert registered.execute(asked).fetchall() == [("refund", "small")]
    found = one(
        registered, "tiny_dancer.ruvector_classify_request('Write a Python function that reverses a list')"
    )
    assert found["top_category"] == found["classifications"][0][0] == "code_generation"
    assert len(one(registered, "tiny_dancer.ruvector_embed('x')")) == 256


def test_a_budget_is_never_promised_twice(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as opened:
        one(opened, "tiny_dancer.set_budget('team', 'research', 5, '1d')")

    def reserve(_: int) -> int:
        reserved = 0
        with psycopg.connect(url, autocommit=True) as own:
            for _ in range(4):
                try:
                    own.execute("SELECT tiny_dancer.reserve_budget(1, team => 'research')")
                except psycopg.Error as error:
                    assert error.diag.sqlstate == "TD011", error
                else:
                    reserved += 1
        return reserved

    with ThreadPoolExecutor(3) as pool:
        assert sum(pool.map(reserve, range(3))) == 5
    with psycopg.connect(url) as opened:
        opened.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        with pytest.raises(psycopg.Error) as caught:
            opened.execute("SELECT tiny_dancer.reserve_budget(0.1, team => 'research')")
        assert caught.value.diag.message_detail == "transaction_isolation: repeatable read"
