"""The matrix search, beside one row after the other in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_dancer.storage.index import Index


def unit(query: np.ndarray) -> np.ndarray:
    return (query / np.linalg.norm(query.astype(np.float64))).astype(np.float32)


def slowly(rows: list[np.ndarray], query: np.ndarray) -> list[float]:
    wide = [row.astype(np.float64) for row in rows]
    return [float(1 - row @ query.astype(np.float64) / np.linalg.norm(row)) for row in wide]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_sequence_of_changes_leaves_the_nearest_findable(data: st.DataObject) -> None:
    dimension = data.draw(st.sampled_from([1, 2, 5, 33]))
    generator = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    index = Index(dimension)
    rows: list[np.ndarray] = []
    for _ in range(data.draw(st.integers(1, 12))):
        change = data.draw(st.sampled_from(["add", "update", "remove"])) if rows else "add"
        if change == "add":
            fresh = generator.standard_normal((data.draw(st.integers(1, 9)), dimension)).astype(np.float32)
            index.add(fresh)
            rows += list(fresh)
        else:
            row = data.draw(st.integers(0, len(rows) - 1))
            if change == "update":
                rows[row] = generator.standard_normal(dimension).astype(np.float32)
                index.update(row, rows[row])
            else:
                index.remove(row)
                last = rows.pop()
                if row < len(rows):
                    rows[row] = last
        assert len(index) == len(rows)
    if not rows:
        return
    query = unit(generator.standard_normal(dimension))
    allowed = generator.random(len(rows)) < data.draw(st.sampled_from([0.1, 0.5, 1.0]))
    k = data.draw(st.integers(1, len(rows) + 2))
    expected = slowly(rows, query)
    for mask, places in ((None, range(len(rows))), (allowed, np.flatnonzero(allowed).tolist())):
        found = index.search(query, k, mask)
        got = dict(found)
        assert set(got) <= set(places)
        assert len(got) >= min(k, len(places))
        for row, distance in got.items():
            assert distance == pytest.approx(expected[row], abs=1e-6)
        nearest = sorted(places, key=lambda row: expected[row])[:k]
        assert set(nearest) <= set(got) or max(expected[row] for row in nearest) == pytest.approx(
            max(sorted(got.values())[:k]), abs=1e-6
        )


def test_equal_rows_are_equally_far_wherever_they_stand() -> None:
    generator = np.random.default_rng(0)
    for dimension in (3, 100, 384, 1000):
        row = generator.standard_normal(dimension).astype(np.float32)
        index = Index(dimension)
        index.add(generator.standard_normal((37, dimension)).astype(np.float32))
        for _ in range(30):
            index.add(row[None])
        index.add(np.concatenate([generator.standard_normal((5000, dimension)).astype(np.float32), row[None]]))
        found = index.search(unit(row + 1e-4 * generator.standard_normal(dimension)), 31)
        same = [distance for row_, distance in found if 37 <= row_ < 67 or row_ == 5067]
        assert len(same) == 31
        assert len(set(same)) == 1


def test_all_that_tie_with_the_last_are_found() -> None:
    index = Index(4)
    index.add(np.tile(np.array([[1, 2, 3, 4]], np.float32), (100, 1)))
    assert len(index.search(unit(np.ones(4)), 3)) == 100


def test_large_and_small_rows_are_compared_by_direction() -> None:
    index = Index(3)
    index.add(np.array([[1e8, 0, 0], [1e-8, 1e-8, 0], [0, 1, 0]], np.float32))
    found = index.search(unit(np.array([1.0, 0.01, 0])), 3)
    assert [row for row, _ in found] == [0, 1, 2]
