"""Arguments that cannot be, of every function there is: an answer, or an error with field, value and remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from tests.integration.pg_cluster import database

if TYPE_CHECKING:
    from collections.abc import Iterator

Connection = psycopg.Connection[Any]

LONG = "repeat('x', 5000)"
ODD = {
    "text": ("''", "' '", LONG, "repeat('é', 3000)", "'null'", "'{'"),
    "text[]": ("'{}'", "'{NULL}'", "'{\"\"}'", f"ARRAY[{LONG}]", "'{{a,b},{c,d}}'"),
    "double precision": ("'NaN'", "'Infinity'", "'-Infinity'", "-1", "1e308", "1e-320"),
    "integer": ("-2147483648", "2147483647", "0", "-1"),
    "bigint": ("-9223372036854775808", "9223372036854775807", "-1"),
    "timestamp with time zone": (
        "'infinity'",
        "'-infinity'",
        "'294276-12-31'",
        "'4713-01-01 BC'",
        "'9999-12-31'",
        "'0001-01-01'",
    ),
    "interval": ("'178000000 years'", "'-1 day'", "'0'", "'1000 years'", "'1 microsecond'"),
    "json": ("'null'", "'[]'", "'{}'", "'\"x\"'", "'{\"name\": 1}'", '\'{"name": "a", "quality": 1e999}\''),
    "jsonb": (
        "'null'",
        "'[]'",
        "'{}'",
        "'\"x\"'",
        "'{\"name\": 1}'",
        "'{\"k\": 1e999}'",
        "'[[1, 1, 4000000000]]'",
    ),
    "bytea": ("''", "'\\x00'"),
    "real[]": ("'{}'", "'{NaN}'", "'{Infinity}'", "'{NULL}'", "'{{1,2},{3,4}}'", "'{0,0}'"),
    '"any"': (
        "'{}'::real[]",
        "'{{NaN,1}}'::real[]",
        "'{{1e999}}'::numeric[]",
        "1",
        "'x'::text",
        "'{}'::jsonb",
        "'x'",
    ),
    "anycompatible": (
        "'{NaN}'::real[]",
        "'{}'::real[]",
        "'{1e999}'::numeric[]",
        "'{NULL,1}'::int[]",
        "'{{1,2}}'::int[]",
        "5",
        "true",
        "'{\"a\": 1}'::jsonb",
        "'x'",
        "now()",
    ),
    "uuid": ("gen_random_uuid()",),
    "boolean": (),
}
"""Values of each type, as SQL; of every type NULL is one, too."""

USUAL = {
    "name": "'new'",
    "agent": "'large'",
    "agents": "'[]'",
    "bytes": "''",
    "candidates": "'[]'",
    "checksum": "'0'",
    "declaration": '\'{"name": "new"}\'',
    "description": "'what it is about'",
    "embedding": "'{1,0}'",
    "half_life": "1",
    "id": "'team/research/ever'",
    "ids": "'{a}'",
    "monthly_budget": "100",
    "outcome": '\'{"at": 1, "success": true}\'',
    "query": "'{}'",
    "request": "'Sum this up: it was late.'",
    "requests": "'{Sum this up: it was late.}'",
    "scope": "'team'",
    "state": "''",
    "subject": "'research'",
    "tokens": "'[[10, 10, 2]]'",
    "tools": "'{[]}'",
    "usd": "5",
    "cost": "0.01",
    "active": "true",
    "hold": "NULL",
    "text": "'a text'",
    "quality_threshold": "0.5",
    "latency_threshold_ms": "5000",
    "requests_a_month": "10",
    "options": "'{}'",
    "artifact": "'routes'",
    "target_agent": "'large'",
}
"""What arguments are that have no default, where another one is odd."""

WITHIN = frozenset((
    "amount", "budget_ledger", "budget_period", "budget_span", "budget_units", "budgets_of", "check_agents",
    "checked_length", "checked_name", "checked_time", "direction", "interval_of", "lock_budget", "mean_after",
    "month_start", "period_seconds", "tidy_budget", "utc_month",
))  # fmt: skip
"""Functions that others call, with what those have checked."""


@pytest.fixture
def db() -> Iterator[Connection]:
    """A connection to a database with an agent, a route, a budget and an outcome; nothing of a test stays."""
    with psycopg.connect(database()) as connection:
        connection.execute("SET statement_timeout = '20s'")
        connection.execute(
            "SELECT tiny_dancer.register_agent('large', cost_per_call := 0.01, quality_score := 0.9)"
        )
        connection.execute("SELECT tiny_dancer.create_route('r', 'questions about law', '{1,0}'::real[], 'large')")
        connection.execute("SELECT tiny_dancer.set_budget('team', 'research', 5)")
        connection.execute("SELECT tiny_dancer.record_outcome('large', quality := 0.5, cost := 0.01)")
        yield connection
        connection.rollback()


def functions(connection: Connection) -> list[tuple[str, list[str], list[str], int]]:
    """Every function that users call: name, names of arguments and their types, and how many have no default."""
    query = """
        SELECT p.proname, coalesce(p.proargnames[1:p.pronargs], '{}'),
            ARRAY(SELECT format_type(t.oid, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY AS u(oid, place)
                JOIN pg_type AS t ON t.oid = u.oid ORDER BY place),
            p.pronargs - p.pronargdefaults
        FROM pg_proc AS p
        WHERE p.pronamespace = 'tiny_dancer'::regnamespace AND p.prorettype <> 'trigger'::regtype
        ORDER BY p.oid::regprocedure::text
    """
    found = [row for row in connection.execute(query).fetchall() if row[0] not in WITHIN]
    # Of a file that cannot be read the server itself says why, by the rights of pg_read_binary_file.
    return [row for row in found if "path" not in row[1]]


def test_what_cannot_be_is_said_with_field_value_and_remedy(db: Connection) -> None:
    asked, raw = 0, []
    for name, arguments, types, needed in functions(db):
        usual = {each: f"{USUAL[each]}" for each in arguments[:needed]}
        for argument, kind in zip(arguments, types, strict=True):
            for value in (*ODD[kind], f"NULL::{'real[]' if kind.startswith(('any', chr(34))) else kind}"):
                given = ", ".join(f'"{each}" := {what}' for each, what in (usual | {argument: value}).items())
                statement = f"SELECT * FROM tiny_dancer.{name}({given})"
                asked += 1
                try:
                    with db.transaction(force_rollback=True):
                        db.execute(statement.encode())
                except psycopg.Error as error:
                    about = error.diag
                    said = about.message_detail and about.message_hint and about.sqlstate
                    ours = said and about.sqlstate and about.sqlstate[:2] in ("TD", "22", "23", "58")
                    if not ours:
                        raw.append((statement, about.sqlstate, about.message_primary, about.message_detail))
    assert raw == []
    assert asked > 1000
