"""Rows remembered in a filter."""

from __future__ import annotations

import json

import numpy as np

from tiny_dancer.routing import featurise
from tiny_dancer.training.overlap import remember, share_seen


def texts(start: int, stop: int) -> list[str]:
    return [f"Request {i} asks about item {i * 7919 % 1009} of {i}." for i in range(start, stop)]


def test_rows_that_were_remembered_are_found_in_any_order_and_part() -> None:
    memory = json.loads(json.dumps(remember(featurise(texts(0, 1000)))))
    assert share_seen(memory, featurise(texts(0, 1000)[::-1])) == 1.0
    assert share_seen(memory, featurise(texts(100, 300))) == 1.0


def test_other_rows_are_not_found_and_mixtures_are_measured() -> None:
    memory = remember(featurise(texts(0, 1000)))
    assert share_seen(memory, featurise(texts(5000, 7000))) == 0.0
    mixed = share_seen(memory, featurise(texts(0, 500) + texts(5000, 6500)))
    assert abs(mixed - 0.25) < 0.03


def test_the_filter_is_bounded_and_small() -> None:
    assert len(json.dumps(remember(featurise(texts(0, 2000))))) < 6000
    assert remember(featurise(texts(0, 1)))["bits"] >= 64


def test_the_same_rows_give_the_same_filter() -> None:
    features = featurise(texts(0, 50))
    assert remember(features) == remember(features.rows(np.arange(50)[::-1]))
