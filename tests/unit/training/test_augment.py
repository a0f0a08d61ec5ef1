"""Training on perturbed copies."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.synthetic import pair

import tiny_dancer
from tiny_dancer import TrainingError, _core
from tiny_dancer.training.augment import KINDS, better_of, boilerplate, with_copies


def test_copies_follow_the_rows_with_their_outcomes_group_and_half_the_weight() -> None:
    outcomes = pair(40, 5)
    copies = with_copies(outcomes, 0)
    n = len(outcomes)
    assert len(copies) == n * (1 + len(KINDS)) and len(set(copies.sample_id)) == len(copies)
    assert copies.prompt is not None and outcomes.prompt is not None
    assert copies.prompt[:n] == outcomes.prompt
    for copy in range(1, 1 + len(KINDS)):
        rows = slice(copy * n, (copy + 1) * n)
        np.testing.assert_array_equal(copies.quality[rows], outcomes.quality)
        np.testing.assert_array_equal(copies.group[rows], copies.group[:n])
        np.testing.assert_allclose(copies.weight[rows], outcomes.weight / 2)
        assert copies.prompt[rows] != outcomes.prompt
    assert copies.features is not None and len(copies.features) == len(copies)


def test_a_table_without_text_is_refused() -> None:
    with pytest.raises(TrainingError, match="augment"):
        tiny_dancer.fit(replace(pair(40, 5), prompt=None), augment=True)


def test_the_better_one_is_returned_and_speaks_of_the_original_rows() -> None:
    outcomes = pair(120, 6)
    plain = tiny_dancer.fit(outcomes)
    augmented = tiny_dancer.fit(with_copies(outcomes, 0))
    truth = outcomes.quality
    copies = (1 + len(KINDS), 1)
    worse = replace(augmented, quality=np.tile(1 - truth, copies))
    assert better_of(plain, worse) is plain
    kept = better_of(plain, replace(augmented, quality=np.tile(truth, copies)))
    assert len(kept.quality) == len(kept.decision) == len(kept.folds) == len(outcomes)
    training = _core.read_header(kept.artifact)["training"]
    assert training["copies"] == list(KINDS) and training["rows"] == len(outcomes)
    assert tiny_dancer.Router(kept.artifact).route("How many?").model in outcomes.models


def test_boilerplate_leaves_the_text_whole_and_is_the_same_every_time() -> None:
    texts = [f"What is {number} times {number + 1}?" for number in range(60)]
    around = [boilerplate(text, 0) for text in texts]
    assert around == [boilerplate(text, 0) for text in texts] != [boilerplate(text, 1) for text in texts]
    assert all(text in each and len(each) > len(text) + 20 for text, each in zip(texts, around, strict=True))
    ends = {(each.startswith(text), each.endswith(text)) for text, each in zip(texts, around, strict=True)}
    assert ends == {(True, False), (False, True)}
