"""PostgreSQL without the extension: the same functions in plpython, in a server of the tests' own."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.integration.doors import ROOT, count, written
from tests.missing import missing
from tests.postgres import Server, programs

from tiny_dancer import Router, TaskClassifier, _core
from tiny_dancer.sql import plpython, plpython_script

psycopg = pytest.importorskip("psycopg", reason="needs psycopg (extra postgres)")

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = ("requests", "routes", "tools", "candidates", "agents", "tasks")
STATES = {
    "RequestInvalid": "TD006",
    "OptionInvalid": "TD007",
    "NoFeasibleModel": "TD008",
    "CandidateInvalid": "TD009",
}
SHARED_LIBRARY = "plpython3.so"


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
    packages = [str(ROOT / "python"), sysconfig.get_paths()["platlib"]]
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
    tool = [sys.executable, str(ROOT / "tools" / "plpython_script.py"), "--check"]
    done = subprocess.run(tool, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    command = [sys.executable, "-m", "tiny_dancer", "db", "plpython"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == plpython_script()


def test_statements_end_where_they_end() -> None:
    spec = importlib.util.spec_from_file_location("plpython_script", ROOT / "tools" / "plpython_script.py")
    assert spec is not None
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    body = (
        "CREATE FUNCTION tiny_dancer.f(a text) RETURNS int BEGIN ATOMIC SELECT CASE WHEN a = ';' THEN 1 END; END;"
    )
    text = f"-- one; two\nSELECT ';';\n{body}\nDO $x$ SELECT 'a;'; $x$;"
    assert [each.strip() for each in tool.statements(text)] == [
        "-- one; two\nSELECT ';';", body, "DO $x$ SELECT 'a;'; $x$;",
    ]  # fmt: skip
    with pytest.raises(ValueError, match="no statement ends here: SELECT 1"):
        tool.statements("SELECT 1")
    native = (
        "CREATE FUNCTION tiny_dancer.rank(query text, ids text[] DEFAULT ARRAY['a', 'b'], OUT id text)\n"
        "    LANGUAGE c STABLE\n    AS 'MODULE_PATHNAME', 'rank_wrapper';"
    )
    assert tool.in_plpython(native, "rank").endswith(
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
    """No text of PostgreSQL's holds a NUL, and SQL takes tools in one piece, so without names of services."""
    several = sum(step[0] == "addTools" for step in case["steps"]) > 1
    return several or any("\0" in part for step in case["steps"] for part in step if isinstance(part, str))


def test_every_vector_has_the_answer_of_the_engine(connection: Any, tmp_path: Path) -> None:
    has_agents = "tiny_dancer.choose_among(" in plpython_script()
    kinds = tuple(kind for kind in KINDS if kind != "agents" or has_agents)
    path, expected = written(tmp_path, kinds)
    loaded: dict[tuple[str, str], str] = {}
    same, left_out = dict.fromkeys(kinds, 0), dict.fromkeys(kinds, 0)

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
            tools = [step[1] for step in steps if step[0] == "addTools"]
            encoder = None if case["encoder"] is None else "sentences"
            return [
                one(
                    connection,
                    "tiny_dancer.select_tools_json(%s, %s, NULL, %s)::text",
                    tools[0],
                    steps[-1][1],
                    encoder,
                )
            ]
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
            # Of tools SQL gives the selection alone, not their ids as well.
            assert found == [each for each in right if each][-len(found) :], about
        same[case["kind"]] += 1
    assert {kind: same[kind] + left_out[kind] for kind in kinds} == count(kinds)
    assert sum(left_out.values()) <= 12


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
