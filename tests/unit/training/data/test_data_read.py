from __future__ import annotations

import gzip
import json
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tiny_dancer.training.data import DataWarning, read_outcomes

NAN = float("nan")
FORMATS = ("table.parquet", "table.csv", "table.jsonl")
PLAIN = {"sample_id": ["x", "y"], "prompt": ["one", "two"], "a": [1.0, 0.5], "b": [0.0, 1.0]}


@pytest.mark.parametrize("name", FORMATS)
def test_every_column_of_the_format_is_read(write, name):
    messages = json.dumps([{"role": "user", "content": "hello"}])
    columns = {
        "sample_id": ["x", "y", "z"],
        "eval_name": ["t1", "t2", None],
        "prompt": ["one\nline, and more", '"quoted"', None],
        "tools": ['[{"name": "f"}]', None, ""],
        "messages": [None, None, messages],
        "weight": [1.0, 2.5, 0.5],
        "group": ["g", "h", "g"],
        "gpt-3.5-v1.0": [1.0, None, 0.25],
        "b": [True, False, True],
        "b|total_cost": [0.001, None, 0.0],
        "b|latency_s": [1.5, 2.0, None],
    }
    table = read_outcomes([write(columns, name)])
    assert table.sample_id == ("x", "y", "z")
    assert table.task == ("t1", "t2", "")
    assert table.models == ("gpt-3.5-v1.0", "b")
    assert table.prompt == ("one\nline, and more", '"quoted"', "")
    assert table.tools == ('[{"name": "f"}]', None, None)
    assert table.messages == (None, None, messages)
    np.testing.assert_array_equal(table.quality, [[1, 1], [NAN, 0], [0.25, 1]])
    np.testing.assert_array_equal(table.cost, [[NAN, 0.001], [NAN, NAN], [NAN, 0]])
    np.testing.assert_array_equal(table.latency, [[NAN, 1.5], [NAN, 2.0], [NAN, NAN]])
    np.testing.assert_array_equal(table.weight, [1, 2.5, 0.5])
    np.testing.assert_array_equal(table.group, [0, 1, 0])
    assert table.features is None


@pytest.mark.parametrize("name", FORMATS)
def test_only_prompts_and_labels_are_needed(write, name):
    table = read_outcomes([write({"prompt": ["one", "two"], "a": [1, 0]}, name)])
    assert table.sample_id == ("row-0", "row-1")
    assert (table.task, table.models) == (("", ""), ("a",))
    assert (table.cost, table.latency, table.tools, table.messages) == (None, None, None, None)
    np.testing.assert_array_equal(table.group, [0, 1])


@pytest.mark.parametrize("name", ["table.csv", "table.jsonl"])
def test_gzipped_text_is_read(write, tmp_path, name):
    path = tmp_path / f"{name}.gz"
    path.write_bytes(gzip.compress(write(PLAIN, name).read_bytes()))
    assert read_outcomes([path]).prompt == ("one", "two")


def test_a_truncated_gzip_is_refused(write, tmp_path, refuse):
    for name in ("table.csv", "table.jsonl"):
        path = tmp_path / f"{name}.gz"
        path.write_bytes(gzip.compress(write(PLAIN, name).read_bytes())[:-12])
        refuse([path], "table", "truncated")


