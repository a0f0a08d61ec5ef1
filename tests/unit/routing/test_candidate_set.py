from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from tiny_dancer import Candidate, CandidateRouter, CandidateSet, _core
from tiny_dancer.errors import CandidateError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROUTER = CandidateRouter()


def vectors(count: int, dimensions: int = 8) -> np.ndarray:
    return np.random.default_rng(count).normal(size=(count, dimensions)).astype(np.float32)


def test_candidates_arrays_and_bytes_give_the_same_answer() -> None:
    matrix = vectors(30)
    ids = [f"c{row}" for row in range(30)]
    texts = [f"memory number {row}" for row in range(30)]
    flat = np.frombuffer(matrix.tobytes(), np.float32).reshape(30, 8)
    sets = [
        CandidateSet(Candidate(i, row, text) for i, row, text in zip(ids, matrix, texts, strict=True)),
        CandidateSet.from_arrays(ids, matrix, text=texts),
        CandidateSet.from_arrays(ids, flat, copy=False, text=texts),
    ]
    query = vectors(1)[0]
    answers = [ROUTER.route(query, each, text="memory 7", k=30, now=0.0) for each in sets]
    assert answers[0].ids == answers[1].ids == answers[2].ids
    assert [d.score for d in answers[0]] == [d.score for d in answers[1]] == [d.score for d in answers[2]]


def frozen(array: np.ndarray) -> np.ndarray:
    array.flags.writeable = False
    return array


def view_of_a_writeable_array(matrix: np.ndarray) -> np.ndarray:
    return frozen(matrix.view())


def array_that_may_be_made_writeable_again(matrix: np.ndarray) -> np.ndarray:
    return frozen(matrix)


def view_of_bytes_that_change(matrix: np.ndarray) -> np.ndarray:
    return frozen(np.frombuffer(bytearray(matrix.tobytes()), np.float32).reshape(matrix.shape))


def read_only_memory_of_a_writeable_array(matrix: np.ndarray) -> np.ndarray:
    memory = memoryview(matrix).cast("B").toreadonly()
    return np.frombuffer(memory, np.float32).reshape(matrix.shape)


def arrow_over_a_writeable_array(matrix: np.ndarray) -> np.ndarray:
    return pa.array(matrix.ravel()).to_numpy(zero_copy_only=True).reshape(matrix.shape)


def strides_over_a_writeable_array(matrix: np.ndarray) -> np.ndarray:
    return np.lib.stride_tricks.as_strided(matrix, writeable=False)


@pytest.mark.parametrize(
    "unsafe",
    [
        lambda matrix: matrix,
        view_of_a_writeable_array,
        array_that_may_be_made_writeable_again,
        view_of_bytes_that_change,
        read_only_memory_of_a_writeable_array,
        arrow_over_a_writeable_array,
        strides_over_a_writeable_array,
    ],
)
def test_memory_that_somebody_may_write_to_is_never_read_in_place(
    unsafe: Callable[[np.ndarray], np.ndarray],
) -> None:
    matrix = vectors(4)
    array = unsafe(matrix)
    with pytest.raises(CandidateError, match="bytes") as caught:
        CandidateSet.from_arrays(list("abcd"), array, copy=False)
    assert caught.value.field == "embeddings"
    found = CandidateSet.from_arrays(list("abcd"), array)
    query = matrix[2].copy()
    if matrix.flags.writeable:
        matrix[:] = 0
    assert ROUTER.route(query, found, k=1).ids == ["c"]


def test_bytes_are_read_in_place_until_the_set_changes() -> None:
    matrix = vectors(4)
    for memory in (matrix.tobytes(), memoryview(matrix.tobytes())):
        array = np.frombuffer(memory, np.float32).reshape(4, 8)
        found = CandidateSet.from_arrays(list("abcd"), array, copy=False)
        found.add(Candidate("e", matrix[0] * 2))
        assert set(ROUTER.route(matrix[0], found, k=2).ids) == {"a", "e"}


