"""The nouns: picking rows, and errors that name field, value and remedy."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
from tests.synthetic import outcomes, requests

from tiny_dancer import ModelInfo, TinyDancerError
from tiny_dancer.errors import NoFeasibleModelError
from tiny_dancer.routing import featurise

TEXTS, _ = requests(12, 80)


@pytest.mark.parametrize("index", [[3, 1, 2], [], [0], [11, 11, 0, 11], list(range(12))])
def test_features_of_rows_are_those_of_their_texts(index: list[int]) -> None:
    picked = featurise(TEXTS).rows(np.array(index, np.int64))
    alone = featurise([TEXTS[i] for i in index])
    assert len(picked) == len(index)
    for name in ("ngram_offsets", "ngrams", "cues", "embedding", "tokens"):
        assert getattr(picked, name).tolist() == getattr(alone, name).tolist(), name
        assert getattr(picked, name).dtype == getattr(alone, name).dtype, name


def test_outcomes_of_rows_keep_every_column_in_step() -> None:
    quality = np.random.default_rng(0).random((12, 2))
    table = replace(
        outcomes(TEXTS, quality, cost=quality * 2, latency=quality * 3, weight=np.arange(1.0, 13.0)),
        tools=tuple("[]" if row % 2 else None for row in range(12)),
        task=tuple(f"t{row}" for row in range(12)),
    )
    picked = table.rows(np.array([5, 0, 7]))
    assert len(picked) == 3
    assert picked.sample_id == ("s5", "s0", "s7")
    assert picked.task == ("t5", "t0", "t7")
    assert picked.prompt == (TEXTS[5], TEXTS[0], TEXTS[7])
    assert picked.tools == ("[]", None, "[]")
    assert picked.messages is None
    assert picked.quality.tolist() == quality[[5, 0, 7]].tolist()
    assert picked.cost is not None
    assert picked.latency is not None
    assert picked.cost.tolist() == (quality[[5, 0, 7]] * 2).tolist()
    assert picked.latency.tolist() == (quality[[5, 0, 7]] * 3).tolist()
    assert picked.weight.tolist() == [6.0, 1.0, 8.0]
    assert picked.group.tolist() == [5, 0, 7]
    assert picked.models == table.models


def test_nouns_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        ModelInfo().name = "x"  # type: ignore[misc]


def test_errors_name_field_value_and_remedy_and_survive_pickling() -> None:
    error = NoFeasibleModelError("constraints", "x" * 1000, "relax them")
    assert isinstance(error, TinyDancerError)
    assert len(error.value) <= 300
    assert str(error).startswith("constraints: xxx")
    assert str(error).endswith("; relax them")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.field, copy.value, copy.remedy) == (error.field, error.value, error.remedy)
