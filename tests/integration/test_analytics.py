"""`tiny-dancer analytics`, as a user runs it, on databases a gateway would have written."""

from __future__ import annotations

import csv
import io
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from pyarrow import parquet
from tests.commands import done, execute, fails
from tests.contract.requests import DAY, MIDNIGHT, api_key, request

from tiny_dancer.cli.analytics_text import sparkline
from tiny_dancer.storage import Feedback, SqliteStorage
from tiny_dancer.storage.summaries import EMPTY, figures

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.db"
    routed: dict[str, Any] = {"router": "default", "routed_by": "learned", "key": "k1", "confidence": 0.75}
    with SqliteStorage(path) as storage:
        storage.insert_api_key(api_key("k1", name="web [bold]shop"))
        storage.record_requests(
            [
                *[
                    request(
                        f"{n}",
                        MIDNIGHT + n * DAY,
                        **routed,
                        model="small",
                        team="research",
                        decision_id=f"d{n}",
                        input_tokens=1000,
                        cost=0.25,
                        baseline_cost=1.0,
                        latency=1.0 + n,
                        ttft=0.5,
                    )
                    for n in range(4)
                ],
                request("dear", MIDNIGHT + DAY, **routed, model="large", cost=2.0, baseline_cost=2.0, latency=9.0),
                request("bad", MIDNIGHT + 3 * DAY, status=502, error="bad_gateway", user="=HYPERLINK(1)"),
            ]
        )
        storage.record_feedback(Feedback("d1", 0.25))
    return path


def test_all_of_them(database: Path) -> None:
    said = done("analytics", database)
    rows = [line.split() for line in said.splitlines()]
    assert ["requests", "6", "▄█▄█"] in rows
    assert ["spent", "3.000", "USD", "▁█▁▁"] in rows
    assert any(row[:2] == ["failed", "1"] for row in rows)
    assert ["latency,", "p50", "p90", "p95", "p99", "2.00", "9.00", "9.00", "9.00"] in rows
    assert "score, 1 told" in said
    assert "saved 3.000 USD (50.0%)" in said


def test_by_model_the_dearest_first(database: Path) -> None:
    said = done("analytics", database, "--by", "model")
    rows = [line.split() for line in said.splitlines()]
    names = [row[0] for row in rows if row and row[0] in ("small", "large", "(none", "all")]
    assert names == ["large", "small", "(none", "all"]
    (large,) = [row for row in rows if row[:1] == ["large"]]
    assert large[1:] == ["1", "█", "0.0%", "0", "0", "2.000", "0.0%", "9.00", "9.00", "9.00"]
    assert "web [bold]shop (k1)" in done("analytics", database, "--by", "key")
    assert "1 more groups" not in said
    assert "2 more groups of less spending" in done("analytics", database, "--by", "model", "--top", "1")


def test_days_are_in_their_order(database: Path) -> None:
    said = done("analytics", database, "--by", "day,team")
    days = [line[:10] for line in said.splitlines() if line.startswith("20")]
    assert days == sorted(days) and days[0] == "2025-07-31" and len(days) == 6


def test_json_has_every_figure_by_name(database: Path) -> None:
    found = json.loads(done("analytics", database, "--by", "team", "--by", "model", "--format", "json"))
    assert (found["by"], found["since"], found["until"], found["where"]) == (["team", "model"], None, None, {})
    assert [(each["team"], each["model"]) for each in found["groups"]] == [
        ("", ""),
        ("", "large"),
        ("research", "small"),
    ]
    assert list(found["groups"][0]) == ["team", "model", *figures(EMPTY)]
    assert list(found["total"]) == list(figures(EMPTY))
    assert (found["total"]["requests"], found["total"]["latency_p50"], found["total"]["score"]) == (6, 2.0, 0.25)
    assert found["groups"][0]["saved_share"] is None
    filtered = json.loads(done("analytics", database, "--filter", "model=small", "--format", "json"))
    assert filtered["where"] == {"model": ["small"]}
    assert (filtered["total"]["requests"], filtered["groups"][0]["spent"]) == (4, 1.0)


def test_csv_and_parquet_have_the_same_columns_in_the_same_order(database: Path, tmp_path: Path) -> None:
    text = done("analytics", database, "--by", "user", "--format", "csv")
    rows = list(csv.reader(io.StringIO(text)))
    assert rows[0] == ["user", *figures(EMPTY)]
    # No spreadsheet computes what a client sent.
    assert [row[0] for row in rows[1:]] == ["", "'=HYPERLINK(1)"]
    assert rows[2][rows[0].index("ttft")] == ""
    out = tmp_path / "a.parquet"
    assert done("analytics", database, "--by", "user", "--out", out).strip() == f"{out}: written"
    table = parquet.read_table(out)
    assert table.column_names == rows[0]
    assert table["user"].to_pylist() == ["", "=HYPERLINK(1)"]
    assert str(table["requests"].type) == "int64" and str(table["ttft_p99"].type) == "double"
    assert table["ttft"].to_pylist() == [0.5, None]
    for name in ("a.csv", "a.json"):
        done("analytics", database, "--by", "user", "--out", tmp_path / name)
    assert (tmp_path / "a.csv").read_text() == text
    assert json.loads((tmp_path / "a.json").read_text())["by"] == ["user"]
    done("analytics", database, "--by", "user", "--out", tmp_path / "a.txt")
    assert "\x1b" not in (tmp_path / "a.txt").read_text()


