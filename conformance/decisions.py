"""Which decisions the vectors ask for, and which damages artifacts must be refused for."""

from __future__ import annotations

from typing import Any

from asking_cases import ASKING, CHOICE, PLAIN, Case
from conversations import ALONE, GROUPED, UNREADABLE
from examples import FILLER, REFUSED, REQUESTS, TOOLS, WORD_PROBLEM, Described, Raw, long, user

PROBLEM = {"input": WORD_PROBLEM}
LONG = {"prompt": long([FILLER, 310])}
HUGE = long([FILLER, 1400])
GUARDED = next(request for explain, request in REQUESTS if explain.startswith("chat without a user"))
WITH_TOOLS = {"messages": user("When is high tide in port seven?"), "tools": TOOLS}


def everything(artifact: str, *requests: tuple[str, Any]) -> list[Case]:
    """Requests without options."""
    return [(explain, artifact, request, {}, []) for explain, request in requests]


DECISIONS: list[Case] = [
    *everything("pair", *REQUESTS, *REFUSED, *GROUPED, *ALONE, *UNREADABLE),
    *everything("five", *REQUESTS, *REFUSED),
    *everything("constant", *REQUESTS, *REFUSED),
    # measured
    ("a measured cost, between the prompts seen", "measured", PLAIN, {}, []),
    (
        "a prompt shorter than any seen costs less by its tokens, never nothing",
        "measured",
        {"prompt": "Hi"},
        {},
        [],
    ),
    ("a prompt longer than any seen costs more by its tokens", "measured", LONG, {}, []),
    ("a prompt of thousands of tokens: the line does not run away", "measured", {"prompt": HUGE}, {}, []),
    ("what is measured beyond what was seen can be too dear", "measured", LONG, {"max_cost": 0.02}, []),
    (
        "a price in place of what was measured knows no such range",
        "measured",
        LONG,
        {},
        [{"price_input": 1e-06, "price_output": 0.0}, {}],
    ),
    # pair
    ("another threshold: the caller overrides, no certificate covers it", "pair", PLAIN, {"threshold": -1.0}, []),
    ("a threshold that no gain reaches", "pair", PLAIN, {"threshold": 1.5}, []),
    ("the shipped threshold given by the caller is an override still", "pair", PLAIN, {"threshold": 0.05}, []),
    ("a threshold must be finite", "pair", PLAIN, Raw('{"threshold": 1e999}'), []),
    ("threshold and cost weight exclude each other", "pair", PLAIN, {"threshold": 0.1, "cost_weight": 1.0}, []),
    (
        "a cost weight in place of a threshold: in USD, as all costs are known",
        "pair",
        PLAIN,
        {"cost_weight": 60.0},
        [],
    ),
    ("a cost weight of 0 asks for quality alone", "pair", CHOICE, {"cost_weight": 0.0}, []),
    ("a cost weight must not be negative", "pair", PLAIN, {"cost_weight": -1.0}, []),
    ("pinned to the weak model", "pair", PLAIN, {"pin": "weak"}, []),
    ("pinned to the strong model", "pair", PLAIN, {"pin": "strong"}, []),
    ("a model that does not exist cannot be pinned", "pair", PLAIN, {"pin": "nobody"}, []),
    ("excluding the strong model", "pair", CHOICE, {"exclude": ["strong"]}, []),
    ("excluding the weak model", "pair", CHOICE, {"exclude": ["weak"]}, []),
    ("excluding both leaves nothing", "pair", CHOICE, {"exclude": ["weak", "strong"]}, []),
    ("an empty list of allowed models allows all", "pair", CHOICE, {"allowed": []}, []),
    ("allowing one only", "pair", CHOICE, {"allowed": ["weak"]}, []),
    ("pinning an excluded model leaves nothing", "pair", CHOICE, {"pin": "weak", "exclude": ["weak"]}, []),
    ("the dearer model is too dear", "pair", PLAIN, {"max_cost": 0.0015}, []),
    ("no model is cheap enough", "pair", PLAIN, {"max_cost": 0.0}, []),
    ("costs must be finite", "pair", PLAIN, Raw('{"max_cost": 1e999}'), []),
    ("latency removes the slower model", "pair", PLAIN, {"max_latency": 0.9}, []),
    ("a quality that none reaches", "pair", PLAIN, {"min_quality": 1.0}, []),
    ("a quality outside [0, 1]", "pair", PLAIN, {"min_quality": 1.01}, []),
    ("the window removes the weak model: a long text", "pair", LONG, {}, []),
    ("the window counts output, too", "pair", PLAIN, {"expected_output_tokens": 1995.0}, []),
    ("a pinned model must fit the window all the same", "pair", LONG, {"pin": "weak"}, []),
    ("expected output must be finite", "pair", PLAIN, Raw('{"expected_output_tokens": NaN}'), []),
    (
        "roles get names and prices: the certificate no longer covers them, the policy stays",
        "pair",
        PLAIN,
        {},
        [
            {"name": "small-1", "price_input": 1e-07, "price_output": 4e-07, "expected_output_tokens": 100},
            {"name": "large-1", "price_input": 3e-06, "price_output": 1.5e-05},
        ],
    ),
    ("a price must not be negative", "pair", PLAIN, {}, [{"price_input": -1.0}, {}]),
    ("names must differ", "pair", PLAIN, {}, [{"name": "strong"}, {}]),
    # five
    ("the model that is not cleared has the highest value, and is not chosen", "five", PLAIN, {}, []),
    ("nor is it beside one that is cleared", "five", PLAIN, {"allowed": ["calm", "doubtful"]}, []),
    ("the guard: a model better than the best constant, but by less than the margin", "five", GUARDED, {}, []),
    ("no cost weight: quality alone", "five", PLAIN, {"cost_weight": 0.0}, []),
    ("a small cost weight", "five", PROBLEM, {"cost_weight": 1.0}, []),
    ("a large cost weight", "five", PROBLEM, {"cost_weight": 1000.0}, []),
    ("a threshold needs a pair", "five", PLAIN, {"threshold": 0.1}, []),
    ("output tokens change costs and what fits a window", "five", PLAIN, {"expected_output_tokens": 1190.0}, []),
    (
        "the model that is not cleared is chosen only where nothing else is left",
        "five",
        PLAIN,
        {"allowed": ["doubtful"]},
        [],
    ),
    ("an excluded best constant guards nothing", "five", CHOICE, {"exclude": ["anchor"]}, []),
    ("excluding the choice and more", "five", WITH_TOOLS, {"exclude": ["brisk", "calm"], "max_cost": 0.004}, []),
    ("a latency that not every model has", "five", PLAIN, {"max_latency": 1.0}, []),
    (
        "latency among models that have it",
        "five",
        PLAIN,
        {"max_latency": 1.0, "allowed": ["brisk", "doubtful", "exact"]},
        [],
    ),
    ("least quality", "five", PROBLEM, {"min_quality": 0.5}, []),
    ("quality and cost together leave nothing", "five", PROBLEM, {"min_quality": 0.9, "max_cost": 0.0002}, []),
    ("beyond two windows", "five", HUGE, {}, []),
    ("pinned beyond its window", "five", HUGE, {"pin": "brisk"}, []),
    ("pinned, whatever the cost weight", "five", PLAIN, {"pin": "exact", "cost_weight": 5.0}, []),
    ("an unknown model is excluded: refused", "five", PLAIN, {"exclude": ["nobody"]}, []),
    # constant
    ("no model has a price: a limit on cost cannot be kept", "constant", PLAIN, {"max_cost": 1.0}, []),
    ("no model has a latency", "constant", PLAIN, {"max_latency": 1.0}, []),
    (
        "a cost weight without prices counts calls of the best constant",
        "constant",
        PLAIN,
        {"cost_weight": 0.3},
        [],
    ),
    (
        "a threshold between two models: the best constant is the strong one",
        "constant",
        PLAIN,
        {"threshold": 0.0},
        [],
    ),
    ("excluding the constant", "constant", PLAIN, {"exclude": ["second"]}, []),
    ("pinning the constant is what the policy does", "constant", PLAIN, {"pin": "second"}, []),
    ("tokens without an encoder are the text's own: the window", "constant", HUGE, {}, []),
    # alone
    ("one model: no other could be better", "alone", PLAIN, {}, []),
    ("one model, excluded", "alone", PLAIN, {"exclude": ["alone"]}, []),
    ("one model, too dear", "alone", LONG, {"max_cost": 1e-09}, []),
    ("one model has no pair for a threshold", "alone", PLAIN, {"threshold": 0.1}, []),
    # gated
    *everything("gated", *REQUESTS, *REFUSED),
    *ASKING,
]

