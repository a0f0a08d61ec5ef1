"""Request → features (the engine's ``features.rs``)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

from .cues import Similarity, cues
from .errors import Refusal
from .options import Question, chain, markers
from .request import Request, read
from .shape import make_plain
from .single import inverse_norm, share, single, total
from .text import bounded, character_ngrams, normalise, normalise_marked, tokenise, word_ngrams
from .word_pieces import DIMENSIONS, quantise

if TYPE_CHECKING:
    from .spelling import Speller
    from .word_pieces import Encoder

MOST_TOKENS = 2**32 - 1


@dataclass(frozen=True)
class Features:
    """All that a backend may look at."""

    word_ngrams: set[int]
    character_ngrams: set[int]
    cues: dict[str, float]
    embedding: list[int]
    tokens: int
    read_as: str | None = None

    @property
    def inverse_norm(self) -> float:
        """1 ÷ length of the embedding, or 0."""
        return inverse_norm(self.embedding)

    @property
    def unit_embedding(self) -> list[float]:
        """The embedding at length 1, or zeros."""
        scale = self.inverse_norm
        return [single(value * scale) for value in self.embedding]


def featurise(
    request: Request, encoder: Encoder | None, spec: str = "3", speller: Speller | None = None
) -> Features:
    """The features of a request; without an encoder, embedding and similarity are 0."""
    reading = read(request, spec)
    around = reading.around
    head, tail = bounded(reading.text)
    normal = normalise_marked if spec == "3" else normalise
    characters = normal(tail, before=normal(head))
    if not characters:
        raise Refusal("RequestInvalid", "text")
    written = len(tokenise(characters))
    if spec == "3":
        characters = make_plain(characters)
    read_as = characters if speller is None else speller.correct(characters)
    corrected = read_as != characters
    characters = read_as
    tokens = tokenise(characters)
    question = Question(characters, chain(markers(characters, tokens)))

    similarity, embedding = Similarity(), [0] * DIMENSIONS
    pieces = len(tokens)
    if encoder:
        cut = [encoder.cut(part) for part in question.parts()]
        known = [[piece for piece in pieces if piece is not None] for pieces in cut]
        sums = [encoder.sum_rows(pieces) for pieces in known]
        similarity = part_similarity([quantise(part) for part in sums])
        embedding = quantise([sum(column) for column in zip(*sums, strict=True)])
        pieces = sum(map(len, cut))  # an unknown word counts as one

    # What was not read, or left out as wrapping, counts at the rate of the rest; the surroundings at four bytes a
    # token. Doubles.
    bytes_read = max(len(head.encode()) + len(tail.encode()), 1)
    left_out = max(written / max(len(tokens), 1), 1.0)
    text_tokens = pieces * max(reading.text_bytes / bytes_read, 1.0) * left_out
    surrounding = (around.system + around.assistant + around.tool_bytes + around.format_bytes) / 4.0
    return Features(
        word_ngrams(tokens),
        character_ngrams(characters),
        cues(characters, tokens, question, similarity, around),
        embedding,
        int(min(text_tokens + surrounding, MOST_TOKENS)),
        characters if corrected else None,
    )


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
