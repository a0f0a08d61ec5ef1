"""The `tools` commands, as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.commands import done, fails

from tiny_dancer.routing.loading import load_any
from tiny_dancer.routing.tools import ToolSelector
from tiny_dancer.storage import SqliteStorage

SERVICES = json.loads(
    (Path(__file__).parents[2] / "benchmarks" / "data" / "everyday_tools.json").read_text(encoding="utf-8")
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables of the services' tools and of plain requests, and the tools as a client writes them."""
    folder = tmp_path_factory.mktemp("tools")
    tools, requests = SERVICES["tools"], SERVICES["requests"]
    pq.write_table(
        pa.table({"tool_id": [each["name"] for each in tools], "schema": list(map(json.dumps, tools))}),
        folder / "tools.parquet",
    )
    asked = [(f"{each['request']}{end}", each["right"]) for end in ("", " please") for each in requests]
    pq.write_table(
        pa.table(
            {
                "query_id": [f"q{number}" for number in range(len(asked))],
                "query": [text for text, _ in asked],
                "tool_ids": [right for _, right in asked],
            }
        ),
        folder / "queries.parquet",
    )
    (folder / "tools.json").write_text(json.dumps(tools), encoding="utf-8")
    return folder


def test_predictions_have_a_row_for_every_request_in_order(place: Path) -> None:
    out = place / "predicted.parquet"
    said = done(
        "tools", "predict", "default", place / "tools.parquet", place / "queries.parquet", "--k", 3, "--out", out
    )
    assert "50 rows" in said
    table = pq.read_table(out).to_pydict()
    assert list(table) == ["query_id", "tool_ids", "scores"]
    assert table["query_id"] == [f"q{number}" for number in range(50)]
    assert all(
        len(ids) == len(scores) == 3 for ids, scores in zip(table["tool_ids"], table["scores"], strict=True)
    )
    assert all(scores == sorted(scores, reverse=True) for scores in table["scores"])
    bare = place / "bare.parquet"
    pq.write_table(pq.read_table(place / "queries.parquet").drop_columns("tool_ids"), bare)
    done("tools", "predict", "default", place / "tools.parquet", bare, "--k", 3, "--out", place / "again.parquet")
    assert pq.read_table(place / "again.parquet").equals(pq.read_table(out)), "right tools are never read"


