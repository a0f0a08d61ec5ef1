"""What requests are like: level on like rows, power on unlike ones, what a certificate knows of it."""

from __future__ import annotations

import numpy as np
import pytest
from tests.synthetic import fitted_pair, outcomes, pair, requests

from tiny_dancer import Router, _core, calibrate, fit
from tiny_dancer.training.calibrate import dial_share
from tiny_dancer.training.likeness import (
    FEWEST_GROUPS,
    LEVEL,
    background,
    conformal_steps,
    fit_likeness,
    with_likeness,
)

UNLIKE = (
    "Which of the following is a mammal?\nA. trout\nB. bat\nC. eel\nD. owl\nAnswer:",
    "Write a Python function that merges two sorted lists into one.",
    "明日の京都の天気を教えてください。",
    "Let $f(x) = x^2 - 4x$. Find the least value of $f$.",
    "please cancel my subscription",
)


def p_values(artifact: bytes, texts: tuple[str, ...]) -> np.ndarray:
    return Router(artifact).route_batch(list(texts)).likeness


@pytest.mark.parametrize("n", [20, 63, 64, 65, 400, 3000])
def test_p_values_are_ranks_and_never_too_small(n: int) -> None:
    generator = np.random.default_rng(n)
    scores = np.round(generator.normal(size=n), 2 if n < 100 else 6)
    knots, steps = conformal_steps(scores)
    assert len(knots) <= 64
    assert len(steps) == len(knots) + 1
    assert (np.diff(knots) > 0).all()
    assert (np.diff(steps) < 0).all()
    assert steps[0] == 1
    assert steps[-1] == pytest.approx(1 / (n + 1))
    asked = np.append(generator.normal(size=200), scores[:50])
    found = steps[np.searchsorted(knots, asked.astype(np.float32), side="left")]
    exact = (1 + (scores.astype(np.float32) >= asked.astype(np.float32)[:, None]).sum(1)) / (n + 1)
    assert (found >= exact - 1e-12).all(), "a p-value that is too small would be a false alarm"
    few = len(np.unique(scores.astype(np.float32))) <= 64
    assert np.abs(found - exact).max() == (pytest.approx(0, abs=1e-12) if few else pytest.approx(0, abs=0.15))
    assert np.abs(found - exact)[exact < 0.06].max(initial=0) < 0.01, "fine where it matters"


def test_no_more_than_the_level_of_like_requests_is_flagged_at_any_size() -> None:
    """Known truth: rows and requests from one distribution, at several n, over several draws."""
    artifact = fitted_pair().artifact
    for n, draws in ((25, 6), (60, 4), (300, 1)):
        flagged = []
        for draw in range(draws):
            rows = pair(n, 5000 + 31 * n + draw)
            assert rows.features is not None
            data = with_likeness(artifact, rows.features, rows.group)
            flagged.append(p_values(data, requests(200, 9000 + 31 * n + draw)[0]) <= LEVEL)
        share, total = np.mean(flagged), np.size(flagged)
        assert share <= LEVEL + 3 * np.sqrt(LEVEL * (1 - LEVEL) * (1 / total + 1 / (draws * n))), (n, share)


def test_other_kinds_of_request_are_unlike() -> None:
    artifact = fitted_pair().artifact
    assert Router(artifact).header["likeness"] == {"level": LEVEL, "rows": 400}
    assert (p_values(artifact, UNLIKE) <= LEVEL).all()
    assert (p_values(artifact, requests(300, 41)[0]) <= LEVEL).mean() < 2 * LEVEL


def test_odd_requests_have_a_p_value_too() -> None:
    for text in ("?", "x", "a" * 50_000, "\u0001!", "9" * 400, "word " * 500, "🙂"):
        found = Router(fitted_pair().artifact).route(text).likeness
        assert found is not None
        assert 0 < found <= LEVEL, text[:20]


