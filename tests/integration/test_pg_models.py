"""Deciding in SQL: names, snapshots, roles, plans, encodings, and what goes wrong."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import psycopg
import psycopg.sql
import pytest
from tests.integration.doors import CONFORMANCE, DATA, ROOT
from tests.integration.null_cases import check_nulls
from tests.integration.pg_cluster import BUILT, built, database, extended, installation
from tests.postgres import Server

import tiny_dancer
from tiny_dancer.budgets import Budgets
from tiny_dancer.postgres import PostgresStorage
from tiny_dancer.storage import Budget, CandidateRecord

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Connection = psycopg.Connection[Any]
EDGE, ENCODED = DATA / "edge.safetensors", DATA / "default.safetensors"
HARD = "Prove that every bounded sequence of real numbers has a convergent subsequence."


@pytest.fixture(scope="module")
def url() -> str:
    return database()


@pytest.fixture
def sql(url: str) -> Iterator[Connection]:
    """A connection of a superuser's; what it loads is gone afterwards."""
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection
        connection.execute("ROLLBACK; RESET ROLE; RESET ALL; DELETE FROM tiny_dancer.artifacts")


def one(connection: Connection, statement: str, *values: Any) -> Any:
    """The one value of the first row."""
    row = connection.execute(statement, values or None).fetchone()  # type: ignore[call-overload]
    assert row is not None
    return row[0]


def model(connection: Connection, request: str = HARD, artifact: str | None = None) -> str:
    return str(one(connection, "SELECT tiny_dancer.decide_model(%s, NULL, %s)", request, artifact))


def load(connection: Connection, name: str, artifact: Path, models: list[Any] | None = None) -> str:
    """Loads an artifact; with names of models, those."""
    changes = None if models is None else json.dumps([{"name": each} for each in models], ensure_ascii=False)
    data = artifact.read_bytes()
    return str(one(connection, "SELECT tiny_dancer.load_artifact(%s, %s, %s::jsonb)", name, data, changes))


def refused(connection: Connection, statement: str, *values: Any) -> tuple[str | None, str | None, str | None]:
    """SQLSTATE, DETAIL and HINT of an error."""
    with pytest.raises(psycopg.Error) as raised:
        connection.execute(statement, values or None)  # type: ignore[call-overload]
    about = raised.value.diag
    return about.sqlstate, about.message_detail, about.message_hint


# What there is -------------------------------------------------------------------------------------------------


def test_every_native_function_is_declared_and_every_declaration_is_there() -> None:
    built()
    named = ["nm", "--dynamic", "--defined-only", str(BUILT / "lib" / "tiny_dancer.so")]
    symbols = {line.split()[-1] for line in subprocess.check_output(named, text=True).splitlines()}
    script = next((BUILT / "share" / "extension").glob("tiny_dancer--[0-9.]*[0-9].sql"))
    scripts = "".join(each.read_text("utf-8") for each in script.parent.glob("tiny_dancer--*.sql"))
    declared = {part.split("'")[0] for part in scripts.split("'MODULE_PATHNAME', '")[1:]}
    wrappers = {each for each in symbols if each.endswith("_wrapper") and not each.startswith("pg_finfo_")}
    assert declared == wrappers
    assert {f"pg_finfo_{each}" for each in wrappers} <= symbols


def test_what_may_be_computed_beforehand_or_in_parallel_is_said_truly(sql: Connection) -> None:
    rows = sql.execute(
        "SELECT proname, provolatile, proparallel, procost > 1, obj_description(pg_proc.oid) <> ''"
        " FROM pg_proc JOIN pg_language ON pg_language.oid = prolang"
        " WHERE pronamespace = 'tiny_dancer'::regnamespace AND lanname = 'c'"
    ).fetchall()
    immutable = {"decide_by", "tool_ids"}
    mine = {"decide", "decide_many", "decide_model", "decide_by", "decide_json", "route_json", "classify_json"}
    mine |= {"select_tools_json", "tool_ids", "rank_json", "rank", "embed", "examine_artifact"}
    assert mine <= {row[0] for row in rows}
    for function, volatile, parallel, costs, described in rows:
        if function in mine:
            assert volatile == ("i" if function in immutable else "s"), function
            assert (parallel, costs, described) == ("s", True, True), function


def test_it_decides_right_after_it_is_made_and_as_the_engine_does(sql: Connection) -> None:
    router = tiny_dancer.Router.load("edge")
    for request in (HARD, "hi", "What is the capital of France?", "x" * 100_000):
        right = router.decide(request)
        columns = sql.execute("SELECT * FROM tiny_dancer.decide(%s)", (request,))
        assert columns.description is not None
        row = columns.fetchone()
        assert row is not None
        found = dict(zip([column.name for column in columns.description], row, strict=True))
        whole = one(sql, "SELECT tiny_dancer.decide_json(%s)", json.dumps(request))
        assert found.pop("prediction_set") == whole.pop("prediction_set")
        assert found == whole
        assert found["model"] == right.model == model(sql, request)
        assert found["confidence"] == right.confidence


def test_what_a_client_sends_is_decided_as_the_engine_reads_it(sql: Connection) -> None:
    body = {
        "messages": [{"role": "system", "content": "Be short."}, {"role": "user", "content": HARD}],
        "model": "x",
    }
    whole = one(sql, "SELECT tiny_dancer.decide_json(%s)", json.dumps(body))
    row = sql.execute("SELECT model, tokens FROM tiny_dancer.decide(%s::jsonb)", (json.dumps(body),)).fetchone()
    assert row == (whole["model"], whole["tokens"])
    assert one(sql, 'SELECT model FROM tiny_dancer.decide(%s, \'{"pin": "strong"}\')', HARD) == "strong"
    assert refused(sql, "SELECT tiny_dancer.decide('[]'::jsonb)")[0] == "TD006"


