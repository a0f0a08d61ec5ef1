"""Features of candidates and the combination without training (the engine's ``candidates.rs``).

The engine hashes terms to 32 bits; here they are strings.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from .text import SYMBOL, WORD, Token, bounded, normalise, tokenise

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FEATURES = (
    "cosine",
    "cosine_context",
    "cosine_before",
    "words",
    "words_context",
    "words_before",
    "pairs_context",
    "grams_context",
    "group_best",
    "tag_named",
    "time_named",
    "time_asked",
    "question",
    "answers_question",
    "recency",
    "frequency",
    "success",
    "confidence",
    "metadata",
)
_STOP = """
a about all also am an and any are as at be been being both but by can could did do does doing done down each
for from had has have having he her here hers him his how i if in into is it its just may me might mine more
most must my no nor not of off on onto or other our ours out over own same shall she should so some such than
that the their theirs them then there these they this those to too under up us very was we were what when where
which who whom whose why will with would you your yours
"""
STOP = frozenset(_STOP.split())
CLITICS = ("s", "t", "d", "ll", "m", "re", "ve")
SUFFIXES = (
    ("ies", "y"),
    ("sses", "ss"),
    ("ied", "y"),
    ("ing", ""),
    ("edly", ""),
    ("ed", ""),
    ("ly", ""),
    ("es", ""),
    ("s", ""),
)
MONTHS = (
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
)
_TIMES = """
ago day days fri friday last mon monday month next sat saturday sun sunday thu thursday today tomorrow tonight
tue tuesday wed wednesday week weekend year yesterday
"""
TIME_WORDS = frozenset(MONTHS) | frozenset(_TIMES.split())
MOST_WORDS = 2048
K1, B = 0.9, 0.4
CONTEXT = ((0, 1.0), (-1, 0.5), (-2, 0.2), (1, 0.2))  # steps within the group, and what they weigh
DAY = 86_400.0


@dataclass(frozen=True)
class Candidate:
    """What is known of one candidate; everything but the id may be absent."""

    id: str
    text: str | None = None
    created_at: float | None = None
    access_count: float | None = None
    success_rate: float | None = None
    trials: float | None = None
    confidence: float | None = None
    metadata: Sequence[tuple[str, str]] = ()
    group: str | None = None
    embedding: Sequence[float] | None = None
    namespace: Sequence[str] = ()
    values: Mapping[str, Sequence[Any]] = field(default_factory=dict)  # of the metadata, as they were written


@dataclass(frozen=True)
class Query:
    """What is asked."""

    text: str | None = None
    embedding: Sequence[float] | None = None
    metadata: Sequence[tuple[str, str]] = ()
    now: float | None = None


@dataclass
class Terms:
    """Stemmed words, pairs of adjacent ones in whichever order, and grams of four characters."""

    words: list[str] = field(default_factory=list)
    pairs: list[tuple[str, ...]] = field(default_factory=list)
    grams: list[str] = field(default_factory=list)


def tokens(text: str) -> tuple[str, list[Token]]:
    """Normal form and tokens of a text."""
    head, tail = bounded(text)
    characters = normalise(tail, before=normalise(head))
    return characters, tokenise(characters)


def without_clitic(word: str) -> str:
    """``caroline's`` → ``caroline``."""
    stem, apostrophe, end = word.rpartition("'")
    return stem if apostrophe and end in CLITICS else word


def stem(word: str) -> str:
    """The word without its ending."""
    if len(word) <= 3 or not all("a" <= character <= "z" for character in word):
        return word
    for suffix, new in SUFFIXES:
        if word.endswith(suffix):
            plural = suffix != "s" or not word.endswith(("ss", "us", "is"))
            if plural and len(word) - len(suffix) + len(new) >= 3:
                word = word[: -len(suffix)] + new
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeiouls":
        word = word[:-1]
    if len(word) > 3 and word.endswith("e"):
        word = word[:-1]
    if len(word) > 3 and word.endswith("y"):
        word = word[:-1] + "i"
    return word


def add_terms(text: str, terms: Terms) -> None:
    """Adds the terms of a text."""
    kept = [token for token in tokens(text)[1] if token.kind != SYMBOL][:MOST_WORDS]
    previous = None
    for token in kept:
        word = without_clitic(token.text)
        if not word or word in STOP:
            continue
        stemmed = stem(word)
        terms.words.append(stemmed)
        if previous is not None:
            terms.pairs.append(tuple(sorted((previous, stemmed))))
        previous = stemmed
        marked = f"#{word}#"
        width = min(4, len(marked))
        terms.grams += [marked[at : at + width] for at in range(len(marked) - width + 1)]


def terms_of(candidate: Candidate) -> Terms:
    """Terms of the metadata's values, without their pairs, and of the text."""
    terms = Terms()
    for _, value in candidate.metadata:
        add_terms(value, terms)
    terms.pairs.clear()
    add_terms(candidate.text or "", terms)
    return terms


