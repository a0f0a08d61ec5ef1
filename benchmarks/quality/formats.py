"""Ways to write the same request, and text that says nothing in front of it."""

from __future__ import annotations

import json
import random
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

QUESTION = re.compile(r"(?s)(.*?)\nA\. (.*?)\nB\. (.*?)(?:\nC\. (.*?))?(?:\nD\. (.*?))?\nAnswer:\s*$")
WORD = re.compile(r"[^\W\d_]{3,}")
ROMAN = ("i", "ii", "iii", "iv")
TEXT_BEFORE = "Note: the following is for educational purposes only and does not constitute professional advice."
TEXT_AFTER = "Disclaimer: this content was produced automatically. Do not share it outside of the organisation."
# Worded so that no list of the engine's knows it.
UNKNOWN_AFTER = (
    "Whoever reads these lines takes full responsibility for any use, and agrees that mistakes may happen."
)
SYSTEM = "You are a helpful, honest and concise assistant. Always follow the instructions of the user."
LATIN = "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore."


# Of other kinds and languages than the engine's lists were made with; none was looked at before they stood.
HELD_OUT_BEFORE = {
    "German notice": "Hinweis: Diese Nachricht kann vertrauliche Angaben enthalten und ist nur für Sie bestimmt.",
    "French request": "Merci de bien vouloir lire attentivement ce qui suit avant de répondre.",
    "Chinese filler": "今天天气很好，我们先去公园散步，然后回家吃饭。",
    "chatter": "My colleague Petra sat next to me all morning while I drank too much coffee, so bear with me.",
    "log line": "2026-03-01T08:15:30Z INFO gateway request accepted from 10.0.0.7",
    "front matter": "---\ntitle: item 12\ntags: [exam, draft]\n---",
}
HELD_OUT_AFTER = {
    "company footer": "Acme is registered in Delaware; its offices close at weekends and on bank holidays.",
    "contract language": "Nothing in this exchange creates a partnership, and neither party relies upon it.",
    "Spanish thanks": "Muchas gracias de antemano por su ayuda y que tenga un buen día.",
    "HTML comment": "<!-- rendered by template v3 -->",
}


def parts(text: str) -> tuple[str, list[str]] | None:
    """Stem and options of a multiple-choice question."""
    found = QUESTION.match(text)
    return found and (found.group(1), [option for option in found.groups()[1:] if option is not None])


def marked(text: str, marker: Callable[[int], str]) -> str:
    """With other markers in front of its options."""
    found = parts(text)
    if found is None:
        return text
    return found[0] + "".join(f"\n{marker(i)}{option}" for i, option in enumerate(found[1])) + "\nAnswer:"


def as_json(text: str) -> str:
    """As JSON, with its options as a list."""
    found = parts(text)
    return json.dumps({"question": found[0], "options": found[1]} if found else {"question": text})


def typos(text: str, rate: float, seed: int) -> str:
    """A slip of the fingers in this share of the words of three letters or more."""
    from tiny_dancer.evaluation.robustness import _typo

    dice = random.Random(f"{seed}{text}")
    return WORD.sub(lambda word: _typo(word.group(), dice) if dice.random() < rate else word.group(), text)


def held_out(texts: Sequence[str]) -> dict[str, list[Any]]:
    """The texts in forms that the engine was not made with."""

    def enclosed(text: str) -> str:
        return marked(text, lambda i: f"<{'ABCD'[i]}> ")

    def nested(text: str) -> str:
        return json.dumps({"payload": {"item": as_json(text)}, "version": 2})

    forms: dict[str, Callable[[str], str]] = {
        "options A =": lambda text: marked(text, lambda i: f"{'ABCD'[i]} = "),
        "options <A>": enclosed,
        "options 1st": lambda text: marked(text, lambda i: f"{('1st', '2nd', '3rd', '4th')[i]}: "),
        "options one per line, no marker": lambda text: marked(text, lambda _: ""),
        "JSON in JSON": nested,
        "CSV": lambda text: "id,question\n7," + json.dumps(text),
        "LaTeX": lambda text: "\\begin{question}\n" + text + "\n\\end{question}",
    }
    forms |= {
        f"before: {name}": lambda text, said=said: f"{said}\n\n{text}" for name, said in HELD_OUT_BEFORE.items()
    }
    forms |= {
        f"after: {name}": lambda text, said=said: f"{text}\n\n{said}" for name, said in HELD_OUT_AFTER.items()
    }
    return {name: [form(text) for text in texts] for name, form in forms.items()}


def formats(texts: Sequence[str], others: Sequence[str]) -> dict[str, list[Any]]:
    """The texts in every form; ``others`` are questions of the same kind for examples and history."""
    dice = random.Random(0)

    def bare(text: str) -> str:
        return text.removesuffix("Answer:").strip()

    def examples(text: str) -> str:
        chosen = [
            f"Question: {bare(other)}\nAnswer: {dice.choice('ABCD')}" for other in dice.sample(list(others), 5)
        ]
        return "\n\n".join([*chosen, f"Question: {bare(text)}\nAnswer:"])

    def history(text: str) -> list[dict[str, str]]:
        said = (("user", dice.choice(list(others))), ("assistant", "B"), ("user", text))
        return [{"role": role, "content": content} for role, content in said]

    sums = " ".join(f"{k}+{k}={2 * k}" for k in range(1, 31))
    forms: dict[str, Callable[[str], Any]] = {
        "options 1)": lambda text: marked(text, lambda i: f"{i + 1}) "),
        "options (i)": lambda text: marked(text, lambda i: f"({ROMAN[i]}) "),
        "options •": lambda text: marked(text, lambda _: "• "),
        "options A -": lambda text: marked(text, lambda i: f"{'ABCD'[i]} - "),
        "options A>": lambda text: marked(text, lambda i: f"{'ABCD'[i]}> "),
        "options ①": lambda text: marked(text, lambda i: f"{'①②③④'[i]} "),
        "options Ａ．": lambda text: marked(text, lambda i: f"{'ＡＢＣＤ'[i]}．"),
        "options Option A:": lambda text: marked(text, lambda i: f"Option {'ABCD'[i]}: "),
        "JSON": as_json,
        "XML": lambda text: f"<question>\n{text}\n</question>",
        "Markdown": lambda text: f"## Question\n\n**{text.strip()}**",
        "five examples": examples,
        "history": history,
        "disclaimer before": lambda text: f"{TEXT_BEFORE}\n\n{text}",
        "disclaimer after": lambda text: f"{text}\n\n{TEXT_AFTER}",
        "disclaimer of unknown words": lambda text: f"{text}\n\n{UNKNOWN_AFTER}",
        "system text": lambda text: f"{SYSTEM}\n\n{text}",
        "no options": lambda text: (parts(text) or (text,))[0],
        "typos in 5 % of words": lambda text: typos(text, 0.05, 1),
        "typos in 15 % of words": lambda text: typos(text, 0.15, 1),
        "content-free: a word 60 times": lambda text: "word " * 60 + text,
        "content-free: sums": lambda text: f"{sums} {text}",
        "content-free: blah": lambda text: "Blah blah, blah blah blah. " * 15 + text,
        "content-free: Latin": lambda text: f"{LATIN} {text}",
    }
    return {name: [form(text) for text in texts] for name, form in forms.items()}
