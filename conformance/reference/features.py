"""Request → features (the engine's ``features.rs``)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from .cues import Similarity, Surroundings, cues
from .errors import Refusal
from .options import Question, chain, markers
from .single import inverse_norm, share, single, total
from .text import (
    LONGEST,
    bounded,
    ceiling_boundary,
    character_ngrams,
    floor_boundary,
    normalise,
    tokenise,
    word_ngrams,
)
from .word_pieces import DIMENSIONS, quantise

if TYPE_CHECKING:
    from .word_pieces import Encoder

LONGEST_TOOLS = 64 << 10
MOST_TOKENS = 2**32 - 1
SYSTEM, USER, ASSISTANT = "system", "user", "assistant"  # assistant: anything said or returned before


@dataclass(frozen=True)
class Request:
    """A text, or chat messages as (role, content) from the oldest on; and the JSON of the tools offered."""

    text: str = ""
    messages: tuple[tuple[str, str], ...] = ()
    tools: str = ""


@dataclass(frozen=True)
class Features:
    """All that a backend may look at."""

    word_ngrams: set[int]
    character_ngrams: set[int]
    cues: dict[str, float]
    embedding: list[int]
    tokens: int

    @property
    def inverse_norm(self) -> float:
        """1 ÷ length of the embedding, or 0."""
        return inverse_norm(self.embedding)

    @property
    def unit_embedding(self) -> list[float]:
        """The embedding at length 1, or zeros."""
        scale = self.inverse_norm
        return [single(value * scale) for value in self.embedding]


def featurise(request: Request, encoder: Encoder | None) -> Features:
    """The features of a request; without an encoder, embedding and similarity are 0."""
    text, text_bytes, around = routed_text(request)
    head, tail = bounded(text)
    characters = normalise(tail, before=normalise(head))
    if not characters:
        raise Refusal("RequestInvalid", "text")
    tokens = tokenise(characters)
    question = Question(characters, chain(markers(characters, tokens)))

    similarity, embedding = Similarity(), [0] * DIMENSIONS
    read = len(tokens)
    if encoder:
        cut = [encoder.cut(part) for part in question.parts()]
        known = [[piece for piece in pieces if piece is not None] for pieces in cut]
        sums = [encoder.sum_rows(pieces) for pieces in known]
        similarity = part_similarity([quantise(part) for part in sums])
        embedding = quantise([sum(column) for column in zip(*sums, strict=True)])
        read = sum(map(len, cut))  # an unknown word counts as one

    # What was not read counts at the rate of what was; the surroundings at four bytes a token. Doubles.
    bytes_read = max(len(head.encode()) + len(tail.encode()), 1)
    text_tokens = read * max(text_bytes / bytes_read, 1.0)
    surrounding = (around.system + around.assistant + around.tool_bytes) / 4.0
    return Features(
        word_ngrams(tokens),
        character_ngrams(characters),
        cues(characters, tokens, question, similarity, around),
        embedding,
        int(min(text_tokens + surrounding, MOST_TOKENS)),
    )


def routed_text(request: Request) -> tuple[str, int, Surroundings]:
    """The text to route, the bytes it had before anything was cut, and what surrounds it.

    Of messages, the user's are the text, or all where none is the user's.
    """
    data = request.tools.encode()
    searched = data[: floor_boundary(data, LONGEST_TOOLS)].decode()
    tools = searched.count('"parameters"')
    parameters = max(searched.count('"type"') - tools, 0)
    if not request.messages:
        around = Surroundings(1, 0, 0, tools, parameters, len(data))
        return request.text, len(request.text.encode()), around
    if request.text:
        raise Refusal("RequestInvalid", "text")
    turns = sum(role == USER for role, _ in request.messages)
    routed = [content for role, content in request.messages if role == USER or not turns]
    sizes = {SYSTEM: 0, USER: 0, ASSISTANT: 0}
    if turns:
        for role, content in request.messages:
            sizes[role] += len(content.encode())
    around = Surroundings(turns, sizes[SYSTEM], sizes[ASSISTANT], tools, parameters, len(data))
    joined = ""
    for content in routed:
        joined = append_bounded(joined, content)
    return joined, sum(len(content.encode()) for content in routed), around


def append_bounded(joined: str, content: str) -> str:
    """``joined`` and, each after a line feed, the head and the tail of ``content`` (which may be empty).

    Of what grows beyond 32,768 bytes, the first and last 8,192 are kept.
    """
    for part in bounded(content):
        joined += ("\n" if joined else "") + part
    data = joined.encode()
    if len(data) <= 4 * LONGEST:
        return joined
    front = data[: floor_boundary(data, LONGEST)]
    back = data[ceiling_boundary(data, len(data) - LONGEST) :]
    return (front + back).decode()


def part_similarity(parts: list[list[int]]) -> Similarity:
    """Cosines of the options with each other and with the stem (the first part); with two options or more."""
    if len(parts) < 3:
        return Similarity()
    norms = [inverse_norm(part) for part in parts]

    def cosine(a: int, b: int) -> float:
        product = sum(x * y for x, y in zip(parts[a], parts[b], strict=True))
        return single(single(single(product) * norms[a]) * norms[b])

    options = range(1, len(parts))
    among = [cosine(a, b) for a, b in combinations(options, 2)]
    with_stem = [cosine(0, option) for option in options]
    return Similarity(share(total(among), len(among)), max(-1.0, *among), share(total(with_stem), len(with_stem)))
