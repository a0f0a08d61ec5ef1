"""The rules of fallback level 2, by requests they are about."""

from __future__ import annotations

import numpy as np
import pytest

from tiny_dancer import _core
from tiny_dancer.resilience import hint
from tiny_dancer.resilience.heuristics import LONG_WORDS


def words(count: int) -> str:
    """Different ones: what repeats counts once."""
    return " ".join([f"{first}a{second}" for first in "bcdfghjk" for second in "lmnpqrst"][:count])


def of(text: str) -> tuple[bool, str]:
    found = hint(_core.featurise([text]).cues[0])
    return found.strong, found.rule


@pytest.mark.parametrize("text", ["Hi there!", "Tell me a joke about cats.", "日本の首都は?"])
def test_short_chat_is_light(text: str) -> None:
    strong, rule = of(text)
    assert not strong
    assert "short and plain" in rule


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        (words(LONG_WORDS), "long"),
        ("If it rains, and unless the bus comes, what if I walk?", "conditions"),
        ("Is a fox bigger than a cat and faster than a dog?", "comparisons"),
        ("Solve $x^2 = 4$ for x.", "mathematics"),
        ("What is (3 + 4) * (5 - 2)?", "mathematics"),
        ("for (i = 0; i < n; i++) { a[i] = f(i); }", "code"),
    ],
)
def test_each_rule_asks_for_the_strong_model(text: str, rule: str) -> None:
    strong, found = of(text)
    assert strong
    assert rule in found or (rule == "code" and "mathematics" in found)


def test_a_long_request_is_long_from_the_stated_number_of_words_on() -> None:
    assert of(words(LONG_WORDS - 1))[0] is False
    assert of(words(LONG_WORDS))[0] is True


def test_no_cue_at_all_is_light() -> None:
    assert not hint(np.zeros(_core.CUES, np.float32)).strong
