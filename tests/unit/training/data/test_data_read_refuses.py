"""Every way a table can be wrong, each refused with the column, the row, the value and a remedy."""

from __future__ import annotations

import json
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tiny_dancer.errors import DataError
from tiny_dancer.training.data import read_outcomes

FORMATS = ("table.parquet", "table.csv", "table.jsonl")
GOOD = {"sample_id": ["first", "second"], "prompt": ["one", "two"], "a": [1.0, 0.5]}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("value", [1.5, -0.1, 100.0, float("inf"), float("-inf")])
@pytest.mark.parametrize("models", [None, ["a"]])
def test_quality_outside_its_range(write, refuse, name, value, models):
    path = write({**GOOD, "a": [1.0, value]}, name)
    refuse([path], "a", repr(value), "row second", path.name, "[0, 1]", models=models)


@pytest.mark.parametrize("suffix", ["total_cost", "latency_s"])
@pytest.mark.parametrize("value", [-0.01, float("inf"), 1e300])
@pytest.mark.parametrize("name", FORMATS)
def test_costs_and_latencies_outside_their_range(write, refuse, name, value, suffix):
    path = write({**GOOD, f"a|{suffix}": [0.1, value]}, name)
    refuse([path], f"a|{suffix}", repr(value), "row second")


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan"), None])
def test_weights_that_are_none(write, refuse, value):
    refuse([write({**GOOD, "weight": [1.0, value]})], "weight", "row second", "positive")


@pytest.mark.parametrize("name", ["table.parquet", "table.csv"])
def test_text_that_is_a_number_in_some_rows_only(write, refuse, name):
    refuse([write({**GOOD, "a": ["0.5", "good"]}, name)], "a", "'good'", "row second", "--models")
    refuse([write({**GOOD, "a": ["0.5", "1_0"]}, name)], "a", "'1_0'", "row second")


def test_asked_models_that_are_text_lists_or_dates(write, refuse):
    refuse([write({**GOOD, "c": ["x", "y"]})], "c", "'x'", "row first", models=["c"])
    refuse([write({**GOOD, "c": [["x"], ["y"]]})], "c", "list", models=["c"])
    refuse([write({**GOOD, "c": [date(2024, 1, 1)] * 2})], "c", "date32", models=["c"])
    refuse([write({**GOOD, "a|total_cost": [["x"], ["y"]]})], "a|total_cost", "list")


def test_unknown_and_repeated_models(write, refuse):
    path = write({**GOOD, "gpt-4": [1.0, 0.0]})
    error = refuse([path], "models", "'gpt4'", models=["gpt4"])
    assert "did you mean gpt-4?" in error.remedy
    assert "known: a, gpt-4" in error.remedy
    refuse([path], "models", "once", models=["a", "a"])


def test_no_model_column_and_no_observed_quality(write, refuse):
    refuse([write({"prompt": ["p"], "sample_id": ["x"]})], "models", "no model column")
    with pytest.warns(UserWarning, match="not used"):
        read_outcomes([write({"prompt": ["p"], "a": [1.0], "b": [None]})])
    refuse([write({"prompt": ["p"], "a": [None], "b": [float("nan")]})], "models", "observed")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_table_of_text_only(write, refuse):
    refuse([write({"prompt": ["p"], "answer": ["x"]})], "models", "'answer'")


@pytest.mark.parametrize("name", FORMATS)
def test_no_prompt_column(write, refuse, name):
    refuse([write({"text": ["p"], "a": [1.0]}, name)], "prompt", "'text'")
    refuse([write({"text": ["p"]}, name)], "prompt", require_quality=False)


@pytest.mark.parametrize("prompt", ["", "   ", "\n\t ", "\u3000\u2003", None])
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("require_quality", [True, False])
def test_blank_prompts(write, refuse, name, prompt, require_quality):
    path = write({**GOOD, "prompt": ["one", prompt]}, name)
    refuse([path], "prompt", "row second", require_quality=require_quality)


def test_prompts_of_another_type(write, refuse, tmp_path):
    refuse([write({**GOOD, "prompt": [1, 2]})], "prompt", "int64")
    refuse([write({**GOOD, "prompt": [["p"], ["q"]]})], "prompt", "list")
    path = tmp_path / "mixed.jsonl"
    path.write_text('{"prompt": "p", "a": 1}\n{"prompt": 5, "a": 1}\n')
    refuse([path], "prompt", "5", "record 2", "one type")