def test_nulls_and_many(sql: Connection) -> None:
    assert one(sql, "SELECT tiny_dancer.decide(NULL::text)") is None
    assert one(sql, "SELECT tiny_dancer.decide_model(NULL)") is None
    rows = sql.execute("SELECT model FROM tiny_dancer.decide_many(%s)", (["hi", None, HARD],)).fetchall()
    assert rows == [(model(sql, "hi"),), (None,), (model(sql),)]
    assert sql.execute("SELECT * FROM tiny_dancer.decide_many(NULL)").fetchall() == []
    assert sql.execute("SELECT * FROM tiny_dancer.decide_many('{}')").fetchall() == []
    # What the planner folds is the same.
    assert one(sql, "SELECT count(*) FROM tiny_dancer.decide('hi') AS d WHERE d.model IS NOT NULL") == 1


# What goes wrong -----------------------------------------------------------------------------------------------


def test_null_means_the_same_in_every_database(sql: Connection) -> None:
    def ask(function: str, *arguments: Any) -> Any:
        marks = ", ".join("%s" if each is not None else "NULL" for each in arguments)
        given = [each for each in arguments if each is not None]
        if function == "rank":
            found = sql.execute(f"SELECT candidate_id FROM tiny_dancer.rank({marks})".encode(), given).fetchall()
            return [row[0] for row in found] or None
        return one(sql, f"SELECT tiny_dancer.{function}({marks})::text", *given)

    check_nulls(ask, hashlib.sha256(EDGE.read_bytes()).hexdigest())


def test_errors_name_field_value_and_remedy(sql: Connection) -> None:
    ask = "SELECT tiny_dancer.decide_model(%s, %s, %s)"
    assert refused(sql, ask, "x", '{"max_cost": -1}', None) == (
        "TD007",
        "max_cost: -1",
        "give a finite number ≥ 0",
    )
    assert refused(sql, ask, " \n", None, None)[:2] == ("TD006", "text: empty or white space")
    assert refused(sql, ask, "x", '{"allowed": ["nobody"]}', None)[0] == "TD007"
    assert refused(sql, ask, "x", '{"allowed": ["weak"], "exclude": ["weak"]}', None)[0] == "TD008"
    for outside in ("nobody", "../edge", "/etc/passwd", ".hidden", "", "edge\n", "a/b"):
        state, detail, hint = refused(sql, ask, "x", None, outside)
        assert state == "TD010" and "load_artifact" in (hint or "")
        assert detail == f"artifact: {outside}"
    assert refused(sql, ask, "x", None, "tasks")[0] == "TD001"
    assert refused(sql, "SELECT tiny_dancer.decide_by('0', 'x')")[:2] == ("TD010", "checksum: 0")
    assert refused(sql, "SELECT tiny_dancer.load_artifact('x', '/nowhere')")[0] == "58P01"
    assert refused(sql, "SELECT tiny_dancer.load_artifact('x', '\\x00'::bytea)")[0] == "TD001"
    assert refused(sql, "SELECT tiny_dancer.load_artifact('', %s)", EDGE.read_bytes())[:2] == (
        "22004",
        "name: empty",
    )
    assert one(sql, "SELECT count(*) FROM tiny_dancer.artifacts") == 0
    sql.execute(
        "CREATE FUNCTION pg_temp.caught() RETURNS text LANGUAGE plpgsql AS $$ DECLARE field text; BEGIN"
        " PERFORM tiny_dancer.decide_model('x', '{\"pin\": \"nobody\"}');"
        " EXCEPTION WHEN SQLSTATE 'TD007' THEN GET STACKED DIAGNOSTICS field = COLUMN_NAME; RETURN field; END $$"
    )
    assert one(sql, "SELECT pg_temp.caught()") == "pin"
    assert model(sql) == "strong"


# What a name means, under each snapshot ------------------------------------------------------------------------


def named(version: str) -> list[str]:
    """Names of models that tell which version of an artifact decided."""
    return [f"weak {version}", f"strong {version}"]


def test_a_change_is_seen_when_its_row_is(sql: Connection, url: str) -> None:
    load(sql, "x", EDGE, named("1"))
    assert model(sql, artifact="x") == "strong 1"
    with psycopg.connect(url) as other:  # in a transaction, read committed
        assert model(other, artifact="x") == "strong 1"
        load(sql, "x", EDGE, named("2"))
        assert model(sql, artifact="x") == "strong 2"
        assert model(other, artifact="x") == "strong 2"
        other.execute("SAVEPOINT here")
        load(other, "x", EDGE, named("3"))
        assert (model(other, artifact="x"), model(sql, artifact="x")) == ("strong 3", "strong 2")
        other.execute("ROLLBACK TO here")
        assert model(other, artifact="x") == "strong 2"
        load(other, "x", EDGE, named("4"))
        other.execute("SAVEPOINT there; DELETE FROM tiny_dancer.artifacts")
        assert refused(other, "SELECT tiny_dancer.decide_model('x', NULL, 'x')")[0] == "TD010"
        other.execute("ROLLBACK TO there")
        assert model(other, artifact="x") == "strong 4"
        other.rollback()
        assert model(other, artifact="x") == "strong 2"


def test_a_repeatable_read_keeps_what_it_read_and_leaves_nothing_old_behind(sql: Connection, url: str) -> None:
    load(sql, "x", EDGE, named("1"))
    with psycopg.connect(url) as other:
        other.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        assert one(other, "SELECT 1") == 1
        load(sql, "x", EDGE, named("2"))
        # First asked after the change, under a snapshot from before it.
        assert model(other, artifact="x") == "strong 1"
        assert model(other, artifact="x") == "strong 1"
        other.commit()
        assert model(other, artifact="x") == "strong 2"


