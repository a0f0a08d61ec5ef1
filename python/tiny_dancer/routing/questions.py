"""Questions about a text and their answers, in the shape of OpenAI's Decisions API and those that follow it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from tiny_dancer.errors import RequestError

if TYPE_CHECKING:
    from tiny_dancer.routing.requests import ChatMessages

__all__ = ["Answer", "Choice", "Level", "Question", "check_questions", "read_input", "read_questions"]

MOST_QUESTIONS: Final = 400
MOST_CHOICES: Final = 255
MOST_LEVELS: Final = 10
MOST_OPTIONS: Final = 10_000
"""Choices and levels of all questions of a request together."""
LONGEST_INSTRUCTIONS: Final = 100_000
LONGEST_DESCRIPTION: Final = 10_000
LONGEST_NAME: Final = 200

Kind = Literal["predicate", "choice", "score"]
DecidedBy = Literal["head", "zero_shot", "model"]
_Probability = Annotated[float, Meta(ge=0, le=1)]


class Choice(Struct, frozen=True, forbid_unknown_fields=True):
    """One of the values that a question of type ``choice`` may be answered with.

    Attributes:
        value: a text, or true or false; the text ``true`` is another value.
        description: what it means; compared with the input, and told to a model.
    """

    value: str | bool
    description: str = ""


class Level(Struct, frozen=True, forbid_unknown_fields=True):
    """One of the levels of a question of type ``score``.

    Attributes:
        label: its name.
        description: what it means.
    """

    label: str
    description: str = ""


class Criteria(Struct, frozen=True, forbid_unknown_fields=True, rename={"yes": "true", "no": "false"}):
    """What makes a predicate true, and what false (``true`` and ``false`` in JSON)."""

    yes: str
    no: str


class Question(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One question about an input.

    Attributes:
        type: ``predicate``: is it so; ``choice``: which of ``choices``; ``score``: how much, by ``levels``.
        instructions: what is asked.
        name: by which the answer is found; a head of this name answers it.
        choices: of a ``choice``, 2 to 255; where a head answers, they may be left out.
        levels: of a ``score``, 2 to 10, the lowest first; where a head answers, they are left out.
        criteria: of a ``predicate``: what makes it true and what false, to be compared with the input.
        head: what answers it, whatever its name.
        min_confidence: below this it is left open, in [0, 1].
    """

    type: Kind
    instructions: str = ""
    name: str | None = None
    choices: tuple[str | bool | Choice, ...] = ()
    levels: tuple[str | Level, ...] = ()
    criteria: Criteria | None = None
    head: str | None = None
    min_confidence: _Probability | None = None

    def options(self) -> tuple[Choice, ...]:
        """The choices, each with its description."""
        return tuple(each if isinstance(each, Choice) else Choice(each) for each in self.choices)

    def scale(self) -> tuple[Level, ...]:
        """The levels, each with its description."""
        return tuple(each if isinstance(each, Level) else Level(each) for each in self.levels)


class Answer(Struct, frozen=True, kw_only=True):
    """What a question was answered with, by whom, and how sure.

    Attributes:
        type: of the question; ``refusal`` where nothing that may answer it can.
        name: of the question.
        value: true or false; the choice's value; of a score the label of its most probable level, or its number
            where it has no levels. None where it is left open.
        probabilities: of true; of every choice by its value, in the question's order; of every level by its label.
            They sum to 1; empty where nobody knows them.
        score: of a ``score``: expected position among the levels, from 0, or the number itself; None else.
        range: lowest and highest score there can be; None where it is no score.
        confidence: probability that ``value`` is right; None where nobody knows it.
        calibrated: whether that was fitted on rows the answers had not seen.
        decided_by: ``head``, ``zero_shot`` (likeness of input and descriptions) or ``model``; None for a refusal.
        by: the head, the encoder or the model.
        version: of the head's artifact, or the encoder's; empty where unknown.
        reason: why it is left open or refused; empty else.
        latency_us: microseconds that it took; a model's answers take as long as its one call.
    """

    type: Literal["predicate", "choice", "score", "refusal"]
    name: str | None = None
    value: str | bool | float | None = None
    probabilities: tuple[tuple[str | bool, float], ...] = ()
    score: float | None = None
    range: tuple[float, float] | None = None
    confidence: float | None = None
    calibrated: bool = False
    decided_by: DecidedBy | None = None
    by: str = ""
    version: str = ""
    reason: str = ""
    latency_us: float = 0.0

    def probability(self, value: str | bool) -> float:
        """The probability of a value; 0 where it is none of them."""
        return next((each for own, each in self.probabilities if own is value or _same(own, value)), 0.0)

    def as_json(self) -> dict[str, Any]:
        """As ``POST /v1/decide`` gives it: OpenAI's fields for this type, and who decided, how sure, how fast."""
        found: dict[str, Any] = {"type": self.type, "name": self.name}
        if self.type == "refusal":
            return found | {"reason": self.reason, "latency_us": self.latency_us}
        if self.type == "predicate":
            found |= {"probability": dict(self.probabilities).get(True), "value": self.value}
        elif self.type == "choice":
            listed = [{"value": value, "probability": each} for value, each in self.probabilities]
            found |= {"choice": self.value, "probabilities": listed}
        else:
            levels = [
                {"value": at, "label": label, "probability": each}
                for at, (label, each) in enumerate(self.probabilities)
            ]
            found |= {"score": None if self.value is None else self.score, "range": self.range}
            found |= {"level": self.value if levels else None, "probabilities": levels}
        found |= {
            "confidence": self.confidence,
            "calibrated": self.calibrated,
            "decided_by": self.decided_by,
            "by": self.by,
            "version": self.version,
            "latency_us": self.latency_us,
        }
        return found | ({"reason": self.reason} if self.reason else {})


