"""A share of the requests that follows drift: it is kept on any traffic, for ties too, and says what it is."""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from tests.synthetic import fitted_pair, fitted_trio, requests

from tiny_dancer import OptionError, Router
from tiny_dancer.routing.share import FEWEST, MOST, ShareWindow

WINDOW = 200


def shares(window: ShareWindow, gains: Any) -> np.ndarray:
    """Whether each gain in turn went to the strong model."""
    chosen = []
    for gain in gains:
        strong = bool(gain >= window.threshold())
        window.saw(float(gain), strong)
        chosen.append(strong)
    return np.array(chosen)


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("step", [-0.5, 0.0, 0.5], ids=["falls", "stays", "rises"])
def test_after_one_window_of_other_traffic_the_share_is_given_again(share: float, step: float) -> None:
    generator = np.random.default_rng(0)
    before, after = generator.normal(0.1, 0.02, 1000), generator.normal(0.1 + step, 0.05, 1000)
    window = ShareWindow(share, WINDOW, np.linspace(0.0, 0.2, 50))
    chosen = shares(window, np.clip(np.append(before, after), -1, 1))
    assert chosen[:200].mean() == pytest.approx(share, abs=0.05), "from the first requests on"
    assert chosen[:1000].mean() == pytest.approx(share, abs=0.03)
    assert chosen[1000 + WINDOW :].mean() == pytest.approx(share, abs=0.05)
    assert window.given == pytest.approx(chosen[-WINDOW:].mean())
    assert len(window) == WINDOW


@settings(max_examples=40, deadline=None)
@given(
    share=some.floats(0.05, 0.95),
    values=some.lists(some.sampled_from([-0.2, 0.0, 0.1, 0.1000001]), min_size=1, max_size=3, unique=True),
)
def test_requests_that_are_level_are_given_out_by_turns(share: float, values: list[float]) -> None:
    gains = np.random.default_rng(1).choice(values, 600)
    chosen = shares(ShareWindow(share, WINDOW), gains)
    assert chosen[WINDOW:].mean() == pytest.approx(share, abs=0.05)


def test_none_and_all_are_exact_whatever_comes() -> None:
    gains = np.random.default_rng(2).normal(0, 0.3, 300).clip(-1, 1)
    assert not shares(ShareWindow(0.0, WINDOW), gains).any()
    assert shares(ShareWindow(1.0, WINDOW), gains).all()


def test_the_strong_model_gets_the_requests_that_gain_most() -> None:
    gains = np.random.default_rng(3).normal(0.1, 0.05, 2000)
    chosen = shares(ShareWindow(0.3, 500), gains)
    assert gains[chosen].min() > np.quantile(gains, 0.6), "but for the first ones"


def test_a_window_is_bounded_and_takes_no_gain_that_is_no_number() -> None:
    window = ShareWindow(0.3, FEWEST, [math.nan, 0.1])
    assert math.isnan(window.given)
    for gain in (*range(100), math.nan, math.inf):
        window.saw(gain / 100, True)
    assert len(window) == FEWEST
    assert len(window._ordered) == FEWEST
    assert window.given == 1.0


@pytest.mark.parametrize("share", [-0.1, 1.1, math.nan, "0.3", True, None])
def test_a_share_outside_its_range_is_refused(share: Any) -> None:
    with pytest.raises(OptionError, match="share"):
        ShareWindow(share)
    with pytest.raises(OptionError, match="share"):
        Router(fitted_pair().artifact).follow_share("strong", share)


@pytest.mark.parametrize("window", [0, FEWEST - 1, MOST + 1, 50.5, True, "500"])
def test_a_window_outside_its_range_is_refused(window: Any) -> None:
    with pytest.raises(OptionError, match="window"):
        Router(fitted_pair().artifact).follow_share("strong", 0.3, window=window)


def test_a_router_follows_a_share_of_either_model_and_says_who_decided() -> None:
    router = Router(fitted_pair().artifact)
    texts, _ = requests(300, 90)
    for model, name in (("strong", "strong"), ("weak", "weak"), (None, "strong")):
        follow = router.follow_share(model, 0.3, window=100)
        decisions = [follow.route(text) for text in texts]
        assert np.mean([each.model == name for each in decisions]) == pytest.approx(0.3, abs=0.05)
        assert follow.given == pytest.approx(np.mean([each.model == name for each in decisions[-100:]]))
        assert {each.routed_by for each in decisions} == {"override"}
        assert all(each.guarantee is None and each.guarantee_note for each in decisions)
    again = router.follow_share(None, 0.3, window=100)
    assert [again.route(text).model for text in texts] == [each.model for each in decisions], "nothing is random"


def test_options_are_kept_and_a_second_threshold_is_refused() -> None:
    follow = Router(fitted_pair().artifact).follow_share("strong", 1.0)
    assert follow.route("Compute 12 apples.", exclude=["strong"]).model == "weak"
    for option in ({"threshold": 0.1}, {"cost_weight": 0.1}, {"policy": "quality"}):
        with pytest.raises(OptionError, match="leave it out"):
            follow.route("Compute 12 apples.", **option)
    follow.route("Compute 12 apples.", threshold=None)


def test_a_share_is_one_of_two_models() -> None:
    with pytest.raises(OptionError, match="models"):
        Router(fitted_trio().artifact).follow_share("dear", 0.3)
    with pytest.raises(OptionError, match="weak, strong"):
        Router(fitted_pair().artifact).follow_share("nobody", 0.3)


def test_threads_share_a_follower() -> None:
    follow = Router(fitted_pair().artifact).follow_share("strong", 0.4, window=150)
    texts, _ = requests(200, 91)
    counts: list[int] = []

    def work() -> None:
        counts.append(sum(follow.route(text).model == "strong" for text in texts))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert sum(counts) / 800 == pytest.approx(0.4, abs=0.05)
    assert len(follow._gains) == 150
