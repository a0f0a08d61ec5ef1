"""Text → bounded → normal form → tokens → hashed n-grams (the engine's ``text.rs``)."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

from .alphabetic import is_alphabetic

LONGEST, HEAD, TAIL = 8192, 6144, 2048  # bytes of UTF-8

WORD, NUMBER, SYMBOL = "word", "number", "symbol"


def floor_boundary(data: bytes, at: int) -> int:
    """The last character boundary of UTF-8 ``data`` that is not after ``at``."""
    at = min(at, len(data))
    while 0 < at < len(data) and data[at] & 0xC0 == 0x80:
        at -= 1
    return at


def ceiling_boundary(data: bytes, at: int) -> int:
    """The first character boundary of UTF-8 ``data`` that is not before ``at``."""
    while at < len(data) and data[at] & 0xC0 == 0x80:
        at += 1
    return at


def bounded(text: str) -> tuple[str, str]:
    """What is read of a text: all of it, or its first 6,144 and last 2,048 bytes, cut between characters."""
    data = text.encode()
    if len(data) <= LONGEST:
        return text, ""
    head = data[: floor_boundary(data, HEAD)]
    tail = data[ceiling_boundary(data, len(data) - TAIL) :]
    return head.decode(), tail.decode()


def is_white_space(character: str) -> bool:
    """Unicode's property White_Space."""
    spaces = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000"
    return character in spaces or "\u2000" <= character <= "\u200a"


def normalise(text: str, before: str = "") -> str:
    """The normal form of ``text``, appended to the normal form ``before`` it.

    NFKC of the whole text first; then each character by itself to lower case (so a final Σ becomes σ); each run
    of white space and control characters (category Cc) to one space, none at either end; ’ becomes '.
    """
    out, space = [before] if before else [], bool(before)
    for character in unicodedata.normalize("NFKC", text):
        if is_white_space(character) or unicodedata.category(character) == "Cc":
            space = bool(out)
            continue
        if space:
            out.append(" ")
            space = False
        out.append("'" if character == "’" else character.lower())
    return "".join(out)


# Numbers and letters in circles and squares, which NFKC takes out of them or leaves as they are: the first of each
# run, and what it stands for.
_ENCLOSED = (
    (0x2460, 20, "1"),
    (0x24B6, 26, "a"),
    (0x24D0, 26, "a"),
    (0x2776, 10, "1"),
    (0x2780, 10, "1"),
    (0x278A, 10, "1"),
    (0x1F130, 26, "a"),
    (0x1F150, 26, "a"),
    (0x1F170, 26, "a"),
)


def enclosed(character: str) -> str | None:
    """What a character in a circle or square says, else None."""
    for first, count, start in _ENCLOSED:
        rank = ord(character) - first
        if 0 <= rank < count:
            return str(rank + 1) if start == "1" else chr(ord("a") + rank)
    return None


def normalise_marked(text: str, before: str = "") -> str:
    """As :func:`normalise`, but of what is in circles or squares the meaning stays: ``①`` is ``(1)``."""
    out, part = before, ""
    for character in text:
        inside = enclosed(character)
        if inside is None:
            part += character
            continue
        out = normalise(part, out)
        out += f" ({inside})" if out else f"({inside})"
        part = ""
    return normalise(part, out)


@dataclass(frozen=True)
class Token:
    """Characters ``start`` to ``end`` of the normal form."""

    start: int
    end: int
    kind: str
    text: str

    @property
    def length(self) -> int:
        """Characters in the token."""
        return self.end - self.start

    @property
    def identity(self) -> str:
        """What two tokens must share to count as the same: their characters, every digit as 0.

        The engine compares 64-bit hashes of this.
        """
        return fold_digits(self.text)


def is_digit(character: str) -> bool:
    """ASCII digits only: others that NFKC leaves are letters or symbols."""
    return "0" <= character <= "9"


def fold_digits(text: str) -> str:
    """``text`` with every ASCII digit as 0."""
    return "".join("0" if is_digit(character) else character for character in text)


# Thai and Lao, Myanmar, Khmer, kana, ideographs and their extensions: scripts without spaces between words.
_ALONE = (
    (0x0E00, 0x0EFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x3040, 0x30FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0x20000, 0x323AF),
)


@cache
def character_class(character: str) -> str:
    """``letter``, ``alone`` (a word of one character), ``digit``, ``space`` or ``other``."""
    if character == " ":
        return "space"
    if character.isascii():
        return "letter" if "a" <= character <= "z" else "digit" if is_digit(character) else "other"
    if any(first <= ord(character) <= last for first, last in _ALONE):
        return "alone"
    return "letter" if is_alphabetic(character) else "other"


def tokenise(characters: str) -> list[Token]:
    """Words, numbers and symbols of a normal form, in order."""
    classes = [character_class(character) for character in characters] + ["end", "end"]
    tokens, start = [], 0
    while start < len(characters):
        kind, end = SYMBOL, start + 1
        match classes[start]:
            case "space":
                start += 1
                continue
            case "letter":  # letters, and apostrophes with a letter after them
                kind = WORD
                while classes[end] == "letter" or (
                    classes[end + 1 : end + 2] == ["letter"] and characters[end] == "'"
                ):
                    end += 1
            case "alone":
                kind = WORD
            case "digit":  # digits; commas and one point with a digit after them; no comma after the point
                kind, point = NUMBER, False
                while classes[end] == "digit" or (
                    classes[end + 1 : end + 2] == ["digit"] and characters[end] in ",." and not point
                ):
                    point = point or characters[end] == "."
                    end += 1
        tokens.append(Token(start, end, kind, characters[start:end]))
        start = end
    return tokens


NGRAM_BITS = 17
CHARACTER_BASE = 1 << NGRAM_BITS

_PRIME = 0x9E3779B97F4A7C15
_MASK = (1 << 64) - 1


def mix(hashed: int, value: int) -> int:
    """One step of the 64-bit hash: rotate left by 5, exclusive or, multiply."""
    rotated = (hashed << 5 | hashed >> 59) & _MASK
    return (rotated ^ value) * _PRIME & _MASK


@cache
def hash_characters(identity: str) -> int:
    """Hash of a token's identity, character by character."""
    hashed = _PRIME
    for character in identity:
        hashed = mix(hashed, ord(character))
    return hashed


def _index(hashed: int) -> int:
    """The highest 17 bits."""
    return hashed >> (64 - NGRAM_BITS)


def pair_index(first: str, second: str) -> int:
    """Index of the n-gram of two adjacent tokens of these identities."""
    return _index(mix(mix(hash_characters(first), hash_characters(second)), 2))


def word_ngrams(tokens: list[Token]) -> set[int]:
    """Indices of single tokens and of pairs of adjacent ones, below 2¹⁷."""
    hashes = [hash_characters(token.identity) for token in tokens]
    found = {_index(mix(hashed, 1)) for hashed in hashes}
    identities = [token.identity for token in tokens]
    return found | {pair_index(first, second) for first, second in pairwise(identities)}


def character_ngrams(characters: str) -> set[int]:
    """Indices of three and of four adjacent characters, from 2¹⁷ on; spaces count, digits are 0."""
    codes = [ord(character) for character in fold_digits(characters)]
    found = set()
    for at in range(2, len(codes)):
        three = codes[at - 2] << 42 | codes[at - 1] << 21 | codes[at]
        found.add(CHARACTER_BASE | _index(mix(three, 3)))
        if at >= 3:
            found.add(CHARACTER_BASE | _index(mix(mix(three, 4), codes[at - 3])))
    return found
