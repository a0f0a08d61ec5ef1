"""What the command line refuses: one line, the right exit code, nothing half-written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.commands import columns, fails, write

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ([], "0 targets"),
        (["--cost-cut", "0.5", "--share", "dear=0.5"], "2 targets"),
        (["--share", "dear"], "MODEL=SHARE"),
        (["--share", "dear=lots"], "MODEL=SHARE"),
        (["--share", "nobody=0.5"], "nobody"),
        (["--share", "dear=1.5"], "between 0 and 1"),
        (["--cost-cut", "0"], "between 0 and 1"),
        (["--cost-cut", "0.99999"], "at most"),
        (["--max-quality-loss", "0.1", "--risk", "median"], "mean, harm, routed"),
        (["--max-quality-loss", "0.1", "--confidence", "1"], "confidence"),
        (["--max-quality-loss", "nan"], "between 0 and"),
        (["--max-quality-loss", "0.1", "--reference", "nobody"], "nobody"),
    ],
)
def test_wrong_calibration_options_are_refused(
    folder: Path, artifact: Path, tmp_path: Path, options: list[str], word: str
) -> None:
    line = fails(2, "calibrate", artifact, folder / "rest.parquet", "--out", tmp_path / "x", *options)
    assert word in line
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"cheap": [1.5] * 9}, "cheap"),
        ({"cheap": ["x", *[1.0] * 8]}, "cheap"),
        ({"dear|total_cost": [-1.0] * 9}, "dear|total_cost"),
        ({"prompt": [""] * 9}, "prompt"),
        ({"sample_id": ["same"] * 9}, "same"),
        ({"weight": [0.0] * 9}, "weight"),
        ({"messages": ["5"] * 9}, "messages"),
        ({"messages": ['[{"role": "robot", "content": "x"}]'] * 9}, "role"),
        ({"messages": ['[{"role": ["user"], "content": "x"}]'] * 9}, "role"),
    ],
    ids=str,
)
def test_bad_tables_are_refused_in_one_line(tmp_path: Path, change: dict[str, list[Any]], word: str) -> None:
    table = {key: values[:9] for key, values in columns(9, 6).items()}
    path = write({**table, **change}, tmp_path / "bad.csv")
    assert word in fails(2, "train", path, "--out", tmp_path / "x.safetensors")
    assert [each.name for each in tmp_path.iterdir()] == ["bad.csv"]


def test_files_that_are_no_tables_are_refused(folder: Path, tmp_path: Path) -> None:
    data = (folder / "rest.parquet").read_bytes()
    (tmp_path / "cut.parquet").write_bytes(data[: len(data) // 2])
    (tmp_path / "empty.csv").write_bytes(b"")
    (tmp_path / "noise.jsonl").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "odd.txt").write_text("hello")
    names = ["cut.parquet", "empty.csv", "noise.jsonl", "odd.txt", "missing.csv", "line\nbreak.csv"]
    for name in names:
        line = fails(2, "data", "check", tmp_path / name)
        assert line.startswith("error: ")
        assert ";" in line, "a remedy is given"


def test_no_output_is_half_written(folder: Path, artifact: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "missing" / "out.parquet"
    table = folder / "rest.parquet"
    for arguments in (
        ("train", table, "--out", nowhere),
        ("predict", artifact, table, "--out", nowhere),
        ("calibrate", artifact, table, "--share", "dear=0.5", "--out", nowhere),
        ("report", table, "--out", nowhere),
        ("data", "featurise", table, "--out", nowhere),
        ("train", table, "--out", tmp_path),
        ("predict", artifact, table, "--out", tmp_path),
    ):
        assert str(tmp_path)[:20] in fails(2, *arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        ["frobnicate"],
        ["data", "frobnicate"],
        ["route"],
        ["train"],
        ["route", "x", "--nope"],
        ["route", "x", "--max-cost", "much"],
        ["calibrate", "default"],
        ["route", "x", "--artifact", "/nonexistent"],
        ["inspect", "/nonexistent"],
        ["inspect", "/"],
        ["predict", "default", "/nonexistent.csv", "--out", "x.parquet"],
    ],
    ids=" ".join,
)
def test_bad_usage_is_one_line(arguments: list[str], tmp_path: Path) -> None:
    line = fails(2, *arguments, cwd=tmp_path)
    assert line.startswith("error: ")
    assert not list(tmp_path.iterdir())
