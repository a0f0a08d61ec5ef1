"""The shipped artifacts order kinds of requests sensibly; the one without encoder is small and needs none."""

from __future__ import annotations

import gzip
import subprocess
import sys

import numpy as np
import pytest

from tiny_dancer import ResilientRouter, Router, _core

HARD = {
    "mathematics": (
        "Find the remainder when 7 to the power of 2025 is divided by 100.",
        "A tank is filled by one pipe in 6 hours and by another in 9 hours, and a drain empties it in 12. How "
        "long does it take with all three open?",
        "How many integers between 1 and 500 are divisible by 4 or 6 but not by both?",
    ),
    "code": (
        "Write a Python function that returns the length of the longest substring without repeating characters.",
        "Implement an LRU cache in C++ with get and put in O(1).",
        "Write a function to find all permutations of a string that are palindromes.",
    ),
}
EASY = {
    "writing": (
        "Describe a busy street market at noon so that the reader can smell it.",
        "Draft a polite email asking my manager for feedback on the quarterly report.",
        "Compose a poem about autumn rain.",
    ),
    "facts": (
        "Who painted the Mona Lisa?",
        "What language is spoken in Brazil?",
        "When was the Eiffel Tower built?",
    ),
    "chat": ("Hi, how are you today?", "Thanks, that was helpful!", "Do you like music?"),
}


@pytest.fixture(scope="module", params=_core.ROUTERS)
def router(request: pytest.FixtureRequest) -> Router:
    return Router.load(request.param)


def gain(router: Router, text: str) -> float:
    scores = router.route(text).scores
    return scores["strong"] - scores["weak"]


def test_mathematics_and_code_gain_more_than_writing_facts_and_chat(router: Router) -> None:
    hard = {kind: np.mean([gain(router, text) for text in texts]) for kind, texts in HARD.items()}
    easy = {kind: np.mean([gain(router, text) for text in texts]) for kind, texts in EASY.items()}
    assert min(hard.values()) > 1.5 * max(easy.values()), (hard, easy)


def test_a_long_text_with_one_simple_task_is_not_hard_for_being_long(router: Router) -> None:
    short = "Write a note of thanks to my neighbour."
    words = " She waters my plants and feeds my cat and is kind to everybody in the street."
    assert gain(router, short + 6 * words) < gain(router, HARD["mathematics"][1])


def test_both_are_certified_for_the_same_roles(router: Router) -> None:
    assert router.models == ("weak", "strong") and router.guarantee is not None
    assert router.guarantee.epsilon == 0.05 and router.guarantee.reference == "strong"


def test_the_artifacts_are_small() -> None:
    assert len(_core.data_file("default.safetensors")) <= 512 << 10
    edge = _core.data_file("edge.safetensors")
    assert len(edge) <= 100_000 and len(gzip.compress(edge)) <= 50_000


def test_edge_is_routed_by_in_a_process_that_never_reads_an_encoder() -> None:
    script = """
from tiny_dancer import Router, _core
taken = []
read = _core.data_file
_core.data_file = lambda name: taken.append(name) or read(name)
router = Router.load("edge", models={"weak": "small", "strong": "large"})
decision = router.route("Find the remainder of 7^9 by 5.")
print(decision.model, _core.encoder.cache_info().currsize, taken)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    model, loaded, taken = done.stdout.split(maxsplit=2)
    assert model in ("small", "large") and (loaded, taken.strip()) == ("0", "[]")


def test_edge_serves_with_fallbacks_too() -> None:
    router = ResilientRouter.load("edge", models={"weak": "small", "strong": "large"})
    assert router.header["features"]["encoder"] is None
    assert router.route("Hi").level == 0
