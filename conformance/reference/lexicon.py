"""Closed word lists behind the cues (the engine's ``cues/lexicon.rs``)."""

from __future__ import annotations

LISTS: dict[str, frozenset[str]] = {
    name: frozenset(words.split())
    for name, words in {
        "stop": (
            "the a an of to in and is are was were for on that this with as by at from be or it which "
            "what has have had not but"
        ),
        "number_word": (
            "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
            "sixteen seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety "
            "hundred thousand million billion dozen first second third fourth fifth"
        ),
        "time": (
            "second seconds minute minutes hour hours day days week weeks weekly daily month months "
            "monthly year years yearly annual today yesterday tomorrow monday tuesday wednesday thursday "
            "friday saturday sunday morning afternoon evening night noon am pm o'clock age old"
        ),
        "comparison": (
            "more less than fewer greater larger smaller bigger older younger longer shorter higher lower "
            "faster slower most least as best worst better worse largest smallest highest lowest same "
            "equal difference"
        ),
        "rate": "each every per apiece rate average times",
        "scale": (
            "twice double triple half thrice quarter quarters third thirds halves doubled tripled percent "
            "fraction ratio"
        ),
        "total": "total altogether all together sum combined whole entire both",
        "remainder": (
            "left remaining remain remains rest still lost gave gives spent spends sold eaten ate away remainder"
        ),
        "condition": "if when suppose assume assuming given let unless whether then",
        "negation": (
            "not no except never none cannot neither nor without false incorrect untrue isn't doesn't "
            "don't didn't won't can't aren't wasn't couldn't least"
        ),
        "pronoun": "he she they him her his hers their them it its i you we my your our us",
        "mathematics": (
            "equation function integral derivative matrix vector polynomial probability theorem group "
            "ring field prime integer integers solve compute calculate evaluate find x y z n sin cos log "
            "sqrt mean variance proof prove graph set"
        ),
        "unit": (
            "dollar dollars cent cents mile miles km meter meters metres feet foot inch inches yard yards "
            "pound pounds ounce ounces kg kilogram grams gram liter liters gallon gallons cup cups mph "
            "kilometers cm mm g m l ml hz v volts j joules newtons mol k degrees"
        ),
        "percent": "percent",
        "what": "what",
        "why": "why",
        "how": "how",
        "many": "many",
        "much": "much",
        "blank": "blank",
        "exception": "except not false incorrect least",
        "statement": "statement statements ii argument arguments",
        "true_false": "true false",
        "following": "following",
        "all_or_none": "all none both neither",
        "than": "than",
        "as": "as",
        "times": "times",
    }.items()
}


def on_list(word: str, *names: str) -> bool:
    """Whether ``word`` is on one of the lists."""
    return any(word in LISTS[name] for name in names)
