"""Text → BERT's uncased word pieces → one pooled embedding (the engine's ``encoder.rs``)."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from .artifact import read_tensors
from .text import is_white_space

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

DIMENSIONS = 256
LONGEST_WORD = 100  # characters; longer words are unknown

_CONTROL_PIECES = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_IDEOGRAPHS = (
    (0x4E00, 0x9FFF),
    (0x3400, 0x4DBF),
    (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F),
    (0x2B740, 0x2B81F),
    (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF),
    (0x2F800, 0x2FA1F),
)


def _is_ideograph(character: str) -> bool:
    return any(first <= ord(character) <= last for first, last in _IDEOGRAPHS)


def _is_punctuation(character: str) -> bool:
    """ASCII punctuation and symbols, and every category P."""
    if character.isascii():
        return character.isprintable() and not character.isalnum() and character != " "
    return unicodedata.category(character)[0] == "P"


def _clean(text: str) -> Iterator[str]:
    """Control and format characters are dropped, white space is a space, ideographs stand alone."""
    for character in text:
        if character in "\t\n\r":
            yield " "
        elif character == "\ufffd" or unicodedata.category(character) in ("Cc", "Cf", "Co"):
            continue
        elif is_white_space(character):
            yield " "
        elif _is_ideograph(character):
            yield f" {character} "
        else:
            yield character


def _words(text: str) -> Iterator[str]:
    """Lower-case words without accents, and punctuation marks one by one."""
    for word in "".join(_clean(text)).split(" "):
        plain = (c for c in unicodedata.normalize("NFD", word) if unicodedata.category(c) != "Mn")
        lower = "".join(character.lower() for character in plain)
        spaced = (f" {character} " if _is_punctuation(character) else character for character in lower)
        yield from "".join(spaced).split()


@dataclass(frozen=True)
class Encoder:
    """The static token encoder."""

    checksum: str
    pieces: tuple[str, ...]
    rows: memoryview  # int8, one row of 256 a piece

    @classmethod
    def from_bytes(cls, data: bytes) -> Encoder:
        """Reads ``encoder.safetensors``: ``embeddings`` and ``vocabulary`` (pieces joined by line feeds)."""
        _, tensors, checksum = read_tensors(data, "encoder")
        vocabulary = tensors["vocabulary"].data.decode().split("\n")
        return cls(checksum, tuple(vocabulary), memoryview(tensors["embeddings"].data).cast("b"))

    @cached_property
    def identifiers(self) -> dict[str, int]:
        """Piece → number; the numbers are roughly ordered by frequency, the most frequent first."""
        return {piece: number for number, piece in enumerate(self.pieces)}

    def cut(self, text: str) -> list[int | None]:
        """Pieces of ``text`` in order; None for a word that the vocabulary cannot spell."""
        known = [piece for piece in _CONTROL_PIECES if piece in self.identifiers]
        found: list[int | None] = []
        for part in re.split("(" + "|".join(map(re.escape, known)) + ")", text):
            if part in known:  # spelt out in the raw text; [UNK] counts as unknown
                found.append(None if part == "[UNK]" else self.identifiers[part])
            else:
                for word in _words(part):
                    found.extend(self._cut_word(word))
        return found

    def _cut_word(self, word: str) -> Sequence[int | None]:
        """The longest piece that fits, again and again; pieces after the first are written ``##piece``."""
        if len(word) > LONGEST_WORD:
            return [None]
        found: list[int] = []
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            ends = range(len(word), start, -1)
            end = next((end for end in ends if prefix + word[start:end] in self.identifiers), None)
            if end is None:
                return [None]
            found.append(self.identifiers[prefix + word[start:end]])
            start = end
        return found

    def sum_rows(self, pieces: Sequence[int]) -> list[int]:
        """Sum of the embeddings of known pieces: exact integers."""
        rows = [self.rows[piece * DIMENSIONS : (piece + 1) * DIMENSIONS] for piece in pieces]
        return [sum(column) for column in zip(*rows, strict=True)] if rows else [0] * DIMENSIONS


def quantise(sums: Sequence[int]) -> list[int]:
    """The direction of ``sums`` in int8: v × 127 ÷ max |v|, rounded half away from zero; zero stays zero."""
    largest = max(map(abs, sums))
    if largest == 0:
        return [0] * len(sums)
    sizes = [(254 * abs(value) + largest) // (2 * largest) for value in sums]
    return [-size if value < 0 else size for size, value in zip(sizes, sums, strict=True)]