def test_a_function_that_changes_an_artifact_decides_by_what_each_statement_sees(sql: Connection) -> None:
    load(sql, "x", EDGE, named("1"))
    load(sql, "spare", EDGE, named("2"))
    sql.execute(
        "CREATE FUNCTION pg_temp.change() RETURNS text[] LANGUAGE plpgsql AS $$"
        " DECLARE before text; after text; undone text; BEGIN"
        " before := tiny_dancer.decide_model('hi', '{\"pin\": \"weak 1\"}', 'x');"
        " BEGIN"
        "  UPDATE tiny_dancer.artifacts AS x SET models = spare.models FROM tiny_dancer.artifacts AS spare"
        "  WHERE x.name = 'x' AND spare.name = 'spare';"
        "  after := tiny_dancer.decide_model('hi', '{\"pin\": \"weak 2\"}', 'x');"
        "  RAISE EXCEPTION 'undo';"
        " EXCEPTION WHEN raise_exception THEN"
        "  undone := tiny_dancer.decide_model('hi', '{\"pin\": \"weak 1\"}', 'x');"
        " END;"
        " RETURN ARRAY[before, after, undone]; END $$"
    )
    assert one(sql, "SELECT pg_temp.change()") == ["weak 1", "weak 2", "weak 1"]


def test_prepared_statements_cursors_and_discard(sql: Connection) -> None:
    load(sql, "x", EDGE, named("1"))
    sql.execute("SET plan_cache_mode = force_generic_plan")
    sql.execute("PREPARE ask(text) AS SELECT tiny_dancer.decide_model($1, NULL, 'x')")
    ask = psycopg.sql.SQL("EXECUTE ask({})").format(psycopg.sql.Literal(HARD))
    assert [sql.execute(ask).fetchone() for _ in range(7)] == [("strong 1",)] * 7
    load(sql, "x", EDGE, named("2"))
    assert sql.execute(ask).fetchone() == ("strong 2",)
    with sql.transaction():
        each = "SELECT tiny_dancer.decide_model('hi', NULL, 'x') FROM generate_series(1, 3)"
        sql.execute(f"DECLARE c CURSOR FOR {each}")
        first = one(sql, "FETCH c")
        load(sql, "x", EDGE, named("3"))
        assert first.endswith(" 2")
        assert one(sql, "FETCH c").endswith(" 2")  # a cursor sees what there was when it was opened
        assert model(sql, artifact="x") == "strong 3"
        assert one(sql, "FETCH c").endswith(" 2")
    sql.execute("DISCARD ALL")
    assert model(sql, artifact="x") == "strong 3"


def test_the_extension_can_go_and_come_back_in_one_session() -> None:
    with psycopg.connect(database(), autocommit=True) as connection:
        load(connection, "x", EDGE, named("1"))
        assert model(connection, artifact="x") == "strong 1"
        for _ in range(2):
            connection.execute("DROP EXTENSION tiny_dancer; CREATE EXTENSION tiny_dancer")
            assert refused(connection, "SELECT tiny_dancer.decide_model('x', NULL, 'x')")[0] == "TD010"
            assert model(connection) == "strong"
            load(connection, "x", EDGE, named("2"))
            assert model(connection, artifact="x") == "strong 2"
            assert one(connection, "SELECT (tiny_dancer.decide('x', NULL, 'x')).model").endswith(" 2")
        with pytest.raises(ZeroDivisionError), connection.transaction():
            connection.execute("DROP EXTENSION tiny_dancer")
            raise ZeroDivisionError
        assert model(connection, artifact="x") == "strong 2"


def test_a_file_is_loaded_again_when_it_is_another(sql: Connection) -> None:
    folder = extended().folder / "artifacts"  # which the server's user may read
    folder.mkdir(exist_ok=True)
    file = folder / "mine.safetensors"
    file.write_bytes(EDGE.read_bytes())
    sql.execute(f"SET tiny_dancer.artifact_path = '{folder}'")
    sql.execute("SET tiny_dancer.artifact = 'mine'")
    assert model(sql) == "strong"
    beside = folder / "new"
    beside.write_bytes((CONFORMANCE / "artifacts" / "pair.safetensors").read_bytes())
    beside.replace(file)
    right = tiny_dancer.Router.load(CONFORMANCE / "artifacts" / "pair.safetensors").decide(HARD).model
    assert model(sql) == right != "strong"
    file.write_bytes(b"damaged")
    assert refused(sql, "SELECT tiny_dancer.decide_model('x')")[0] == "TD001"
    file.unlink()
    assert refused(sql, "SELECT tiny_dancer.decide_model('x')")[0] == "TD010"
    load(sql, "mine", EDGE, named("1"))  # a row comes before a file
    assert model(sql) == "strong 1"
    sql.execute("RESET tiny_dancer.artifact_path; RESET tiny_dancer.artifact")
    assert model(sql) == "strong"


def test_by_checksum_for_indexes_and_generated_columns(sql: Connection) -> None:
    checksum = load(sql, "x", ENCODED)
    router = tiny_dancer.Router.load()
    assert one(sql, "SELECT tiny_dancer.decide_by(%s, %s)", checksum, HARD) == router.decide(HARD).model
    shipped = one(sql, "SELECT encode(sha256(%s), 'hex')", EDGE.read_bytes())
    sql.execute(
        f"CREATE TEMP TABLE requests (text text, model text GENERATED ALWAYS AS"
        f" (tiny_dancer.decide_by('{shipped}', text)) STORED)"
    )
    sql.execute("INSERT INTO requests (text) VALUES ('hi'), (%s)", (HARD,))
    assert sql.execute("SELECT model FROM requests").fetchall() == [(model(sql, "hi"),), (model(sql, HARD),)]
    sql.execute(f"CREATE INDEX ON requests ((tiny_dancer.decide_by('{shipped}', text)))")


# Rights --------------------------------------------------------------------------------------------------------


