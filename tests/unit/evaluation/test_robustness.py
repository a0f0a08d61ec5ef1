"""Perturbations: the same everywhere, harmless, and counted."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_dancer.errors import DataError, OptionError
from tiny_dancer.evaluation.robustness import NEIGHBOURS, PERTURBATIONS, flip_share, perturb

TEXT = "Which of the following statements about thermal equilibrium is correct?\nA. Heat flows. B. It does not."


@settings(deadline=None, max_examples=150)
@given(st.text(st.characters(), max_size=80), st.sampled_from(PERTURBATIONS), st.integers(-3, 3))
def test_any_text_the_same_way_every_time(text: str, kind: str, seed: int) -> None:
    random.seed(0)
    first = perturb(text, kind, seed)
    state = random.getstate()
    assert perturb(text, kind, seed) == first
    assert random.getstate() == state


def test_what_each_kind_leaves_alone() -> None:
    for seed in range(40):
        assert perturb(TEXT, "case", seed).lower() == TEXT.lower()
        assert perturb(TEXT, "whitespace", seed).split() == TEXT.split()
        stripped = perturb(TEXT, "markdown", seed)
        for line in TEXT.split("\n"):
            assert line in stripped
        assert len(perturb(TEXT, "typos", seed).split("\n")) == 2


def test_about_one_word_in_twelve_has_a_typo() -> None:
    text = " ".join(f"{a}{b}word" for a in "abcdefghij" for b in "klmnopqrst")
    changed = [
        sum(a != b for a, b in zip(text.split(), perturb(text, "typos", seed).split(), strict=True))
        for seed in range(100)
    ]
    assert 6.5 <= np.mean(changed) <= 9.5
    assert all(perturb(TEXT, "typos", seed) != TEXT or seed >= 0 for seed in range(5))


def test_seeds_and_kinds_differ() -> None:
    for kind in PERTURBATIONS:
        assert len({perturb(TEXT, kind, seed) for seed in range(30)}) >= 3


def test_edge_texts() -> None:
    for kind in PERTURBATIONS:
        for text in ("", "\ud800", "a\x00b", "123", "é" * 3):
            assert isinstance(perturb(text, kind), str)
    assert perturb("12 34", "typos") == "12 34"


def test_keyboard_neighbours_are_mutual_along_a_row() -> None:
    assert set(NEIGHBOURS["g"]) >= {"f", "h"} and "g" in NEIGHBOURS["h"]


def test_flips() -> None:
    assert flip_share(np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2])) == 0.25
    assert flip_share(np.array([0, 1]), np.array([1, 1]), weight=np.array([3.0, 1.0])) == 0.75
    with pytest.raises(DataError):
        flip_share(np.array([0]), np.array([0, 1]))
    with pytest.raises(OptionError, match="typos"):
        perturb("x", "upside-down")


def every_change(text: str, kind: str, seeds: int = 400) -> set[str]:
    return {perturb(text, kind, seed) for seed in range(seeds)}  # type: ignore[arg-type]


def test_every_slip_of_the_fingers_happens_and_no_other() -> None:
    swapped, dropped, doubled = {"agp", "gpa"}, {"ap", "gp"}, {"ggap", "gaap"}
    beside = {"fap", "hap", "tap", "bap", "gsp", "gqp", "gzp"}
    assert every_change("gap", "typos") == swapped | dropped | doubled | beside
    assert every_change("GAP", "typos") == {each.upper() for each in swapped | dropped | doubled | beside}
    assert every_change("ééé", "typos") == {"ééé", "éé", "éééé"}, "a key that is not there is hit twice"
    assert {key: "".join(sorted(NEIGHBOURS[key])) for key in "qpzm"} == {"q": "aw", "p": "o", "z": "ax", "m": "jn"}


def test_every_change_of_form_happens_and_no_other() -> None:
    around = {before + "a. b" + after for before in ("  ", "\n", "\t", "\n\n") for after in ("  ", "\n", " \n\n")}
    assert every_change("a. b", "whitespace") == {"a. b", "a.  b", "a.\nb", "a. b\n"} | around
    lines = {each.replace("a. b", "a\nb") for each in around}
    assert every_change("a\nb", "whitespace") == {"a\nb", "a b", "a\n\nb"} | lines
    assert every_change("a\n\nb", "markdown") == {
        "**a\n\nb**",
        "> a\n> \n> b",
        "```\na\n\nb\n```",
        "- a\n\n- b",
    }
    assert every_change("ab C", "case") == {"AB C", "ab c", "Ab C"}


def test_words_of_three_letters_are_the_shortest_with_typos_and_one_always_has_one() -> None:
    assert every_change("of 123 it a_b", "typos") == {"of 123 it a_b"}
    changed = {
        tuple(a != b for a, b in zip(text.split(), ("one", "two", "six"), strict=True))
        for text in every_change("one two six", "typos")
    }
    assert (False, False, False) not in changed
    assert {(True, False, False), (False, True, False), (False, False, True)} <= changed


def test_no_decisions_have_no_share() -> None:
    with pytest.raises(DataError, match="n >= 1"):
        flip_share(np.zeros(0, np.int64), np.zeros(0, np.int64))
