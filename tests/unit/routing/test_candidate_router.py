from __future__ import annotations

import asyncio
import gc
import math
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest

from tiny_dancer import Candidate, CandidateRouter, CandidateRouterConfig, CandidateSet, MemoryStorage, _core
from tiny_dancer.errors import ArtifactError, CandidateError, OptionError, RequestError, TinyDancerError
from tiny_dancer.storage import hash_query

if TYPE_CHECKING:
    from pathlib import Path

FEATURES = list(_core.CANDIDATE_FEATURES)
MEMORIES = [
    Candidate("tea", text="Anna prefers tea in the morning."),
    Candidate("train", text="The train to Bern leaves at nine."),
    Candidate("cello", text="Her sister plays the cello."),
]


def scorer(weights: dict[str, float], *, version: str = "1.0.0", calibrated: bool = True, **changed: Any) -> bytes:
    """A linear scorer: its score is the weighted sum, its confidence the score cut off at 0 and 1."""
    weight = np.array([weights.get(name, 0.0) for name in FEATURES], np.float32)
    tensors = {
        "feature.mean": np.zeros(len(FEATURES), np.float32),
        "feature.scale": np.ones(len(FEATURES), np.float32),
        "linear.weight": weight,
        "calibration.scores": np.array([0, 1] if calibrated else [], np.float32),
        "calibration.probabilities": np.array([0, 1] if calibrated else [], np.float32),
    }
    header: dict[str, Any] = {
        "format": _core.FORMAT,
        "kind": "candidates",
        "version": version,
        "features": _core.CANDIDATE_FEATURE_SPEC,
        "scorer": "linear",
    }
    if calibrated:
        # Relevant candidates scored .5 to 1, the others 0 to .5.
        tensors["relevance.relevant"] = np.linspace(-1, -0.5, 100, dtype=np.float32)
        tensors["relevance.irrelevant"] = np.linspace(0, 0.5, 100, dtype=np.float32)
        knots = {"rows": 100.0, "step": 1.0}
        header |= {"relevance": {"relevant": knots, "irrelevant": knots}}
        header |= {"prediction": {"alpha": 0.1, "size": 2, "rows": 100}}
    return _core.artifact_bytes(header | changed, tensors)


def served(path: Path, data: bytes, **config: Any) -> CandidateRouter:
    path.write_bytes(data)
    return CandidateRouter(CandidateRouterConfig(model_path=path, **config))


def test_text_and_embedding_both_find_what_was_asked_for() -> None:
    router = CandidateRouter()
    assert router.route("When does the train leave?", MEMORIES, k=1).ids == ["train"]
    embedding = _core.encode(["When does the train leave?"])[0]
    assert router.route(embedding, CandidateSet(MEMORIES), k=1).ids == ["train"]
    assert router.route(list(map(float, embedding)), CandidateSet(MEMORIES), k=1).ids == ["train"]


def test_an_answer_says_all_there_is_to_say() -> None:
    answer = CandidateRouter().route("train", MEMORIES, k=2)
    assert (len(answer), answer.level, answer.level_reason, answer.errors) == (2, 0, "", ())
    assert (answer.artifact_version, answer.calibrated, answer.prediction_set_size) == ("untrained", False, None)
    assert 0 < answer.engine_us <= answer.elapsed_us
    best = answer[0]
    assert (best.candidate_id, best.uncertainty, best.use_lightweight) == ("train", 1.0, False)
    assert list(best.features) == FEATURES and best.features["words"] > 0
    assert "candidate_id='train'" in repr(best)
    assert np.frombuffer(best.feature_bytes(), "<f4").tolist() == list(best.features.values())
    assert answer.id != CandidateRouter().route("train", MEMORIES).id


NOW, DAY = 1e9, 86_400.0


@pytest.mark.parametrize(
    ("weights", "expected"),
    [("measured", (0.94 + 0.02 / 3 + 0.02) / 0.98), ("documented", (0.40 + 0.25 * math.exp(-2) + 0.20) / 0.85)],
)
def test_use_multiplies_relevance(weights: Literal["measured", "documented"], expected: float) -> None:
    found = CandidateSet(
        [
            Candidate("old", text="tea", created_at=NOW - 60 * DAY, confidence=1.0),
            Candidate("new", text="tea", created_at=NOW, confidence=1.0),
            Candidate("newer, about something else", text="trains", created_at=NOW, confidence=1.0),
        ]
    )
    answer = CandidateRouter(CandidateRouterConfig(weights=weights)).route("tea", found, now=NOW)
    assert answer.ids == ["new", "old", "newer, about something else"]
    assert answer[1].score / answer[0].score == pytest.approx(expected, rel=1e-4)
    assert answer[2].score < 0.2 * answer[1].score