def read_questions(questions: Any, field: str = "questions") -> tuple[Question, ...]:
    """Questions as JSON values (or as :class:`Question`), checked.

    Raises:
        RequestError: one is none; ``field`` says which, and what of it.
    """
    if isinstance(questions, Question | Mapping | str | bytes) or not isinstance(questions, Sequence):
        raise RequestError(field, type(questions).__name__, "give a list of questions")
    found = []
    for at, each in enumerate(questions[: MOST_QUESTIONS + 1]):
        if not isinstance(each, Question):
            try:
                each = msgspec.convert(_plain(each), Question)
            except msgspec.ValidationError as error:
                text, _, place = str(error).partition(" - at `$")
                place = place.rstrip("`")
                raise RequestError(f"{field}[{at}]{place}", text, "give a question as documented") from None
        found.append(each)
    if len(questions) > MOST_QUESTIONS:
        raise RequestError(field, f"{len(questions):,} questions", f"ask at most {MOST_QUESTIONS} at a time")
    check_questions(found, field)
    return tuple(found)


def _plain(question: Any) -> Any:
    """A question whose instructions are parts of text, with them as one text."""
    if isinstance(question, Mapping) and isinstance(question.get("instructions"), list):
        parts = question["instructions"]
        if all(isinstance(each, Mapping) and isinstance(each.get("text"), str) for each in parts):
            return {**question, "instructions": "\n".join(each["text"] for each in parts)}
    return question


def check_questions(questions: Sequence[Question], field: str = "questions") -> None:
    """Refuses what cannot be asked.

    Raises:
        RequestError: as of :func:`read_questions`.
    """
    if not questions:
        raise RequestError(field, "none", "ask at least one question")
    names: set[str] = set()
    options = 0
    for at, each in enumerate(questions):
        place = f"{field}[{at}]"
        _check(each, place)
        options += len(each.choices) + len(each.levels)
        if each.name is not None:
            if each.name in names:
                raise RequestError(f"{place}.name", each.name, "two questions have this name: give each its own")
            names.add(each.name)
    if options > MOST_OPTIONS:
        raise RequestError(field, f"{options:,} choices and levels", f"give at most {MOST_OPTIONS:,} together")