def test_an_owner_of_a_database_makes_it_and_who_is_granted_uses_it(url: str) -> None:
    server = extended()
    server.sql("CREATE ROLE owner_of LOGIN; CREATE ROLE user_of LOGIN; CREATE ROLE stranger LOGIN")
    server.sql("CREATE DATABASE made OWNER owner_of")
    with (
        psycopg.connect(server.url("made", user="owner_of"), autocommit=True) as owner,
        psycopg.connect(server.url("made", user="user_of"), autocommit=True) as user,
        psycopg.connect(server.url("made", user="stranger"), autocommit=True) as stranger,
    ):
        owner.execute("CREATE EXTENSION tiny_dancer")
        assert model(owner) == "strong"
        load(owner, "x", EDGE, named("1"))
        assert model(owner, artifact="x") == "strong 1"
        owner.execute("GRANT USAGE ON SCHEMA tiny_dancer TO user_of")
        assert model(user, artifact="x") == "strong 1"
        assert refused(user, "SELECT tiny_dancer.load_artifact('x', %s)", EDGE.read_bytes())[0] == "42501"
        assert refused(user, "SELECT tiny_dancer.load_artifact('x', '/etc/passwd')")[0] == "42501"
        assert refused(owner, "SELECT tiny_dancer.load_artifact('x', '/etc/passwd')")[0] == "42501"
        assert refused(stranger, "SELECT tiny_dancer.decide_model('x')")[0] == "42501"
        server.sql("REVOKE SELECT ON tiny_dancer.artifacts FROM PUBLIC", database="made")
        assert refused(user, "SELECT tiny_dancer.decide_model('x')")[:2] == ("42501", None)
        server.sql("GRANT SELECT ON tiny_dancer.artifacts TO PUBLIC", database="made")
        for setting in ("artifact_path", "encoder_path"):
            assert refused(user, f"SET tiny_dancer.{setting} = '/'")[0] == "42501"
        user.execute("SET tiny_dancer.artifact = 'x'")
        assert model(user) == "strong 1"
    with psycopg.connect(server.url("made", user="user_of"), autocommit=True) as early:
        # Set before the library is there, which then does not take it over.
        early.execute("SET tiny_dancer.artifact_path = '/etc'")
        assert model(early) == "strong"
        assert one(early, "SHOW tiny_dancer.artifact_path") == ""


def test_rows_that_a_role_may_not_see_do_not_decide_for_it(sql: Connection) -> None:
    load(sql, "x", EDGE, named("1"))
    load(sql, "y", EDGE, named("2"))
    sql.execute("DROP ROLE IF EXISTS limited")
    sql.execute("CREATE ROLE limited; GRANT USAGE ON SCHEMA tiny_dancer TO limited")
    sql.execute("ALTER TABLE tiny_dancer.artifacts ENABLE ROW LEVEL SECURITY")
    sql.execute("CREATE POLICY but_y ON tiny_dancer.artifacts TO limited USING (name <> 'y')")
    checksum = load(sql, "z", CONFORMANCE / "artifacts" / "constant.safetensors")  # in no folder
    assert one(sql, "SELECT tiny_dancer.decide_by(%s, 'x')", checksum)
    try:
        assert (model(sql, artifact="x"), model(sql, artifact="y")) == ("strong 1", "strong 2")
        with sql.transaction():
            # In one transaction, where the superuser has it loaded already.
            assert model(sql, artifact="y") == "strong 2"
            sql.execute("SET LOCAL ROLE limited")
            assert model(sql, artifact="x") == "strong 1"
            with pytest.raises(psycopg.Error) as raised, sql.transaction():
                model(sql, artifact="y")
            assert raised.value.sqlstate == "TD010"
            sql.execute("RESET ROLE")
            assert model(sql, artifact="y") == "strong 2"
        sql.execute("ALTER POLICY but_y ON tiny_dancer.artifacts USING (false); SET ROLE limited")
        assert refused(sql, "SELECT tiny_dancer.decide_by(%s, 'x')", checksum)[0] == "TD010"
        assert model(sql) == "strong"
    finally:
        sql.execute("RESET ROLE; DROP POLICY but_y ON tiny_dancer.artifacts")
        sql.execute("ALTER TABLE tiny_dancer.artifacts DISABLE ROW LEVEL SECURITY")
        sql.execute("DROP OWNED BY limited; DROP ROLE limited")


def test_another_search_path_changes_nothing(sql: Connection) -> None:
    load(sql, "x", EDGE, named("1"))
    sql.execute(
        "DROP SCHEMA IF EXISTS hostile CASCADE; CREATE SCHEMA hostile;"
        "CREATE TABLE hostile.artifacts AS SELECT * FROM tiny_dancer.artifacts LIMIT 0;"
        "CREATE FUNCTION hostile.never(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT false';"
        "CREATE OPERATOR hostile.= (LEFTARG = text, RIGHTARG = text, FUNCTION = hostile.never);"
        "SET search_path = hostile, pg_catalog"
    )
    assert model(sql, artifact="x") == "strong 1"
    load(sql, "x", EDGE, named("2"))
    assert model(sql, artifact="x") == "strong 2"
    sql.execute("SET search_path = pg_temp")
    assert model(sql, artifact="x") == "strong 2"
    sql.execute("DROP SCHEMA hostile CASCADE")


# Plans, limits, servers ----------------------------------------------------------------------------------------


