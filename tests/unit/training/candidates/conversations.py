"""Conversations of our own making: who did what with which thing where, between small talk."""

from __future__ import annotations

import numpy as np

PEOPLE = ("Nora", "Emil", "Tariq", "Ines")
THINGS = (
    "kettle",
    "violin",
    "bicycle",
    "lantern",
    "passport",
    "sofa",
    "teapot",
    "drill",
    "rug",
    "camera",
    "kite",
    "oven",
)
PLACES = ("Oslo", "Porto", "Lima", "Quito", "Turin", "Bergen", "Riga", "Malmo", "Ghent", "Basel")
DEEDS = ("buy", "lose", "repair", "sell")
TALK = (
    "How is the weather?",
    "I slept badly.",
    "Let us talk tomorrow.",
    "That sounds good.",
    "My knee hurts again.",
)
DAY = 86_400


def conversations(names: tuple[str, ...], *, facts: int = 24, seed: int = 0) -> tuple[dict, dict]:
    """Columns of memories and of questions."""
    random = np.random.default_rng(seed)
    memories: dict[str, list] = {
        name: [] for name in ("conversation", "memory_id", "session", "created_at", "speaker", "text")
    }
    questions: dict[str, list] = {name: [] for name in ("conversation", "question", "evidence")}
    for conversation in names:
        chosen = random.permutation(len(PEOPLE) * len(THINGS) * len(DEEDS))[:facts]
        for number, fact in enumerate(chosen):
            person, thing = PEOPLE[fact % 4], THINGS[fact // 4 % 12]
            present = DEEDS[fact // 48]
            place = PLACES[int(random.integers(len(PLACES)))]
            # The answer names neither who nor what: only what stands before it does.
            texts = [
                f"{person}, did you {present} that {thing} again?",
                f"Yes, in {place}.",
                str(random.choice(TALK)),
            ]
            for part, text in enumerate(texts):
                memories["conversation"].append(conversation)
                memories["memory_id"].append(f"m{number}.{part}")
                memories["session"].append(number // 6 + 1)
                memories["created_at"].append(1_700_000_000 + number * DAY)
                memories["speaker"].append(PEOPLE[part])
                memories["text"].append(str(text))
            questions["conversation"].append(conversation)
            questions["question"].append(f"Where did {person} {present} the {thing}?")
            questions["evidence"].append([f"m{number}.1"])
    return memories, questions
