"""The real tables, with a readable featuriser in the engine's place."""

from __future__ import annotations

import dataclasses
import re
import warnings
from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest

from tiny_dancer.evaluation.split import grouped_folds
from tiny_dancer.training.data import (
    assign_groups,
    check_outcomes,
    read_outcomes,
    write_featurised,
)
from tiny_dancer.types import FeatureTable

TABLES = {"mmlu": (6089, 2), "gsm8k": (672, 2), "llmrouter": (5488, 9), "bfcl": (881, 12)}


@pytest.fixture(scope="module")
def tables(shared_data, featurise):
    """Each table once, featurised by the readable stand-in."""
    return {name: read_outcomes([shared_data / f"{name}.parquet"], featurise=featurise) for name in TABLES}


@pytest.mark.parametrize("name", TABLES)
def test_they_are_read_whole_and_without_a_warning(shared_data, name):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = read_outcomes([shared_data / f"{name}.parquet"])
    assert table.quality.shape == TABLES[name]
    assert not np.isnan(table.quality).any()
    assert (table.cost is not None) == (name == "bfcl")
    assert (table.tools is not None) == (name == "bfcl")


def test_tables_with_the_same_models_are_joined(shared_data):
    table = read_outcomes([shared_data / "mmlu.parquet", shared_data / "gsm8k.parquet"])
    assert table.quality.shape == (6761, 2)


@pytest.mark.parametrize("name", TABLES)
def test_featurised_they_are_the_same(tables, tmp_path, name):
    path = tmp_path / "f.parquet"
    head = 400
    whole = tables[name]
    end = whole.features.ngram_offsets[head]
    features = FeatureTable(
        whole.features.ngram_offsets[: head + 1],
        whole.features.ngrams[:end],
        whole.features.cues[:head],
        whole.features.embedding[:head],
        whole.features.tokens[:head],
    )
    columns = {
        field: getattr(whole, field)[:head]
        for field in ("sample_id", "task", "quality", "weight", "group", "prompt")
    }
    costs = {
        field: None if getattr(whole, field) is None else getattr(whole, field)[:head]
        for field in ("cost", "latency")
    }
    table = dataclasses.replace(whole, **columns, **costs, features=features, tools=None)
    write_featurised(table, path, feature_spec="{}")
    back = read_outcomes([path])
    assert (back.sample_id, back.task, back.models) == (table.sample_id, table.task, table.models)
    np.testing.assert_array_equal(back.quality, table.quality)
    for field in dataclasses.fields(FeatureTable):
        np.testing.assert_array_equal(getattr(back.features, field.name), getattr(features, field.name))


def test_every_shared_passage_of_mmlu_stays_together(tables):
    """The oracle sees the texts: long prompts that begin alike share a passage."""
    table = tables["mmlu"]
    labels = assign_groups(table.features)
    beginnings = defaultdict(list)
    for row, prompt in enumerate(table.prompt):
        if len(prompt) >= 300:
            beginnings[prompt[:250]].append(row)
    passages = [rows for rows in beginnings.values() if len(rows) > 1]
    assert len(passages) > 200
    assert all(len(set(labels[rows].tolist())) == 1 for rows in passages)
    sizes = np.bincount(labels)
    assert sizes.max() <= 10
    assert sizes[sizes > 1].sum() < 900
    folds = np.bincount(grouped_folds(labels, 5, 0))
    assert folds.max() - folds.min() <= 3


@pytest.mark.parametrize("name", TABLES)
def test_joined_rows_share_much_of_their_text(tables, name):
    """No chain of loose likenesses: every group's rows share a third of the shorter one's word 2-grams."""
    table = tables[name]
    labels = assign_groups(table.features)
    members = defaultdict(list)
    for row, label in enumerate(labels.tolist()):
        members[label].append(row)
    groups = [rows for rows in members.values() if len(rows) > 1]
    assert max((len(rows) for rows in groups), default=1) <= 10
    loose = 0
    for rows in groups:
        pairs = []
        for row in rows[:2]:
            words = re.findall(r"\w+|[^\w\s]", table.prompt[row].lower())
            pairs.append(set(pairwise(words)))
        loose += len(pairs[0] & pairs[1]) < min(len(pairs[0]), len(pairs[1])) / 3
    assert loose <= len(groups) * 0.1


def test_known_extraction_failures_are_found(tables):
    findings = check_outcomes(tables["llmrouter"]).findings
    accused = {
        (finding.field, finding.message.split(" on ")[1].split()[0])
        for finding in findings
        if finding.kind == "extraction_failure"
    }
    assert accused >= {
        ("qwen2.5-7b-instruct", "mmlu"),
        ("llama3-chatqa-1.5-8b", "mmlu"),
        ("llama3-chatqa-1.5-70b", "mmlu"),
        ("llama3-chatqa-1.5-70b", "commonsense_qa"),
    }
    sound = {"llama-3.1-nemotron-51b-instruct", "llama-3.1-8b-instruct", "llama-3.3-nemotron-super-49b-v1"}
    assert not {model for model, _ in accused} & (sound | {"gemma-2-9b-it", "codegemma-7b"})


@pytest.mark.parametrize("name", ["mmlu", "gsm8k", "bfcl"])
def test_no_other_table_is_accused(tables, name):
    report = check_outcomes(tables[name])
    assert not report.of("error")
    assert "extraction_failure" not in {finding.kind for finding in report.findings}


def test_models_without_costs_are_named(tables):
    findings = check_outcomes(tables["bfcl"]).findings
    assert {finding.field for finding in findings if finding.kind == "missing_cost"} == {
        "meta-llama_Meta-Llama-3-8B-Instruct|total_cost",
        "meta-llama_Meta-Llama-3-70B-Instruct|total_cost",
        "Salesforce_xLAM-7b-fc-r|total_cost",
    }
