"""Unknown words read as the likeliest known word one edit away (the engine's ``spelling.rs``)."""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING

from .alphabetic import is_alphabetic
from .text import WORD, Token, pair_index, tokenise

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Set

    from .word_pieces import Encoder

SHORTEST, LONGEST = 3, 32
MOST = 64
PAIR = 24
FREE = frozenset(" ,;:!?()\"'-")


@cache
def _levels(pieces: tuple[str, ...]) -> dict[str, int]:
    """Whole words of an encoder's vocabulary with their levels; the same for every speller of the encoder."""
    whole = [
        piece
        for piece in pieces
        if len(piece) >= 2 and not piece.startswith("##") and all(map(is_alphabetic, piece))
    ]
    return {word: min(255, math.floor(8 * math.log((50 + rank) / 0.1) + 0.5)) for rank, word in enumerate(whole)}


class Speller:
    """Known words with their levels, −8 ln of the share of texts that have the word.

    The engine keeps 40 bits of each word's hash; the reference keeps the words.
    """

    def __init__(self, letters: str, words: Mapping[str, int], encoder: Encoder, pairs: Set[int]) -> None:
        """``pairs``: indices of the word n-grams that the head has weights for."""
        self.letters, self.pairs, self.levels = letters, pairs, dict(words)
        for word, level in _levels(encoder.pieces).items():
            self.levels[word] = min(level, self.levels.get(word, level))

    def correct(self, characters: str) -> str:
        """The text as it is read."""
        tokens, out, read, unknown = tokenise(characters), "", 0, 0
        for at, token in enumerate(tokens):
            if token.kind != WORD or not SHORTEST <= token.length <= LONGEST:
                continue
            if self.knows(token.text) or not stands_free(characters, token):
                continue
            unknown += 1
            if unknown > MOST:
                break
            before = tokens[at - 1].identity if at else None
            after = tokens[at + 1].identity if at + 1 < len(tokens) else None
            found = self.likeliest(token.text, before, after)
            if found is None:
                continue
            tokens[at] = Token(token.start, token.end, token.kind, found)
            out += characters[read : token.start] + found
            read = token.end
        return out + characters[read:]

    def knows(self, word: str) -> bool:
        """Whole, or all its parts between apostrophes, where those are not short."""
        return word in self.levels or (
            "'" in word and all(len(part) < SHORTEST or part in self.levels for part in word.split("'"))
        )

    def likeliest(self, word: str, before: str | None, after: str | None) -> str | None:
        """Of the lowest level; the first of them."""

        def level(found: str) -> int:
            pairs = [(before, found)] if before is not None else []
            pairs += [(found, after)] if after is not None else []
            return self.levels[found] - PAIR * sum(pair_index(*pair) in self.pairs for pair in pairs)

        return min((each for each in self.edits(word) if each in self.levels), key=level, default=None)

    def edits(self, word: str) -> Iterator[str]:
        """Every word one edit away, in the order in which the first of the best is taken."""
        length = len(word)
        for at in range(length - 1):
            yield word[:at] + word[at + 1] + word[at] + word[at + 2 :]
        if length > SHORTEST:
            for at in range(length):
                yield word[:at] + word[at + 1 :]
        for at in range(length):
            for letter in self.letters:
                yield word[:at] + letter + word[at + 1 :]
        for at in range(length + 1):
            for letter in self.letters:
                yield word[:at] + letter + word[at:]


def stands_free(characters: str, token: Token) -> bool:
    """Whether nothing next to it says that it is part of an identifier, an address or code."""

    def free(character: str) -> bool:
        return not character or character in FREE or not (character.isascii() or is_alphanumeric(character))

    following, beyond = characters[token.end : token.end + 1], characters[token.end + 1 : token.end + 2]
    ends_sentence = following == "." and beyond in ("", " ")
    return free(characters[token.start - 1 : token.start] if token.start else "") and (
        ends_sentence or free(following)
    )


def is_alphanumeric(character: str) -> bool:
    """A letter or a number of any script."""
    import unicodedata

    return is_alphabetic(character) or unicodedata.category(character)[0] == "N"
