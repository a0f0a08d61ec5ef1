"""What callers ask beyond the request: options, policies, prices of caches and long prompts, certificates."""

from __future__ import annotations

from typing import Any

from conversations import SPELT, called
from examples import QUESTION, Described, Raw, long, user

# (explain, artifact, request, options, changes of the models)
Case = tuple[str, str, Any, Any, list[Described]]
PLAIN = "Why does fog muffle the sound of a bell?"
CHOICE = {"messages": user(QUESTION)}


def prompt_of(tokens: int) -> Described:
    """A request of so many tokens: one for the word, the others are standing instructions at four bytes each."""
    return {"instructions": long(["tide", tokens - 1]), "input": "tide"}


def per_model(**changes: Described) -> list[Described]:
    """Changes to some of the models of ``priced``."""
    return [changes.get(name, {}) for name in ("swift", "deep", "flat")]


SHORT, LONGER, LONGEST = prompt_of(900), prompt_of(2000), prompt_of(5000)
PRICES = [
    {"price_input": 1e-06, "price_output": 4e-06, "price_cached_input": 1e-07, "expected_output_tokens": 100},
    {"price_input": 1e-05, "price_output": 4e-05, "price_cached_input": 1e-06, "expected_output_tokens": 100},
]
CONSTANT_PRICES = [{**prices, "name": name} for prices, name in zip(PRICES, ("first", "second"), strict=True)]
STAY: Described = {"current": "deep", "cached_tokens": {"deep": 850}}

