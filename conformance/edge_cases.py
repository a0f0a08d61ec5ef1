"""What the vectors ask of the shipped artifact that names no encoder."""

from __future__ import annotations

from pathlib import Path

from asking_cases import CHOICE, PLAIN, Case
from decisions import HUGE, LONG, PROBLEM, WITH_TOOLS, everything
from examples import REFUSED, REQUESTS, SHAPED, Raw

ARTIFACT = Path(__file__).resolve().parent.parent / "python" / "tiny_dancer" / "data" / "edge.safetensors"

PRICED = [
    {"name": "small", "price_input": 1e-07, "price_output": 4e-07, "expected_output_tokens": 100},
    {"name": "large", "price_input": 3e-06, "price_output": 1.5e-05, "context_window": 400},
]

EDGE: list[Case] = [
    *everything("edge", *REQUESTS, *REFUSED, *SHAPED[:6]),
    (
        "no encoder: a word, a number and a symbol are a token each",
        "edge",
        "It's 3,000.5 €, isn't it?",
        {},
        PRICED,
    ),
    ("no encoder: a letter of a script without spaces is a token", "edge", "東京の天気 ok", {}, PRICED),
    (
        "no encoder: what is not read counts at the rate of the rest",
        "edge",
        {"prompt": HUGE},
        {},
        [*PRICED[:1], {}],
    ),
    ("no encoder: the window is held against counted tokens", "edge", LONG, {}, PRICED),
    ("no encoder: how alike options are is not seen", "edge", CHOICE, {}, []),
    ("no encoder: tools count by their bytes", "edge", WITH_TOOLS, {}, PRICED),
    ("another threshold", "edge", PLAIN, {"threshold": -1.0}, []),
    ("its policies have names", "edge", PROBLEM, {"policy": "cheapest"}, []),
    ("pinned", "edge", PROBLEM, {"pin": "weak"}, []),
    ("a model that does not exist cannot be pinned", "edge", PLAIN, {"pin": "nobody"}, []),
    ("a limit on cost by counted tokens", "edge", PROBLEM, {"max_cost": 0.0001}, PRICED),
    ("no model is cheap enough", "edge", PROBLEM, {"max_cost": 0.0}, PRICED),
    ("costs must be finite", "edge", PLAIN, Raw('{"max_cost": 1e999}'), []),
]
