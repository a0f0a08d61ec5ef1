"""Texts whose task the vectors of tasks ask for; the artifact is the package's."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from reference.errors import Refusal
from reference.tasks import Tasks

if TYPE_CHECKING:
    from reference.word_pieces import Encoder

Vector = dict[str, Any]

ARTIFACT = Path(__file__).resolve().parent.parent / "python" / "tiny_dancer" / "data" / "tasks.safetensors"

TEXTS: list[tuple[str, str]] = [
    ("open question", "Who painted the ceiling of the Sistine Chapel?"),
    ("code", "Write a Python function that reverses a linked list, with unit tests."),
    ("code in a fence", "Why does this fail?\n```python\nfor i in range(3)\n    print(i)\n```"),
    ("sums", "A shop sells pens at 3 for $1.20. How much are 14 pens, and what is left of $10?"),
    ("summary", "Summarise in two sentences: The council met on Monday. It voted 7 to 4 for the new bridge."),
    ("rewriting", "Rewrite this more politely: send me the file now"),
    ("ideas", "Give me ten names for a bakery run by two sisters"),
    ("classes", "Is this review positive or negative? 'The soup was cold and the waiter rude.'"),
    ("extraction as JSON", 'Return JSON with keys "name" and "date": Ann Lee was born on 3 May 1990.'),
    ("choices", "Which is a mammal?\nA) trout\nB) bat\nC) wasp\nD) newt\nAnswer:"),
    ("chat", "hey, how are you doing today?"),
    ("story", "Write a short poem about a lighthouse keeper who is afraid of the sea."),
    ("passage and question", "The Danube is 2,850 km long. It flows into the Black Sea. How long is the Danube?"),
    ("German", "Wie ist das Wetter in München und was soll ich für die Reise mitnehmen?"),
    ("French", "Comment est-ce que je peux apprendre le piano dans une petite maison ?"),
    ("two languages level", "the und"),
    ("Japanese by its kana", "東京の天気はどうですか"),
    ("Chinese without kana", "请总结这段文字的主要内容"),
    ("Russian", "Напиши короткое письмо учителю"),
    ("Greek, mostly in Latin letters", "Translate καλημέρα into English and explain when people say it"),
    ("no words that are known", "qzxv wvvq zzkj"),
    ("one word", "hello"),
    ("marks at the end", "Tell me about owls " + "!?" * 70),
    ("an end in the middle of a character", "Explain this: " + "é" * 100),
    ("longer than both edges", "Explain to a child why leaves fall. " * 12 + "Then list three books about trees."),
    ("white space around it", "\n\t  Translate to Spanish: good night  \n"),
    ("marks alone", "?!…"),
    ("white space alone", " \n\t"),
]


def task_vectors(encoder: Encoder) -> list[Vector]:
    """Every text with its whole answer."""
    tasks = Tasks.read(ARTIFACT.read_bytes(), encoder)
    found: list[Vector] = []
    for explain, text in TEXTS:
        vector: Vector = {"explain": explain, "text": text}
        try:
            vector["expect"] = rounded(tasks.answer(text))
        except Refusal as refusal:
            vector["error"] = refusal.kind
        found.append(vector)
    return found


def rounded(value: Any) -> Any:
    """Numbers to nine digits."""
    if isinstance(value, float):
        return float(f"{value:.9g}")
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, list) else value
