"""Small made-up tables of intents."""

from __future__ import annotations

import random

WORDS = {
    "refund": (("refund", "money back", "return", "reimburse"), ("order", "purchase", "shoes", "payment")),
    "status": (("where is", "track", "locate", "has it shipped,"), ("parcel", "delivery", "package", "shipment")),
    "password": (("reset", "forgot", "change", "recover"), ("password", "login", "passcode", "pin")),
    "opening": (
        ("when do you open", "opening hours", "how late are you open", "closing time"),
        ("store", "shop", "branch", "office"),
    ),
    "human": (
        ("talk to", "speak with", "connect me to", "get me"),
        ("a human", "an agent", "a person", "somebody real"),
    ),
}
FRAMES = (
    "{a} the {b} please",
    "i want to {a} {b}",
    "{a} my {b}",
    "can you help, {a} {b}?",
    "{b}: {a}",
    "hello, {a} {b} today",
)


def intents(rows: int = 30, seed: int = 0) -> tuple[list[str], list[str]]:
    """Different texts and their routes, ``rows`` of each."""
    dice = random.Random(seed)
    texts, labels = [], []
    for name, (acts, things) in WORDS.items():
        every = [frame.format(a=a, b=b) for frame in FRAMES for a in acts for b in things]
        texts += dice.sample(every, rows)
        labels += [name] * rows
    return texts, labels