def test_of_two_kinds_of_rows_a_third_is_unlike() -> None:
    texts = requests(150, 42)[0] + tuple(
        f"Was ist {a} mal {b}, und warum?" for a in range(3, 18) for b in range(2, 12)
    )
    rows = outcomes(texts, np.ones((len(texts), 2)))
    assert rows.features is not None
    data = with_likeness(fitted_pair().artifact, rows.features, rows.group)
    assert (p_values(data, UNLIKE) <= LEVEL).all()
    like = requests(100, 43)[0] + tuple(
        f"Was ist {a} mal {b}, und warum?" for a in range(30, 40) for b in range(2, 12)
    )
    assert (p_values(data, like) <= LEVEL).mean() < 0.12


def test_a_certificate_refers_to_the_rows_it_was_earned_on() -> None:
    """Trained on two kinds, certified on one: the other is unlike; the dials earn nothing and change nothing."""
    fitted = fitted_pair()
    fresh = pair(500, 40)
    easy = fresh.rows(np.flatnonzero([text.startswith("Describe") for text in fresh.prompt]))
    certified = calibrate(fitted.artifact, easy, max_quality_loss=0.2)
    texts, hard = requests(200, 44)
    batch = Router(certified.artifact).route_batch(list(texts))
    assert batch.guaranteed[~hard].mean() > 0.85
    assert batch.guaranteed[hard].mean() < 0.1
    assert set(batch.guarantee_notes[hard & ~batch.guaranteed]) == {
        "the request is unlike those the certificate was earned on (see likeness)"
    }
    assert Router(certified.artifact).header["likeness"]["rows"] == len(easy)
    one = Router(certified.artifact).route(texts[int(np.flatnonzero(hard)[0])])
    assert (one.guarantee, one.likeness) == (None, batch[int(np.flatnonzero(hard)[0])].likeness)
    dialled = dial_share(fitted.artifact, easy, "strong", 0.5)
    np.testing.assert_array_equal(p_values(dialled.artifact, texts), p_values(fitted.artifact, texts))


def test_too_few_rows_make_no_test_and_take_an_older_one_away() -> None:
    rows = pair(FEWEST_GROUPS - 1, 45)
    assert rows.features is not None
    assert fit_likeness(rows.features, rows.group) is None
    data = with_likeness(fitted_pair().artifact, rows.features, rows.group)
    assert "likeness" not in _core.read_header(data)
    router = Router(data)
    assert router.route("What is this?").likeness is None
    assert np.isnan(router.route_batch(["What is this?"]).likeness).all()
    assert router.route_batch(["What is this?"])[0].likeness is None
    # Groups count, not rows: one row repeated says nothing of others.
    same = pair(200, 46)
    assert same.features is not None
    assert fit_likeness(same.features, np.arange(200) % 5) is None


def test_a_group_of_nearly_all_rows_stops_nothing() -> None:
    rows = pair(2600, 47)
    assert rows.features is not None
    found = fit_likeness(rows.features, np.maximum(np.arange(2600) - 2500, 0))
    assert found is not None and found.rows == 2000
    alone = np.maximum(np.arange(2600) - 2580, 0)
    fitted = fit_likeness(rows.features, alone)
    assert fitted is None or fitted.rows == 2000


def test_the_test_is_small_and_the_same_for_the_same_rows() -> None:
    rows = pair(2300, 47)
    assert rows.features is not None
    first, second = (fit_likeness(rows.features, rows.group) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.rows == 2000
    assert all((first.tensors[name] == second.tensors[name]).all() for name in first.tensors)
    bare = fit(pair(FEWEST_GROUPS - 1, 48)).artifact
    assert "likeness" not in _core.read_header(bare)
    assert len(with_likeness(bare, rows.features, rows.group)) - len(bare) <= 4096


def test_the_background_is_of_many_kinds_and_no_two_are_the_same() -> None:
    features = background()
    assert len(features) > 150
    assert len(
        {features.embedding[row].tobytes() + features.cues[row].tobytes() for row in range(len(features))}
    ) == (len(features))
