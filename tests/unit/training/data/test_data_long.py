"""One row a request and model, as people and tools write it; the rows are of our own making."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd  # type: ignore[import-untyped]
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tiny_dancer
from tiny_dancer.training.data import DataWarning, read_outcomes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tiny_dancer.errors import DataError
    from tiny_dancer.types import Outcomes

NAN = float("nan")
FORMATS = ("table.parquet", "table.csv", "table.jsonl")
ASKED = "What is the capital of Atlantis?"
CHAT = [{"role": "user", "content": ASKED}]


def quiet(*tables: Any, **options: Any) -> Outcomes:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return read_outcomes(list(tables), **options)


def records(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("file", FORMATS)
def test_prompt_model_score_and_cost(write: Callable[..., Path], file: str) -> None:
    columns = {
        "prompt": ["one", "two", "one", "three"],
        "model": ["big", "big", "small", "small"],
        "score": [1.0, 0.5, 0.0, None],
        "cost": [0.02, 0.03, 0.001, 0.002],
        "latency_ms": [1500, None, 200, 300],
        "group": ["g", "h", "g", "h"],
        "output_tokens": [100, 200, 10, 20],
    }
    table = quiet(write(columns, file))
    assert table.models == ("big", "small")
    assert table.prompt == ("one", "two", "three")
    assert table.sample_id == ("row-0", "row-1", "row-2")
    np.testing.assert_array_equal(table.quality, [[1, 0], [0.5, NAN], [NAN, NAN]])
    np.testing.assert_array_equal(table.cost, [[0.02, 0.001], [0.03, NAN], [NAN, 0.002]])
    np.testing.assert_allclose(table.latency, [[1.5, 0.2], [NAN, NAN], [NAN, 0.3]])
    np.testing.assert_array_equal(table.group, [0, 1, 1])
    assert quiet(write(columns, file), models=["small"]).models == ("small",)


def test_predicting_needs_no_scores(write: Callable[..., Path]) -> None:
    path = write({"prompt": ["one", "one"], "model": ["a", "b"], "score": ["?", "!"]})
    table = quiet(path, require_quality=False)
    assert (table.prompt, table.models) == (("one",), ())


def test_what_is_scored_again_is_averaged_and_said(write: Callable[..., Path]) -> None:
    columns = {
        "prompt": ["one"] * 5,
        "model": ["a", "a", "b", "a", "b"],
        "score": [1, 0, 1, None, 0.5],
        "cost": [0.1, 0.3, 0.2, None, None],
    }
    with pytest.warns(DataWarning, match="2 rows of table.parquet .* averaged"):
        table = read_outcomes(write(columns))
    np.testing.assert_array_equal(table.quality, [[0.5, 0.75]])
    np.testing.assert_array_equal(table.cost, [[0.2, 0.2]])


def test_grades_of_a_judge(write: Callable[..., Path], refuse: Callable[..., DataError]) -> None:
    path = write({"prompt": ["one", "one"], "model": ["a", "b"], "rating": [1, 4]})
    np.testing.assert_array_equal(quiet(path, scale=(1, 5)).quality, [[0, 0.75]])
    refuse([path], "b", "4.0", "--scale 1:5")


def test_long_and_wide_tables_are_joined(write: Callable[..., Path]) -> None:
    long = write({"sample_id": ["x", "x"], "prompt": ["one"] * 2, "model": ["a", "b"], "score": [1, 0]})
    wide = write({"sample_id": ["y"], "prompt": ["two"], "a": [0.5]}, "wide.csv")
    table = quiet(wide, long)
    assert (table.sample_id, table.models) == (("y", "x"), ("a", "b"))
    np.testing.assert_array_equal(table.quality, [[0.5, NAN], [1, 0]])


def test_ids_that_are_of_calls_do_not_tell_requests_apart(write: Callable[..., Path]) -> None:
    columns = {"sample_id": ["1", "2"], "prompt": ["one", "one"], "model": ["a", "b"], "score": [1, 0]}
    with pytest.warns(DataWarning, match="told apart by their text"):
        table = read_outcomes(write(columns))
    assert len(table) == 1


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"model": ["a", None]}, "model", ["number 2", "name the model"]),
        ({"model": ["a", " "]}, "model", ["number 2"]),
        ({"model": ["a", "b|c"]}, "model", ["'b|c'", "rename"]),
        ({"model": ["a", "prompt"]}, "model", ["'prompt'"]),
        ({"score": ["good", "0.5"]}, "score", ["'good'", "number 1"]),
        ({"score": [[1], [2]]}, "score", ["list"]),
        ({"cost": [-1.0, 0.0]}, "cost", ["-1.0", "number 1", "USD"]),
        ({"latency": [1.0, float("inf")]}, "latency", ["inf", "number 2"]),
        ({"sample_id": ["x", "x"], "prompt": ["one", "two"]}, "prompt", ["'x'", "has two"]),
        ({"sample_id": ["x", "x"], "group": ["g", "h"]}, "group", ["'x'", "has two"]),
        ({"accuracy": [1.0, 0.0]}, "score", ["'score', 'accuracy'", "drop all but one"]),
        ({"prompt": ["one", None], "model": ["a", "a"]}, "prompt", ["row row-1", "give the row a prompt"]),
    ],
)
def test_what_cannot_be_used(
    write: Callable[..., Path],
    refuse: Callable[..., DataError],
    change: dict[str, Any],
    field: str,
    words: list[str],
) -> None:
    columns = {"prompt": ["one", "one"], "model": ["a", "b"], "score": [1.0, 0.0]}
    refuse([write({**columns, **change})], field, *words)


def test_no_score_at_all(write: Callable[..., Path], refuse: Callable[..., DataError]) -> None:
    columns = {"prompt": ["one"], "model": ["a"], "metadata": ['{"user": "x"}']}
    refuse([write(columns)], "score", "no row", "called one of score")


# The shapes of others


def test_llmrouter(tmp_path: Path) -> None:
    def row(model: str, performance: float, seconds: float) -> dict[str, Any]:
        return {
            "task_name": "riddles",
            "query": ASKED,
            "ground_truth": "none",
            "metric": "em_mc",
            "model_name": model,
            "response": "none",
            "token_num": 12,
            "response_time": seconds,
            "performance": performance,
            "embedding_id": 3,
            "user_id": None,
        }

    table = quiet(records(tmp_path / "data.jsonl", row("llama-3.1-8b", 1.0, 0.5), row("qwen2.5-7b", 0.0, 0.25)))
    assert (table.prompt, table.task, table.models) == ((ASKED,), ("riddles",), ("llama-3.1-8b", "qwen2.5-7b"))
    np.testing.assert_array_equal(table.quality, [[1, 0]])
    np.testing.assert_array_equal(table.latency, [[0.5, 0.25]])


def test_routerarena(tmp_path: Path) -> None:
    def row(number: int, model: str, accuracy: float) -> dict[str, Any]:
        return {
            "global index": f"Riddles_{number}",
            "prompt": f"Riddle number {number}",
            "prediction": model,
            "generated_result": {"generated_answer": "x", "token_usage": {"input_tokens": 3}},
            "cost": 0.001 * number,
            "accuracy": accuracy,
            "for_optimality": False,
        }

    one, other = tmp_path / "one.json", tmp_path / "other.json"
    one.write_text(json.dumps([row(1, "org/fast", 1.0), row(2, "org/fast", 0.0)]))
    other.write_text(json.dumps([row(2, "org/deep", 1.0), row(1, "org/deep", 1.0)], indent=2))
    table = quiet(one, other)
    assert (table.sample_id, table.models) == (("Riddles_1", "Riddles_2"), ("org/fast", "org/deep"))
    np.testing.assert_array_equal(table.quality, [[1, 1], [0, 1]])
    np.testing.assert_array_equal(table.cost, [[0.001, 0.001], [0.002, 0.002]])


def test_litellm_logs(tmp_path: Path) -> None:
    def call(number: int, model: str, metadata: dict[str, Any], **more: Any) -> dict[str, Any]:
        return {
            "id": f"chatcmpl-{number}",
            "call_type": "acompletion",
            "response_cost": 0.001 * number,
            "status": "success",
            "total_tokens": 30,
            "startTime": 100.0,
            "endTime": 100.5,
            "model": model,
            "model_id": "deployment",
            "messages": CHAT,
            "metadata": metadata,
            "response": {"choices": []},
            **more,
        }

    path = records(
        tmp_path / "proxy.jsonl",
        call(1, "gpt-4o", {"user_api_key_hash": "h", "requester_metadata": {"score": 1}}),
        call(2, "gpt-4o-mini", {"quality_note": 3, "score": 0.25}),
        call(3, "claude-3", {}, startTime=5.0, endTime=7.0),
    )
    with pytest.warns(DataWarning, match="'claude-3' .* no value"):
        table = read_outcomes(path)
    assert table.models == ("gpt-4o", "gpt-4o-mini")
    assert [json.loads(text or "") for text in table.messages or ()] == [CHAT]
    np.testing.assert_array_equal(table.quality, [[1, 0.25]])
    np.testing.assert_array_equal(table.cost, [[0.001, 0.002]])
    np.testing.assert_array_equal(table.latency, [[0.5, 0.5]])


def test_litellm_spend_logs(tmp_path: Path) -> None:
    columns = {
        "request_id": ["1", "2"],
        "spend": [0.01, 0.002],
        "startTime": ["2026-01-01T00:00:00", "2026-01-01T00:01:00+00:00"],
        "endTime": ["2026-01-01T00:00:02", "2026-01-01T00:01:01.5+00:00"],
        "model": ["gpt-4o", "gpt-4o-mini"],
        "messages": ["{}", "{}"],
        "proxy_server_request": [json.dumps({"model": "m", "messages": CHAT})] * 2,
        "metadata": ['{"score": true}', '{"score": false}'],
    }
    path = tmp_path / "spend.csv"
    pd.DataFrame(columns).to_csv(path, index=False)
    table = read_outcomes(path)
    np.testing.assert_array_equal(table.quality, [[1, 0]])
    np.testing.assert_array_equal(table.cost, [[0.01, 0.002]])
    np.testing.assert_array_equal(table.latency, [[2, 1.5]])


@pytest.mark.parametrize(
    "scores",
    [
        ({"helpful": [1]}, {"helpful": 0.5}),
        ([{"name": "helpful", "value": 1}], [{"name": "helpful", "value": 0.5, "comment": "so"}]),
        ({"quality": 1, "length": 300}, {"quality": 0.5, "length": 12}),
    ],
)
@pytest.mark.parametrize("asked", [CHAT, {"messages": CHAT}, json.dumps(CHAT), ASKED])
def test_langfuse_exports(tmp_path: Path, scores: tuple[Any, Any], asked: Any) -> None:
    def row(number: int, **more: Any) -> dict[str, Any]:
        return {
            "id": f"observation-{number}",
            "trace_id": "t",
            "type": "GENERATION",
            "input": asked,
            "output": "none",
            "total_cost": 0.001 * number,
            "latency": 1.5,
            **more,
        }

    path = records(
        tmp_path / "export.jsonl",
        {"id": "span", "trace_id": "t", "type": "SPAN", "input": "steps", "provided_model_name": ""},
        row(1, provided_model_name="gpt-4o", scores=scores[0]),
        row(2, provided_model_name="gpt-4o-mini", scores=scores[1]),
    )
    table = quiet(path)
    np.testing.assert_array_equal(table.quality, [[1, 0.5]])
    np.testing.assert_array_equal(table.cost, [[0.001, 0.002]])
    assert ASKED in ((table.messages or table.prompt or ("",))[0] or "")


def test_langfuse_scores_of_several_names(tmp_path: Path, refuse: Callable[..., DataError]) -> None:
    row = {"model": "gpt-4o", "input": ASKED, "scores": {"tone": 1, "wit": 0}}
    refuse([records(tmp_path / "export.jsonl", row)], "scores", "'tone', 'wit'", "export one score")


def run(path: Path, model: str, answers: dict[str, Any], *, metrics: bool = False) -> Path:
    """A log as OpenAI's evals write it: the spec, events of samples in any order, the report."""
    identity = {"run_id": f"run-{model}", "created_by": "", "created_at": "2026-01-01"}
    events: list[dict[str, Any]] = []
    for sample, right in answers.items():
        asked = [{"role": "system", "content": "Answer."}, {"role": "user", "content": f"Question {sample}"}]
        judged = {"accuracy": right} if metrics else {"correct": right, "expected": "a", "picked": "b"}
        events += [
            {"sample_id": sample, "type": "sampling", "data": {"prompt": asked, "sampled": ["b"]}},
            {"sample_id": sample, "type": "metrics" if metrics else "match", "data": judged},
        ]
    lines = [{**identity, "event_id": number, **event} for number, event in enumerate(reversed(events))]
    spec = {"completion_fns": [model], "eval_name": "riddles.dev.v0", "run_id": identity["run_id"]}
    return records(path, {"spec": spec}, *lines, {"final_report": {"accuracy": 0.5}})