# (explain, artifact, damage): truncate to so many bytes; replace bytes once (as text, of equal length);
# flip the lowest bit of the byte this far from the end; or load without an encoder.
DAMAGES: list[tuple[str, str, Described]] = [
    ("no bytes", "pair", {"truncate": 0}),
    ("cut inside the length", "pair", {"truncate": 7}),
    ("cut inside the header", "pair", {"truncate": 400}),
    ("cut inside the tensors", "pair", {"truncate": 6000}),
    ("the last weight changed", "pair", {"flip_from_end": 1}),
    ("another MAJOR of the format", "pair", {"replace": ['format\\": \\"1.', 'format\\": \\"2.']}),
    ("another kind of artifact", "pair", {"replace": ["request-router", "request-reader"]}),
    ("other features than this engine's", "pair", {"replace": ['spec\\": \\"3\\"', 'spec\\": \\"9\\"']}),
    ("an unknown kind of backend", "pair", {"replace": ['\\"linear\\"', '\\"laurel\\"']}),
    ("two models of one name", "pair", {"replace": ['name\\": \\"strong\\"', 'name\\": \\"weak\\"  ']}),
    ("a policy with a model that is none", "pair", {"replace": ['\\"strong\\": 1', '\\"strong\\": 7']}),
    (
        "costs seen between ends that are the wrong way round",
        "measured",
        {"replace": ["[8.0, 900.0]", "[8e3, 900.0]"]},
    ),
    ("a policy nobody knows", "pair", {"replace": ['\\"threshold\\",', '\\"thresholt\\",']}),
    ("a tensor is missing", "pair", {"replace": ['"l.word"', '"l.werd"']}),
    ("a self-check that is not met", "pair", {"replace": ['\\"choice\\": ', '\\"choice\\":1']}),
    ("a header changed that has a checksum", "priced", {"replace": ['flat\\"', 'flet\\"']}),
    ("no encoder for weights that need it", "pair", {"no_encoder": True}),
    ("another encoder than the weights'", "five", {"replace": ['encoder\\": \\"f78e', 'encoder\\": \\"f78f']}),
]


def damaged(data: bytes, damage: Described) -> bytes:
    """The bytes after the damage."""
    if "truncate" in damage:
        return data[: damage["truncate"]]
    if "flip_from_end" in damage:
        at = len(data) - damage["flip_from_end"]
        return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
    if "replace" in damage:
        old, new = (part.encode() for part in damage["replace"])
        assert len(old) == len(new), damage
        assert old in data, damage
        return data.replace(old, new, 1)
    return data
