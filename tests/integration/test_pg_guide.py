"""The guide "Route in SQL" runs as it stands: every statement, and what it says it gives."""

from __future__ import annotations

import re

import psycopg
from tests.integration.doors import ROOT
from tests.integration.pg_cluster import extended

BLOCKS = re.compile(r"```sql\n(.*?)```", re.DOTALL)
# A statement up to the ; that ends its line; what it gives first, as a comment behind that.
STATEMENT = re.compile(r"(.*?);(?:[ \t]+-- ([a-z_]+)(?=\n))?[^\n]*(?:\n|$)", re.DOTALL)
BODIES = re.compile(r"\$\$.*?\$\$", re.DOTALL)


def test_the_guide_in_sql() -> None:
    server = extended()
    text = (ROOT / "docs" / "guides" / "postgresql.md").read_text(encoding="utf-8")
    bodies: list[str] = []

    def hide(body: re.Match[str]) -> str:
        bodies.append(body[0])
        return f"$${len(bodies) - 1}$$"

    stated = 0
    server.sql("DROP ROLE IF EXISTS routing_only")
    with psycopg.connect(server.database(), autocommit=True) as db:
        for block in BLOCKS.findall(text):
            for statement, gives in STATEMENT.findall(BODIES.sub(hide, block)):
                cursor = db.execute(re.sub(r"\$\$(\d+)\$\$", lambda at: bodies[int(at[1])], statement))
                if gives:
                    row = cursor.fetchone()
                    assert row is not None
                    assert row[0] == gives, statement
                    stated += 1
        db.execute("DROP OWNED BY routing_only; DROP ROLE routing_only")
    assert stated >= 10