def test_spans_of_time(database: Path) -> None:
    def requests(*words: object) -> int:
        total = json.loads(done("analytics", database, "--format", "json", *words))["total"]
        return 0 if total is None else int(total["requests"])

    assert requests("--since", "2025-08-01") == 5
    assert requests("--since", "2025-08-01", "--until", "2025-08-02") == 2
    assert requests("--since", "2025-07-31T02:00:01+02:00") == 5
    days = int((time.time() - MIDNIGHT) / DAY)
    assert requests("--since", f"{days - 1}d") == 3
    assert requests("--since", "7d") == 0
    said = done("analytics", database, "--since", "2025-08-01", "--until", "2025-08-02")
    assert "by hour" in said


def test_nothing_there_is_said_plainly(database: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty.db"
    SqliteStorage(empty).close()
    assert done("analytics", empty).strip() == f"{empty}: no requests"
    assert done("analytics", database, "--since", "7d").strip().endswith("no requests in this time")
    assert "which begins in the future" in done("analytics", database, "--since", "2999-01-01")
    assert "that pass the filter" in done("analytics", database, "--filter", "model=none")
    header, *rows = done("analytics", empty, "--by", "model", "--format", "csv").splitlines()
    assert header.startswith("model,requests,errors") and rows == []
    done("analytics", empty, "--by", "model", "--out", tmp_path / "empty.parquet")
    assert parquet.read_table(tmp_path / "empty.parquet").num_rows == 0
    assert json.loads(done("analytics", empty, "--format", "json"))["total"] is None


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["missing.db"], "no such file"),
        (["gateway.db", "--by", "modle"], "did you mean model"),
        (["gateway.db", "--by", "model,,day"], "dimensions"),
        (["gateway.db", "--filter", "modle=x"], "did you mean model"),
        (["gateway.db", "--filter", "model"], "DIMENSION=VALUE"),
        (["gateway.db", "--since", "soon"], "7d"),
        (["gateway.db", "--until", "1960-01-01"], "1970"),
        (["gateway.db", "--since", "2025-08-02", "--until", "2025-08-01"], "before until"),
        (["gateway.db", "--format", "parquet"], "--out"),
        (["gateway.db", "--format", "xml"], "xml"),
        (["gateway.db", "--out", "missing/a.csv"], "folder"),
        (["gateway.db", "--top", "0"], "top"),
    ],
)
def test_what_cannot_be_done_is_one_line(database: Path, arguments: list[str], word: str) -> None:
    assert word in fails(2, "analytics", *arguments, cwd=database.parent)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_any_terminal_is_wide_enough(database: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    with SqliteStorage(database) as storage:
        storage.record_requests([request("long", MIDNIGHT, user="ü" * 5000, cost=1e-9, baseline_cost=1e9)])
    monkeypatch.setenv("COLUMNS", str(width))
    for words in (["--by", "model"], ["--by", "user,model"], ["--by", "day"], []):
        said = done("analytics", database, *words)
        table = said.partition("saved ")[0] if words else said
        assert max(map(len, table.splitlines())) <= max(width, 160 if not words else 0)
        assert "\x1b" not in said


def test_a_terminal_without_unicode_gets_none(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SqliteStorage(database) as storage:
        storage.record_requests([request("z", MIDNIGHT, model="modèle\x1b[31m", cost=1.0)])
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    for words in ([], ["--by", "model"]):
        result = execute("analytics", database, *words)
        assert result.returncode == 0, result.stderr
        assert result.stdout.decode("ascii")
        assert b"\x1b" not in result.stdout
    assert b"mod\\xe8le" in result.stdout
    # What is for programs is UTF-8 all the same.
    for form in ("json", "csv"):
        result = execute("analytics", database, "--by", "model", "--format", form)
        assert "modèle" in result.stdout.decode("utf-8")


@pytest.mark.parametrize("way", ["itself", "a link", "another"])
def test_no_database_is_written_over(database: Path, tmp_path: Path, way: str) -> None:
    out = database
    if way == "a link":
        out = tmp_path / "link.csv"
        out.symlink_to(database)
    elif way == "another":
        out = tmp_path / "other.db"
        SqliteStorage(out).close()
    before = out.read_bytes()
    assert "is a database" in fails(2, "analytics", database, "--out", out, "--format", "csv")
    assert out.read_bytes() == before


def test_retention_is_told(database: Path) -> None:
    with SqliteStorage(database) as storage:
        storage.apply_retention(max_rows=2)
    said = done("analytics", database)
    assert "4 of the requests are no longer stored: their sums are kept, their percentiles are not" in said
    assert "latency" not in said
    said = done("analytics", database, "--by", "user")
    assert "(removed)" in said
    said = done("analytics", database, "--filter", "user=ada")
    assert "4 requests that are no longer stored may belong here too and are not counted" in said


def test_a_line_of_bars() -> None:
    assert sparkline([0, 1, 4, 8], ascii=False) == " ▁▄█"
    assert sparkline([0, 1, 4, 8], ascii=True) == " .=@"
    assert sparkline([0.0, -1.0], ascii=False) == "  "
    assert sparkline([], ascii=False) == ""