def test_weights_are_known_by_name() -> None:
    assert _core.CANDIDATE_WEIGHTS["documented"] == pytest.approx([0.40, 0.25, 0.20, 0.15])
    assert sum(_core.CANDIDATE_WEIGHTS["measured"]) == pytest.approx(1)
    with pytest.raises(OptionError, match="measured or documented"):
        CandidateRouterConfig(weights="usual")  # type: ignore[arg-type]


TALK = [
    Candidate("passport", text="My passport number is K4410297.", created_at=NOW - 300 * DAY),
    Candidate("thanks", text="ok thanks, the passport number is on my list, see you tomorrow", created_at=NOW),
    Candidate("tap", text="The kitchen tap drips again.", created_at=NOW - DAY),
]
USED = {"access_count": 900, "success_rate": 1.0, "trials": 900, "confidence": 1.0}
UNUSED = {"access_count": 0, "success_rate": 0.2, "trials": 5, "confidence": 0.2}


def test_neither_fresh_nor_popular_outranks_relevant() -> None:
    question = "What is my passport number?"
    assert CandidateRouter().route(question, TALK, now=NOW).ids[0] == "passport"
    documented = CandidateRouter(CandidateRouterConfig(weights="documented"))
    assert documented.route(question, TALK, now=NOW).ids[0] == "thanks"
    used = [replace(each, created_at=None, **(UNUSED if each.id == "passport" else USED)) for each in TALK]
    assert documented.route(question, used, now=NOW).ids[0] == "thanks"
    assert CandidateRouter().route(question, used, now=NOW).ids[0] == "passport"


@pytest.mark.parametrize("age", [0.0, 1.0, 400.0, 3000.0])
def test_among_equals_the_newest_wins_however_old(age: float) -> None:
    facts = [
        Candidate(str(place), text="Nora lives in Porto.", created_at=NOW - (age + days) * DAY)
        for place, days in enumerate((30, 0, 90))
    ]
    assert CandidateRouter().route("Where does Nora live?", facts, now=NOW).ids == ["1", "0", "2"]


@pytest.mark.parametrize("name", ["success_rate", "confidence", "access_count"])
def test_among_equals_the_more_useful_wins(name: str) -> None:
    values = {"a": 0.2, "b": 0.9, "c": 0.5}
    tools = [Candidate(id, text="Searches mails.", **{"trials": 20, name: value}) for id, value in values.items()]
    assert CandidateRouter().route("search my mails", tools).ids == ["b", "c", "a"]


def test_a_light_model_needs_confidence_and_certainty(tmp_path: Path) -> None:
    rows = [
        Candidate(name, [value, math.sqrt(1 - value**2)]) for name, value in (("a", 0.95), ("b", 0.5), ("c", 0.1))
    ]
    router = served(tmp_path / "s", scorer({"cosine": 1.0}))
    answer = router.route([1.0, 0.0], rows)
    assert answer.calibrated and answer.prediction_set_size == 2
    assert [round(d.confidence, 3) for d in answer] == [0.95, 0.5, 0.1]
    assert [d.in_prediction_set for d in answer] == [True, True, False]
    # .95: no irrelevant candidate scored as high, so its p-value is the least there is. .5: at the end of both.
    assert answer[0].uncertainty == pytest.approx(1 / 101) and answer[2].uncertainty == pytest.approx(1 / 101)
    assert [d.use_lightweight for d in answer] == [True, False, False]
    strict = served(tmp_path / "t", scorer({"cosine": 1.0}), confidence_threshold=0.99)
    assert not any(d.use_lightweight for d in strict.route([1.0, 0.0], rows))
    certain = served(tmp_path / "u", scorer({"cosine": 1.0}), max_uncertainty=0.001)
    assert not any(d.use_lightweight for d in certain.route([1.0, 0.0], rows))


def test_without_calibration_no_light_model_and_no_certainty(tmp_path: Path) -> None:
    router = served(tmp_path / "s", scorer({"cosine": 5.0}, calibrated=False))
    answer = router.route([1.0, 0.0], [Candidate("a", [1.0, 0.0])])
    assert (answer.calibrated, answer[0].uncertainty, answer[0].use_lightweight) == (False, 1.0, False)


