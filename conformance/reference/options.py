"""The option block of a multiple-choice question in running text (the engine's ``cues/options.rs``)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .text import Token

LETTERS = "abcdefghij"
MOST_MARKERS = 128
MOST_COMPARED = 64


@dataclass(frozen=True)
class Marker:
    """``a.``, ``b)``, ``c:`` or ``(d)``: where it starts, its parenthesis included, and where its option does."""

    letter: str
    start: int
    option: int


def markers(characters: str, tokens: list[Token]) -> list[Marker]:
    """All markers: a letter a–j at the start or after a space or ``(``, then at once ``.``, ``)`` or ``:``."""
    found = []
    for letter, mark in pairwise(tokens):
        before = characters[letter.start - 1 : letter.start]
        if (
            letter.length == 1
            and letter.text in LETTERS
            and mark.start == letter.end
            and before in ("", " ", "(")
            and characters[mark.start] in ".):"
        ):
            start = letter.start - 1 if before == "(" else letter.start
            found.append(Marker(letter.text, start, mark.end))
    return found[-MOST_MARKERS:]


def chain(found: list[Marker]) -> list[Marker]:
    """The longest chain a, b, c, … of at least two markers; of equally long ones the last.

    A chain skips markers that do not continue it, but an ``a`` right after its first ``a`` ends it.
    """
    longest: list[Marker] = []
    for first, marker in enumerate(found):
        if marker.letter != "a":
            continue
        current = [marker]
        for following in found[first + 1 :]:
            if following.letter == LETTERS[len(current) :][:1]:
                current.append(following)
            elif following.letter == "a" and len(current) == 1:
                break
        if len(current) >= max(2, len(longest)):
            longest = current
    return longest


@dataclass(frozen=True)
class Question:
    """A text as stem and options.

    ``parts`` are what the embedding and the tokens are taken from: the characters of the stem, then those of each
    option; the markers belong to no part. Without options, the text is the stem.
    """

    characters: str
    chain: list[Marker]

    @property
    def stem_end(self) -> int:
        """One past the last character of the stem."""
        return self.chain[0].start if self.chain else len(self.characters)

    def ranges(self, text_end: int) -> list[tuple[int, int]]:
        """First and one past the last character of each option, in a text that ends at ``text_end``."""
        if not self.chain:
            return []
        ends = [marker.start for marker in self.chain[1:]] + [text_end]
        return [(marker.option, max(end, marker.option)) for marker, end in zip(self.chain, ends, strict=True)]

    def parts(self) -> list[str]:
        """The stem, then each option."""
        spans = [(0, self.stem_end), *self.ranges(len(self.characters))]
        return [self.characters[start:end] for start, end in spans]


def without_answer(tokens: list[Token]) -> list[Token]:
    """The tokens without a closing ``answer`` or ``answer:``, which asks nothing."""
    rest = tokens[:-1] if tokens and tokens[-1].text == ":" else tokens
    return rest[:-1] if rest and rest[-1].text == "answer" else tokens