def neighbour(candidates: Sequence[Candidate], row: int, step: int) -> int | None:
    """The row so many steps on in the same group, by the order of adding."""
    group = candidates[row].group
    rows = [row] if group is None else [at for at, other in enumerate(candidates) if other.group == group]
    place = rows.index(row) + step
    return rows[place] if 0 <= place < len(rows) else None


def context(candidates: Sequence[Candidate], row: int) -> list[tuple[int, float]]:
    """Rows that make up the context of a row, with their weights, itself first."""
    found = [(neighbour(candidates, row, step), weight) for step, weight in CONTEXT]
    return [(other, weight) for other, weight in found if other is not None]


def bm25(
    terms: Sequence[Sequence[object]], around: Sequence[list[tuple[int, float]]], asked: set[object]
) -> list[float]:
    """BM25 of the terms asked for over rows of weighted terms, as a share of the sum of their idf."""
    count = len(terms)

    def idf(term: object) -> float:
        holders = sum(term in row for row in terms)
        return math.log(1 + (count - holders + 0.5) / (holders + 0.5))

    documents = []
    for rows in around:
        weights: defaultdict[object, float] = defaultdict(float)
        for other, weight in rows:
            for term in terms[other]:
                weights[term] += weight
        documents.append(weights)
    lengths = [math.fsum(weights.values()) for weights in documents]
    mean = max(math.fsum(lengths) / max(count, 1), 1e-9)
    ideal = math.fsum(idf(term) for term in asked)

    def saturated(frequency: float, length: float) -> float:
        return frequency * (K1 + 1) / (frequency + K1 * (1 - B + B * length / mean)) if frequency else 0.0

    return [
        math.fsum(idf(term) * saturated(document[term], length) for term in asked) / ideal if ideal else 0.0
        for document, length in zip(documents, lengths, strict=True)
    ]


def unit(vector: Sequence[float]) -> list[float]:
    """The vector over its length; the zero vector as it is."""
    norm = math.hypot(*vector)
    return [value / norm if norm else 0.0 for value in vector]


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    """Sum of products."""
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def context_cosine(candidates: Sequence[Candidate], row: int, query: Sequence[float]) -> float:
    """Cosine of the query with the weighted sum of the unit embeddings around a row."""
    rows = [(unit(candidates[other].embedding or ()), weight) for other, weight in context(candidates, row)]
    together = [math.fsum(weight * vector[at] for vector, weight in rows) for at in range(len(query))]
    return dot(unit(together), unit(query)) if math.hypot(*together) > 1e-6 else 0.0


def dates_named(query: Sequence[Token]) -> tuple[set[int], list[int], set[int]]:
    """Months, years and days that a query names."""
    words = [token.text for token in query if token.kind == WORD]
    numbers = [token.text for token in query if token.kind not in (WORD, SYMBOL) and token.text.isdigit()]
    months = {MONTHS.index(word) + 1 for word in words if word in MONTHS and word != "may"}
    years = [int(text) for text in numbers if len(text) == 4 and 1900 <= int(text) <= 2099][:2]
    days = {int(text) for text in numbers if len(text) <= 2 and 1 <= int(text) <= 31} if months else set()
    return months, years, days


def date_share(query: Sequence[Token], created_at: float | None) -> float:
    """Which share of the kinds of date the query names (month, year, day) agrees with the candidate's."""
    months, years, days = dates_named(query)
    kinds = sum(map(bool, (months, years, days)))
    if not kinds or created_at is None:
        return 0.0
    made = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=created_at)
    return ((made.month in months) + (made.year in years) + (made.day in days)) / kinds


def is_question(text: str | None) -> bool:
    """Whether a text ends in a question mark."""
    return text is not None and tokens(text)[0].endswith(("?", "？", "؟"))


def speaks_of_time(text: str | None) -> bool:
    """Whether a text holds a word of time."""
    return text is not None and any(token.kind == WORD and token.text in TIME_WORDS for token in tokens(text)[1])


