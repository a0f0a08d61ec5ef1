"""Six alarms: each rings at what it watches, none at what it does not, and nobody talks them into it cheaply."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest
from tests.synthetic import fitted_pair, pair, requests

from tiny_dancer import OptionError, Router, _core, calibrate
from tiny_dancer.training.drift import without_drift

if TYPE_CHECKING:
    from tiny_dancer import Decision, Watch

ODD = "Translate into French, please: the oak is 7 years old."


@pytest.fixture(scope="module")
def artifact() -> bytes:
    return calibrate(fitted_pair().artifact, pair(500, 40), max_quality_loss=0.1).artifact


@pytest.fixture(scope="module")
def router(artifact: bytes) -> Router:
    return Router(artifact)


@pytest.fixture(scope="module")
def like(router: Router) -> list[Decision]:
    return list(router.route_batch(list(requests(2000, 201)[0])))


def alarm(watch: Watch, name: str) -> Any:
    return next(each for each in watch.status().alarms if each.name == name)


def moved(decision: Decision, by: float) -> Decision:
    """The same request, with other scores of every model."""
    scores = {model: score + by for model, score in decision.scores.items()}
    return msgspec.structs.replace(decision, scores=scores)


def test_what_is_usual_is_kept_by_a_certificate_alone(artifact: bytes, router: Router) -> None:
    spec = router.header["drift"]
    assert spec["rows"] + 125 == sum(spec["mix"]), "a quarter of 500 rows says where places are"
    found = router.usual("quality")
    assert found is not None
    knots, counts = found
    assert (np.diff(knots) > 0).all()
    assert counts.sum() == spec["rows"]
    assert len(counts) == len(knots) + 1 <= 33
    bare = Router(fitted_pair().artifact)
    assert bare.usual("quality") is None
    assert bare.usual("likeness") is not None
    assert without_drift(without_drift(artifact)) == without_drift(artifact)
    assert alarm(router.watch(), "quality").reference == "artifact"
    assert alarm(bare.watch(), "quality").reference == "first 128"
    assert alarm(bare.watch(), "risk").note == "no certificate of quality"


def test_scores_that_move_ring_though_the_requests_are_alike(router: Router, like: list[Decision]) -> None:
    watch = router.watch()
    for decision in like[:300]:
        assert watch.observe(decision).guarantee == decision.guarantee
    number = 0
    for decision in like[300:]:
        number += 1
        after = watch.observe(moved(decision, -0.05))
        if watch.since is not None:
            break
    assert number < 60, "two spreads of the highest quality expected"
    status = watch.status()
    assert status.ringing == ("quality",), "the gain is what it was, and so is what they are like"
    assert alarm(watch, "quality").note == "lower"
    assert (status.since, alarm(watch, "quality").since) == (300 + number, 300 + number)
    assert status.capital >= status.threshold
    assert after.guarantee is None
    covered = next(decision for decision in like if decision.guarantee is not None)
    assert watch.observe(covered, source="again").guarantee_note == (
        f"the highest quality expected of any model has changed: alarm quality since decision {300 + number} "
        "of this watch"
    )


def test_an_artifact_without_usual_scores_learns_them_from_the_first_128(like: list[Decision]) -> None:
    bare = Router(fitted_pair().artifact)
    decisions = list(bare.route_batch(list(requests(900, 207)[0])))
    watch = bare.watch()
    for decision in decisions[:127]:
        watch.observe(decision)
    assert alarm(watch, "quality").note == "learns what is usual from the first 128"
    assert alarm(watch, "quality").capital == pytest.approx(1 / 6)
    for decision in decisions[127:600]:
        watch.observe(decision)
    assert watch.since is None
    for decision in decisions[600:]:
        watch.observe(moved(decision, -0.1))
    assert watch.status().ringing


def test_one_request_pasted_a_thousand_times_rings_nothing(router: Router, like: list[Decision]) -> None:
    """Nor does it talk an alarm out of ringing."""
    odd = router.route(ODD)
    assert odd.likeness is not None
    assert odd.likeness < 0.05
    watch = router.watch()
    for decision in like[:100]:
        watch.observe(decision)
    for _ in range(1000):
        watch.observe(odd)
    assert watch.since is None
    assert watch.observed == 101
    loud, hushed = router.watch(), router.watch()
    for number in range(40):
        strange = moved(like[number], -0.08)
        loud.observe(strange)
        hushed.observe(strange)
        for _ in range(25):
            hushed.observe(like[0])
    assert loud.since is not None
    assert hushed.since is not None


def test_a_conversation_counts_once(router: Router, like: list[Decision]) -> None:
    watch = router.watch()
    for turn in range(20):
        watch.observe(moved(like[turn], -0.3), source="one user")
    assert watch.observed == 1
    for number in range(512):
        watch.observe(like[number % len(like)], source=number)
    watch.observe(like[0], source="one user")
    assert watch.observed == 514, "so many others have come since"


def test_decisions_that_say_nothing_count_nothing(router: Router, like: list[Decision]) -> None:
    watch = router.watch()
    nothing = dict.fromkeys(like[0].scores, math.nan)
    fallback = msgspec.structs.replace(like[0], scores=nothing, quality=math.nan, likeness=None, level=3)
    unknown = msgspec.structs.replace(like[0], scores=nothing, likeness=None)
    for number in range(300):
        watch.observe(fallback, source=number)
        watch.observe(unknown, source=-number)
    status = watch.status()
    assert {each.name: each.observed for each in status.alarms} == dict.fromkeys(_core.WATCHED, 0)
    assert all(each.psi is None for each in status.measures if each.name in ("likeness", "quality", "gain"))
    assert not status.ringing


def test_before_the_first_decision_there_is_nothing_to_say(router: Router) -> None:
    status = router.watch().status()
    assert (status.observed, status.since, status.ringing) == (0, None, ())
    assert [each.name for each in status.alarms] == list(_core.WATCHED)
    assert [each.window for each in status.measures] == [0] * 5
    assert all(each.psi is None and each.ks is None for each in status.measures)
    assert status.capital == pytest.approx(1 / 6)
    assert msgspec.json.decode(msgspec.json.encode(status))["threshold"] == 100


def test_measures_look_back_at_the_last_thousand(router: Router, like: list[Decision]) -> None:
    watch = router.watch()
    for number, decision in enumerate(like):
        watch.observe(moved(decision, 0.1 if number < 1000 else 0.0), source=number)
    by_name = {each.name: each for each in watch.status().measures}
    for name in ("quality", "gain", "likeness", "confidence"):
        found = by_name[name]
        assert found.window == 1000
        assert found.psi is not None
        assert found.psi < 0.1, f"{name}: what moved is forgotten"
    assert by_name["mix"].psi is not None
    assert by_name["mix"].psi < 0.1


def test_all_requests_pinned_to_one_model_are_no_mix(router: Router) -> None:
    """The mix and confidence are those of the policy: what a caller asks for says nothing of it."""
    watch = router.watch()
    for text in requests(60, 204)[0]:
        watch.route(text, pin="weak")
    by_name = {each.name: each for each in watch.status().measures}
    assert by_name["mix"].window == by_name["confidence"].window == 0
    assert by_name["quality"].window == 60


def test_a_model_that_has_become_worse_is_named(router: Router, like: list[Decision]) -> None:
    watch = router.watch()
    generator = np.random.default_rng(0)
    weak = [decision for decision in like if decision.model == "weak"]
    for decision in like[:400]:
        watch.outcome(decision, float(generator.random() < decision.quality))
    assert watch.since is None
    number = 0
    for decision in weak[200:]:
        number += 1
        watch.outcome(decision, float(generator.random() < decision.quality - 0.4))
        if watch.since is not None:
            break
    assert number < 200
    assert "calibration" in watch.status().ringing or "risk" in watch.status().ringing
    assert alarm(watch, "calibration").note == "weak: lower"
    assert "since outcome" in watch.note


def test_a_broken_promise_rings_by_the_references_own_outcomes(router: Router, like: list[Decision]) -> None:
    watch = router.watch()
    weak = [decision for decision in like if decision.model == "weak"]
    for decision in weak[:300]:
        watch.outcome(decision, {"weak": 0.9, "strong": 0.95})
    assert "risk" not in watch.status().ringing, "a loss of .05, where .1 is promised"
    for decision in weak[300:600]:
        watch.outcome(decision, {"weak": 0.6, "strong": 0.95})
    assert "risk" in watch.status().ringing


def test_feedback_of_any_unit_rings_once_it_changes(router: Router, like: list[Decision]) -> None:
    watch = router.watch()
    generator = np.random.default_rng(3)
    for decision in like[:700]:
        watch.feedback(decision, float(generator.random() < 0.5))
    assert watch.since is None, "half of the thumbs are down, as they were all along"
    for decision in like[700:]:
        watch.feedback(decision, float(generator.random() < 0.1))
    assert watch.status().ringing == ("feedback",)
    assert alarm(watch, "feedback").note == "lower"
    assert alarm(watch, "calibration").observed == 0


def test_feedback_on_one_decision_counts_once(router: Router, like: list[Decision]) -> None:
    watch = router.watch()
    for _ in range(3000):
        watch.outcome(like[0], 0.0)
        watch.feedback(like[0], 0.0)
    assert alarm(watch, "calibration").observed == alarm(watch, "feedback").observed == 1
    assert watch.since is None


def test_outcomes_out_of_range_are_refused_with_the_remedy(router: Router, like: list[Decision]) -> None:
    watch = router.watch()
    for wrong in (-0.1, 1.5, math.nan, math.inf, "1", None, True):
        with pytest.raises(OptionError, match="give a number in"):
            watch.outcome(like[0], wrong)  # type: ignore[arg-type]
        with pytest.raises(OptionError, match="give a number in"):
            watch.feedback(like[0], wrong)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="has served"):
        watch.outcome(msgspec.structs.replace(like[0], model="weak"), {"strong": 1.0})
    strange = Router(fitted_pair().artifact).route("What is 2 + 2?")
    with pytest.raises(OptionError, match="a watch of its own"):
        watch.outcome(strange, 1.0)
    assert alarm(watch, "calibration").observed == 0


def test_the_alarms_that_ring_later_leave_since_as_it_is(router: Router, like: list[Decision]) -> None:
    watch = router.watch()
    for decision in like[:200]:
        watch.observe(moved(decision, -0.2))
    first, note = watch.since, watch.note
    for decision in like:
        watch.outcome(decision, 0.0)
        watch.observe(moved(decision, 0.4))
    assert len(watch.status().ringing) >= 2
    assert (watch.since, watch.note) == (first, note)


def test_traffic_that_comes_sorted_has_changed(router: Router, like: list[Decision]) -> None:
    """A day's requests and a night's: mixed they are like the rows, one after the other they are not."""
    ranked = sorted(like, key=lambda decision: max(decision.scores.values()))
    watch = router.watch()
    for decision in ranked[:400]:
        watch.observe(decision)
    assert watch.since is not None


def test_a_watch_begins_anew_with_each_process(router: Router, like: list[Decision]) -> None:
    before, after = router.watch(), router.watch()
    for decision in like[:100]:
        before.observe(moved(decision, -0.2))
    for decision in like[:100]:
        after.observe(decision)
    assert before.since is not None
    assert after.since is None


@pytest.mark.parametrize("values", ["normal", "constant", "binary", "few"])
def test_scores_of_any_distribution_ring_falsely_no_oftener_than_stated(artifact: bytes, values: str) -> None:
    """300 streams at 1 / 20: ties and constants too. The state is the engine's, what is usual drawn anew."""
    generator = np.random.default_rng(4)

    def draw(count: int) -> np.ndarray:
        if values == "constant":
            return np.full(count, 0.7)
        if values == "binary":
            return np.where(generator.random(count) < 0.2, 0.4, 0.7)
        if values == "few":
            return generator.integers(0, 5, count) / 5
        return 0.7 + 0.05 * generator.normal(size=count)

    rows = 12 if values == "few" else 80
    rang = 0
    header, tensors = _core.read_header(artifact), _core.read_tensors(artifact)
    for seed in range(60):
        from tiny_dancer.training.drift import usual

        for name in ("quality", "gain"):
            knots, counts = usual(draw(rows).astype(np.float32))
            tensors[f"drift.{name}.knots"], tensors[f"drift.{name}.counts"] = knots, counts
        engine = Router(_core.artifact_bytes({**header, "self_check": []}, tensors))._engine
        for again in range(5):
            state = engine.drift(20.0 / 6, seed * 10 + again)
            best = draw(400)
            scores = np.stack([best, best - 0.1], axis=1).astype(np.float32)
            state.decided_all([math.nan] * 400, scores.ravel().tolist())
            rang += next(each[3] for each in state.alarms() if each[0] == "quality") is not None
    assert rang <= 0.05 * 300 + 4 * math.sqrt(0.05 * 0.95 * 300)


@pytest.mark.parametrize("wrong", [None, "a model", 7, {}])
def test_what_is_no_decision_is_refused(router: Router, wrong: Any) -> None:
    watch = router.watch()
    for say in (
        lambda: watch.outcome(wrong, 0.5),
        lambda: watch.feedback(wrong, 0.5),
        lambda: watch.observe(wrong),
    ):
        with pytest.raises(OptionError, match="decision"):
            say()


def test_a_score_beyond_every_float_is_refused(router: Router, like: list[Decision]) -> None:
    with pytest.raises(OptionError, match=r"\[0, 1\]"):
        router.watch().feedback(like[0], 10**400)