def test_candidates_that_are_not_finite_never_rank_and_are_named() -> None:
    rows = [Candidate("a", [1.0, 0.0]), Candidate("nan", [math.nan, 1.0]), Candidate("inf", [math.inf, 1.0])]
    answer = CandidateRouter().route([1.0, 0.0], [*rows, Candidate("zero", [0.0, 0.0])], k=10)
    assert answer.ids == ["a", "zero"] and answer[1].score == 0
    assert {problem.candidate_id for problem in answer.errors} == {"nan", "inf"}
    assert "NaN" in answer.errors[0].reason


def test_edges_of_the_number_of_candidates() -> None:
    router = CandidateRouter()
    assert router.route("x", []).ids == []
    assert router.route([1.0], [Candidate("only", [1.0])], k=5).ids == ["only"]
    assert len(router.route("tea", MEMORIES, k=99)) == 3


def test_equal_scores_are_ordered_by_id_whatever_the_order_of_adding() -> None:
    rows = [Candidate(name, text="the very same words") for name in "dbca"]
    assert CandidateRouter().route("same words", rows).ids == list("abcd")
    assert CandidateRouter().route("same words", rows[::-1], k=2).ids == ["a", "b"]


def test_diversity_passes_over_what_says_the_same() -> None:
    rows = [
        Candidate("a", [1.0, 0.0, 0.1]),
        Candidate("a again", [1.0, 0.0, 0.1]),
        Candidate("b", [0.6, 0.8, 0.0]),
    ]
    router = CandidateRouter()
    assert router.route([1.0, 0.2, 0.0], rows, k=2).ids == ["a", "a again"]
    assert router.route([1.0, 0.2, 0.0], rows, k=2, diversity=0.5).ids == ["a", "b"]


