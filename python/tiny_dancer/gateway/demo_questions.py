"""Questions of our own making, of which the demo's stand-ins can answer some: sums, word problems, a few facts."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from operator import add, mul, sub
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

FACTS = {
    "What is the capital of France?": "Paris",
    "What is the capital of Japan?": "Tokyo",
    "What is the capital of Kenya?": "Nairobi",
    "What is the capital of Peru?": "Lima",
    "How many legs does a spider have?": "8",
    "How many days does a leap year have?": "366",
    "What colour do blue and yellow make?": "Green",
    "Which planet is the largest?": "Jupiter",
}


@dataclass(frozen=True, slots=True)
class Question:
    """A question and what is right.

    Attributes:
        text: as it is asked.
        answer: the right one.
        steps: of working out; 0 for a fact.
    """

    text: str
    answer: str
    steps: int


@dataclass(frozen=True, slots=True)
class Template:
    """A kind of question about numbers.

    Attributes:
        text: with ``#`` for each number.
        steps: each takes the result so far and the numbers, and gives the next result.
    """

    text: str
    steps: tuple[Callable[[int, list[int]], int], ...]

    def numbers(self, question: str) -> list[int] | None:
        """Those of a question of this kind; None for other questions."""
        pattern = re.escape(self.text).replace(r"\#", r"(\d{1,9})")
        found = re.search(pattern, question)
        return [int(each) for each in found.groups()] if found else None

    def result(self, numbers: list[int], steps: int) -> int:
        """What so many steps lead to."""
        value = numbers[0]
        for step in self.steps[:steps]:
            value = step(value, numbers)
        return value


def _with(operation: Callable[[int, int], int], place: int) -> Callable[[int, list[int]], int]:
    return lambda value, numbers: operation(value, numbers[place])


TEMPLATES = (
    Template("What is # + #?", (_with(add, 1),)),
    Template("What is # - #?", (_with(sub, 1),)),
    Template("What is # * #?", (_with(mul, 1),)),
    Template(
        "A baker makes # loaves an hour for # hours and sells # of them. How many loaves are left?",
        (_with(mul, 1), _with(sub, 2)),
    ),
    Template(
        "Anna has # boxes with # pencils each. She gives # pencils to her brother and finds # more at school. "
        "Then she buys # rubbers for each of her # friends. How many pencils has she now?",
        (_with(mul, 1), _with(sub, 2), _with(add, 3)),
    ),
    Template(
        "A train covers # kilometres an hour for # hours. After a rest it goes on for # kilometres, and then back "
        "for # kilometres because of a flood. How many kilometres from its start does it stop?",
        (_with(mul, 1), _with(add, 2), _with(sub, 3)),
    ),
    Template(
        "A school buys # packs of # chairs and # packs of # tables. # chairs arrive broken and go back. How many "
        "pieces of furniture does the school keep?",
        (_with(mul, 1), lambda value, numbers: value + numbers[2] * numbers[3], _with(sub, 4)),
    ),
)


def questions(count: int = 20, seed: int = 0) -> tuple[Question, ...]:
    """So many questions, easy and hard ones in turn; the same for the same seed."""
    chance = random.Random(seed)
    facts = list(FACTS.items())
    found = []
    for row in range(count):
        if row % 4 == 1:
            text, answer = facts[row // 4 % len(facts)]
            found.append(Question(text, answer, 0))
            continue
        template = chance.choice(TEMPLATES[:3] if row % 2 == 0 else TEMPLATES[3:])
        places = template.text.count("#")
        # The first two are multiplied in the longer ones: what is taken away later never is more.
        numbers = [chance.randint(20, 60) for _ in range(2)] + [chance.randint(2, 9) for _ in range(places - 2)]
        text = template.text
        for number in numbers:
            text = text.replace("#", str(number), 1)
        steps = len(template.steps)
        found.append(Question(text, str(template.result(numbers, steps)), steps))
    return tuple(found)


def solve(question: str, most_steps: int) -> str | None:
    """What someone who manages so many steps of working out would answer; None where nothing is known.

    Of a longer question, the result of the first steps: wrong, as from a model that is too small.
    """
    for text, answer in FACTS.items():
        if text in question:
            return answer
    for template in TEMPLATES:
        if (numbers := template.numbers(question)) is not None:
            return str(template.result(numbers, most_steps))
    return None
