"""The shipped artifact orders kinds of requests sensibly, and tells the requests of a kind apart."""

from __future__ import annotations

import numpy as np

from tiny_dancer import Router, _core

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


def gain(text: str) -> float:
    scores = Router.load().route(text).scores
    return scores["strong"] - scores["weak"]


def test_mathematics_and_code_gain_more_than_writing_facts_and_chat() -> None:
    hard = {kind: np.mean([gain(text) for text in texts]) for kind, texts in HARD.items()}
    easy = {kind: np.mean([gain(text) for text in texts]) for kind, texts in EASY.items()}
    assert min(hard.values()) > 1.5 * max(easy.values()), (hard, easy)


def test_a_long_text_with_one_simple_task_is_not_hard_for_being_long() -> None:
    short = "Write a note of thanks to my neighbour."
    words = " She waters my plants and feeds my cat and is kind to everybody in the street."
    assert gain(short + 6 * words) < gain(HARD["mathematics"][1])


def test_the_artifact_is_small() -> None:
    assert len(_core.data_file("default.safetensors")) <= 512 << 10
