"""What was expected of requests, beside what came of it: the same in every backend, and as reckoned by hand."""

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING

import pytest
from tests.contract.requests import MIDNIGHT, request

from tiny_dancer.errors import OptionError
from tiny_dancer.storage import Feedback
from tiny_dancer.storage.calibration import BINS, bin_of
from tiny_dancer.storage.summaries import wilson

if TYPE_CHECKING:
    from tiny_dancer.storage import Storage


def test_nothing_is_known_of_nothing(storage: Storage) -> None:
    found = storage.request_calibration()
    assert (found.bins, found.confidence) == ((), (0,) * BINS)


def test_it_is_as_reckoned_by_hand(storage: Storage) -> None:
    rng = random.Random(5)
    records, told = [], []
    for place in range(400):
        expected, confidence = rng.random(), rng.random()
        model = rng.choice(["a", 'quo"ted', "dot.ted", "$", "ümlaut", ""])
        scores = rng.choice([None, {model: expected, "other": 0.5}, {"other": 0.5}, {model: math.nan}])
        decision = rng.choice([None, f"d{place}"])
        records.append(
            request(
                id=f"r{place}",
                time=MIDNIGHT + place,
                model=model,
                decision_id=decision,
                scores=scores,
                confidence=rng.choice([None, confidence]),
            )
        )
        if rng.random() < 0.8:
            told.append(Feedback(decision or f"r{place}", rng.choice([0.0, 0.25, 1.0])))
            # About one candidate only: not about the request.
            storage.record_feedback(Feedback(decision or f"r{place}", 1.0, candidate_id="c"))
    storage.record_requests(records)
    for said in told:
        storage.record_feedback(said)
    found = storage.request_calibration(since=MIDNIGHT + 50, until=MIDNIGHT + 350)
    within = records[50:350]
    by_decision = {each.decision_id: each.score for each in told}
    pairs = [
        (row.scores[row.model], by_decision[row.decision_id or row.id])
        for row in within
        if row.scores
        and not math.isnan(row.scores.get(row.model, math.nan))
        and (row.decision_id or row.id) in by_decision
    ]
    assert sum(each.feedback for each in found.bins) == len(pairs) > 30
    for each in found.bins:
        here = [(e, s) for e, s in pairs if each.low <= e < each.high]
        assert each.feedback == len(here)
        assert each.expected == pytest.approx(math.fsum(e for e, _ in here) / len(here))
        assert each.score == pytest.approx(math.fsum(s for _, s in here) / len(here))
        assert each.score_interval == pytest.approx(wilson(each.score, each.feedback))
        assert each.score_interval[0] <= each.score <= each.score_interval[1]
    counts = [0] * BINS
    for row in within:
        if row.confidence is not None:
            counts[bin_of(row.confidence)] += 1
    assert found.confidence == tuple(counts)


@pytest.mark.parametrize(
    ("value", "place"), [(0.0, 0), (0.0999, 0), (0.1, 1), (0.95, 9), (1.0, 9), (1.5, 9), (-0.5, 0)]
)
def test_ends_are_in_a_bin(storage: Storage, value: float, place: int) -> None:
    storage.record_requests([request(id="a", decision_id="d", model="m", scores={"m": value}, confidence=value)])
    storage.record_feedback(Feedback("d", 1.0))
    found = storage.request_calibration()
    assert found.confidence[place] == 1
    assert [(each.low, each.high) for each in found.bins] == [(place / BINS, (place + 1) / BINS)]


def test_a_span_that_is_none_is_refused(storage: Storage) -> None:
    with pytest.raises(OptionError, match="since"):
        storage.request_calibration(since=math.nan)