def test_text_that_is_not_utf8(tmp_path, refuse):
    lone = b"a\xed\xa0\x80b"
    path = tmp_path / "table.csv"
    path.write_bytes(b"sample_id,prompt,a\nfirst,one,1\nsecond," + lone + b",0\n")
    refuse([path], "prompt", "row second", "UTF-8")
    path = tmp_path / "table.parquet"
    raw = pa.array([b"one", lone])
    for broken in (raw, pa.StringArray.from_buffers(2, *raw.buffers()[1:])):
        pq.write_table(pa.table({"sample_id": ["first", "second"], "prompt": broken, "a": [1, 0]}), path)
        refuse([path], "prompt", "row second", "surrogate")
    path = tmp_path / "table.jsonl"
    path.write_text('{"sample_id": "first", "prompt": "one \\ud800", "a": 1}\n')
    refuse([path], "prompt", "row first", "surrogate")
    path.write_bytes(b'{"prompt": "' + lone + b'", "a": 1}\n')
    refuse([path], "table.jsonl line 1", "UTF-8")


@pytest.mark.parametrize("tools", ["{not json", "5", '"text"', "[1]"])
@pytest.mark.parametrize("name", FORMATS)
def test_bad_tools(write, refuse, name, tools):
    refuse([write({**GOOD, "tools": [None, tools]}, name)], "tools", "row second", "JSON list")


@pytest.mark.parametrize(
    "messages",
    [
        "{not json",
        "[]",
        "{}",
        '["text"]',
        '[{"content": "x"}]',
        '[{"role": "user"}]',
        '[{"role": 5, "content": "x"}]',
        '[{"role": "user", "content": [5]}]',
        '[{"role": "user", "content": "  "}]',
        '[{"role": "user", "content": "\\ud800"}]',
        "[" * 100_000,
    ],
)
@pytest.mark.parametrize("name", ["table.parquet", "table.jsonl"])
def test_bad_messages(write, refuse, name, messages):
    refuse([write({**GOOD, "messages": [None, messages]}, name)], "messages", "row second", "role")


@pytest.mark.parametrize("name", FORMATS)
def test_bad_ids(write, refuse, name):
    refuse([write({**GOOD, "sample_id": ["first", None]}, name)], "sample_id", "number 2")
    refuse([write({**GOOD, "sample_id": ["first", " "]}, name)], "sample_id", "number 2")
    refuse([write({**GOOD, "sample_id": ["same", "same"]}, name)], "sample_id", "'same' is twice in")


def test_ids_of_another_type(write, refuse):
    refuse([write({**GOOD, "sample_id": [1.0, 2.0]})], "sample_id", "double")
    assert read_outcomes([write({**GOOD, "sample_id": [1, 2]})]).sample_id == ("1", "2")


def test_ids_in_two_files(write, refuse):
    paths = [write(GOOD, "one.csv"), write(GOOD, "two.jsonl")]
    refuse(paths, "sample_id", "'first' is in one.csv and in two.jsonl")


@pytest.mark.parametrize("name", FORMATS)
def test_columns_that_occur_twice(tmp_path, refuse, name):
    path = tmp_path / name
    if path.suffix == ".parquet":
        columns = [pa.array(["p"]), pa.array([1.0]), pa.array([0.0])]
        pq.write_table(pa.Table.from_arrays(columns, names=["prompt", "a", "a"]), path)
    elif path.suffix == ".csv":
        path.write_text("prompt,a,a\np,1,0\n")
    else:
        path.write_text('{"prompt": "p", "a": 1, "a": 0}\n')
        refuse([path], "table.jsonl line 1", "'a' occurs twice")
        return
    refuse([path], "a", "more than one column")


def test_no_table_and_no_file(tmp_path, refuse):
    refuse([], "table", "none")
    refuse([tmp_path / "absent.csv"], "table", "no such file")
    refuse([tmp_path], "table", "no such file")


@pytest.mark.parametrize("name", ["table.txt", "table", "table.gz", "table.xls", "table.ods"])
def test_unknown_suffixes(tmp_path, refuse, name):
    path = tmp_path / name
    path.write_text("prompt,a\np,1\n")
    refuse([path], "table", ".jsonl.gz")


