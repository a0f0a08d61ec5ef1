"""A watch over a stream: silent as long as nothing changes, soon ringing when it does, safe between threads."""

from __future__ import annotations

from threading import Thread

import numpy as np
import pytest
from tests.synthetic import fitted_pair, pair, requests

from tiny_dancer import OptionError, Router, calibrate

OTHER = [
    f"Translate into French, please: the {word} is {n} years old." for n in range(9) for word in ("oak", "cat")
]


@pytest.fixture(scope="module")
def router() -> Router:
    return Router(calibrate(fitted_pair().artifact, pair(500, 40), max_quality_loss=0.1).artifact)


def test_requests_like_the_certificates_keep_it_silent_and_others_make_it_ring(router: Router) -> None:
    watch = router.watch()
    like = [watch.route(text) for text in requests(300, 201)[0]]
    assert watch.since is None
    assert watch.observed == 300
    assert watch.capital < 100
    assert np.mean([decision.guarantee is not None for decision in like]) > 0.9
    unlike = [watch.route(text) for text in OTHER]
    assert all(decision.guarantee is None for decision in unlike), "rung or not, these are unlike"
    assert watch.since is not None
    assert 301 < watch.since <= 300 + len(OTHER)
    after = watch.route(requests(1, 202)[0][0])
    assert after.guarantee is None
    note = "requests have become unlike those the certificate was earned on"
    assert after.guarantee_note == f"{note}: alarm likeness since decision {watch.since} of this watch"
    assert router.route(requests(1, 202)[0][0]).guarantee is not None, "the router itself knows nothing of it"


def test_false_alarms_over_many_streams_are_no_oftener_than_stated(router: Router) -> None:
    texts = list(requests(1500, 203)[0])
    found = router.route_batch(texts).likeness.tolist()
    generator = np.random.default_rng(0)
    rang = 0
    for _ in range(60):
        state = router._engine.martingale()
        assert state is not None
        for p in generator.choice(found, 250):
            state = state.step(float(p))
        rang += state.highest >= 20
    assert rang <= 8, "at most 3 in expectation"


def test_a_step_leaves_the_state_it_came_from_as_it_was(router: Router) -> None:
    state = router._engine.martingale()
    assert state is not None
    after = state.step(0.01)
    assert (state.steps, after.steps) == (0, 1)
    assert state.capital == pytest.approx(1)
    assert after.capital > 1
    assert after.capital == state.step(0.01).capital


def test_threads_share_one_watch(router: Router) -> None:
    watch = router.watch()
    decisions = [router.route(text) for text in requests(100, 204)[0]]

    def observe(thread: int) -> None:
        for number, decision in enumerate(decisions):
            watch.observe(decision, source=(thread, number))

    threads = [Thread(target=observe, args=[thread]) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert watch.observed == 800


def test_what_cannot_be_watched_is_said(router: Router) -> None:
    for threshold in (1.0, 0.0, -3.0, float("inf"), float("nan")):
        with pytest.raises(OptionError, match="threshold"):
            router.watch(threshold)
    for wrong in ("100", None, True, [100.0]):
        with pytest.raises(OptionError, match="threshold"):
            router.watch(wrong)  # type: ignore[arg-type]


def test_a_decision_of_another_artifact_is_refused_by_both_names(router: Router) -> None:
    """Of the same version too: an artifact has the version that whoever trained it gave."""
    other = Router(calibrate(fitted_pair().artifact, pair(400, 41), max_quality_loss=0.1).artifact)
    assert other.header["version"] == router.header["version"]
    watch = router.watch()
    text = requests(1, 205)[0][0]
    for strange in (other.route(text), other.route_batch([text])[0]):
        with pytest.raises(OptionError) as caught:
            watch.observe(strange)
        for each in (router, other):
            assert f"artifact {each.header['version']} ({each.artifact})" in str(caught.value)
    assert watch.observed == 0
    watch.observe(router.route(text), source=1)
    watch.observe(router.route_batch([text])[0], source=2)
    watch.observe(Router(router._source[0], models={"strong": "other"}).route(text), source=3)
    assert watch.observed == 3, "the same artifact, whoever has loaded it"