def features(candidates: Sequence[Candidate], query: Query) -> list[dict[str, float]]:
    """Every feature of every candidate by name; 0 where its source is absent."""
    terms, asked = [terms_of(candidate) for candidate in candidates], Terms()
    add_terms(query.text or "", asked)
    own = [[(row, 1.0)] for row in range(len(candidates))]
    around = [context(candidates, row) for row in range(len(candidates))]
    words = bm25([each.words for each in terms], own, set(asked.words))
    words_context = bm25([each.words for each in terms], around, set(asked.words))
    pairs = bm25([each.pairs for each in terms], around, set(asked.pairs))
    grams = bm25([each.grams for each in terms], around, set(asked.grams))
    query_tokens = tokens(query.text or "")[1]
    asks_when = any(token.kind == WORD and token.text == "when" for token in query_tokens)
    before = [neighbour(candidates, row, -1) for row in range(len(candidates))]
    linked = any(row is not None for row in before)
    found = []
    for row, candidate in enumerate(candidates):
        values = dict.fromkeys(FEATURES, 0.0)
        previous = before[row]
        if query.embedding is not None:
            cosines = [dot(unit(other.embedding or ()), unit(query.embedding)) for other in candidates]
            values["cosine"] = cosines[row]
            values["cosine_context"] = context_cosine(candidates, row, query.embedding)
            values["cosine_before"] = 0.0 if previous is None else cosines[previous]
        values |= {"words": words[row], "words_context": words_context[row], "pairs_context": pairs[row]}
        values["words_before"] = 0.0 if previous is None else words[previous]
        values["grams_context"] = grams[row]
        same = [
            at for at, other in enumerate(candidates) if at == row or candidate.group == other.group is not None
        ]
        values["group_best"] = max(words_context[at] for at in same) if linked else 0.0
        tags = Terms()
        for _, value in candidate.metadata:
            add_terms(value, tags)
        values["tag_named"] = float(bool(set(tags.words) & set(asked.words)))
        values["time_named"] = date_share(query_tokens, candidate.created_at)
        values["time_asked"] = float(asks_when and speaks_of_time(candidate.text))
        values["question"] = float(is_question(candidate.text))
        values["answers_question"] = float(previous is not None and is_question(candidates[previous].text))
        age = None
        if query.now is not None and candidate.created_at is not None:
            age = max((query.now - candidate.created_at) / DAY, 0.0)  # made in the future: made now
        values["recency"] = 0.0 if age is None else math.exp(-age / 30)
        rate = (candidate.access_count or 0.0) / (30.0 if age is None else min(max(age, 1.0), 30.0))
        values["frequency"] = rate / (1 + rate)
        if candidate.success_rate is not None:
            trials = candidate.trials if candidate.trials is not None else candidate.access_count or 0.0
            values["success"] = (candidate.success_rate * trials + 0.5 * 4) / (trials + 4)
        values["confidence"] = candidate.confidence or 0.0
        held = sum(pair in candidate.metadata for pair in query.metadata)
        values["metadata"] = held / len(query.metadata) if query.metadata else 0.0
        found.append(values)
    return found


WEIGHTS = {"measured": (0.94, 0.02, 0.02, 0.02), "documented": (0.40, 0.25, 0.20, 0.15)}
"""Of relevance itself, recency, confidence and success, frequency and metadata."""


def relevance_of(values: dict[str, float], has_words: bool, has_cosine: bool, more: float | None) -> float:
    """How much a candidate has to do with the query, in [0, 1]; made on the date it names, ``more``."""
    compared = [(0.30, max(values["cosine_context"], 0.0))] if has_cosine else []
    if has_words:
        compared += [
            (0.25, values["words_context"]),
            (0.25, values["grams_context"]),
            (0.20, values["pairs_context"]),
        ]
    if not compared:
        return 1.0
    relevance = sum(weight * value for weight, value in compared) / sum(weight for weight, _ in compared)
    if has_words:
        relevance += 0.25 * (values["tag_named"] + values["time_asked"]) / 4
        relevance += 0.15 * (values["answers_question"] - values["question"]) / 4
    relevance = max(relevance, 0.0)
    if relevance > 0.95:
        # From here on it comes closer to 1 without reaching it.
        relevance = 1 - 0.0025 / (relevance - 0.9)
    if more is None:
        return relevance
    then = values["time_named"] == 1.0
    return (relevance * (1 + more * then) + 0.001 * then) / 1.501


def default_scores(candidates: Sequence[Candidate], query: Query, weights: str = "measured") -> list[float]:
    """Relevance, times the weighted mean of what is known of a candidate's use."""
    has_words = query.text is not None and any(terms_of(candidate).words for candidate in candidates)
    whole, recency, confidence, context = WEIGHTS[weights]
    names_date = has_words and any(dates_named(tokens(query.text or "")[1]))
    scores = []
    for candidate, values in zip(candidates, features(candidates, query), strict=True):
        fresh = []
        if query.now is not None and candidate.created_at is not None:
            age = max((query.now - candidate.created_at) / DAY, 0.0)
            fresh = [values["recency"] if weights == "documented" else 30 / (30 + age)]
        parts: list[tuple[float, list[float]]] = [
            (whole, [1.0]),
            (recency, fresh),
            (
                confidence,
                [values["confidence"]] * (candidate.confidence is not None)
                + [values["success"]] * (candidate.success_rate is not None),
            ),
            (
                context,
                [values["frequency"]] * (candidate.access_count is not None)
                + [values["metadata"]] * bool(query.metadata),
            ),
        ]
        known = [(weight, sum(part) / len(part)) for weight, part in parts if part]
        mean = sum(weight * value for weight, value in known) / sum(weight for weight, _ in known)
        # A turn of a conversation was said then; anything else was filed then.
        more = None if not names_date else 0.1 if candidate.group is None else 0.5
        scores.append(relevance_of(values, has_words, query.embedding is not None, more) * mean)
    return scores


def ranking(candidates: Sequence[Candidate], scores: Sequence[float]) -> list[str]:
    """Ids by falling score, equal ones by id (code points)."""
    rows = sorted(range(len(candidates)), key=lambda row: (-scores[row], candidates[row].id))
    return [candidates[row].id for row in rows]
