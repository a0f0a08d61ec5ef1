"""PostgreSQL answers every shared vector as the engine does, byte for byte, asked by SQL."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from tests.integration.doors import Answers, Case, compared, count, written
from tests.integration.pg_cluster import database

if TYPE_CHECKING:
    from collections.abc import Iterator

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

    def __init__(self, connection: psycopg.Connection[Any], encoder: str | None) -> None:
        self.connection = connection
        self.encoder = encoder
        self.parts: list[str] = []
        self.half_life: float | None = None
        self.state = ""

    def value(self, statement: str, *values: Any) -> Any:
        row = self.connection.execute(statement, values).fetchone()
        assert row is not None
        return row[0]

    def ask(self, statement: str, *values: Any) -> str:
        found = self.value(statement, *values)
        assert isinstance(found, str)
        return found

    def load(self, first: Any, second: str) -> str:
        data = Path(first["file"]).read_bytes()
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
            case "agents":
                self.half_life = float(first) if first else None
                self.state = ""
                return ""
            case "putAgents":
                # As candidates do.
                self.parts = [first]
                try:
                    self.value("SELECT tiny_dancer.choose_among(%s, '{}', %s)", first, self.half_life)
                except psycopg.Error as error:
                    if not (error.diag.sqlstate or "").startswith("TD00") or error.diag.sqlstate == "TD009":
                        raise
                return ""
            case "choose":
                asked = "SELECT tiny_dancer.choose_among(%s, %s, %s)"
                return self.ask(asked, *self.parts, first, self.half_life)
            case "observe":
                asked = "SELECT tiny_dancer.agent_state_after(%s, %s, %s)"
                self.state = self.ask(asked, self.state if first is None else first, second, self.half_life)
                return self.state
            case "rank":
                return self.ask("SELECT tiny_dancer.rank_json(%s, %s)::text", *self.parts, first)
        raise AssertionError(operation)


def answers(url: str, cases: list[Case]) -> Iterator[list[str]]:
    """Those with an encoder over one connection, those without over one that finds none."""
    with psycopg.connect(url, autocommit=True) as usual, psycopg.connect(url, autocommit=True) as without:
        without.execute("SET tiny_dancer.encoder_path = '/nowhere'")
        replays = {True: Replay(usual, "sentences"), False: Replay(without, None)}
        for case in cases:
            replay = replays[case["encoder"] is not None]
            found: list[str] = []
            for operation, first, second in case["steps"]:
                try:
                    found.append(replay.step(operation, first, second))
                except psycopg.Error as error:
                    found.append(refusal(error))
                    break
            yield found


def test_every_vector_has_the_answer_of_the_engine(tmp_path: Path) -> None:
    path, expected = written(tmp_path)
    cases = json.loads(path.read_text(encoding="utf-8"))
    found: Answers = list(answers(database(), cases))
    assert compared(cases, expected, found) == count()