def test_routellm_csv_is_read_as_it_is(tmp_path):
    path = tmp_path / "routellm.csv"
    path.write_text(
        ',prompt,mixtral,gpt-4\n0,"What\nis it, then?",True, False\n1,Why?, True ,True\n'.replace(", gpt", ",gpt")
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = read_outcomes([path])
    assert table.models == ("mixtral", "gpt-4")
    assert table.prompt == ("What\nis it, then?", "Why?")
    np.testing.assert_array_equal(table.quality, [[1, 0], [1, 1]])


@pytest.mark.parametrize("prompt", ['["first turn", "second turn"]', "['first turn', 'second turn']"])
def test_routerbench_is_read_as_it_is(write, prompt):
    columns = {
        "sample_id": ["mt-1"],
        "prompt": [prompt],
        "eval_name": ["mtbench"],
        "gpt-4": [0.9],
        "gpt-4|model_response": ["text"],
        "gpt-4|total_cost": [0.01],
        "oracle_model_to_route_to": ["gpt-4"],
    }
    table = read_outcomes([write(columns)])
    assert table.models == ("gpt-4",)
    assert table.prompt == ("first turn\nsecond turn",)


def test_a_list_stays_a_list_outside_routerbench(write):
    assert read_outcomes([write({"prompt": ['["a"]'], "m": [1]})]).prompt == ('["a"]',)


def test_files_are_joined_row_below_row(write):
    first = write(
        {"sample_id": ["x"], "prompt": ["one"], "group": ["g"], "a": [1.0], "a|total_cost": [0.5]},
        "first.parquet",
    )
    second = write(
        {"sample_id": ["y", "z"], "prompt": ["two", "three"], "group": ["g", None], "b": [0.0, 1.0]},
        "second.csv",
    )
    table = read_outcomes([first, second])
    assert table.sample_id == ("x", "y", "z")
    assert table.models == ("a", "b")
    np.testing.assert_array_equal(table.quality, [[1, NAN], [NAN, 0], [NAN, 1]])
    np.testing.assert_array_equal(table.cost, [[0.5, NAN], [NAN, NAN], [NAN, NAN]])
    np.testing.assert_array_equal(table.group, [0, 0, 1])


def test_rows_without_ids_are_named_after_their_file(write):
    paths = [write({"prompt": ["one"], "a": [1]}, name) for name in ("first.csv", "second.jsonl")]
    assert read_outcomes(paths).sample_id == ("first-0", "second-0")


def test_integer_groups_stay_and_rows_without_one_are_alone(write):
    table = read_outcomes([write({"prompt": ["p"] * 4, "group": [7, None, 7, 3], "a": [1, 0, 1, 0]})])
    np.testing.assert_array_equal(table.group, [7, 8, 7, 3])


def test_groups_that_pandas_made_floats_are_whole_numbers(write, refuse):
    columns = {"prompt": ["p"] * 3, "a": [1, 0, 1]}
    table = read_outcomes([write({**columns, "group": [4.0, NAN, 4.0]})])
    np.testing.assert_array_equal(table.group, [4, 5, 4])
    refuse([write({**columns, "group": [4.0, NAN, 4.5]})], "group", "4.5", "row row-2")
    refuse([write({**columns, "group": [4.0, 1.0, float("inf")]})], "group", "inf", "row row-2")


def test_one_path_needs_no_list(write):
    path = write(PLAIN)
    assert read_outcomes(path).sample_id == read_outcomes(str(path)).sample_id == ("x", "y")


def test_huge_integer_groups_are_numbered_anew(write):
    table = read_outcomes([write({"prompt": ["p"] * 3, "group": [2**63 - 1, None, 2**63 - 1], "a": [1, 0, 1]})])
    np.testing.assert_array_equal(table.group, [0, 1, 0])


def test_named_models_are_read_in_the_order_given(write):
    columns = {**PLAIN, "difficulty": [7, 9], "notes": ["hard", "easy"]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = read_outcomes([write(columns)], models=["b", "a"])
    assert table.models == ("b", "a")
    np.testing.assert_array_equal(table.quality, [[0, 1], [1, 0.5]])


@pytest.mark.parametrize("name", FORMATS)
def test_predicting_never_reads_labels_and_keeps_the_order(write, name):
    columns = {
        "sample_id": ["z", "a"],
        "prompt": ["one", "two"],
        "m": ["rubbish", "7"],
        "m|total_cost": [-1, 2],
    }
    table = read_outcomes([write(columns, name)], require_quality=False)
    assert table.sample_id == ("z", "a")
    assert (table.models, table.cost, table.quality.shape) == ((), None, (2, 0))
    del columns["m"], columns["m|total_cost"]
    assert read_outcomes([write(columns, name)], require_quality=False).prompt == ("one", "two")


@pytest.mark.parametrize("missing", [None, NAN, "", "nan", "NaN", "null", "None", "NA"])
def test_missing_quality_is_not_observed(write, missing):
    name = "table.csv" if isinstance(missing, str) else "table.parquet"
    table = read_outcomes([write({"prompt": ["p", "q"], "a": [missing, 1.0], "b": [missing, 0.5]}, name)])
    np.testing.assert_array_equal(table.quality, [[NAN, NAN], [1, 0.5]])


def test_json_nan_is_not_observed(tmp_path):
    path = tmp_path / "table.jsonl"
    path.write_text('{"prompt": "p", "a": NaN, "b": 1}\n\n{"prompt": "q", "a": 0.5, "b": true}\n')
    np.testing.assert_array_equal(read_outcomes([path]).quality, [[NAN, 1], [0.5, 1]])


def test_json_lines_may_lack_keys_and_hold_objects(tmp_path):
    path = tmp_path / "table.jsonl"
    chat = [{"role": "user", "content": "hi"}]
    path.write_text(
        json.dumps({"prompt": "p", "a": 1, "tools": [{"name": "f"}]})
        + "\n"
        + json.dumps({"messages": chat, "b": 0})
        + "\n"
    )
    table = read_outcomes([path])
    np.testing.assert_array_equal(table.quality, [[1, NAN], [NAN, 0]])
    assert table.prompt == ("p", "")
    assert table.tools == ('[{"name": "f"}]', None)
    assert json.loads(table.messages[1]) == chat


def test_a_nested_parquet_column_of_messages_is_read(write):
    chat = [{"role": "user", "content": "hi"}]
    table = read_outcomes([write({"messages": [chat], "a": [1.0]})])
    assert json.loads(table.messages[0]) == chat


def test_unused_columns_are_named_in_a_warning(write):
    columns = {
        **PLAIN,
        "source": ["web", "book"],
        "tags": [["x"], ["y"]],
        "empty": [None, None],
        "c|total_cost": [1.0, 2.0],
        "a|tokens": [3, 4],
    }
    with pytest.warns(DataWarning) as caught:
        table = read_outcomes([write(columns)])
    assert table.models == ("a", "b")
    text = " ".join(str(warning.message) for warning in caught)
    assert all(repr(name) in text for name in ("source", "tags", "empty", "c|total_cost", "a|tokens"))
    assert all(warning.filename == __file__ for warning in caught)


def test_nul_bytes_and_a_megabyte_stay(write):
    prompts = ["nul \0 byte", "x " * (1 << 19)]
    for name in FORMATS:
        assert read_outcomes([write({"prompt": prompts, "a": [1, 0]}, name)]).prompt == tuple(prompts)


def test_a_dictionary_encoded_column_is_text(tmp_path):
    path = tmp_path / "table.parquet"
    names = pa.array(["t", "t"]).dictionary_encode()
    pq.write_table(pa.table({"eval_name": names, "prompt": ["p", "q"], "a": pa.array([1, 0], pa.float16())}), path)
    assert read_outcomes([path]).task == ("t", "t")


def test_features_of_plain_tables_come_from_the_given_featuriser(write, featurise):
    table = read_outcomes([write(PLAIN)], featurise=featurise)
    assert len(table.features) == 2
    assert table.prompt == ("one", "two")


text = st.text(st.characters(codec="utf-8", exclude_characters="\r"), min_size=1, max_size=30).filter(str.strip)
quality = st.one_of(st.none(), st.floats(0, 1))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(text, text, quality, quality), min_size=1, max_size=8, unique_by=lambda row: row[0])
)
@pytest.mark.parametrize("name", FORMATS)
def test_what_is_written_is_read(write, name, rows):
    ids, prompts, first, second = map(list, zip(*rows, strict=True))
    columns = {"sample_id": ids, "prompt": prompts, "m-1.5": first, "z": second, "strong": [1.0] * len(rows)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        table = read_outcomes([write(columns, name)])
    assert table.sample_id == tuple(ids)
    assert table.prompt == tuple(prompts)
    for model, values in (("m-1.5", first), ("z", second)):
        expected = [NAN if value is None else value for value in values]
        if model in table.models:
            np.testing.assert_array_equal(table.quality[:, table.models.index(model)], expected)
        else:
            assert np.isnan(expected).all()
