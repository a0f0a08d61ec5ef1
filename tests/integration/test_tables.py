"""The real tables: from training to judgement, and never below the best constant beyond the interval."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from tiny_dancer import Router, evaluate, fit, read_outcomes
from tiny_dancer.evaluation.groups import assign_groups
from tiny_dancer.evaluation.split import grouped_folds
from tiny_dancer.training.judge import judge

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tiny_dancer import Evaluation, Fitted, Outcomes


@pytest.fixture(scope="module")
def halves(shared_data: Path) -> Callable[[str, int], tuple[Outcomes, Outcomes]]:
    """Rows to train on and to judge on: n random rows of a table, near duplicates on one side."""

    def split(name: str, rows: int) -> tuple[Outcomes, Outcomes]:
        table = read_outcomes(shared_data / f"{name}.parquet")
        assert table.features is not None
        some = table.rows(np.sort(np.random.default_rng(0).permutation(len(table))[:rows]))
        assert some.features is not None
        inside = grouped_folds(assign_groups(some.features, some.group), 2, 0) == 0
        return some.rows(np.flatnonzero(inside)), some.rows(np.flatnonzero(~inside))

    return split


def never_worse(fitted: Fitted, found: Evaluation) -> None:
    """Neither quality below the best constant's nor cost above it, beyond the intervals.

    On fresh rows another constant may turn out the best, and what it costs is another matter.
    """
    own = judge(fitted)
    for each in (found, own):
        assert each.gap_reference.high >= 0
        if each.reference == own.reference:
            assert each.cost_ratio.low <= 1 + 1e-9


def test_gsm8k_is_learned(halves: Callable[[str, int], tuple[Outcomes, Outcomes]]) -> None:
    training, rest = halves("gsm8k", 672)
    fitted = fit(training)
    found = evaluate(fitted.artifact, rest)
    assert found.pair is not None
    apgr = next(method.apgr for method in found.pair.methods if method.name == "router")
    assert apgr.estimate > 0.52
    assert len(found.robustness) >= 4
    never_worse(fitted, found)


def test_bfcl_with_tools_and_costs_for_some_models(
    halves: Callable[[str, int], tuple[Outcomes, Outcomes]],
) -> None:
    training, rest = halves("bfcl", 500)
    assert training.tools is not None
    assert training.cost is not None
    priced = np.isfinite(training.cost).any(0)
    assert 0 < priced.sum() < len(priced)
    fitted = fit(training)
    assert rest.features is not None
    batch = Router(fitted.artifact).route_features(rest.features)
    assert (np.isfinite(batch.costs).all(0) == priced).all()
    assert not np.isnan(batch.scores).any()
    assert rest.prompt is not None
    texts = Router(fitted.artifact).route_batch(rest.prompt, tools=rest.tools)
    assert texts.choice.tolist() == batch.choice.tolist(), "tools count in text as in the table"
    never_worse(fitted, evaluate(fitted.artifact, rest))


def test_llmrouter_with_extraction_failures(
    halves: Callable[[str, int], tuple[Outcomes, Outcomes]],
) -> None:
    training, rest = halves("llmrouter", 700)
    fitted = fit(training)
    never_worse(fitted, evaluate(fitted.artifact, rest))