def test_the_original_array_may_be_changed_after_a_copy() -> None:
    matrix = vectors(4)
    found = CandidateSet.from_arrays(list("abcd"), matrix)
    best = ROUTER.route(matrix[2].copy(), found, k=1).ids
    query = matrix[2].copy()
    matrix[:] = 0
    assert ROUTER.route(query, found, k=1).ids == best == ["c"]


def test_int8_rows_rank_nearly_as_float_rows() -> None:
    matrix = vectors(200, 64)
    rows = [Candidate(f"c{row:03}", values) for row, values in enumerate(matrix)]
    full, small = CandidateSet(rows), CandidateSet(rows, quantised=True)
    query = vectors(1, 64)[0]
    found = {d.candidate_id: d.score for d in ROUTER.route(query, full, k=200)}
    for decision in ROUTER.route(query, small, k=200):
        assert decision.score == pytest.approx(found[decision.candidate_id], abs=0.01)


def test_adding_removing_and_updating_is_seen_by_the_next_answer() -> None:
    found = CandidateSet([Candidate("a", text="green tea"), Candidate("b", text="black coffee")])
    assert ROUTER.route("tea", found, k=1).ids == ["a"]
    found.update(Candidate("b", text="tea tea tea with milk"))
    found.remove(["a"])
    assert (ROUTER.route("tea", found).ids, "a" in found, "b" in found) == (["b"], False, True)
    found.extend([Candidate("a", text="only tea"), Candidate("c", text="water")])
    assert ROUTER.route("only tea", found, k=1).ids == ["a"]
    assert (len(found), sorted(found.ids)) == (3, ["a", "b", "c"])


def test_use_is_counted_and_speaks_for_a_candidate() -> None:
    found = CandidateSet(Candidate(name, text="tea", access_count=0, success_rate=0.5) for name in "ab")
    assert ROUTER.route("tea", found, now=0.0).ids == ["a", "b"], "equal scores by id"
    for _ in range(5):
        found.record_use("b", helped=True)
    answer = ROUTER.route("tea", found, now=0.0)
    assert answer.ids == ["b", "a"]
    assert answer[0].features["success"] == pytest.approx((5 + 2) / (5 + 4))
    assert answer[1].features["success"] == pytest.approx(0.5)


def test_few_trials_are_drawn_to_one_half() -> None:
    found = CandidateSet(
        [
            Candidate("a", text="x", success_rate=1.0, trials=1),
            Candidate("b", text="x", success_rate=0.8, trials=100),
        ]
    )
    features = {d.candidate_id: d.features["success"] for d in ROUTER.route("x", found)}
    assert features == {"a": pytest.approx(0.6), "b": pytest.approx((80 + 2) / 104)}


def test_recency_falls_by_e_in_thirty_days_and_the_future_is_now() -> None:
    day = 86_400.0
    found = CandidateSet(
        Candidate(name, text="tea", created_at=created)
        for name, created in (("now", 100 * day), ("month", 70 * day), ("future", 300 * day), ("unknown", None))
    )
    recency = {d.candidate_id: d.features["recency"] for d in ROUTER.route("tea", found, now=100 * day)}
    assert recency == {
        "now": 1.0,
        "future": 1.0,
        "month": pytest.approx(math.exp(-1), rel=1e-5),
        "unknown": 0.0,
    }


def test_neighbours_are_those_of_the_group_in_the_order_of_adding() -> None:
    found = CandidateSet(
        [
            Candidate("q", text="Which instrument does your sister play?", group="s1"),
            Candidate("a", text="The cello.", group="s1"),
            Candidate("x", text="The violin.", group="s2"),
        ]
    )
    features = {d.candidate_id: d.features for d in ROUTER.route("What does the sister play?", found)}
    assert features["a"]["answers_question"] == 1 and features["x"]["answers_question"] == 0
    assert features["a"]["words_context"] > features["x"]["words_context"] == 0
    assert features["a"]["words_before"] == pytest.approx(features["q"]["words"])


