"""PostgreSQL answers every shared vector as the engine does, byte for byte, asked by SQL."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import psycopg
from tests.integration.doors import Answers, Case, compared, count, written
from tests.integration.pg_cluster import database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KINDS = {
    "TD001": "ArtifactInvalid",
    "TD002": "ArtifactVersion",
    "TD003": "ArtifactChecksum",
    "TD004": "ArtifactSelfCheck",
    "TD005": "EncoderMissing",
    "TD006": "RequestInvalid",
    "TD007": "OptionInvalid",
    "TD008": "NoFeasibleModel",
    "TD009": "CandidateInvalid",
}
"""SQLSTATE → the engine's kind of error."""


def refusal(error: psycopg.Error) -> str:
    """An error of the extension as the engine's other doors write it."""
    about = error.diag
    assert about.column_name is not None and about.message_detail is not None, error
    assert about.message_detail.startswith(f"{about.column_name}: ")
    return json.dumps(
        {
            "code": KINDS[about.sqlstate or ""],
            "field": about.column_name,
            "value": about.message_detail.removeprefix(f"{about.column_name}: "),
            "remedy": about.message_hint or "",
        }
    )


class Replay:
    """What a case made, and the SQL that each operation is."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self.loaded: set[tuple[str, str]] = set()
        self.parts: list[str] = []
        self.encoder: str | None = None
        self.half_life: float | None = None

    def value(self, statement: str, *values: Any) -> Any:
        row = self.connection.execute(statement, values).fetchone()
        assert row is not None
        return row[0]

    def ask(self, statement: str, *values: Any) -> str:
        found = self.value(statement, *values)
        assert isinstance(found, str)
        return found

    def load(self, first: Any, second: str) -> str:
        """The artifact under the name 'artifact'; the SQL of tiny_dancer.load_artifact."""
        with open(first["file"], "rb") as file:
            data = file.read()
        self.ask("SELECT tiny_dancer.load_artifact('artifact', %s, %s::jsonb)", data, second or None)
        return ""

    def step(self, operation: str, first: Any, second: str) -> str:
        match operation:
            case "router" | "routes" | "tasks":
                return self.load(first, second)
            case "decide":
                return self.ask("SELECT tiny_dancer.decide_json(%s, %s, 'artifact')::text", first, second)
            case "route":
                return self.ask("SELECT tiny_dancer.route_json(%s, %s, 'artifact')::text", first, second)
            case "classify":
                return self.ask("SELECT tiny_dancer.classify_json(%s, 'artifact')::text", first)
            case "tools" | "candidates":
                self.parts = []
                return ""
            case "addTools":
                self.parts.append(first)
                ids = "SELECT array_to_json(tiny_dancer.tool_ids(%s::text[]))"
                return json.dumps(self.value(ids, [first]), separators=(",", ":"))
            case "select":
                asked = "SELECT tiny_dancer.select_tools_json(%s::text[], %s, NULL, %s)::text"
                return self.ask(asked, self.parts, first, self.encoder)
            case "addCandidates":
                # They come with the query: here it is only said whether they can be used.
                self.parts.append(first)
                try:
                    self.value("SELECT tiny_dancer.rank_json(%s, %s)", first, '{"text": "anything"}')
                except psycopg.Error as error:
                    if (error.diag.column_name or "").startswith("candidates"):
                        raise
                return ""
            case "rank":
                return self.ask("SELECT tiny_dancer.rank_json(%s, %s)::text", *self.parts, first)
        raise AssertionError(operation)


def answers(connection: psycopg.Connection[Any], cases: list[Case]) -> Iterator[list[str]]:
    replay = Replay(connection)
    for case in cases:
        replay.encoder = None if case["encoder"] is None else "sentences"
        folder = "/nowhere" if case["encoder"] is None else ""
        connection.execute(f"SET tiny_dancer.encoder_path = '{folder}'")
        found: list[str] = []
        for operation, first, second in case["steps"]:
            try:
                found.append(replay.step(operation, first, second))
            except psycopg.Error as error:
                found.append(refusal(error))
                break
        yield found


ASKED = ("requests", "damages", "routes", "tools", "candidates", "tasks")


def test_every_vector_has_the_answer_of_the_engine(tmp_path: Path) -> None:
    with psycopg.connect(database(), autocommit=True) as connection:
        path, expected = written(tmp_path, ASKED)
        cases = json.loads(path.read_text(encoding="utf-8"))
        found: Answers = list(answers(connection, cases))
    assert compared(cases, expected, found) == count(ASKED)
