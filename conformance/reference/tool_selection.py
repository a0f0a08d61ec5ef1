"""Tools ranked for a request (the engine's ``tools.rs``).

The engine hashes terms to 32 bits and rounds embeddings to int8; here terms are strings and cosines are exact.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from .candidates import Terms, add_terms, dot, unit
from .spelling import LONGEST, SHORTEST, Speller
from .text import WORD, bounded, normalise, tokenise

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .word_pieces import Encoder

# Signal → weight and usual deviation.
SIGNALS = {
    "words": (1.0, 0.025),
    "grams": (1.0, 0.03),
    "pairs": (0.3, 0.01),
    "meaning": (1.5, 0.1),
    "clauses": (1.5, 0.1),
}
SATURATION = {"words": (1.5, 0.75), "grams": (2.5, 0.9), "pairs": (1.5, 0.75)}  # BM25's k1 and b
PRIOR_ROWS = 30
MOST_CLAUSES = 6
FEWEST_WORDS = 2
CONTENDS = 3.0
FEW_TOOLS = 64
TIMES = frozenset(
    re.findall(
        r"\w+",
        "monday tuesday wednesday thursday friday saturday sunday today tomorrow tonight yesterday weekend "
        "weekday week month morning afternoon evening night noon midnight january february march april june july "
        "august september october november december",
    )
)
JOINTS = ("and", "then", "also", "plus")
PARTS = 65_536


@dataclass(frozen=True)
class Tool:
    """What is said of a tool."""

    id: str
    name: str
    description: str = ""
    arguments: Sequence[str] = ()
    argument_texts: Sequence[str] = ()
    namespace: str = ""
    namespace_description: str = ""


def parts_of(name: str) -> list[list[str]]:
    """The words of a name, run by run of letters and digits: ``GitHub_issue`` → [[Git, Hub], [issue]]."""
    runs = []
    for run in re.findall(r"[A-Za-z0-9]+", name):
        parts = re.findall(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+|[0-9]+[a-z]*", run)
        assert "".join(parts) == run, run
        runs.append(parts)
    return runs


def apart(name: str) -> str:
    """The words of a name, apart."""
    return " ".join(part for run in parts_of(name) for part in run)


def joined(name: str) -> str:
    """Neighbouring words that stand in one run, joined again."""
    return " ".join(a + b for run in parts_of(name) for a, b in pairwise(run))


def clauses(text: str) -> list[str]:
    """The text cut behind marks that end a clause, and before words that join one on."""
    cut = re.compile(
        r"(?<=\n)|(?<=[.!?;,])(?=[ \t\r\n\f])|(?<= )(?=(?:" + "|".join(JOINTS) + r") )", re.IGNORECASE
    )
    return [part for part in cut.split(text) if part]


def without_times(text: str) -> str:
    """A text without words for times: in what is said about an argument they are examples of its values."""
    kept = []
    for word, rest in re.findall(r"([\w']*)([^\w']?)", text):
        bare = word.rstrip("'").lower()
        bare = bare.removesuffix("'s") if bare.endswith("'s") else bare.removesuffix("s")
        kept.append("" if bare in TIMES else word + rest)
    return "".join(kept)


def counted(tool: Tool) -> dict[str, Counter[Any]]:
    """Each kind of term with how often it counts by the fields it stands in."""
    fields = [
        (apart(tool.name), 2.0),
        (joined(tool.name), 1.0),
        (tool.description, 1.0),
        *((apart(name), 1.0) for name in tool.arguments),
        *((without_times(text), 0.5) for text in tool.argument_texts),
        (apart(tool.namespace), 0.5),
        (joined(tool.namespace), 0.5),
        (tool.namespace_description, 0.5),
    ]
    found: dict[str, Counter[Any]] = {kind: Counter() for kind in SATURATION}
    for text, weight in fields:
        terms = Terms()
        add_terms(text, terms)
        for kind, counter in found.items():
            for term in getattr(terms, kind):
                counter[term] += weight  # type: ignore[assignment]
    return found


def speller_of(tools: Sequence[Tool], encoder: Encoder) -> Speller:
    """What reads the words of a request: by the words of the tools, and the encoder's."""
    count: Counter[str] = Counter()
    for tool in tools:
        texts = [
            apart(tool.name),
            joined(tool.name),
            tool.description,
            *(apart(name) for name in tool.arguments),
            *map(without_times, tool.argument_texts),
            apart(tool.namespace),
            joined(tool.namespace),
            tool.namespace_description,
        ]
        found = (token for text in texts for token in tokenise(normalise(text)) if token.kind == WORD)
        count.update({token.text for token in found if SHORTEST <= token.length <= LONGEST})
    levels = {
        word: min(255, max(0, math.floor(-8 * math.log(number / len(tools)) + 0.5)))
        for word, number in count.items()
    }
    return Speller("abcdefghijklmnopqrstuvwxyz'", levels, encoder, frozenset())