def _check(question: Question, place: str) -> None:
    if question.name is not None and not 0 < len(question.name) <= LONGEST_NAME:
        value = f"{len(question.name):,} characters"
        raise RequestError(f"{place}.name", value, f"give 1 to {LONGEST_NAME}, or leave it out")
    if len(question.instructions) > LONGEST_INSTRUCTIONS:
        value = f"{len(question.instructions):,} characters"
        raise RequestError(f"{place}.instructions", value, f"give at most {LONGEST_INSTRUCTIONS:,}")
    for word, kind in (("choices", "choice"), ("levels", "score"), ("criteria", "predicate")):
        if getattr(question, word) and question.type != kind:
            remedy = f"only a question of type {kind} has {word}"
            raise RequestError(f"{place}.{word}", f"given for a {question.type}", remedy)
    if question.criteria is not None:
        for word, text in (("true", question.criteria.yes), ("false", question.criteria.no)):
            _text(text, f"{place}.criteria.{word}", LONGEST_DESCRIPTION)
    options = question.options()
    if len(options) == 1 or len(options) > MOST_CHOICES:
        raise RequestError(f"{place}.choices", f"{len(options)} choices", f"give 2 to {MOST_CHOICES}")
    for number, option in enumerate(options):
        if isinstance(option.value, str):
            _text(option.value, f"{place}.choices[{number}].value", LONGEST_DESCRIPTION)
        if len(option.description) > LONGEST_DESCRIPTION:
            value = f"{len(option.description):,} characters"
            raise RequestError(
                f"{place}.choices[{number}].description", value, f"give at most {LONGEST_DESCRIPTION:,}"
            )
    if len({(type(each.value), each.value) for each in options}) < len(options):
        raise RequestError(f"{place}.choices", "a value twice", "give every choice a value of its own")
    levels = question.scale()
    if len(levels) == 1 or len(levels) > MOST_LEVELS:
        raise RequestError(f"{place}.levels", f"{len(levels)} levels", f"give 2 to {MOST_LEVELS}")
    for number, level in enumerate(levels):
        _text(level.label, f"{place}.levels[{number}].label", LONGEST_DESCRIPTION)
        if len(level.description) > LONGEST_DESCRIPTION:
            value = f"{len(level.description):,} characters"
            raise RequestError(
                f"{place}.levels[{number}].description", value, f"give at most {LONGEST_DESCRIPTION:,}"
            )
    if len({each.label for each in levels}) < len(levels):
        raise RequestError(f"{place}.levels", "a label twice", "give every level a label of its own")


def _text(text: str, field: str, longest: int) -> None:
    if not text.strip() or len(text) > longest:
        raise RequestError(field, f"{len(text):,} characters", f"give 1 to {longest:,}, not blank")


def _same(own: object, value: object) -> bool:
    return type(own) is type(value) and own == value


_PARTS: Final = ("text", "input_text", "output_text")


def read_input(given: Any, field: str = "input") -> tuple[str, ChatMessages]:
    """What questions are about: a text, or messages.

    Args:
        given: a text; or a list of messages, in the words of chat completions or of the Decisions API
            (``input_text``, ``input_image``). An answer that only calls tools counts for nothing.
        field: whose it is, for the error.

    Returns:
        All their text, a message a line, empty where there is none; and the same as chat messages for a model.

    Raises:
        RequestError: it is neither, or nothing.
    """
    if isinstance(given, str):
        if not given.strip():
            raise RequestError(field, "empty", "give the text that the questions are about")
        return given, [{"role": "user", "content": given}]
    if isinstance(given, Mapping) or not isinstance(given, Sequence) or not given:
        raise RequestError(field, type(given).__name__, "give a text, or a list of at least one message")
    texts: list[str] = []
    messages: list[dict[str, Any]] = []
    for at, message in enumerate(given):
        place = f"{field}[{at}]"
        if not isinstance(message, Mapping) or message.get("type", "message") != "message":
            raise RequestError(place, "no message", 'give {"role": "user", "content": …}')
        role, content = message.get("role"), message.get("content")
        if not isinstance(role, str) or not role:
            raise RequestError(f"{place}.role", repr(role), "give user, assistant, system or developer")
        if content is None and isinstance(message.get("tool_calls"), list):
            continue  # it says nothing: it only calls tools
        if isinstance(content, str):
            texts.append(content)
            messages.append({"role": role, "content": content})
            continue
        if not isinstance(content, Sequence) or not content:
            raise RequestError(f"{place}.content", type(content).__name__, "give a text, or a list of parts")
        parts = [_part(each, f"{place}.content[{number}]") for number, each in enumerate(content)]
        texts += [each["text"] for each in parts if each["type"] == "text"]
        messages.append({"role": role, "content": parts})
    if not messages:
        raise RequestError(field, "only calls of tools", "give the text that the questions are about")
    return "\n".join(text for text in texts if text.strip()), messages


def _part(part: Any, place: str) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind in _PARTS and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    if kind == "image_url" and isinstance(part.get("image_url"), Mapping):
        return {"type": "image_url", "image_url": dict(part["image_url"])}
    if kind == "input_image" and isinstance(part.get("image_url"), str):
        image = {"url": part["image_url"]} | ({"detail": part["detail"]} if part.get("detail") else {})
        return {"type": "image_url", "image_url": image}
    raise RequestError(place, f"a part of type {kind!r}", "give input_text or input_image (text, image_url)")