def test_workers_decide_as_one_process_does(sql: Connection) -> None:
    sql.execute(
        "DROP TABLE IF EXISTS many; CREATE TABLE many AS"
        " SELECT 'Explain step by step why ' || i || ' is a prime or none.' AS text FROM generate_series(1, 400) i"
    )
    sql.execute("SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0")
    ask = "SELECT tiny_dancer.decide_model(text, NULL, 'x') AS model, count(*) FROM many GROUP BY 1 ORDER BY 1"
    load(sql, "x", EDGE, named("1"))
    sql.execute("SET max_parallel_workers_per_gather = 0")
    alone = sql.execute(ask).fetchall()
    sql.execute("SET max_parallel_workers_per_gather = 2")
    with sql.transaction(force_rollback=True):
        # What this transaction has changed and not committed, its workers see, too.
        load(sql, "x", EDGE, named("2"))
        plan = "\n".join(row[0] for row in sql.execute(f"EXPLAIN (ANALYZE, VERBOSE, TIMING OFF) {ask}"))
        assert "Workers Launched: 2" in plan, plan
        together = sql.execute(ask).fetchall()
    assert [(each.replace(" 2", " 1"), count) for each, count in together] == alone
    assert {each.split()[1] for each, _ in together} == {"2"}
    sql.execute("DROP TABLE many")


def test_a_batch_can_be_cancelled(sql: Connection) -> None:
    # The last text is refused: not one that is done to its end would be cancelled.
    texts = "array_fill(repeat('why? ', 200), ARRAY[30000]) || ARRAY[' ']"
    ask = f"SELECT count(*) FROM tiny_dancer.decide_many({texts})"
    assert refused(sql, ask)[0] == "TD006"
    sql.execute("SET statement_timeout = '100ms'")
    assert refused(sql, ask)[0] == "57014"
    sql.execute("RESET statement_timeout")
    assert model(sql) == "strong"


def test_long_texts_and_bodies(sql: Connection) -> None:
    assert one(sql, "SELECT tiny_dancer.decide_model(repeat('word ', 10000000))") in ("weak", "strong")
    deep = "SELECT tiny_dancer.decide_json(repeat('[', 100000) || repeat(']', 100000))"
    assert refused(sql, deep)[0] == "TD006"
    sql.execute("CREATE TEMP TABLE stored AS SELECT repeat(md5('a') || ' word ', 100000) AS text")  # out of line
    right = tiny_dancer.Router.load("edge").decide(one(sql, "SELECT text FROM stored")).model
    assert one(sql, "SELECT tiny_dancer.decide_model(text) FROM stored") == right


def test_only_what_writes_needs_to_write(sql: Connection) -> None:
    with sql.transaction():
        sql.execute("SET TRANSACTION READ ONLY")
        assert model(sql) == "strong"
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction), sql.transaction():
            load(sql, "x", EDGE)


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_databases_in_other_encodings(encoding: str) -> None:
    url = database(f"TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'")
    router = tiny_dancer.Router.load("edge")
    request = "Où est la bibliothèque? Expliquez précisément, s'il vous plaît."
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET client_encoding = 'UTF8'")
        assert model(connection, request) == router.decide(request).model
        found = one(connection, "SELECT tiny_dancer.decide_json(%s)", json.dumps(request, ensure_ascii=False))
        assert found["tokens"] == router.decide(request).tokens
        load(connection, "x", EDGE, ["faible", "géant"])
        ask = "SELECT tiny_dancer.decide_json(%s, %s, 'x')::text"
        answer = one(connection, ask, '"x"', '{"pin": "géant"}')
        assert json.loads(answer)["model"] == "géant" and answer.isascii()
        assert one(connection, "SELECT tiny_dancer.decide_model('x', '{\"pin\": \"géant\"}', 'x')") == "géant"
        hint = refused(connection, "SELECT tiny_dancer.decide_model('x', '{\"max_cost\":-1}')")[2]
        assert hint == "give a finite number \\u{2265} 0"
        assert ranked(connection, "'été', '{é,e}', '{un été,hiver}'")[0][0] == "é"
        if encoding == "LATIN1":
            with pytest.raises(psycopg.errors.UntranslatableCharacter):
                connection.execute("SELECT tiny_dancer.decide_model(%s)", ("→",))
            load(connection, "x", EDGE)
            names = json.dumps([{"name": "→"}, {"name": "b"}])  # as an escape
            connection.execute("UPDATE tiny_dancer.artifacts SET models = %s", (names,))
            state = refused(connection, "SELECT tiny_dancer.decide_model('x', '{\"exclude\": [\"b\"]}', 'x')")[0]
            assert state == "22P05"
        else:
            ask = "SELECT tiny_dancer.decide_model(convert_from('\\x41ff', 'SQL_ASCII'))"
            assert refused(connection, ask)[:2] == ("22021", "text: byte 1 is not of a character")
        assert model(connection) == "strong"


