"""Text or vector → route, or none (the engine's ``routes.rs``, ``heads.rs`` and ``routes/``), in plain doubles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from .conformal import label_set
from .errors import Refusal
from .features import featurise
from .moments import from_text
from .request import Request

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .spelling import Speller
    from .word_pieces import Encoder

OVERLAP = 0.5
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
DAY = 86_400


def direction(vector: Sequence[float]) -> list[float]:
    """The vector rounded to int8, its largest value ±127, at length 1; zeros for zeros."""
    largest = max(map(abs, vector), default=0.0)
    if not largest:
        return [0.0] * len(vector)
    rounded = [math.copysign(math.floor(abs(value / largest * 127) + 0.5), value) for value in vector]
    length = math.sqrt(sum(value * value for value in rounded))
    return [value / length for value in rounded]


def cosine(a: Sequence[float], b: Sequence[float]) -> float:
    """Of two vectors; 0 where one is zero."""
    lengths = math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))
    return sum(x * y for x, y in zip(a, b, strict=True)) / lengths if lengths else 0.0


def sigmoid(x: float) -> float:
    """The logistic function."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


@dataclass(frozen=True)
class Head:
    """Weights as written: rows of embedding weights, and n-gram weights by n-gram and output."""

    bias: list[float]
    embedding: list[list[int]]
    embedding_scale: list[float]
    ngrams: dict[int, dict[int, int]]
    ngram_scale: tuple[float, float]

    def scores(self, embedding: Sequence[float], kinds: Sequence[set[int]]) -> tuple[list[float], list[float]]:
        """A score an output, and the shares of word and character n-grams that have weights."""
        rows = zip(self.embedding, self.embedding_scale, self.bias, strict=True)
        found = [
            bias + scale * sum(w * e for w, e in zip(row, embedding, strict=True)) for row, scale, bias in rows
        ]
        known = []
        for kind, scale in zip(kinds, self.ngram_scale, strict=True):
            count = max(len(kind), 1)
            known.append(sum(index in self.ngrams for index in kind) / count)
            for index in kind:
                for output, weight in self.ngrams.get(index, {}).items():
                    found[output] += scale / math.sqrt(count) * weight
        return found, known


@dataclass(frozen=True)
class Routes:
    """An artifact: its header, the prototypes of each route, and the head where there is one."""

    header: dict[str, Any]
    prototypes: list[list[list[int]]]
    head: Head | None
    encoder: Encoder | None
    speller: Speller | None = None

    def answer(self, request: dict[str, Any], options: dict[str, Any]) -> dict[str, Any]:
        """The whole answer, as the engine's JSON has it."""
        scores, measures, tokens, read_as = self.scored(request)
        highest = max(scores)
        shifted = [math.exp((score - highest) / self.header.get("temperature", 1.0)) for score in scores]
        probabilities = [value / sum(shifted) for value in shifted]
        return {
            **self.chosen(probabilities, measures, request.get("text", ""), tokens, options),
            "read_as": read_as,
        }

    def scored(self, request: dict[str, Any]) -> tuple[list[float], list[float], int, str | None]:
        """Scores, measures, and tokens of the request, and how it was read where that is not as it was written."""
        text, vector, spec = request.get("text", ""), request.get("vector"), self.header["encoder"]
        own = spec.get("checksum") is not None
        words: set[int] = set()
        characters: set[int] = set()
        tokens, read_as = 0, None
        embedding: list[float] = []
        if own or self.head is not None or text.strip():
            if not text.strip():
                raise Refusal("RequestInvalid", "text")
            features = featurise(Request(text), self.encoder if own else None, self.header["spec"], self.speller)
            read_as = features.read_as
            words, characters, tokens = features.word_ngrams, features.character_ngrams, features.tokens
            embedding = [value * features.inverse_norm for value in features.embedding]
        if own:
            if vector is not None:
                raise Refusal("RequestInvalid", "vector")
        else:
            if vector is None:
                raise Refusal("RequestInvalid", "vector")
            if request.get("encoder", "") != spec["name"]:
                raise Refusal("RequestInvalid", "encoder")
            if len(vector) != spec["dimension"]:
                raise Refusal("RequestInvalid", "vector")
            embedding = direction(vector)
        scores, known, none = [0.0] * len(self.header["routes"]), [0.0, 0.0], None
        model = self.header["model"]
        if self.head is not None:
            scores, known = self.head.scores(embedding, (words, characters))
            if model.get("none"):
                none = scores.pop()
        nearest = 0.0
        if self.prototypes:
            near = [[cosine(row, embedding) for row in rows] for rows in self.prototypes]
            nearest = max(max(each) for each in near)
            scale = model["scale"] if model["kind"] == "prototypes" else model.get("prototypes", 0.0)
            for route, each in enumerate(near):
                scores[route] += scale * (max(each) + sum(each) / len(each)) / 2
        ordered = sorted(scores, reverse=True)
        energy = ordered[0] + math.log(sum(math.exp(score - ordered[0]) for score in scores))
        lead = ordered[0] - ordered[1] if len(ordered) > 1 else 0.0
        over_none = 0.0 if none is None else ordered[0] - none
        return scores, [energy, ordered[0], lead, nearest, *known, over_none], tokens, read_as

    def chosen(
        self,
        probabilities: list[float],
        measures: list[float],
        text: str,
        tokens: int,
        options: dict[str, Any],
    ) -> dict[str, Any]:
        """The choice; see the engine's ``routes.rs`` for its order."""
        specs = self.header["routes"]
        names = [spec["name"] for spec in specs]
        for field in ("least_confidence", "false_alarms"):
            if not 0 <= (options.get(field) or 0.0) <= 1:
                raise Refusal("OptionInvalid", field)
        for name in (*options.get("allowed", ()), *options.get("exclude", ())):
            if name not in names:
                raise Refusal("OptionInvalid", "allowed|exclude")
        context = options.get("context", {})
        allowed = options.get("allowed") or names
        is_open = [
            name in allowed
            and name not in options.get("exclude", ())
            and (spec.get("conditions") is None or holds(spec["conditions"], name, text, tokens, context))
            for name, spec in zip(names, specs, strict=True)
        ]
        order = sorted(range(len(names)), key=lambda route: (-probabilities[route], route))
        best, scope = order[0], self.header.get("scope")
        inside = None
        if scope is not None:
            inside = sigmoid(scope["bias"] + sum(w * m for w, m in zip(scope["weights"], measures, strict=True)))
        least = options.get("least_confidence", 0.0)
        reaching = [
            route
            for route in order
            if is_open[route]
            and probabilities[route]
            >= max(specs[route].get("threshold", self.header.get("threshold", 0.0)), least)
        ]
        route = None
        if not any(is_open):
            reason = "none_allowed"
        elif scope is not None and inside is not None and inside < cut(scope, options.get("false_alarms")):
            reason = "out_of_scope"
        elif not reaching:
            reason = "below_threshold"
        else:
            level = probabilities[reaching[0]] * OVERLAP
            rivals = [each for each in reaching if probabilities[each] >= level]
            route = min(rivals, key=lambda each: (-specs[each].get("priority", 0), -probabilities[each], each))
            reason = "most_probable" if route == reaching[0] else "priority"
        members: list[int] = []
        calibration = self.header.get("conformal")
        if calibration is not None and options.get("prediction_set"):
            members = label_set(calibration["score"], probabilities, 0.0, calibration["threshold"])
        return {
            "route": None if route is None else names[route],
            "target": None if route is None else specs[route].get("target"),
            "best": names[best],
            "confidence": probabilities[best if route is None else route],
            "in_scope_score": inside,
            "calibrated": self.header.get("calibrated", False),
            "reason": reason,
            "top": [[names[each], probabilities[each]] for each in order[: options.get("limit", 3)]],
            "prediction_set": [names[each] for each in members],
            "artifact_version": self.header["version"],
        }