@pytest.mark.parametrize(
    ("asked", "error", "field"),
    [
        ({"query_embedding": None}, RequestError, "query_embedding"),
        ({"query_embedding": "  "}, RequestError, "query_embedding"),
        ({"query_embedding": "\ud800"}, RequestError, "text"),
        ({"query_embedding": [math.nan, 1.0]}, CandidateError, "query_embedding"),
        ({"query_embedding": [1.0]}, CandidateError, "query_embedding"),
        ({"query_embedding": "x", "k": 0}, OptionError, "k"),
        ({"query_embedding": "x", "k": 2.5}, OptionError, "k"),
        ({"query_embedding": "x", "k": True}, OptionError, "k"),
        ({"query_embedding": "x", "diversity": 1.5}, OptionError, "diversity"),
        ({"query_embedding": "x", "diversity": math.nan}, OptionError, "diversity"),
        ({"query_embedding": "x", "diversity": "0.5"}, OptionError, "diversity"),
        ({"query_embedding": "x", "diversity": None}, OptionError, "diversity"),
        ({"query_embedding": "x", "now": math.nan}, CandidateError, "now"),
        ({"query_embedding": "x", "metadata": {1: "x"}}, CandidateError, "metadata"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused_by_name(
    asked: dict[str, Any], error: type[TinyDancerError], field: str
) -> None:
    router = CandidateRouter()
    query = asked.pop("query_embedding")
    with pytest.raises(error) as caught:
        router.route(query, CandidateSet([Candidate("a", [1.0, 0.0], "x")]), **asked)
    assert caught.value.field == field
    assert router.breaker_status().failures == {}, "the caller's errors are no failures"


@pytest.mark.parametrize(
    ("config", "field"),
    [
        ({"confidence_threshold": 1.5}, "confidence_threshold"),
        ({"max_uncertainty": math.nan}, "max_uncertainty"),
        ({"circuit_breaker_threshold": 0}, "circuit_breaker_threshold"),
        ({"model_path": "a", "registry": "b"}, "registry"),
    ],
)
def test_a_configuration_out_of_range_is_refused(config: dict[str, Any], field: str) -> None:
    with pytest.raises(OptionError) as caught:
        CandidateRouterConfig(**config)
    assert caught.value.field == field


def test_an_artifact_that_is_none_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        CandidateRouter(CandidateRouterConfig(model_path=tmp_path / "absent"))
    with pytest.raises(ArtifactError, match="features"):
        served(tmp_path / "s", scorer({}, features="0"))
    with pytest.raises(ArtifactError, match="kind"):
        CandidateRouter(CandidateRouterConfig(model_path=_core.data_path("default.safetensors")))


def test_reload_swaps_versions_and_keeps_the_old_one_where_the_new_is_bad(tmp_path: Path) -> None:
    path = tmp_path / "scorer"
    router = served(path, scorer({"cosine": 1.0}, version="1.0.0"))
    rows = CandidateSet([Candidate("a", [1.0, 0.0]), Candidate("b", [0.0, 1.0])])
    assert router.route([1.0, 0.0], rows).ids == ["a", "b"]
    path.write_bytes(scorer({"cosine": -1.0}, version="2.0.0"))
    assert router.reload() == "2.0.0"
    answer = router.route([1.0, 0.0], rows)
    assert (answer.ids, answer.artifact_version) == (["b", "a"], "2.0.0")
    path.write_bytes(b"no artifact")
    with pytest.raises(ArtifactError):
        router.reload()
    assert router.route([1.0, 0.0], rows).artifact_version == "2.0.0"
    assert isinstance(router.status().reload_error, ArtifactError)


def test_history_and_feedback_reach_storage_without_the_text() -> None:
    storage = MemoryStorage()
    with CandidateRouter(storage=storage) as router:
        answer = router.route("When does the train leave?", MEMORIES, k=2)
        router.feedback(answer.id, 1.0, candidate_id="train")
        assert router.flush()
        [record] = storage.routing_history()
        assert (record.decision_id, record.kind, record.chosen, record.level) == (
            answer.id,
            "candidates",
            "train",
            0,
        )
        assert record.query_text is None and record.query_hash == hash_query("When does the train leave?")
        assert [shown.candidate_id for shown in record.shown] == answer.ids
        assert [shown.rank for shown in record.shown] == [0, 1]
        assert record.shown[0].features == answer[0].feature_bytes()
        [feedback] = storage.feedback_history()
        assert (feedback.decision_id, feedback.candidate_id, feedback.score) == (answer.id, "train", 1.0)
    kept = CandidateRouter(CandidateRouterConfig(keep_query_text=True), storage=MemoryStorage())
    kept.route("train", MEMORIES)
    kept.flush()
    assert kept.storage is not None and kept.storage.routing_history()[0].query_text == "train"


def test_a_database_keeps_candidates_and_gives_a_set(tmp_path: Path) -> None:
    pytest.importorskip("apsw")
    config = CandidateRouterConfig(database_path=tmp_path / "agent.db")
    with CandidateRouter(config) as router:
        assert router.storage is not None
        router.storage.insert_candidates(_records())
        answer = router.route("When does the train leave?", router.stored_candidates(), k=1)
        assert answer.ids == ["train"]
    with CandidateRouter(config) as router:
        assert router.storage is not None
        assert [record.decision_id for record in router.storage.routing_history()] == [answer.id]
        assert router.route("tea", router.stored_candidates(), k=1).ids == ["tea"]


def _records() -> list[Any]:
    from tiny_dancer.storage import CandidateRecord

    return [CandidateRecord(candidate.id, text=candidate.text) for candidate in MEMORIES]


def test_without_storage_feedback_says_what_is_missing() -> None:
    for call in (lambda r: r.feedback("id", 1.0), lambda r: r.stored_candidates()):
        with pytest.raises(TinyDancerError, match="database_path"):
            call(CandidateRouter())


def test_awaiting_gives_the_same() -> None:
    router = CandidateRouter()
    assert asyncio.run(router.aroute("train", MEMORIES, k=1)).ids == ["train"]


def test_candidates_are_plain_frozen_values() -> None:
    changed = replace(MEMORIES[0], id="other")
    assert (changed.id, changed.text) == ("other", MEMORIES[0].text)
    with pytest.raises(AttributeError):
        changed.id = "x"  # type: ignore[misc]


def test_a_forgotten_router_leaves_no_thread() -> None:
    def recording() -> list[threading.Thread]:
        return [each for each in threading.enumerate() if each.name == "tiny-dancer-recording"]

    before = recording()
    with MemoryStorage() as storage:
        router = CandidateRouter(storage=storage)
        router.route("tea", [Candidate("a", text="tea")])
        assert router.flush()
        (thread,) = [each for each in recording() if each not in before]
        del router
        gc.collect()
        thread.join(5)
        assert not thread.is_alive()
        assert len(storage.routing_history()) == 1