def test_a_position_says_where_in_its_group_a_candidate_stands() -> None:
    found = CandidateSet(
        [
            Candidate("late", text="The cello.", group="s", position=2),
            Candidate("last", text="Nothing more.", group="s"),
            Candidate("early", text="Which instrument does your sister play?", group="s", position=1),
        ]
    )
    asked = "What does the sister play?"
    assert {d.candidate_id: d.features["answers_question"] for d in ROUTER.route(asked, found)} == {
        "early": 0,
        "late": 1,
        "last": 0,
    }
    found.update(Candidate("late", text="The cello.", group="s", position=0))
    assert {d.candidate_id: d.features["answers_question"] for d in ROUTER.route(asked, found)} == {
        "early": 0,
        "late": 0,
        "last": 1,
    }
    with pytest.raises(CandidateError) as caught:
        found.add(Candidate("n", text="x", group="s", position=math.nan))
    assert caught.value.field == "candidates[0].position"


def test_metadata_matches_filters_and_is_searched() -> None:
    found = CandidateSet(
        [
            Candidate("a", text="tea", metadata={"speaker": "Anna", "tags": ["drink", "hot"]}),
            Candidate("b", text="tea", metadata={"speaker": "Ben", "tags": "drink", "year": 2023}),
        ]
    )
    assert ROUTER.route("tea", found, {"speaker": "Ben"}).ids == ["b", "a"]
    assert ROUTER.route("what did anna drink", found, k=1).ids == ["a"]
    assert ROUTER.route("tea", found, where={"tags": "hot"}).ids == ["a"]
    assert ROUTER.route("tea", found, where={"speaker": ["Ben", "Carl"], "year": 2023}).ids == ["b"]
    assert ROUTER.route("tea", found, where={"speaker": "Dora"}).ids == []


@pytest.mark.parametrize(
    ("candidate", "field"),
    [
        (Candidate("", text="x"), "candidates[0].id"),
        (Candidate("a", text="x"), "candidates[0].id"),
        (Candidate("n", text="\ud800"), "candidates[0].text"),
        (Candidate("n", text="x", access_count=-1), "candidates[0].access_count"),
        (Candidate("n", text="x", access_count=math.nan), "candidates[0].access_count"),
        (Candidate("n", text="x", trials=-3), "candidates[0].trials"),
        (Candidate("n", text="x", success_rate=1.5), "candidates[0].success_rate"),
        (Candidate("n", text="x", confidence=-0.1), "candidates[0].confidence"),
        (Candidate("n", text="x", created_at=math.inf), "candidates[0].created_at"),
        (Candidate("n", text="x", created_at="soon"), "candidates[0].created_at"),
        (Candidate("n", text="x", metadata={"k": object()}), "candidates[0].metadata.k"),
        (Candidate("n", [1.0, 2.0]), "candidates[0].embedding"),
    ],
)
def test_a_candidate_that_cannot_be_used_is_named_and_nothing_is_added(candidate: Candidate, field: str) -> None:
    found = CandidateSet([Candidate("a", text="x")])
    with pytest.raises(CandidateError) as caught:
        found.add(candidate)
    assert caught.value.field == field
    assert found.ids == ["a"]


def test_embeddings_of_another_length_are_refused() -> None:
    with pytest.raises(CandidateError) as caught:
        CandidateSet([Candidate("a", [1.0, 2.0]), Candidate("b", [1.0, 2.0, 3.0])])
    assert caught.value.field == "candidates[1].embedding"
    found = CandidateSet([Candidate("a", [1.0, 2.0])])
    with pytest.raises(CandidateError, match="2"):
        ROUTER.route([1.0, 2.0, 3.0], found)
    with pytest.raises(CandidateError):
        CandidateSet.from_arrays(["a", "b"], np.zeros((1, 4), np.float32))
    with pytest.raises(CandidateError):
        CandidateSet.from_arrays(["a"], np.zeros((1, 4), np.float32), colour=["red"])