def cut(scope: dict[str, Any], share: float | None) -> float:
    """The score below which a request is out of scope, at a share of false alarms."""
    share = scope["false_alarms"] if share is None else share
    points = scope["thresholds"]
    if share == 0:
        return 0.0
    if share < points[0][0]:
        return float(points[0][1])
    for (low, first), (high, second) in pairwise(points):
        if low <= share < high:
            return float(first + (share - low) / (high - low) * (second - first))
    return float(points[-1][1])


def holds(condition: dict[str, Any], route: str, text: str, tokens: int, context: dict[str, Any]) -> bool:
    """Whether a condition holds (the engine's ``routes/conditions.rs``)."""
    ((kind, value),) = condition.items()
    if kind in ("all", "any"):
        parts = (holds(part, route, text, tokens, context) for part in value)
        return all(parts) if kind == "all" else any(parts)
    if kind == "not":
        return not holds(value, route, text, tokens, context)
    if kind == "tier":
        return context.get("tier") in value
    if kind == "tags":
        return any(tag in value for tag in context.get("tags", ()))
    if kind == "language":
        return context.get("language") in value
    if kind == "rate":
        return bool(context.get("used", {}).get(route, 0) < value["requests"])
    if kind == "tokens":
        return bool(value.get("at_least", 0) <= tokens <= value.get("at_most", math.inf))
    if kind == "keywords":
        return any(contains(text, word) for word in value)
    if context.get("now") is None:
        raise Refusal("RequestInvalid", "now")
    now = context["now"]
    if kind == "period":
        after, before = (value.get(end) and from_text(value[end]) for end in ("after", "before"))
        return (after is None or now >= after) and (before is None or now < before)
    zone = value.get("zone", "UTC")
    if zone in ("UTC", "Z", "Etc/UTC", "GMT"):
        offset = 0.0
    elif zone[0] in "+-":
        offset = float(f"{zone[0]}1") * clock(zone[1:])
    elif zone in context.get("offsets", {}):
        offset = context["offsets"][zone]
    else:
        raise Refusal("RequestInvalid", "offsets")
    day, second = divmod(math.floor(now + offset), DAY)
    start, end = clock(value["from"]), clock(value["to"])
    if start < end:
        within = start <= second < end
    else:
        within = second >= start or second < end
        day -= second < end
    return within and (not value.get("days") or DAYS[(day + 3) % 7] in value["days"])


def clock(text: str) -> int:
    """Seconds of HH:MM."""
    hours, minutes = text.split(":")
    return int(hours) * 3600 + int(minutes) * 60


def contains(text: str, phrase: str) -> bool:
    """Whether a phrase is there with no letter or digit next to it, in any case."""
    low, wanted = text.lower(), phrase.lower()
    at = low.find(wanted)
    while at >= 0:
        before, after = low[at - 1 : at], low[at + len(wanted) :][:1]
        if not before.isalnum() and not after.isalnum():
            return True
        at = low.find(wanted, at + 1)
    return False
