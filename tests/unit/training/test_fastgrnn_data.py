"""Examples: what is read, what is refused and how it is said, and splits that hold equal inputs together."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from tiny_dancer import DataError, TrainingError, _core
from tiny_dancer.training.data import DataWarning
from tiny_dancer.training.fastgrnn import data
from tiny_dancer.training.fastgrnn.data import Examples, read_examples, split

if TYPE_CHECKING:
    from pathlib import Path


def table(path, **columns):
    parquet.write_table(pa.table(columns), path)
    return path


def test_a_table_is_read_whatever_its_format_and_label_column(tmp_path) -> None:
    texts, labels = ["first words", "other words"], ["a", "b"]
    for column in ("label", "intent", "category"):
        read = data.read_examples(table(tmp_path / "t.parquet", text=texts, **{column: labels}))
        assert (read.texts, read.label) == (tuple(texts), tuple(labels))
    (tmp_path / "t.csv").write_text("text,label\nfirst words,a\nother words,b\n")
    (tmp_path / "t.jsonl").write_text('{"text":"first words","label":"a"}\n{"text":"other words","label":"b"}\n')
    for name in ("t.csv", "t.jsonl"):
        assert data.read_examples(tmp_path / name).digest() == read.digest()
    own = table(tmp_path / "own.parquet", text=texts, label=["x", "y"], kind=labels)
    assert data.read_examples(own, label_column="kind").label == ("a", "b")
    assert data.read_examples(table(tmp_path / "bare.parquet", text=texts), require_label=False).label == ()


def test_arrays_are_read(tmp_path) -> None:
    x = np.arange(24).reshape(4, 2, 3)
    np.savez(tmp_path / "a.npz", x=x, y=[0, 1, 0, 1])
    read = data.read_examples(tmp_path / "a.npz")
    assert read.vectors.dtype == np.float32
    assert np.array_equal(read.vectors, x)
    assert read.label == ("0", "1", "0", "1")
    np.savez(tmp_path / "b.npz", x=x.reshape(4, 6), y=["a", "b", "a", "b"])
    assert data.read_examples(tmp_path / "b.npz").vectors.shape == (4, 1, 6)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"words": ["a"], "label": ["x"]}, "text: no such column"),
        ({"text": ["a"], "kind": ["x"]}, "label: no such column"),
        ({"text": ["a", "  "], "label": ["x", "y"]}, "text: '  ' in row number 2"),
        ({"text": ["a", None], "label": ["x", "y"]}, "text: None in row number 2"),
        ({"text": ["a", "b"], "label": ["x", None]}, "label: None in row number 2"),
        ({"text": pa.array([], pa.string()), "label": pa.array([], pa.string())}, "has no rows"),
        ({"text": [1.5], "label": ["x"]}, "text: type double"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(tmp_path, columns, said) -> None:
    with pytest.raises(DataError) as caught:
        data.read_examples(table(tmp_path / "t.parquet", **columns))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"y": [0, 1]}, "x: no such array"),
        ({"x": np.ones((2, 1, 1))}, "y: no such array"),
        ({"x": np.ones((2, 1, 1)), "y": [0]}, "y: shape (1,) for 2 rows"),
        ({"x": np.ones((2, 1, 1)), "y": [0.5, 1.5]}, "y: type float64"),
        ({"x": np.array([[[1.0]], [[np.nan]]]), "y": [0, 1]}, "x: nan in row 1, step 0, column 0"),
        ({"x": np.ones((2, 0, 3)), "y": [0, 1]}, "x: float64 (2, 0, 3)"),
        ({"x": np.array([["a"], ["b"]]), "y": [0, 1]}, "x: <U1"),
        ({"x": np.array([[None]], dtype=object), "y": [0]}, "without objects"),
    ],
)
def test_arrays_that_cannot_be_used_are_refused(tmp_path, arrays, said) -> None:
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(DataError) as caught:
        data.read_examples(tmp_path / "a.npz")
    assert said in str(caught.value)


def test_files_that_are_none_are_refused(tmp_path) -> None:
    with pytest.raises(DataError, match="no such file"):
        data.read_examples(tmp_path / "absent.npz")
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(DataError, match=r"torn\.npz"):
        data.read_examples(tmp_path / "torn.npz")


def examples(labels, vectors=None):
    rows = np.arange(len(labels), dtype=np.float32).reshape(-1, 1, 1) if vectors is None else vectors
    return Examples(tuple(labels), None, rows, "rows")


def test_a_split_is_a_partition_that_has_every_label_everywhere() -> None:
    found = data.split(examples(["a", "b"] * 50), None, 0)
    parts = (found.learning, found.stopping, found.held_out)
    assert [len(part) for part in parts] == [72, 8, 20]
    together = np.concatenate([part.vectors.ravel() for part in parts])
    assert sorted(together) == list(range(100))
    assert all(set(part.label) == {"a", "b"} for part in parts)
    other = data.split(examples(["a", "b"] * 50), None, 1)
    assert not np.array_equal(found.held_out.vectors, other.held_out.vectors)


def test_equal_inputs_stay_together() -> None:
    vectors = np.repeat(np.arange(20, dtype=np.float32), 5).reshape(-1, 1, 1)
    found = data.split(examples(["a"] * 50 + ["b"] * 50, vectors), None, 0)
    sides = [set(part.vectors.ravel()) for part in (found.learning, found.stopping, found.held_out)]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["a"] * 50, "label: only 'a'"),
        (["a", "b"] * 5, "table: 10 rows"),
        (["a"] * 50 + ["b"] * 2, "label: too few rows of b"),
    ],
)
def test_too_little_to_learn_from_is_refused(labels, said) -> None:
    with pytest.raises(TrainingError) as caught:
        data.split(examples(labels), None, 0)
    assert said in str(caught.value)


def test_unknown_labels_are_named_and_left_out() -> None:
    known = examples(["a", "b"] * 50)
    with pytest.warns(DataWarning, match=r"1 rows of rows are left out.*\(new\)"):
        found = data.split(known, examples(["a", "new", "b"]), 0)
    assert found.held_out.label == ("a", "b")
    assert len(found.learning) + len(found.stopping) == 100
    with pytest.raises(DataError, match="none of the labels"):
        data.split(known, examples(["x", "y"]), 0)
    with pytest.raises(DataError, match="other inputs"):
        data.split(known, Examples(("a",), ("text",), None), 0)
    with pytest.raises(DataError, match="other inputs"):
        data.split(known, examples(["a"], np.ones((1, 1, 2), np.float32)), 0)


def test_texts_step_through_the_engines_tokens() -> None:
    texts = ("a cat sat on the mat", "\U0001f9ff", "word " * 100)
    found = data.inputs(Examples((), texts, None), 8)
    assert found.length.tolist() == [6, 0, 8]
    offsets, tokens = _core.token_steps(texts, 8)
    assert np.array_equal(found.values[0, :6], tokens[: offsets[1]])
    assert not found.values[1].any()
    rows = found.dense(np.array([0]))[0, :6]
    assert np.array_equal(rows, _core.token_rows()[tokens[:6]] * np.float32(data.TOKEN_SCALE))
    first, second = data.compacted(found, data.inputs(Examples((), ("the cat", ""), None), 8))
    assert len(first.table) == len({*found.values.ravel(), *tokens}), "rows that occur, once each"
    three = np.arange(3)
    assert np.array_equal(first.dense(three), found.dense(three))
    assert np.array_equal(second.dense(three[:1])[0, 0], found.dense(three[:1])[0, 4])
    assert data.most_steps(Examples((), texts[:2], None)) == 8
    assert data.most_steps(Examples((), texts[2:], None)) == 64


REPEATED = {
    "one text, two labels": [("a b", "x", 20), ("a b", "y", 20)],
    "two texts": [("play song", "x", 20), ("rain snow", "y", 20)],
    "two texts of one label": [("play song", "x", 20), ("rain snow", "y", 10), ("sunny wind", "y", 10)],
    "one text of one label": [*((f"play song {i}", "x", 1) for i in range(30)), ("rain snow", "y", 10)],
    "one text a thousand times": [("play song", "x", 1000), *((f"rain {i}", "y", 1) for i in range(5))],
    "one text a label": [(f"word{i}", f"label{i}", 3) for i in range(20)],
}


@pytest.mark.parametrize("rows", REPEATED.values(), ids=REPEATED)
@pytest.mark.parametrize("vectors", [False, True])
def test_labels_whose_rows_are_all_alike_are_named(rows: list[tuple[str, str, int]], vectors: bool) -> None:
    texts = tuple(text for text, _, count in rows for _ in range(count))
    labels = tuple(label for _, label, count in rows for _ in range(count))
    known = sorted(set(texts))
    values = np.array([[[known.index(text), 1]] for text in texts], np.float32)
    examples = Examples(labels, None if vectors else texts, values if vectors else None)
    with pytest.raises(TrainingError, match="too few different rows of"):
        split(examples, None, 0)


@settings(max_examples=150)
@given(
    rows=st.lists(st.tuples(st.integers(0, 14), st.integers(0, 3)), min_size=20, max_size=70),
    crowd=st.integers(0, 60),
    judged=st.booleans(),
    seed=st.integers(0, 99),
)
def test_however_often_rows_are_repeated_each_set_has_what_it_needs(
    rows: list[tuple[int, int]], crowd: int, judged: bool, seed: int
) -> None:
    rows = [*rows, *rows[:1] * crowd]
    examples = Examples(tuple(f"l{label}" for _, label in rows), tuple(f"text {text}" for text, _ in rows), None)
    labels = set(examples.label)
    try:
        found = split(examples, examples if judged else None, seed)
    except TrainingError:
        different = {label: len({text for text, other in rows if f"l{other}" == label}) for label in labels}
        few = any(examples.label.count(label) < 3 for label in labels)
        assert len(labels) < 2 or few or min(different.values()) < (2 if judged else 3)
        return
    parts = [found.learning, found.stopping] if judged else [found.learning, found.stopping, found.held_out]
    for part in parts:
        assert set(part.label) == labels
    pairs = [set(zip(part.texts or (), part.label, strict=True)) for part in parts]
    assert all(first.isdisjoint(second) for first, second in itertools.combinations(pairs, 2))
    assert sum(map(len, parts)) == len(examples)


def test_numbers_the_engine_does_not_take_are_refused_as_they_are_read(tmp_path: Path) -> None:
    for value in (1e38, -1.1e9, np.inf, np.nan, 1e300):
        x = np.ones((30, 3))
        x[7, 2] = value
        np.savez(tmp_path / "x.npz", x=x, y=np.arange(30) % 2)
        with pytest.raises(DataError, match=r"row 7, step 0, column 2 .*within ±1e\+09"):
            read_examples(tmp_path / "x.npz")
