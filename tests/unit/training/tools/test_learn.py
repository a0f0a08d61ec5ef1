"""Which tools requests use is learned where it helps, and counts nothing where it does not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from tiny_dancer import ArtifactChecksumError, ArtifactError, DataError, TrainingError, _core
from tiny_dancer.routing.tools import ToolSelector
from tiny_dancer.training.tools.data import read_tool_queries, read_tools
from tiny_dancer.training.tools.judge import evaluate_tools
from tiny_dancer.training.tools.learn import learn_tools

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TOOLS = ("alpha", "bravo", "charlie", "delta")
HABITS = ("please water the roses", "dim every lamp", "lock the front door", "feed my old cat")
FILLERS = ("now", "soon", "tonight", "again", "kindly", "for me", "at once", "today", "if you can", "later")


def write(path: Path, **columns: Sequence[Any]) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


@pytest.fixture
def tables(tmp_path: Path) -> tuple[Path, Path]:
    """Tools whose names say nothing, and requests that use them out of habit."""
    schemas = [json.dumps({"name": name, "description": "A command"}) for name in (*TOOLS, "echo")]
    tools = write(tmp_path / "tools.parquet", tool_id=[*TOOLS, "echo"], schema=schemas)
    asked = [
        (f"{habit} {filler}", [name]) for name, habit in zip(TOOLS, HABITS, strict=True) for filler in FILLERS
    ]
    queries = write(
        tmp_path / "queries.parquet",
        query_id=[str(number) for number in range(len(asked))],
        query=[text for text, _ in asked],
        tool_ids=[names for _, names in asked],
    )
    return tools, queries


def test_use_is_learned_where_schemas_say_nothing(tables: tuple[Path, Path]) -> None:
    tools = read_tools(tables[0])
    queries = read_tool_queries(tables[1], tools)
    learned = learn_tools(tools, queries, seed=3)
    assert learned.weight > 0 and learned.rows == 40 and learned.tools == 4
    assert learned.metrics["learned"]["top-1"].estimate > 0.9 > learned.metrics["untrained"]["top-1"].estimate
    selector = tools.selector(learned.artifact)
    first = [selector.select(f"would you {habit} right away", 1) for habit in HABITS]
    assert [found.ids for found in first] == [(name,) for name in TOOLS]
    assert all(found.tools[0].relevance > 0.3 for found in first)
    assert "echo" in selector.select("the echo", 2).ids, "a tool that was never used is judged by its schema"
    assert learn_tools(tools, queries, seed=3).artifact == learned.artifact, "the same seed, the same bytes"
    figures = evaluate_tools(tools, queries, selector, 2)
    assert figures.metrics["all@2"].estimate == 1.0 and figures.recall_lost.estimate == 0.0
    assert 0 < figures.tokens_saved < 1


def test_the_engine_expects_what_was_fitted(tables: tuple[Path, Path]) -> None:
    tools = read_tools(tables[0])
    queries = read_tool_queries(tables[1], tools)
    artifact = learn_tools(tools, queries).artifact
    found = np.stack(
        [
            np.frombuffer(each, "<f4")
            for each in _core.tool_expectations(artifact, _core.sentence_encoder(), queries.texts)
        ]
    )
    right = np.array([TOOLS.index(names[0]) for names in queries.tool_ids])
    assert (found.argmax(1) == right).all()
    # int8 weights: a ridge regression of so few rows comes near 0 and 1.
    assert found[np.arange(len(right)), right].min() > 0.5 > np.delete(found, [], 1)[right != 0, 0].max()


def test_nearness_to_a_tool_s_requests_counts_beside_it(tables: tuple[Path, Path]) -> None:
    tools = read_tools(tables[0])
    queries = read_tool_queries(tables[1], tools)
    artifact = learn_tools(tools, queries).artifact
    header, tensors = _core.read_header(artifact), _core.read_tensors(artifact)
    table = _core.featurise(list(queries.texts), by=_core.sentence_encoder())
    embedding = table.embedding.astype(np.float64)
    embedding /= np.linalg.norm(embedding, axis=1, keepdims=True)
    right = np.array([TOOLS.index(names[0]) for names in queries.tool_ids])
    means = np.stack([embedding[right == tool].sum(0) for tool in range(len(TOOLS))])
    means = np.rint(127 * means / np.abs(means).max(1, keepdims=True)).astype(np.int8)
    alone = _core.artifact_bytes(
        {**header, "weight": 0.0, "mean_weight": 5.0, "self_check": []}, {**tensors, "means": means}
    )
    text = "would you dim every lamp right away"
    asked = np.frombuffer(_core.sentence_encoder().encode([text]), "<f4").astype(np.float64)
    lengths = np.linalg.norm(means.astype(np.float64), axis=1) * np.linalg.norm(asked)
    cosines = means.astype(np.float64) @ asked / lengths
    # "echo" was never used and stands at their mean.
    column = np.append(cosines, cosines.mean())
    deviation = np.sqrt((((column - column.mean()) ** 2).sum() + 30 * 0.1**2) / (5 + 30))
    expected = 5.0 * (column - column.mean()) / deviation
    (with_means,), (without,) = (tools.selector(each).score_many([text]) for each in (alone, None))
    np.testing.assert_allclose(with_means - without, expected, atol=0.05)  # embeddings are rounded to int8
    with pytest.raises(ArtifactError, match="means"):
        tools.selector(_core.artifact_bytes({**header, "mean_weight": 5.0}, {**tensors, "means": means[:3]}))
    missing = {name: tensor for name, tensor in tensors.items() if name != "means"}
    with pytest.raises(ArtifactError, match="means"):
        tools.selector(_core.artifact_bytes({**header, "mean_weight": 5.0}, missing))


def test_use_that_tells_nothing_counts_nothing(tmp_path: Path) -> None:
    names = ["weather", "mail", "alarm"]
    tools = read_tools(
        write(tmp_path / "t.parquet", tool_id=names, schema=[json.dumps({"name": name}) for name in names])
    )
    asked = [f"the {name} number {number}" for number in range(20) for name in names]
    queries = read_tool_queries(
        write(
            tmp_path / "q.parquet",
            query_id=[str(number) for number in range(60)],
            query=asked,
            tool_ids=[[text.split()[1]] for text in asked],
        ),
        tools,
    )
    assert learn_tools(tools, queries).weight == 0


def test_too_few_requests_and_damaged_artifacts_are_refused(tables: tuple[Path, Path]) -> None:
    tools = read_tools(tables[0])
    queries = read_tool_queries(tables[1], tools)
    artifact = learn_tools(tools, queries).artifact
    with pytest.raises(TrainingError):
        learn_tools(tools, read_tool_queries(tables[1], None))
    with pytest.raises(ArtifactChecksumError):
        ToolSelector(artifact=artifact[:-1] + bytes([artifact[-1] ^ 1]))
    with pytest.raises(ArtifactError):
        ToolSelector(artifact=_core.data_file("default.safetensors"))
    header = _core.read_header(artifact)
    damages: list[dict[str, Any]] = [
        {"tools": [*TOOLS, "echo"]},
        {"tools": ["a", "a", "b", "c"]},
        {"tools": []},
        {"weight": -1},
        {"mean_weight": -1},
        {"width": 1e9},
        {"features": "99"},
        {"self_check": [{"text": "x", "expected": [0.0]}]},
        {"self_check": [{"text": "x", "expected": [9.0] * 4}]},
    ]
    for changes in damages:
        with pytest.raises(ArtifactError):
            ToolSelector(artifact=_core.with_header(artifact, {**header, **changes}))


def test_tables_are_refused_by_cell(tmp_path: Path) -> None:
    good = json.dumps({"name": "a"})
    for columns, field in (
        ({"tool_id": ["a"]}, "schema"),
        ({"tool_id": ["a", "a"], "schema": [good, good]}, "tool_id"),
        ({"tool_id": ["a", ""], "schema": [good, good]}, "tool_id"),
        ({"tool_id": ["a"], "schema": [None]}, "schema"),
    ):
        with pytest.raises(DataError) as caught:
            read_tools(write(tmp_path / "t.parquet", **columns))
        assert caught.value.field == field
    with pytest.raises(DataError, match=r"tools\[1\]"):
        read_tools(write(tmp_path / "t.parquet", tool_id=["a", "b"], schema=[good, "{"])).selector()
    tools = read_tools(write(tmp_path / "t.parquet", tool_id=["a"], schema=["{}"]))
    assert tools.selector().ids == ("a",), "a schema without a name goes by its id"
    path = write(tmp_path / "q.parquet", query_id=["1"], query=["x"], tool_ids=[["a", "unknown"]])
    with pytest.warns(UserWarning, match="1 tools"):
        assert read_tool_queries(path, tools).tool_ids == (("a",),)
    path = write(tmp_path / "q.parquet", query_id=["1"], query=["x"], tool_ids=[3])
    with pytest.raises(DataError):
        read_tool_queries(path, tools)
    assert read_tool_queries(path).tool_ids == ((),), "predicting never reads them"