def test_use_is_learned_inspected_and_applied(place: Path) -> None:
    artifact = place / "use.safetensors"
    said = done(
        *("tools", "train", place / "tools.parquet", place / "queries.parquet", "--out", artifact),
        *("--created", "2026-01-01"),
    )
    assert "50 requests" in said and "untrained: top-1" in said
    again = place / "again.safetensors"
    done(
        *("tools", "train", place / "tools.parquet", place / "queries.parquet", "--out", again),
        *("--created", "2026-01-01"),
    )
    assert again.read_bytes() == artifact.read_bytes()
    load_any(artifact.read_bytes())
    shown = done("inspect", artifact)
    assert "tools, version 1.0.0" in shown and "self-checks: 4 replayed" in shown
    done(
        *("tools", "predict", artifact, place / "tools.parquet", place / "queries.parquet"),
        *("--out", place / "learned.jsonl"),
    )
    rows = [json.loads(line) for line in (place / "learned.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 50 and len(rows[0]["tool_ids"]) == 10


def test_an_evaluation_says_what_is_lost_and_saved(place: Path) -> None:
    shown = done("tools", "eval", place / "tools.parquet", place / "queries.parquet", "--k", 5)
    assert "recall lost" in shown and "tokens of schemas" in shown
    found = json.loads(
        done("tools", "eval", place / "tools.parquet", place / "queries.parquet", "--k", 5, "--json")
    )
    estimate, low, high = found["recall lost"]
    assert 0 <= low <= estimate <= high <= 1
    assert found["recall@5"][0] == pytest.approx(1 - estimate)
    assert 0.8 < found["tokens_saved"] < 1 and found["tools"] == len(SERVICES["tools"])


def test_one_request_is_answered_from_json_or_a_table(place: Path) -> None:
    for tools in ("tools.json", "tools.parquet"):
        shown = done(
            "tools", "select", place / tools, "tell the #launch channel on slack that we are live", "--k", 3
        )
        assert "3 of 64 tools" in shown and "Slack_SendMessageToChannel" in shown
    found = json.loads(done("tools", "select", place / "tools.json", "upload this to dropbox", "--k", 1, "--json"))
    assert found["tools"][0]["tool"] == next(
        each for each in SERVICES["tools"] if each["name"] == "Dropbox_UploadFile"
    )


def test_bad_input_is_one_line(place: Path, tmp_path: Path) -> None:
    tools, queries = place / "tools.parquet", place / "queries.parquet"
    out = tmp_path / "p.parquet"
    (tmp_path / "broken.json").write_text("{", encoding="utf-8")
    (tmp_path / "twice.json").write_text('[{"name": "a"}, {"name": "a"}]', encoding="utf-8")
    for words in (
        ("tools", "predict", "missing.safetensors", tools, queries, "--out", out),
        ("tools", "predict", tools, tools, queries, "--out", out),
        ("tools", "predict", "default", queries, queries, "--out", out),
        ("tools", "predict", "default", tools, tools, "--out", out),
        ("tools", "predict", "default", tools, queries, "--k", 0, "--out", out),
        ("tools", "train", tools, tools, "--out", tmp_path / "a"),
        ("tools", "select", tmp_path / "broken.json", "x"),
        ("tools", "select", tmp_path / "twice.json", "x"),
        ("tools", "select", place / "tools.json", " "),
        ("tools", "eval", tools, queries, "--artifact", tools),
    ):
        assert fails(2, *words).startswith("error: ")
    assert not out.exists()


def kept(path: Path, *calls: tuple[str, list[str]], text: bool = True) -> Path:
    """A database of calls."""
    with SqliteStorage(path) as storage:
        selector = ToolSelector(SERVICES["tools"], storage=storage)
        for said, used in calls:
            selector.observe(said, used, keep_text=text)
        storage.flush()
    return path


def test_use_is_learned_from_a_database(place: Path) -> None:
    calls = [(each["request"], each["right"]) for each in SERVICES["requests"]]
    database = kept(place / "calls.db", *calls, *calls[:5])
    first = set(calls[0][1])
    table = pq.read_table(place / "tools.parquet")
    without = place / "without.parquet"
    pq.write_table(table.filter([name not in first for name in table["tool_id"].to_pylist()]), without)
    out = place / "from-calls.safetensors"
    for tools in (place / "tools.json", place / "tools.parquet"):
        said = done("tools", "train", tools, "--storage", database, "--out", out)
        assert f"{len(calls)} requests" in said and "left out" not in said
    load_any(out.read_bytes())
    said = done("tools", "train", without, "--storage", database, "--out", out)
    assert "left out: 2 records: no tool of the table was called" in said


def test_what_cannot_be_learned_from_is_said(place: Path) -> None:
    calls = [(each["request"], each["right"]) for each in SERVICES["requests"]]
    out = place / "none.safetensors"
    few = kept(place / "few.db", *calls[:9], *calls[:9])
    said = fails(2, "tools", "train", place / "tools.json", "--storage", few, "--out", out)
    assert "9 requests to learn from, of 18 records" in said and "10 are needed" in said
    bare = kept(place / "bare.db", *calls, text=False)
    said = fails(2, "tools", "train", place / "tools.json", "--storage", bare, "--out", out)
    assert f"0 requests to learn from, of {len(calls)} records" in said and "what was asked is not kept" in said
    other = place / "other.json"
    other.write_text('[{"name": "other"}]', encoding="utf-8")
    said = fails(2, "tools", "train", other, "--storage", few, "--out", out)
    assert "no tool of the table was called" in said
    for wrong in ("[]", "{", "7", '[{"description": "x"}]'):
        other.write_text(wrong, encoding="utf-8")
        fails(2, "tools", "train", other, "--storage", few, "--out", out)
    fails(2, "tools", "train", place / "tools.json", "--storage", place / "absent.db", "--out", out)
    both = (place / "tools.json", place / "queries.parquet", "--storage", few)
    assert "give one of them" in fails(2, "tools", "train", *both, "--out", out)
    assert "give one of them" in fails(2, "tools", "train", place / "tools.json", "--out", out)
    assert not out.exists()
