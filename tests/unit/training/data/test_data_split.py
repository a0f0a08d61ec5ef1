"""Parts that share no request, and files that are what their name says."""

from __future__ import annotations

import json
import warnings
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tiny_dancer
from tiny_dancer.errors import DataError, OptionError
from tiny_dancer.routing import featurise
from tiny_dancer.training.data import read_outcomes, write_featurised
from tiny_dancer.training.data.raw import read_raw
from tiny_dancer.training.data.split import split_rows, split_table
from tiny_dancer.training.data.write import WRITTEN, table_bytes

if TYPE_CHECKING:
    from collections.abc import Callable


def words(row: int) -> str:
    """A request like no other."""
    random = np.random.default_rng(row)
    return " ".join("".join(letters) for letters in random.choice(list("abcdefghijklmnopqrstuvwxyz"), (12, 6)))


# Rows to parts


@settings(max_examples=80, deadline=None)
@given(
    group=st.lists(st.integers(0, 12), min_size=4, max_size=60),
    shares=st.lists(st.floats(0.05, 0.45), min_size=1, max_size=2),
    timed=st.booleans(),
    seed=st.integers(0, 5),
)
def test_groups_are_whole_and_no_part_is_empty(
    group: list[int], shares: list[float], timed: bool, seed: int
) -> None:
    numbers = np.array(group)
    time = np.random.default_rng(seed).integers(0, 9, len(group)).astype(float) if timed else None
    if len(set(group)) <= len(shares):
        with pytest.raises(DataError):
            split_rows(numbers, shares, time=time, seed=seed)
        return
    part = split_rows(numbers, shares, time=time, seed=seed)
    assert set(part.tolist()) == set(range(len(shares) + 1))
    for each in set(group):
        assert len(set(part[numbers == each].tolist())) == 1
    np.testing.assert_array_equal(part, split_rows(numbers, shares, time=time, seed=seed))
    if time is not None:
        latest = {each: time[numbers == each].max() for each in set(group)}
        for early in range(len(shares)):
            here = [latest[each] for each in set(group) if part[numbers == each][0] == early]
            later = [latest[each] for each in set(group) if part[numbers == each][0] == early + 1]
            assert max(here) <= min(later)