ASKING: list[Case] = [
    # options by name
    ("options that are null ask nothing", "pair", PLAIN, Raw(" null "), []),
    ("nor does nothing at all", "pair", PLAIN, Raw(""), []),
    (
        "null asks nothing where a number or a name is due",
        "pair",
        PLAIN,
        {"max_cost": None, "pin": None, "policy": None, "threshold": None, "current": None, "min_quality": None},
        [],
    ),
    ("an unknown option", "pair", PLAIN, {"max_cst": 1}, []),
    ("options that are a list", "pair", PLAIN, [], []),
    ("an option given twice", "pair", PLAIN, Raw('{"max_cost": 1, "max_cost": 1}'), []),
    ("a number as a text", "pair", PLAIN, {"max_cost": "1"}, []),
    ("a truth value is no number", "pair", PLAIN, {"threshold": True}, []),
    ("a name in place of a list of names", "pair", PLAIN, {"allowed": "weak"}, []),
    ("a number in a list of names", "pair", PLAIN, {"exclude": [0]}, []),
    ("an unknown policy", "pair", PLAIN, {"policy": "cheap"}, []),
    ("options that are no JSON", "pair", PLAIN, Raw('{"max_cost": }'), []),
    ("a whole number is a number", "pair", PLAIN, {"max_cost": 1, "min_quality": 0, "threshold": 0}, []),
    ("a limit below 0", "pair", PLAIN, {"max_latency": -1}, []),
    ("more tokens than any answer has", "pair", PLAIN, {"expected_output_tokens": 1e10}, []),
    ("an unknown model is allowed: refused", "pair", PLAIN, {"allowed": ["weak", "Weak"]}, []),
    ("an unknown model is current: refused", "pair", PLAIN, {"current": "nobody"}, []),
    ("an unknown model has a cache: refused", "pair", PLAIN, {"cached_tokens": {"nobody": 1}}, []),
    ("a cache of less than nothing", "pair", PLAIN, {"cached_tokens": {"weak": -1}}, []),
    (
        "the pin removes a model before anything else does",
        "five",
        PLAIN,
        {"pin": "brisk", "exclude": ["calm"]},
        [],
    ),
    (
        "exclusion comes before permission",
        "five",
        PLAIN,
        {"exclude": ["calm"], "allowed": ["anchor", "exact"]},
        [],
    ),
    ("options are judged before the request is", "pair", {"messages": user(" ")}, {"max_cost": -1}, []),
    # policies
    *(
        (f"{policy}: a threshold", "pair", request, {"policy": policy}, [])
        for policy in ("cheapest", "balanced", "quality")
        for request in (PLAIN, "?!")
    ),
    *(
        (
            f"{policy}: a threshold of the caller's, {sign} 0",
            "pair",
            "?!",
            {"policy": policy, "threshold": given},
            [],
        )
        for policy in ("cheapest", "balanced", "quality")
        for sign, given in (("above", 0.1), ("below", -0.1))
    ),
    *(
        (f"{policy}: a cost weight", artifact, request, {"policy": policy}, [])
        for policy in ("cheapest", "balanced", "quality")
        for artifact, request in (("five", PLAIN), ("five", CHOICE), ("priced", LONGER))
    ),
    *(
        (f"{policy}: a cost weight of the caller's", "priced", SHORT, {"policy": policy, "cost_weight": 8.0}, [])
        for policy in ("cheapest", "balanced", "quality")
    ),
    *(
        (f"{policy}: a constant", "constant", PLAIN, {"policy": policy}, [])
        for policy in ("cheapest", "balanced", "quality")
    ),
    ("cheapest: twice no weight is none still", "gated", PLAIN, {"policy": "cheapest"}, []),
    ("cheapest: twice a threshold of 0", "constant", PLAIN, {"policy": "cheapest", "threshold": 0.0}, []),
    ("cost: the former name of cheapest", "pair", PLAIN, {"policy": "cost"}, []),
    ("quality, and a constraint", "priced", SHORT, {"policy": "quality", "max_cost": 0.005}, []),
    # prices
    ("a prompt just below the bound of a tier", "priced", prompt_of(999), {}, []),
    ("at the bound", "priced", prompt_of(1000), {}, []),
    ("just above it: the whole prompt has the tier's prices", "priced", prompt_of(1001), {}, []),
    ("at the bound of the next tier", "priced", prompt_of(4000), {}, []),
    ("above it: what the highest tier does not name is as without any", "priced", prompt_of(4001), {}, []),
    (
        "tiers in any order",
        "priced",
        LONGER,
        {},
        per_model(swift={"price_tiers": [{"above": 1900, "input": 3e-06}, {"above": 0, "input": 1e-06}]}),
    ),
    (
        "of two tiers with one bound the last",
        "priced",
        LONGER,
        {},
        per_model(swift={"price_tiers": [{"above": 1000, "input": 3e-06}, {"above": 1000, "input": 5e-06}]}),
    ),
    ("tiers taken away", "priced", LONGER, {}, per_model(swift={"price_tiers": []})),
    (
        "an output price of nothing needs no length",
        "priced",
        SHORT,
        {},
        per_model(flat={"price_input": 0, "price_output": 0}),
    ),
    (
        "a price on output of unknown length: the policy weighs cost",
        "priced",
        SHORT,
        {},
        per_model(flat={"price_input": 0, "price_output": 1e-06}),
    ),
    (
        "a cost that is unknown of the only model that counts",
        "priced",
        SHORT,
        {},
        per_model(
            swift={"cleared": False},
            flat={"cleared": False},
            deep={"price_output": 0.1, "expected_output_tokens": None},
        ),
    ),
    (
        "where the caller knows the length, it has a price",
        "priced",
        SHORT,
        {"expected_output_tokens": 250},
        per_model(flat={"price_input": 0, "price_output": 1e-06}),
    ),
    ("a price of the answer alone", "priced", SHORT, {}, per_model(flat={"price_output": 1e-06})),
    (
        "a tier's price alone",
        "priced",
        SHORT,
        {},
        per_model(flat={"price_request": None, "price_tiers": [{"above": 9, "input": 1e-06}]}),
    ),
    ("a price of a cache alone", "constant", PLAIN, {}, [{"price_cached_input": 1e-07}, {}]),
    ("a price beyond reason", "priced", SHORT, {}, per_model(flat={"price_input": 1e10})),
    ("a tier with a word nobody knows", "priced", SHORT, {}, per_model(flat={"price_tiers": [{"over": 5}]})),
    ("a tier below 0", "priced", SHORT, {}, per_model(flat={"price_tiers": [{"above": -5}]})),
    (
        "more tiers than one model may have",
        "priced",
        SHORT,
        {},
        per_model(flat={"price_tiers": [{"above": n} for n in range(17)]}),
    ),
    ("a name that is empty", "priced", SHORT, {}, per_model(flat={"name": ""})),
    ("changes to fewer models than there are", "priced", SHORT, {}, [{"name": "one"}]),
    (
        "models are asked for by their new names",
        "priced",
        SHORT,
        {"pin": "moored"},
        per_model(flat={"name": "moored"}),
    ),
    ("the old ones are gone", "priced", SHORT, {"pin": "flat"}, per_model(flat={"name": "moored"})),
    # staying with a cached conversation
    *(
        (f"{what}: {weight}", "priced", SHORT, {"cost_weight": weight, **STAY, **more}, [])
        for weight in (0.0, 5.0, 9.9, 12.0, 20.0, 60.0)
        for what, more in (
            ("the conversation is with the dear model", {}),
            ("with the cheap one", {"current": "swift", "cached_tokens": {"swift": 900}}),
        )
    ),
    ("nothing is cached", "priced", SHORT, {"cost_weight": 60.0, "current": "deep"}, []),
    (
        "less is cached",
        "priced",
        SHORT,
        {"cost_weight": 20.0, "current": "deep", "cached_tokens": {"deep": 90}},
        [],
    ),
    (
        "both have it cached",
        "priced",
        SHORT,
        {"current": "deep", "cached_tokens": {"deep": 900, "swift": 900}},
        [],
    ),
    ("more is cached than there is", "priced", SHORT, {"current": "deep", "cached_tokens": {"deep": 1e9}}, []),
    ("the current model is excluded", "priced", SHORT, {**STAY, "exclude": ["deep"]}, []),
    ("another is pinned", "priced", SHORT, {**STAY, "pin": "flat"}, []),
    ("the current model is pinned", "priced", SHORT, {**STAY, "pin": "deep"}, []),
    ("the current model is the one that is wanted", "priced", SHORT, {**STAY, "policy": "quality"}, []),
    (
        "a model without prices holds nothing",
        "five",
        PLAIN,
        {"current": "exact", "cached_tokens": {"exact": 9}},
        [],
    ),
    (
        "a cached prefix in a higher tier",
        "priced",
        LONGEST,
        {"current": "swift", "cached_tokens": {"swift": 4900}},
        [],
    ),
    (
        "a cache that costs more than it saves is not read",
        "priced",
        SHORT,
        STAY,
        per_model(deep={"price_cached_input": 1e-04}),
    ),
    *(
        (f"a threshold of {threshold}, and the conversation is with {current}", "pair", SHORT, options, PRICES)
        for threshold in (-0.5, 0.13, 0.3, 0.9)
        for current in ("weak", "strong")
        for options in [{"threshold": threshold, "current": current, "cached_tokens": {current: 850}}]
    ),
    (
        "a constant policy does not say what quality is worth",
        "constant",
        PLAIN,
        {"current": "first", "cached_tokens": {"first": 9}},
        CONSTANT_PRICES,
    ),
    # certificates
    ("covered", "priced", SHORT, {}, []),
    ("covered: a change that changes nothing", "priced", SHORT, {}, per_model(deep={"price_input": 1e-05})),
    ("void: another price", "priced", SHORT, {}, per_model(deep={"price_input": 2e-05})),
    ("void: a price more", "priced", SHORT, {}, per_model(flat={"price_input": 0, "price_output": 1e-06})),
    ("void: another length", "priced", SHORT, {}, per_model(deep={"expected_output_tokens": 151})),
    ("covered: a length that has no price", "priced", SHORT, {}, per_model(flat={"expected_output_tokens": 256})),
    (
        "covered: the last digit of a price, a cache and a window",
        "priced",
        SHORT,
        {},
        per_model(deep={"price_input": 1.0000000001e-05, "price_cached_input": 1e-07, "context_window": 9999}),
    ),
    ("covered: a threshold does not weigh prices", "pair", PLAIN, {}, PRICES),
    ("void: another name", "priced", SHORT, {}, per_model(deep={"name": "deeper"})),
    ("overridden: a cost weight", "priced", SHORT, {"cost_weight": 20.0}, []),
    ("overridden: a policy", "priced", SHORT, {"policy": "quality"}, []),
    ("covered: the policy as it is", "priced", SHORT, {"policy": "balanced"}, []),
    ("constrained", "priced", SHORT, {"exclude": ["deep", "swift"]}, []),
    ("covered: a constraint that removes what nobody wanted", "priced", SHORT, {"max_latency": 9.0}, []),
    ("covered: a limit that every choice keeps", "priced", SHORT, {"max_cost": 1}, []),
    ("other lengths than it was earned with", "priced", SHORT, {"expected_output_tokens": 100}, []),
    ("a threshold does not weigh lengths", "pair", PLAIN, {"expected_output_tokens": 100}, []),
    ("void before it is overridden", "priced", SHORT, {"pin": "flat"}, per_model(deep={"price_input": 2e-05})),
    ("no certificate, whoever decides", "five", PLAIN, {"pin": "calm"}, []),
    # the first specification
    *(
        (f"the first specification counts tools by their text: {spelling}", "older", Raw(text), {}, [])
        for spelling, text in SPELT.items()
    ),
    ("it does not count calls", "older", called({"function": {"name": "sound", "arguments": "{}"}}), {}, []),
    (
        "nor results, and a message of them is a turn",
        "older",
        {"messages": user("Well?", [{"type": "tool_result", "content": "nine fathoms"}])},
        {},
        [],
    ),
    (
        "nor formats",
        "older",
        {"input": "Well?", "response_format": {"schema": {"type": "object", "properties": {"x": {}}}}},
        {},
        [],
    ),
    (
        "it searches 64 KiB of tools",
        "older",
        Raw(
            long(
                '{"input": "Ring it.", "tools": [{"description": "',
                ["é ", 22000],
                '", "parameters": {"type": "object"}}, ',
                '{"parameters": {"type": "object"}}]}',
            )
        ),
        {},
        [],
    ),
    (
        "tools that are a string",
        "older",
        Raw('{"input": "Ring it.", "tools": "\\"parameters\\" \\"type\\""}'),
        {},
        [],
    ),
    ("it covers what it did", "older", {"input": PLAIN, "tools": []}, {}, []),
]