def test_a_dump_has_what_was_loaded_and_can_be_restored(url: str) -> None:
    server = extended()
    with psycopg.connect(url, autocommit=True) as connection:
        checksum = load(connection, "x", EDGE, named("1"))
        connection.execute("INSERT INTO tiny_dancer.candidate (id, text) VALUES ('a', 'apples'), ('b', 'pears')")
        script = server.program("pg_dump", "--dbname", url)
        connection.execute("DELETE FROM tiny_dancer.artifacts; DELETE FROM tiny_dancer.candidate")
    assert "COPY tiny_dancer.artifacts" in script and "CREATE FUNCTION" not in script
    restored = server.database()
    file = server.folder / "dump.sql"
    file.write_text(script, encoding="utf-8")
    server.program("psql", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname", restored, "--file", str(file))
    with psycopg.connect(restored, autocommit=True) as connection:
        assert model(connection, artifact="x") == "strong 1"
        assert one(connection, "SELECT checksum FROM tiny_dancer.artifacts") == checksum
        insert = "INSERT INTO tiny_dancer.candidate (id, text) VALUES ('c', 'figs') RETURNING number"
        assert one(connection, insert) == 3
        assert one(connection, "SELECT changes FROM tiny_dancer.state") > 1


def test_a_dump_that_a_superuser_restores_leaves_the_owner_of_the_database_all_rights() -> None:
    """The extension is then the superuser's, and not the owner's as in the database that was dumped."""
    server = extended()
    server.sql("CREATE ROLE keeper LOGIN; CREATE ROLE reader LOGIN")
    for each in ("kept", "restored", "fresh"):
        server.sql(f"CREATE DATABASE {each} OWNER keeper")
    with psycopg.connect(server.url("kept", user="keeper"), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION tiny_dancer; GRANT USAGE ON SCHEMA tiny_dancer TO reader")
        connection.execute("GRANT SELECT ON tiny_dancer.candidate TO reader")
    file = server.folder / "kept.sql"
    server.program("pg_dump", "--dbname", server.url("kept"), "--file", str(file))
    into = server.url("restored")
    server.program("psql", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname", into, "--file", str(file))
    with psycopg.connect(server.url("restored", user="keeper"), autocommit=True) as connection:
        load(connection, "x", EDGE, named("1"))
        connection.execute("INSERT INTO tiny_dancer.candidate (id, text) VALUES ('a', 'apples')")
        connection.execute("GRANT SELECT ON tiny_dancer.agent TO reader")
    with psycopg.connect(server.url("restored", user="reader"), autocommit=True) as connection:
        assert model(connection, artifact="x") == "strong 1"
        assert one(connection, "SELECT text FROM tiny_dancer.candidate") == "apples"
        assert one(connection, "SELECT count(*) FROM tiny_dancer.list_agents()") == 0
    server.sql("CREATE EXTENSION tiny_dancer", database="fresh")
    with psycopg.connect(server.url("fresh", user="keeper"), autocommit=True) as connection:
        connection.execute("INSERT INTO tiny_dancer.candidate (id, text) VALUES ('a', 'apples')")
    for each in ("DATABASE kept", "DATABASE restored", "DATABASE fresh", "ROLE keeper", "ROLE reader"):
        server.sql(f"DROP {each}")


def inventory(connection: Connection) -> set[tuple[Any, ...]]:
    """What an extension holds: functions as they are declared, tables with their columns and rights, indexes."""
    functions = (
        "SELECT 'function', p.oid::regprocedure::text, md5(pg_get_functiondef(p.oid)), obj_description(p.oid)"
        " FROM pg_proc p WHERE pronamespace = 'tiny_dancer'::regnamespace AND prokind = 'f'"
    )
    columns = (
        "SELECT 'column', c.relname || '.' || a.attname, format_type(a.atttypid, a.atttypmod)"
        " || a.attnotnull::text || a.attgenerated::text || a.attstorage::text, c.relacl::text"
        " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
        " WHERE c.relnamespace = 'tiny_dancer'::regnamespace AND a.attnum > 0 AND c.relkind <> 'i'"
    )
    indexes = "SELECT 'index', indexname, indexdef, '' FROM pg_indexes WHERE schemaname = 'tiny_dancer'"
    dumped = (
        "SELECT 'dumped', dumped::regclass::text, '', '' FROM pg_extension, unnest(extconfig) AS dumped"
        " WHERE extname = 'tiny_dancer'"
    )
    return {row for query in (functions, columns, indexes, dumped) for row in connection.execute(query).fetchall()}


def test_an_earlier_version_becomes_this_one_with_all_it_holds(url: str) -> None:
    server = extended()
    earlier = server.database()
    with psycopg.connect(earlier, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION tiny_dancer VERSION '0.0.1'")
        checksum = one(connection, "SELECT tiny_dancer.load_artifact('x', %s)", ENCODED.read_bytes())
        before = model(connection, artifact="x")
        connection.execute("ALTER EXTENSION tiny_dancer UPDATE")
        assert model(connection, artifact="x") == before
        row = connection.execute(
            "SELECT checksum, encoder IS NOT NULL, models FROM tiny_dancer.artifacts"
        ).fetchone()
        assert row == (checksum, True, None)
        load(connection, "x", ENCODED, named("1"))
        assert model(connection, artifact="x").endswith(" 1")
        with psycopg.connect(url, autocommit=True) as present:
            assert inventory(connection) == inventory(present)


def test_tables_of_the_storage_that_are_there_already_are_not_taken_over(tmp_path: Path) -> None:
    url = extended().database()
    with PostgresStorage(url) as storage, Budgets(storage) as budgets:
        storage.insert_candidate(CandidateRecord("a", text="apples"))
        storage.insert_budget(Budget("team", "research", limit=1.0))
        budgets.refresh()
        with budgets.reserve(0.4, team="research") as hold:
            hold.settle(0.4)
    with psycopg.connect(url, autocommit=True) as connection:
        state, _, hint = refused(connection, "CREATE EXTENSION tiny_dancer")
        assert state == "55000" and hint is not None
        first, rename, _, last = hint.split("; ")  # and what it says is done, and keeps what there was
        for step in (first, rename, "CREATE EXTENSION tiny_dancer", last):
            if step.startswith("tiny-dancer db "):
                what = [url if each.startswith("postgresql") else each for each in step.split()[1:]]
                subprocess.run([sys.executable, "-m", "tiny_dancer", *what], cwd=tmp_path, check=True)
            else:
                connection.execute(step.encode())
        assert one(connection, "SELECT id FROM tiny_dancer.candidate") == "a"
        assert float(one(connection, "SELECT tiny_dancer.budget_remaining(team := 'research')")) == 0.6


def test_a_backend_that_is_killed_and_a_server_that_has_it_loaded_beforehand() -> None:
    server = Server(installation(), {"shared_preload_libraries": "tiny_dancer"})
    try:
        server.sql("CREATE EXTENSION tiny_dancer")
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            connection.execute("SET synchronous_commit = on")
            load(connection, "x", ENCODED, named("1"))
            right = model(connection, artifact="x")
            pid = one(connection, "SELECT pg_backend_pid()")
            subprocess.run(["kill", "-9", str(pid)], check=True)
            with pytest.raises(psycopg.OperationalError):
                model(connection)
        server.restart()
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            assert (model(connection, artifact="x"), model(connection)) == (right, "strong")
    finally:
        server.remove()


# Candidates ----------------------------------------------------------------------------------------------------


def ranked(connection: Connection, arguments: str, *values: Any) -> list[tuple[Any, ...]]:
    return connection.execute(
        f"SELECT candidate_id, score, error FROM tiny_dancer.rank({arguments})", values or None
    ).fetchall()  # type: ignore[call-overload]


def test_candidates_are_ranked_as_the_engine_ranks_them(sql: Connection) -> None:
    candidates = [{"id": str(place), "text": f"apples {'and pears ' * place}"} for place in range(9)]
    candidates.append({"id": "none"})
    ids = [each["id"] for each in candidates]
    texts = [each.get("text") for each in candidates]
    query = {"text": "pears", "k": 7}
    whole = one(sql, "SELECT tiny_dancer.rank_json(%s, %s)", json.dumps(candidates), json.dumps(query))
    found = ranked(sql, "'pears', %s, %s, options => '{\"k\": 7}'", ids, texts)
    right = [(each["candidate_id"], pytest.approx(each["score"], rel=1e-6), None) for each in whole["decisions"]]
    assert found == right and len(found) == 7
    for kind in ("real", "double precision"):
        embeddings = f"ARRAY[[1, 0], [0.6, 0.8], ['NaN', 0]]::{kind}[]"
        found = ranked(sql, f"NULL, '{{a,b,c}}', NULL, {embeddings}, '{{0, 1}}'")
        assert [row[0] for row in found] == ["b", "a", "c"]
        assert found[2][1] is None and "NaN" in found[2][2]
    assert ranked(sql, "'x', '{}'") == []
    assert ranked(sql, "'x', NULL") == []


def test_a_ranking_can_be_cancelled_and_is_not_by_any_other_signal(sql: Connection) -> None:
    sql.execute("CREATE TEMP TABLE many AS SELECT array_agg(i::text) AS ids FROM generate_series(1, 300000) AS i")
    ask = "SELECT candidate_id FROM many, tiny_dancer.rank('299999', ids, ids, options := '{\"k\": 1}') AS found"
    sql.execute("SET statement_timeout = '50ms'")
    with pytest.raises(psycopg.errors.QueryCanceled):
        sql.execute(ask)
    sql.execute("SET statement_timeout = 0")
    done = threading.Event()

    def alarm() -> None:
        while not done.wait(0.001):
            os.kill(sql.info.backend_pid, signal.SIGALRM)

    thread = threading.Thread(target=alarm)
    thread.start()
    try:
        few = ask.replace("ids, ids,", "ids[:50000] || '299999'::text, ids[:50000] || '299999'::text,")
        assert one(sql, few) == "299999"
    finally:
        done.set()
        thread.join()
    # The error of a candidate of a later part says its place among all.
    again = "SELECT * FROM many, tiny_dancer.rank('x', ids[:5000] || '77'::text)"
    assert refused(sql, again)[:2] == ("TD009", "candidates[5000].id: 77")


def test_vectors_are_of_any_type_that_is_a_list_of_numbers(sql: Connection) -> None:
    ask = "SELECT candidate_id FROM tiny_dancer.rank(NULL, '{{a,b}}', NULL, {}, {})"
    sets = (
        "'{{1,0},{0,1}}'::real[]",
        "ARRAY[[1.0, 0], [0, 1]]",
        "ARRAY[[1, 0], [0, 1]]",
        "'{{1,0},{0,1}}'::float8[]",
    )
    vectors = (
        "'{0,1}'", "'[0, 1]'", "'{0,1}'::real[]", "'{0,1}'::float8[]", "ARRAY[0, 1]", "ARRAY[0, 1.0]",
        "'[0, 1]'::jsonb", "'{0,1}'::text", "'{0,1}'::varchar", "'{0,1}'::text[]",
    )  # fmt: skip
    for matrix in sets:
        assert one(sql, ask.format(matrix, vectors[0])) == "b"
    for vector in vectors:
        assert one(sql, ask.format(sets[0], vector)) == "b", vector
    for vector, detail in (
        ("true", "embedding: t (boolean)"),
        ("7", "embedding: 7 (integer)"),
        ("'x'", "embedding: x"),
        ("'{\"a\": 1}'::jsonb", 'embedding: "a": 1 (jsonb)'),
        ("'{{0,1}}'::int[]", "embedding: {0 (integer[])"),
        ("'{0,NULL}'::int[]", "embedding: NULL (integer[])"),
        ("''", "embedding: empty"),
        (f"'{'x' * 50}'", f"embedding: {'x' * 40}…"),
    ):
        state, said, hint = refused(sql, ask.format(sets[0], vector))
        assert (state, said) == ("22023", detail) and "give real[]" in (hint or "")
    assert refused(sql, ask.format("'{{1,0},{0,1}}'", vectors[0]))[:2] == (
        "22023",
        "embeddings: of the type unknown",
    )
    assert refused(sql, ask.format("ARRAY['x']", vectors[0]))[:2] == ("22023", "embeddings: an array of text")


def test_a_dump_of_an_earlier_version_can_be_restored_into_this_one() -> None:
    server = extended()
    earlier, restored, file = server.database(), server.database(), server.folder / "earlier.sql"
    with psycopg.connect(earlier, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION tiny_dancer VERSION '0.0.1'")
        one(connection, "SELECT tiny_dancer.load_artifact('x', %s)", ENCODED.read_bytes())
        before = model(connection, artifact="x")
    file.write_text(server.program("pg_dump", "--dbname", earlier), encoding="utf-8")
    server.program("psql", "--quiet", "--set=ON_ERROR_STOP=1", "--dbname", restored, "--file", str(file))
    with psycopg.connect(restored, autocommit=True) as connection:
        assert model(connection, artifact="x") == before
        assert one(connection, "SELECT extversion FROM pg_extension WHERE extname = 'tiny_dancer'") != "0.0.1"


def test_arrays_that_do_not_fit_are_refused(sql: Connection) -> None:
    ask = "SELECT * FROM tiny_dancer.rank"
    for arguments, detail in [
        ("('x', '{a,b}', '{c}')", "texts: 1 for 2 ids"),
        ("('x', '{a,NULL}')", "ids[2]: null"),
        ("(NULL, '{a,b}', NULL, ARRAY[[1, 2]]::real[], '{1, 2}')", "embeddings: 1 for 2 ids"),
        ("(NULL, '{a}', NULL, ARRAY[1, 2]::real[], '{1, 2}')", "embeddings: an array of 1 dimension(s)"),
        ("(NULL, '{a}', NULL, ARRAY[[1, NULL]]::real[], '{1, 2}')", "embeddings: null"),
        ("(NULL, '{a}', NULL, ARRAY[['x', 'y']], '{1, 2}')", "embeddings: an array of text"),
        ("(NULL, '{a}', NULL, ARRAY[[1, 2]]::real[], '{1, NULL}')", "embedding: NULL"),
        ("(NULL, '{a}', NULL, ARRAY[[1]]::real[], ARRAY[[1]]::real[])", "embedding: an array of 2 dimensions"),
        ("('x', ARRAY[['a', 'b']])", "ids: an array of 2 dimensions"),
        ("('x', '{a,b}', ARRAY[['a', 'b']])", "texts: an array of 2 dimensions"),
    ]:
        assert refused(sql, ask + arguments)[:2] == ("22023", detail)
    assert refused(sql, ask + "('x', '{a,a}')")[0] == "TD009"
    many = "SELECT model FROM tiny_dancer.decide_many(ARRAY[['x'], ['y']])"
    assert refused(sql, many)[:2] == ("22023", "requests: an array of 2 dimensions")
    assert refused(sql, ask + "('x', '{a}', options => '[1]')")[0] == "TD007"
    assert refused(sql, ask + "('x', '{a}', options => '{\"text\": \"y\"}')")[0] == "TD009"
    assert refused(sql, ask + "('x', '{a}', options => '{\"k\": 0}')")[0] == "TD007"
    assert refused(sql, ask + "('x', '{a}', artifact => 'edge')")[0] == "TD001"


def test_vectors_of_pgvector(sql: Connection) -> None:
    if not one(sql, "SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'"):
        pytest.skip("needs pgvector, which this machine's packages may not have")
    sql.execute("DROP EXTENSION IF EXISTS vector; CREATE EXTENSION vector")
    sql.execute("CREATE TEMP TABLE notes (id text, embedding vector)")
    sql.execute("INSERT INTO notes VALUES ('a', '[1, 0]'), ('b', '[0, 1]'), ('c', NULL)")
    columns = "array_agg(id ORDER BY id) AS ids, array_agg(embedding ORDER BY id) AS embeddings"
    ask = (
        f"SELECT candidate_id FROM (SELECT {columns} FROM notes) AS notes,"
        " tiny_dancer.rank(NULL, ids, NULL, embeddings, '[0, 1]'::vector)"
    )
    for kind in ("vector", "halfvec"):
        found = sql.execute(ask.replace("::vector", f"::{kind}").encode())
        assert [row[0] for row in found] == ["b", "a", "c"]
        sql.execute(f"SELECT tiny_dancer.create_route('{kind}', '', '[0, 1]'::{kind}, 'anybody')".encode())
    routed = "SELECT count(*), min(similarity) FROM tiny_dancer.semantic_route('[0, 2]'::vector)"
    assert sql.execute(routed).fetchone() == (2, 1)
    sql.execute("DELETE FROM tiny_dancer.semantic_route")
    assert refused(sql, ask.replace("::vector", "::sparsevec").replace("[0, 1]", "{1:1}/2"))[:2] == (
        "22023",
        "embedding: {1:1}/2 (sparsevec)",
    )
    ask = "SELECT tiny_dancer.rank(NULL, '{a,b}', NULL, ARRAY['[1]', '[1,2]']::vector[], '{1}')"
    assert refused(sql, ask)[1] == "embeddings[2]: 2 numbers"


def test_texts_become_vectors(sql: Connection) -> None:
    found = one(sql, "SELECT tiny_dancer.embed('hello world')")
    assert len(found) == 256 and sum(each * each for each in found) == pytest.approx(1, abs=1e-3)
    assert one(sql, "SELECT tiny_dancer.embed(NULL)") is None
    assert refused(sql, "SELECT tiny_dancer.embed('x', 'edge')")[0] == "TD001"


def test_the_quicktour_runs_as_it_stands() -> None:
    text = (ROOT / "crates" / "tiny-dancer-pg" / "README.md").read_text(encoding="utf-8")
    tour = text.split("## Quicktour")[1].split("\n## ")[0]
    blocks = [part.split("```")[0] for part in tour.split("```sql\n")[1:]]
    assert len(blocks) == 2
    with psycopg.connect(extended().database(), autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE requests (id int, text text); INSERT INTO requests VALUES (1, 'hi'), (2, NULL)"
        )
        answers = []
        for block in blocks:
            for statement in block.split(";\n"):
                if statement.strip():
                    cursor = connection.execute(statement)  # type: ignore[call-overload]
                    answers.append(cursor.fetchall() if cursor.description else [])
        assert answers[1][0][0] == tiny_dancer.Router.load("edge").decide("What is the capital of France?").model
        assert answers[2][0][0] == "b"
        assert answers[5][0][0] == "writer"
        assert answers[7][0][:2] == (1, "weak")
