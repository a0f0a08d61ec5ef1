"""Decisions of similar recent requests: what is found, and what is not."""

from __future__ import annotations

from collections import deque
from threading import Thread
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_dancer import OptionError
from tiny_dancer.resilience import DecisionCache, encode_vectors
from tiny_dancer.resilience.cache import LONGEST_TEXT

if TYPE_CHECKING:
    from collections.abc import Sequence


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def angle(texts: Sequence[str]) -> npt.NDArray[np.float32]:
    """An encoder whose text is an angle in degrees; "nothing" has no known token."""
    rows = [
        (0.0, 0.0) if text == "nothing" else (np.cos(np.radians(float(text))), np.sin(np.radians(float(text))))
        for text in texts
    ]
    return np.array(rows, np.float32)


def anything(_: object) -> bool:
    return True


def test_similar_requests_are_found_by_the_real_encoder_and_others_are_not() -> None:
    cache: DecisionCache[str] = DecisionCache()
    cache.put("How do I reset my password?", None, "weak", 0.9)
    cache.put("Prove that the square root of two is irrational.", None, "strong", 0.9)
    found = cache.find("how do i reset my password", None, anything)
    assert found is not None
    assert found.value == "weak"
    assert 0.95 <= found.similarity <= 1
    assert cache.find("What is the capital of France?", None, anything) is None


def test_the_floor_is_a_cosine_and_the_nearest_wins() -> None:
    cache: DecisionCache[str] = DecisionCache(similarity=0.95, encode=angle)
    cache.put("0", None, "far", 1.0)
    cache.put("8", None, "near", 1.0)
    found = cache.find("12", None, anything)
    assert found is not None
    assert found.value == "near" and found.similarity == pytest.approx(np.cos(np.radians(4)))
    assert cache.find("27", None, anything) is None  # cos 19° = .946
    found = cache.find("12", None, lambda value: value != "near")
    assert found is not None
    assert found.value == "far"


def test_the_context_has_to_be_equal() -> None:
    cache: DecisionCache[str] = DecisionCache(encode=angle)
    cache.put("5", "system A", "weak", 1.0)
    cache.put("90", "system B", "other", 1.0)
    assert cache.find("5", "system B", anything) is None
    assert cache.find("6", "system B", anything) is None
    assert cache.find("6", "system A", anything) is not None


def test_age_and_confidence_have_limits() -> None:
    clock = Clock()
    cache: DecisionCache[str] = DecisionCache(longest_age=10, confidence=0.6, clock=clock, encode=angle)
    cache.put("5", None, "weak", 0.6)
    for confidence in (0.59, float("nan")):
        cache.put("90", None, "unsure", confidence)
    assert len(cache) == 1
    assert cache.find("90", None, anything) is None
    clock.now = 9.9
    for text in ("5", "6"):
        found = cache.find(text, None, anything)
        assert found is not None
        assert found.age == 9.9
    clock.now = 10
    assert cache.find("5", None, anything) is None
    assert cache.find("6", None, anything) is None
    cache.put("5", None, "again", 0.9)
    found = cache.find("6", None, anything)
    assert found is not None
    assert (found.value, found.age) == ("again", 0)


def test_the_same_text_is_found_though_the_encoder_fails() -> None:
    def broken(texts: Sequence[str]) -> npt.NDArray[np.float32]:
        raise RuntimeError("no encoder")

    cache: DecisionCache[str] = DecisionCache(encode=broken)
    cache.put("a text", None, "weak", 1.0)
    found = cache.find("a text", None, anything)
    assert found is not None
    assert found.similarity == 1
    with pytest.raises(RuntimeError):
        cache.find("another", None, anything)


def test_a_text_without_known_tokens_is_similar_to_nothing() -> None:
    cache: DecisionCache[str] = DecisionCache(encode=angle)
    cache.put("nothing", None, "weak", 1.0)
    cache.put("5", None, "weak", 1.0)
    assert cache.find("40", None, anything) is None
    assert cache.find("nothing", "elsewhere", anything) is None


def test_embeddings_are_compared_as_they_are() -> None:
    cache: DecisionCache[str] = DecisionCache(encode=encode_vectors)
    vectors = np.random.default_rng(0).normal(size=(3, 384)).astype(np.float32)
    for number, vector in enumerate(vectors):
        cache.put(vector.tobytes(), None, str(number), 1.0)
    cache.put(np.zeros(384, np.float32).tobytes(), None, "zero", 1.0)
    near = 5 * vectors[1] + 0.1 * vectors[2]
    found = cache.find(near.tobytes(), None, anything)
    assert found is not None
    cosine = near @ vectors[1] / np.linalg.norm(near) / np.linalg.norm(vectors[1])
    assert found.value == "1" and found.similarity == pytest.approx(cosine, abs=1e-5)
    assert cache.find((vectors[0] + vectors[1]).tobytes(), None, anything) is None


def test_long_texts_are_not_remembered_and_clear_forgets() -> None:
    cache: DecisionCache[str] = DecisionCache(encode=angle)
    cache.put("5" * (LONGEST_TEXT + 1), None, "weak", 1.0)
    assert len(cache) == 0
    cache.put("5", None, "weak", 1.0)
    cache.clear()
    assert cache.find("5", None, anything) is None
    cache.put("7", None, "new", 1.0)
    found = cache.find("6", None, anything)
    assert found is not None
    assert found.value == "new"


@given(
    steps=st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=25, max_size=50),
    capacity=st.integers(1, 4),
)
@settings(max_examples=120, deadline=None)
def test_it_is_a_least_recently_used_cache(steps: list[tuple[bool, int]], capacity: int) -> None:
    """Angles 30° apart are alike to nobody but themselves, so a plain ordered dict says what has to be there."""
    cache: DecisionCache[int] = DecisionCache(capacity=capacity, encode=angle)
    expected: dict[int, int] = {}
    fresh: deque[tuple[int, int]] = deque(maxlen=capacity)
    for number, (puts, place) in enumerate(steps):
        if puts:
            cache.put(str(30 * place), None, number, 1.0)
            fresh.append((place, number))
        else:
            while fresh:
                new, value = fresh.popleft()
                expected.pop(new, None)
                expected[new] = value
                while len(expected) > capacity:
                    del expected[next(iter(expected))]
            # By a similar text, so that the vectors of reused rows are tested.
            found = cache.find(str(30 * place + 1), None, anything)
            assert (None if found is None else found.value) == expected.get(place)
            if found is not None:
                expected[place] = expected.pop(place)
            assert len(cache) == len(expected) <= capacity


def test_threads_share_it() -> None:
    """Angles 30° apart again: whatever is found is the request's own."""
    cache: DecisionCache[str] = DecisionCache(capacity=8, encode=angle)
    wrong: list[str] = []

    def work(start: int) -> None:
        for step in range(300):
            place = (start * 7 + step) % 12
            cache.put(str(30 * place), None, str(place), 1.0)
            found = cache.find(str(30 * place + 1), None, anything)
            if found is not None and found.value != str(place):
                wrong.append(found.value)

    threads = [Thread(target=work, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert len(cache) == 8


@pytest.mark.parametrize(
    "settings_",
    [{"similarity": 0}, {"similarity": 1.1}, {"confidence": -0.1}, {"longest_age": 0}, {"capacity": 0}],
)
def test_settings_out_of_range_are_refused(settings_: dict[str, float]) -> None:
    with pytest.raises(OptionError):
        DecisionCache(**settings_)