def shares(
    documents: Sequence[Counter[Any]], asked: set[Any], k1: float, b: float, most: float = math.inf
) -> list[float]:
    """BM25 of the terms asked for, as a share of the sum of their idf; terms with more holders weigh nothing."""
    count = len(documents)
    rarer = {term for term in asked if sum(term in document for document in documents) <= most}

    def idf(term: object) -> float:
        holders = sum(term in document for document in documents)
        return math.log(1 + (count - holders + 0.5) / (holders + 0.5))

    lengths = [sum(document.values()) for document in documents]
    mean = max(sum(lengths) / max(count, 1), 1e-9)
    ideal = math.fsum(idf(term) for term in asked)

    def weight(document: Counter[Any], length: float, term: object) -> float:
        frequency = document.get(term, 0)
        return frequency * (k1 + 1) / (frequency + k1 * (1 - b + b * length / mean)) if frequency else 0.0

    return [
        math.fsum(idf(term) * weight(document, length, term) for term in rarer) / ideal if ideal else 0.0
        for document, length in zip(documents, lengths, strict=True)
    ]


def standard(column: Sequence[float], usual: float) -> tuple[float, float]:
    """Mean and deviation of a column, with rows of usual deviation beside its own."""
    whole = [math.floor(abs(value) * PARTS + 0.5) * (1 if value >= 0 else -1) / PARTS for value in column]
    mean = math.fsum(whole) / max(len(whole), 1)
    spread = math.fsum((value - mean) ** 2 for value in whole)
    return mean, math.sqrt((spread + PRIOR_ROWS * usual**2) / (len(whole) + PRIOR_ROWS))


def added(
    scores: Sequence[float], kind: str, column: Sequence[float], mean: float, deviation: float
) -> list[float]:
    """Scores with how far a column's values stand out, times its weight."""
    weight = SIGNALS[kind][0]
    return [score + weight * (value - mean) / deviation for score, value in zip(scores, column, strict=True)]


def rank(tools: Sequence[Tool], text: str, encoder: Encoder | None) -> list[tuple[str, float, float]]:
    """Id, score and relevance of every tool, best first; equal scores by id."""
    documents = [counted(tool) for tool in tools]
    asked = Terms()
    embeddings: list[list[float]] = []
    total, known = [0] * 256, 0
    speller = speller_of(tools, encoder) if encoder is not None else None
    for part in bounded(text):
        for clause in clauses(part):
            before = len(asked.words)
            if speller is not None:
                normal = normalise(clause)
                read = speller.correct(normal)
                clause = clause if read == normal else read
            add_terms(clause, asked)
            if encoder is None:
                continue
            pieces = [piece for piece in encoder.cut(clause) if piece is not None]
            sums = encoder.sum_rows(pieces)
            total, known = [a + b for a, b in zip(total, sums, strict=True)], known + len(pieces)
            if len(embeddings) < MOST_CLAUSES and len(asked.words) - before >= FEWEST_WORDS:
                embeddings.append(unit(sums))
    few = max(FEW_TOOLS, len(tools) // 16)
    scores, relevant = [0.0] * len(tools), []
    for kind, (k1, b) in SATURATION.items():
        terms = set(getattr(asked, kind))
        if terms:
            most = few if kind == "grams" else math.inf
            column = shares([document[kind] for document in documents], terms, k1, b, most)
            scores = added(scores, kind, column, *standard(column, SIGNALS[kind][1]))
            if kind != "pairs":
                relevant.append(column)
    if encoder is not None and known:
        rows = [unit(embedded(tool, encoder)) for tool in tools]
        column = [dot(unit(total), row) for row in rows]
        mean, deviation = standard(column, SIGNALS["meaning"][1])
        scores = added(scores, "meaning", column, mean, deviation)
        if len(embeddings) > 1:
            column = [
                max(dot(clause, row) for clause in embeddings) if score > CONTENDS else cosine
                for row, score, cosine in zip(rows, scores, column, strict=True)
            ]
        scores = added(scores, "clauses", column, mean, deviation)
        relevant.append(column)
    bound: Callable[[float], float] = lambda value: min(max(value, 0.0), 1.0)  # noqa: E731
    found = [
        (tool.id, scores[row], min(sum(bound(column[row]) for column in relevant) / 3, 1.0))
        for row, tool in enumerate(tools)
    ]
    return sorted(found, key=lambda each: (-each[1], each[0]))


def embedded(tool: Tool, encoder: Encoder) -> list[int]:
    """Sum of the embeddings of a tool's server, name, description and arguments."""
    names = " ".join(apart(name) for name in tool.arguments)
    text = f"{apart(tool.namespace)} {apart(tool.name)}. {bounded(tool.description)[0]} {names}"
    return encoder.sum_rows([piece for piece in encoder.cut(bounded(text)[0]) if piece is not None])
