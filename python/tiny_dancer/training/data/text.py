"""How a text file is written: its encoding, its delimiter, and the line in which Excel says so."""

from __future__ import annotations

import codecs
import gzip
import re
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HEAD_BYTES = 1 << 16
_CHUNK = 1 << 20
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
# What Western texts are written with in Windows-1252: letters, quotation marks, dashes, currency. Without Š and Ž,
# which would be the first letters of Windows-1250, and without what stands for other letters in Cyrillic or Greek.
_WESTERN = frozenset(
    "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜßàáâãäåæçèéêëìíîïñòóôõöøùúûüÿ€…‘’“”•–—™œŒ«»°§£©®·¿¡ºª\xa0".encode("cp1252")
)
_SEPARATOR_LINE = re.compile(r'^"?sep=(.)"?\r?(?:\n|$)', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a delimited file is written.

    Attributes:
        encoding: a codec's name; ``utf-8`` also where the bytes are of none that is known.
        delimiter: one character.
        skipped: lines before the header.
        guessed: whether the encoding is a guess that should be told.
    """

    encoding: str
    delimiter: str
    skipped: int
    guessed: bool


def opened(path: Path) -> IO[bytes]:
    """The file, unpacked where its name ends in ``.gz``."""
    return cast("IO[bytes]", gzip.open(path, "rb")) if path.suffix.lower() == ".gz" else path.open("rb")


def encoding_of(path: Path) -> str:
    """The encoding that the file's mark or its zero bytes give away; ``utf-8`` otherwise."""
    with opened(path) as file:
        return _encoding(file.read(HEAD_BYTES))


def dialect_of(path: Path, default: str) -> Dialect:
    """Encoding and delimiter of a delimited file; ``default`` where the header has no delimiter.

    A file that is no UTF-8 is Windows-1252 where all it has beyond ASCII is what Western texts are made of.
    """
    with opened(path) as file:
        head = file.read(HEAD_BYTES)
    encoding, guessed = _encoding(head), False
    if encoding == "utf-8" and not _is_utf8(path) and _is_western(path):
        encoding, guessed = "cp1252", True
    text = head.decode(encoding, "replace").lstrip("\ufeff")
    said = _SEPARATOR_LINE.match(text)
    if said:
        return Dialect(encoding, said.group(1), 1, guessed)
    return Dialect(encoding, _delimiter(text, default), 0, guessed)


def lines(path: Path) -> Iterator[bytes]:
    """The file's lines in UTF-8, whatever Unicode encoding it has; a damaged UTF-8 line comes as it is."""
    encoding = encoding_of(path)
    with opened(path) as file:
        if encoding in ("utf-8", "utf-8-sig"):
            yield from file
            return
        for line in codecs.getreader(encoding)(file, "surrogatepass"):
            yield line.encode("utf-8", "surrogatepass")


def _encoding(head: bytes) -> str:
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name
    # Text without a mark whose every other byte is zero: UTF-16 of mostly Latin letters.
    pairs = len(head) // 2
    first, second = head[0 : 2 * pairs : 2].count(0), head[1 : 2 * pairs : 2].count(0)
    if second > 0.4 * pairs and first < 0.1 * pairs:
        return "utf-16-le"
    if first > 0.4 * pairs and second < 0.1 * pairs:
        return "utf-16-be"
    return "utf-8"


def _is_utf8(path: Path) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    with opened(path) as file:
        try:
            while chunk := file.read(_CHUNK):
                decoder.decode(chunk)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return True


def _is_western(path: Path) -> bool:
    with opened(path) as file:
        data = file.read()
    runs = re.findall(rb"[\x80-\xff]+", data)
    # Other alphabets in one byte a letter come in long runs; UTF-8 with a damaged byte has its pairs elsewhere.
    return all(len(run) <= 2 and _WESTERN.issuperset(run) and not _is_pair(run) for run in runs)


def _is_pair(run: bytes) -> bool:
    try:
        run.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _delimiter(text: str, default: str) -> str:
    """The delimiter that stands most often in the header, outside quotation marks."""
    counts = dict.fromkeys((default, ",", ";", "\t"), 0)
    quoted = False
    for character in text:
        if character == '"':
            quoted = not quoted
        elif quoted:
            continue
        elif character in "\r\n":
            if any(counts.values()) or text[:1] not in "\r\n":
                break
        elif character in counts:
            counts[character] += 1
    return max(counts, key=lambda each: counts[each])