@pytest.mark.parametrize("name", [*FORMATS, "table.csv.gz"])
def test_empty_files(tmp_path, refuse, name):
    path = tmp_path / name
    path.write_bytes(b"")
    refuse([path], "table", "empty")


@pytest.mark.parametrize("name", ["table.parquet", "table.csv"])
@pytest.mark.parametrize("require_quality", [True, False])
def test_no_rows(write, refuse, name, require_quality):
    path = write({"prompt": np.array([], str), "a": np.array([], float)}, name)
    refuse([path], "table", "no rows", require_quality=require_quality)


def test_blank_json_lines(tmp_path, refuse):
    path = tmp_path / "table.jsonl"
    path.write_text("\n\n")
    refuse([path], "table", "no rows")


@pytest.mark.parametrize(
    "line", ["{", "[]", "5", '{"a": 1} x', "\x00", '{"a": ' + "9" * 5000 + "}", "[" * 100_000]
)
def test_broken_json_lines(tmp_path, refuse, line):
    path = tmp_path / "table.jsonl"
    path.write_text('{"prompt": "p", "a": 1}\n' + line + "\n")
    refuse([path], "table.jsonl line 2", "JSON object")


def test_numbers_too_large_for_any_type(tmp_path, refuse):
    path = tmp_path / "table.jsonl"
    path.write_text('{"prompt": "p", "a": ' + "9" * 400 + "}\n")
    refuse([path], "a", "row row-0", "[0, 1]")
    path.write_text('{"prompt": "p", "a": ' + "9" * 400 + '}\n{"prompt": "q", "a": 0.5}\n')
    refuse([path], "a", "row row-0", "[0, 1]")


def test_ragged_csv(tmp_path, refuse):
    path = tmp_path / "table.csv"
    path.write_text("prompt,a\np,1\nq,1,2\n")
    refuse([path], "table", "Expected 2 columns")
    path.write_text('prompt,a\n"unclosed,1\nq,1\n')
    refuse([path], "table", "no sound csv")


@pytest.mark.parametrize("keep", [4, 100, 0.5, 0.9, 0.999])
def test_truncated_parquet(tmp_path, write, refuse, keep):
    path = write({"prompt": [f"prompt {row}" for row in range(2000)], "a": [1.0, 0.5] * 1000})
    data = path.read_bytes()
    path.write_bytes(data[: keep if isinstance(keep, int) else int(len(data) * keep)])
    refuse([path], "table", "table.parquet", "write it again")


def test_parquet_with_flipped_bytes_never_ends_otherwise(write):
    path = write({"prompt": [f"prompt {row}" for row in range(500)], "a": [1.0, 0.5] * 250})
    data = bytearray(path.read_bytes())
    random = np.random.default_rng(0)
    for _ in range(60):
        broken = data.copy()
        for place in random.integers(4, len(data) - 8, 3):
            broken[place] ^= 1 << int(random.integers(8))
        path.write_bytes(broken)
        try:
            read_outcomes([path])
        except DataError as error:
            assert error.remedy


def test_long_values_are_shortened(write, refuse):
    error = refuse([write({**GOOD, "tools": [json.dumps("x" * 10_000), None]})], "tools", "row first")
    assert len(str(error)) < 500


def test_a_small_parquet_file_that_asks_for_much_is_refused_before_it_is_read(tmp_path, refuse):
    """One value of 1 MB that stands in 20,000 rows: 20 GB in a file of a few hundred bytes."""
    rows = 20_000
    prompt = pa.DictionaryArray.from_arrays(pa.array(np.zeros(rows, np.int32)), pa.array(["x" * 1_000_000]))
    path = tmp_path / "small.parquet"
    table = pa.table({"prompt": prompt, "a": np.zeros(rows), "b-1.5": np.ones(rows)})
    pq.write_table(table, path, compression="zstd", store_schema=False)
    assert path.stat().st_size < 10_000
    before = pa.total_allocated_bytes()
    refuse([path], "table", "GiB once it is read", "split it")
    assert pa.total_allocated_bytes() - before < 100 << 20
    # What a row group declares is believed before it is read.
    pq.write_table(pa.table({"prompt": ["x"] * 3000, "a": [0.5] * 3000}), path)
    assert len(read_outcomes(path)) == 3000