def test_runs_of_openai_evals(tmp_path: Path, refuse: Callable[..., DataError]) -> None:
    one = run(tmp_path / "one.jsonl", "gpt-4", {"riddles.0": True, "riddles.1": True})
    other = run(tmp_path / "other.jsonl", "gpt-3.5-turbo", {"riddles.1": 0.25, "riddles.0": 0.0}, metrics=True)
    table = quiet(one, other)
    order = np.argsort(table.sample_id)
    assert sorted(table.sample_id) == ["riddles.0", "riddles.1"]
    assert (table.models, table.task) == (("gpt-4", "gpt-3.5-turbo"), ("riddles.dev.v0",) * 2)
    np.testing.assert_array_equal(table.quality[order], [[1, 0], [1, 0.25]])
    assert "Question riddles.0" in (table.messages or ())[order[0]]
    refuse([records(tmp_path / "bad.jsonl", {"spec": {"run_id": "r"}}, {"sample_id": "s", "data": {}})], "spec")
    lines = one.read_text().splitlines()
    (tmp_path / "cut.jsonl").write_text(lines[0] + "\n" + "\n".join(line for line in lines if "match" in line))
    refuse([tmp_path / "cut.jsonl"], "data", "no sampling event")


# Long and wide are the same


words = st.text(st.characters(codec="utf-8", exclude_characters="\r\x00"), min_size=1, max_size=12).filter(
    str.strip
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    prompts=st.lists(words, min_size=1, max_size=6, unique=True),
    models=st.lists(st.sampled_from(["gpt-4", "claude-3", "org/m", "weak"]), min_size=1, max_size=3, unique=True),
    data=st.data(),
)
@pytest.mark.parametrize("file", FORMATS)
def test_long_and_wide_read_the_same(
    write: Callable[..., Path], file: str, prompts: list[str], models: list[str], data: st.DataObject
) -> None:
    cells = [(prompt, model) for prompt in prompts for model in models]
    scores = {cell: data.draw(st.floats(0, 1)) for cell in cells}
    cost = {cell: data.draw(st.one_of(st.none(), st.floats(0, 9))) for cell in cells}
    wide = read_outcomes(
        write(
            {
                "prompt": prompts,
                **{model: [scores[prompt, model] for prompt in prompts] for model in models},
                **{f"{model}|total_cost": [cost[prompt, model] for prompt in prompts] for model in models},
            },
            f"wide-{file}",
        )
    )
    long = quiet(
        write(
            {
                "prompt": [prompt for prompt, _ in cells],
                "model": [model for _, model in cells],
                "score": [scores[cell] for cell in cells],
                "cost": [cost[cell] for cell in cells],
            },
            file,
        )
    )
    assert (long.prompt, long.models, long.sample_id) == (wide.prompt, wide.models, wide.sample_id)
    np.testing.assert_array_equal(long.quality, wide.quality)
    nothing = np.full(wide.quality.shape, NAN)
    np.testing.assert_array_equal(
        nothing if long.cost is None else long.cost, nothing if wide.cost is None else wide.cost
    )


def test_a_request_in_two_groups_joins_them(write: Callable[..., Path]) -> None:
    columns = {
        "prompt": ["one", "two", "one", "three", "four", "four"],
        "model": ["big", "big", "small", "small", "big", "small"],
        "score": [1.0, 0.5, 0.0, 1.0, 1.0, 0.0],
        "group": ["g", "h", "h", None, None, "i"],
    }
    with pytest.warns(DataWarning, match="in several groups, which were joined"):
        table = read_outcomes([write(columns)])
    np.testing.assert_array_equal(table.group, [0, 0, 1, 2])


def test_a_request_in_two_tasks_is_said_and_one_of_two_weights_refused(write: Callable[..., Path]) -> None:
    columns: dict[str, list[Any]] = {
        "prompt": ["one", "one"],
        "model": ["big", "small"],
        "score": [1.0, 0.5],
        "task": ["maths", "code"],
    }
    with pytest.warns(DataWarning, match=r"'one', say\) in several tasks, of which the first"):
        assert read_outcomes([write(columns)]).task == ("maths",)
    with pytest.raises(tiny_dancer.DataError, match="has two"):
        read_outcomes([write({**columns, "task": ["maths"] * 2, "weight": [1.0, 2.0]})])