def test_shares_are_met_where_groups_are_small() -> None:
    part = split_rows(np.arange(1000) // 2, [0.2, 0.3], seed=4)
    assert np.bincount(part).tolist() == [500, 200, 300]
    large = np.where(np.arange(1000) < 900, 0, np.arange(1000))
    assert (split_rows(large, [0.05], seed=1) == 1).sum() == 50


@pytest.mark.parametrize("shares", [[], [0.0], [1.0], [0.5, 0.5], [-0.1], [float("nan")]])
def test_shares_that_leave_nothing(shares: list[float]) -> None:
    with pytest.raises(OptionError) as caught:
        split_rows(np.arange(9), shares)
    assert caught.value.field == "share"


# Tables


@pytest.mark.parametrize("name", ["table.parquet", "table.csv", "table.jsonl"])
def test_kin_groups_and_ids_stay_together(write: Callable[..., Path], name: str) -> None:
    prompts = [words(row) for row in range(60)]
    prompts[5] = prompts[40]
    prompts[7] = prompts[41] + " Thanks!"
    columns = {"prompt": prompts, "a": [1] * 60, "group": [None] * 60}
    columns["group"][9] = columns["group"][42] = "g"
    found = split_table(write(columns, name), [0.4], featurise=featurise, seed=1)
    for one, other in ((5, 40), (7, 41), (9, 42)):
        assert found.group[one] == found.group[other]
    assert len(np.unique(found.group)) == 57


def test_a_long_table_is_split_by_its_requests(write: Callable[..., Path]) -> None:
    columns = {
        "question": [words(row // 3) for row in range(60)],
        "llm": ["a", "b", "c"] * 20,
        "score": ["nonsense"] * 60,
    }
    path = write(columns, "long.jsonl")
    found = split_table(path, [0.25, 0.25], featurise=featurise)
    assert np.bincount(found.part).tolist() == [30, 15, 15]
    assert (found.part.reshape(20, 3) == found.part.reshape(20, 3)[:, :1]).all()
    lines = found.content(1, Path("part.jsonl")).decode().splitlines()
    own = path.read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        json.loads(own[row]) for row in np.flatnonzero(found.part == 1)
    ]


def test_a_featurised_table_stays_one(make_outcomes: Callable[..., Any], tmp_path: Path) -> None:
    prompts = [words(row) for row in range(40)]
    outcomes = make_outcomes(np.ones((40, 2)), prompts, features=featurise(prompts))
    path = tmp_path / "table.parquet"
    write_featurised(outcomes, path, feature_spec="spec")
    found = split_table(path, [0.5], featurise=featurise)
    part = tmp_path / "part.parquet"
    part.write_bytes(found.content(1, part))
    again = read_outcomes(part, feature_spec="spec")
    rows = np.flatnonzero(found.part == 1)
    np.testing.assert_array_equal(again.features.embedding, outcomes.features.embedding[rows])
    with pytest.raises(OptionError, match="parquet"):
        found.content(0, Path("part.csv"))


@pytest.mark.parametrize("suffix", WRITTEN)
@pytest.mark.parametrize("source", ["table.csv", "comma.csv", "table.jsonl", "table.parquet", "table.xlsx"])
def test_a_part_reads_as_its_rows_did(
    write: Callable[..., Path], tmp_path: Path, source: str, suffix: str
) -> None:
    chat = json.dumps([{"role": "user", "content": "Grüße; and, more"}])
    columns = {
        "sample_id": [f"00{row}" for row in range(12)],
        "prompt": [words(row) + '\n"quoted"; more, text' for row in range(12)],
        "messages": [chat if row % 3 == 0 else None for row in range(12)],
        "gpt-4": [None if row == 5 else row / 16 for row in range(12)],
        "claude": [row % 2 == 0 for row in range(12)],
        "claude|total_cost": [1e-5 * row for row in range(12)],
        "number": ["0123"] * 12,
    }
    if source == "table.xlsx":
        openpyxl = pytest.importorskip("openpyxl")
        book = openpyxl.Workbook()
        for row in (columns, *zip(*columns.values(), strict=True)):
            book.active.append(list(row))
        book.save(tmp_path / source)
    elif source == "comma.csv":
        lines = [[name.replace(".", ",") for name in columns]]
        for row in zip(*columns.values(), strict=True):
            lines.append(["" if each is None else str(each).replace(".", ",") for each in row])
        quoted = [";".join('"' + cell.replace('"', '""') + '"' for cell in line) for line in lines]
        (tmp_path / source).write_bytes("\r\n".join(quoted).encode("utf-16"))
    else:
        write(columns, source)
    found = split_table(tmp_path / source, [0.4], featurise=featurise)
    part = tmp_path / f"part{suffix}"
    part.write_bytes(found.content(1, part))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole, again = read_outcomes(tmp_path / source), read_outcomes(part)
    rows = np.flatnonzero(found.part == 1)
    wanted = whole.rows(rows)
    assert (again.sample_id, again.prompt, again.models) == (wanted.sample_id, wanted.prompt, wanted.models)
    nothing = (None,) * len(rows)
    assert [each and json.loads(each) for each in again.messages or nothing] == [
        each and json.loads(each) for each in wanted.messages or nothing
    ]
    np.testing.assert_array_equal(again.quality, wanted.quality)
    np.testing.assert_array_equal(again.cost, wanted.cost)
    if source == "table.csv" and suffix == ".csv":
        assert part.read_bytes().count(b"0123") == len(rows), "text that is no number of a model stays as it is"


NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "times",
    [
        [float(row) for row in range(20)],
        [str(row * 1.5) for row in range(20)],
        [(NOON + timedelta(hours=row)).isoformat() for row in range(20)],
        [(NOON + timedelta(hours=row)).replace(tzinfo=None) for row in range(20)],
        [(NOON + timedelta(days=row)).date() for row in range(20)],
    ],
    ids=["numbers", "text", "iso", "timestamps", "dates"],
)
def test_the_latest_rows_are_held_out(write: Callable[..., Path], times: list[Any]) -> None:
    order = np.random.default_rng(0).permutation(20)
    columns = {"prompt": [words(row) for row in range(20)], "a": [1] * 20, "at": [times[place] for place in order]}
    found = split_table(write(columns), [0.2, 0.3], featurise=featurise, by_time="at")
    assert set(order[found.part == 2]) == set(range(14, 20))
    assert set(order[found.part == 1]) == set(range(10, 14))


def test_a_group_goes_where_its_latest_row_does(write: Callable[..., Path]) -> None:
    columns = {
        "prompt": [words(row) for row in range(10)],
        "a": [1] * 10,
        "at": list(range(10)),
        "group": ["g"] * 10,
    }
    columns["group"] = ["g" if row in (0, 9) else f"g{row}" for row in range(10)]
    found = split_table(write(columns), [0.2], featurise=featurise, by_time="at")
    assert np.flatnonzero(found.part == 1).tolist() == [0, 9]


def test_what_cannot_be_split(write: Callable[..., Path], tmp_path: Path) -> None:
    columns: dict[str, Any] = {"prompt": ["one", "two", "three"], "a": [1, 0, 1]}

    def refuse(field: str, *said: str, path: Path, **options: Any) -> None:
        with pytest.raises(DataError) as caught:
            split_table(path, [0.3], featurise=featurise, **options)
        assert caught.value.field == field
        for word in said:
            assert word in str(caught.value)

    refuse("by_time", "'when'", path=write(columns), by_time="when")
    refuse("at", "'soon'", "number 2", path=write({**columns, "at": ["2026-01-01", "soon", ""]}), by_time="at")
    refuse("at", "number 3", "give every row a time", path=write({**columns, "at": [1, 2, None]}), by_time="at")
    refuse("prompt", "number 2", path=write({**columns, "prompt": ["one", " ", "three"]}))
    refuse("prompt", "'text'", path=write({"text": ["x"]}))
    refuse("group", "1 groups for 2 parts", path=write({**columns, "prompt": ["same"] * 3}))
    log = tmp_path / "run.jsonl"
    log.write_text('{"spec": {"run_id": "r"}}\n{"sample_id": "s", "data": {}}\n')
    refuse("table", "log of events", path=log)


def test_outcomes_are_split_in_memory(make_outcomes: Callable[..., Any]) -> None:
    prompts = [words(row // 2) for row in range(60)]
    outcomes = make_outcomes(np.ones((60, 2)), prompts, features=featurise(prompts))
    train, test = tiny_dancer.split_outcomes(outcomes, test=0.2, seed=2)
    assert (len(train), len(test)) == (48, 12)
    assert not set(train.prompt or ()) & set(test.prompt or ())
    parts = tiny_dancer.split_outcomes(outcomes, test=0.3, calibrate=0.2, time=np.arange(60))
    assert [len(part) for part in parts] == [30, 12, 18]
    assert parts[2].sample_id[0] == "s42"
    for options in ({"test": 1.0}, {"time": [1.0]}, {"time": [float("nan")] * 60}):
        with pytest.raises(OptionError):
            tiny_dancer.split_outcomes(outcomes, **options)


# Files


text = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), max_size=12)
cells = {
    "text": st.one_of(st.none(), text),
    "number": st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)),
    "count": st.one_of(st.none(), st.integers(-(2**53), 2**53)),
    "flag": st.one_of(st.none(), st.booleans()),
}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.fixed_dictionaries(cells), min_size=1, max_size=8))
@pytest.mark.parametrize("suffix", WRITTEN)
def test_what_is_written_is_read_again(tmp_path: Path, suffix: str, rows: list[dict[str, Any]]) -> None:
    rows = [{**row, "last": "x"} for row in rows]
    types = {
        "text": pa.string(),
        "number": pa.float64(),
        "count": pa.int64(),
        "flag": pa.bool_(),
        "last": pa.string(),
    }
    columns = {name: pa.array([row[name] for row in rows], kind) for name, kind in types.items()}
    path = tmp_path / f"table{suffix}"
    path.write_bytes(table_bytes(path, columns))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        raw = read_raw(path, lambda _name: True)
    assert raw.names == tuple(types)
    assert raw.rows == len(rows)
    for name in types:
        found = raw.columns[name].to_pylist()
        for row, value in zip(rows, found, strict=True):
            own = row[name]
            if isinstance(value, bytes):
                value = value.decode()
                value = {"true": True, "false": False}[value] if name == "flag" else value
                value = float(value) if name in ("number", "count") else value
            assert value == own or (value is None and own is None), (name, own, value)
