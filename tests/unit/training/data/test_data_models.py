"""Which columns of numbers are models, and on which scale they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet as pq
import pytest

from tiny_dancer.errors import DataError, OptionError
from tiny_dancer.training.data import DataWarning, read_outcomes
from tiny_dancer.training.data.models import says_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODELS = (
    "gpt-4o gpt-4-1106-preview claude-3-opus@20240229 openai/gpt-4o meta-llama_Meta-Llama-3-8B-Instruct o1 "
    "o3-mini Salesforce_xLAM-7b-fc-r yi-34b mixtral-8x7b-instruct-v0.1 sonnet our-model-v2 finetune_2024 weak "
    "strong cheap dear small large mini big-model model_1 llm2 a m gpt4_score weak_score strong_correct "
    "global_step3500_hf"
)
MEASURES = (
    "difficulty mini_cost is_premium temperature score length rating n_tokens gpt4_cost gpt-4_latency is_weak "
    "gpt-4_confidence claude_logprob gpt-4o_len llama-3-8b_words "
    "top_p f1 embedding_3 judge_score top5 bloom_level premium_tier user_age prompt_len fold seed pass@1 n x y "
    "rank2 q1_score hardness complexity turn_2 small_talk toxicity hasCode nTokens numShots"
)


@pytest.mark.parametrize("name", MODELS.split())
def test_names_that_are_models(name: str) -> None:
    assert says_model(name)


@pytest.mark.parametrize("name", MEASURES.split())
def test_names_that_are_not(name: str) -> None:
    assert not says_model(name)


@pytest.mark.parametrize("name", ["difficulty", "mini_cost", "is_premium", "temperature", "n_tokens", "rating"])
@pytest.mark.parametrize("models", [("gpt-4o", "claude-3"), ("weak", "strong"), ("baseline", "production")])
@pytest.mark.parametrize("file", ["table.parquet", "table.csv", "table.jsonl"])
def test_what_measures_something_is_never_a_model_unless_named(
    write: Callable[..., Path], name: str, models: tuple[str, str], file: str
) -> None:
    columns = {"prompt": ["p", "q"], models[0]: [1.0, 0.0], name: [0.5, 1.0], models[1]: [0.0, 1.0]}
    path = write(columns, file)
    with pytest.warns(DataWarning, match=rf"'{name}' .* not used.*--models"):
        assert read_outcomes(path).models == models
    assert read_outcomes(path, models=[*models, name]).models == (*models, name)


def test_a_cost_under_another_name_is_told_how_to_be_one(write: Callable[..., Path]) -> None:
    path = write({"prompt": ["p"], "mini": [1.0], "mini_cost": [0.1]})
    with pytest.warns(DataWarning, match=r"<model>\|total_cost"):
        read_outcomes(path)


@pytest.mark.parametrize("partner", ["total_cost", "latency_s", "model_response"])
def test_a_partner_makes_a_model(write: Callable[..., Path], partner: str) -> None:
    value = "text" if partner == "model_response" else 0.1
    columns = {"prompt": ["p"], "difficulty": [0.5], f"difficulty|{partner}": [value], "gpt-4": [1.0]}
    assert read_outcomes(write(columns)).models == ("difficulty", "gpt-4")


def test_plain_words_are_models_among_themselves_and_refused_beside_sure_ones(
    write: Callable[..., Path], refuse: Callable[..., DataError]
) -> None:
    plain = {"prompt": ["p", "q"], "baseline": [1, 0], "production": [True, True]}
    assert read_outcomes(write(plain)).models == ("baseline", "production")
    path = write({**plain, "gpt-4": [1.0, 0.0]})
    error = refuse([path], "models", "'baseline', 'production'", "'gpt-4'")
    assert "--models gpt-4" in error.remedy
    assert read_outcomes(path, models=["gpt-4", "production"]).models == ("gpt-4", "production")
    gaps = write({"prompt": ["p"], "gpt-4": [1.0], "claude": [0.0], "baseline": [None]})
    with pytest.warns(DataWarning, match="no value"):
        assert read_outcomes(gaps).models == ("gpt-4", "claude")


def test_a_table_of_measures_only_lists_them(write: Callable[..., Path], refuse: Callable[..., DataError]) -> None:
    error = refuse([write({"prompt": ["p"], "difficulty": [3], "score": [0.5]})], "models", "'difficulty'")
    assert "--models difficulty,score" in error.remedy


@pytest.mark.parametrize("name", ["mmlu", "gsm8k", "llmrouter", "zeroeval", "shaberi", "bfcl"])
def test_real_tables_are_unmistakable(shared_data: Path, name: str) -> None:
    names = pq.read_schema(shared_data / f"{name}.parquet").names
    others = {"sample_id", "eval_name", "prompt", "tools"}
    assert [each for each in names if "|" not in each and each not in others and not says_model(each, names)] == []


@pytest.mark.parametrize("cells", [["0.9 %", "100 %"], ["1.234,5", "0"], ["WAHR", "FALSCH"], ["yes", "no"]])
def test_scores_in_a_spelling_that_is_not_read_are_refused(
    write: Callable[..., Path], refuse: Callable[..., DataError], cells: list[str]
) -> None:
    refuse([write({"prompt": ["p", "q"], "gpt-4": cells, "claude": [1, 0]})], "gpt-4", cells[0], "row row-0")


def test_what_is_missing_is_told(write: Callable[..., Path], refuse: Callable[..., DataError]) -> None:
    assert "rename 'Prompt'" in refuse([write({" Prompt": ["p"], "gpt-4": [1.0]})], "prompt").remedy
    error = refuse([write({"prompt": ["p"], "model": ["gpt-4"], "cost": [0.1]})], "models")
    assert "add a column of scores" in error.remedy


# Scales


@pytest.mark.parametrize(
    ("scale", "given", "expected"),
    [
        ((1, 5), [1, 2, 5, None], [0, 0.25, 1, np.nan]),
        ((0, 100), [0, 50, 100.0, None], [0, 0.5, 1, np.nan]),
        ((-1, 1), [-1, 0, 1, None], [0, 0.5, 1, np.nan]),
        ((0, 1), [0, 0.3, 1, None], [0, 0.3, 1, np.nan]),
    ],
)
@pytest.mark.parametrize("file", ["table.parquet", "table.csv", "table.jsonl"])
def test_grades_are_mapped_by_their_scale(
    write: Callable[..., Path],
    scale: tuple[float, float],
    given: list[float | None],
    expected: list[float],
    file: str,
) -> None:
    path = write({"prompt": list("pqrs"), "gpt-4": given}, file)
    np.testing.assert_allclose(read_outcomes(path, scale=scale).quality[:, 0], expected)


@pytest.mark.parametrize(
    ("values", "hint"),
    [
        ([1, 4.5], "--scale 1:5"),
        ([0, 4], "--scale 0:5"),
        ([2, 10], "--scale 1:10"),
        ([-0.5, 1], "--scale -1:1"),
        ([37, 92.5], "--scale 0:100"),
    ],
)
def test_without_a_scale_the_error_guesses_it(
    write: Callable[..., Path], refuse: Callable[..., DataError], values: list[float], hint: str
) -> None:
    refuse([write({"prompt": ["p", "q"], "gpt-4": values, "claude": [1, 1]})], "gpt-4", "[0, 1]", hint, "scale=(")
    refuse(
        [write({"prompt": ["p", "q"], "gpt-4": [1e9, 1], "claude": [1, 1]})], "gpt-4", "scale quality to [0, 1], "
    )


def test_grades_off_their_scale(write: Callable[..., Path], refuse: Callable[..., DataError]) -> None:
    path = write({"prompt": ["p", "q"], "gpt-4": [0, 5]})
    refuse([path], "gpt-4", "0.0", "row row-0", "from 1 to 5", scale=(1, 5))
    for scale in [(5, 1), (1, 1), (0, float("inf")), (1, 2, 3), ("a", 1), 5]:
        with pytest.raises(OptionError) as caught:
            read_outcomes(path, scale=scale)  # type: ignore[arg-type]
        assert caught.value.field == "scale"