def test_many_threads_score_one_set_while_it_changes() -> None:
    matrix = vectors(600, 32)
    found = CandidateSet(Candidate(f"c{row}", values, f"memory {row}") for row, values in enumerate(matrix))

    def ask(seed: int) -> None:
        for number in range(60):
            answer = ROUTER.route(matrix[(seed * 7 + number) % 500], found, text="memory 3", k=5)
            assert len(answer) == 5 and answer.level == 0

    def change() -> None:
        for number in range(60):
            found.add(Candidate(f"n{number}", matrix[number], "new"))
            found.record_use("c1", helped=True)
            found.remove([f"n{number}"])

    with ThreadPoolExecutor(5) as pool:
        work = [pool.submit(ask, seed) for seed in range(4)] + [pool.submit(change)]
        for each in work:
            each.result(timeout=60)  # a deadlock shows here
    assert len(found) == 600


def columns_of(ids: list[str], text: str, expires_at: float | None = None) -> _core.CandidateColumns:
    none: list[Any] = [None] * len(ids)
    texts: list[str | None] = [text] * len(ids)
    metadata: list[Mapping[str, Any]] = [{} for _ in ids]
    return (ids, texts, none, none, none, none, none, metadata, none, none, [expires_at] * len(ids), none)


def test_no_ranking_sees_half_of_a_step() -> None:
    found, scorer = _core.CandidateSet(None, "full"), _core.CandidateScorer()
    before, after = [f"b{row}" for row in range(40)], [f"a{row}" for row in range(40)]
    found.apply([], columns_of(before, "tea"))
    changing = True

    def change() -> None:
        nonlocal changing
        for number in range(200):
            gone, come = (before, after) if number % 2 == 0 else (after, before)
            found.apply(gone, columns_of(come, "tea"))
        changing = False

    def ask() -> None:
        while changing:
            seen = {decision.candidate_id[0] for decision in scorer.rank(found, text="tea", k=40)[0]}
            assert len(seen) == 1

    with ThreadPoolExecutor(3) as pool:
        for each in [pool.submit(change), pool.submit(ask), pool.submit(ask)]:
            each.result(timeout=60)


def test_a_step_keeps_embeddings_that_are_not_given_and_a_new_candidate_has_none() -> None:
    found = _core.CandidateSet(2, "indexed")
    found.apply(["nobody"], columns_of(["a", "b"], "tea"), np.array([[1, 0], [0, 1]], np.float32))
    found.apply(["b"], columns_of(["a", "c"], "coffee"))
    query = np.array([1, 0], np.float32)
    assert found.nearest(query, 9) == [("a", 1.0)]
    assert {d.candidate_id for d in _core.CandidateScorer().rank(found, text="coffee")[0]} == {"a", "c"}


def test_what_has_expired_takes_no_part() -> None:
    found, scorer = _core.CandidateSet(2, "indexed"), _core.CandidateScorer()
    row = np.array([[1, 0]], np.float32)
    found.apply([], columns_of(["a"], "tea", expires_at=5.0), row)
    found.apply([], columns_of(["b"], "tea"), row)

    def answers(now: float | None) -> list[list[str]]:
        ranked = [decision.candidate_id for decision in scorer.rank(found, text="tea", now=now)[0]]
        return [ranked, [name for name, _ in found.nearest(row[0], 9, now=now)]]

    assert answers(None) == answers(4.9) == [["a", "b"]] * 2
    assert answers(5.0) == [["b"]] * 2


def test_use_is_replaced_of_all_or_of_none() -> None:
    found, scorer = _core.CandidateSet(None, "full"), _core.CandidateScorer()
    found.apply([], columns_of(["a", "b"], "tea"))
    found.use(["b"], [30.0], [0.9], [10.0], [0.8], [None])
    features = {d.candidate_id: d.features for d in scorer.rank(found, text="tea")[0]}
    assert features["b"]["success"] == pytest.approx((9 + 2) / 14) and features["a"]["success"] == 0
    assert features["b"]["frequency"] == 0.5 and features["b"]["confidence"] == pytest.approx(0.8)
    for ids, rates in ((["a", "nobody"], [0.1, 0.1]), (["a", "b"], [0.1, 1.1]), (["a"], [0.1, 0.1])):
        with pytest.raises(CandidateError):
            none: list[float | None] = [None] * len(ids)
            found.use(ids, [1.0] * len(ids), rates, [1.0] * len(ids), none, none)
    assert {d.candidate_id: d.features for d in scorer.rank(found, text="tea")[0]} == features
