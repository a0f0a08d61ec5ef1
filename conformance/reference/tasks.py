"""Text → what kind of task it is (the engine's ``tasks.rs``, ``heads.rs`` and ``tasks/``), in plain doubles."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from .artifact import Weights, read_tensors
from .errors import Refusal
from .features import Features, featurise
from .request import Request
from .routes import Head, sigmoid
from .single import interpolate
from .text import ceiling_boundary, floor_boundary, is_white_space

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .word_pieces import Encoder

EDGE = 120  # bytes of a beginning and of an end
CAPABLE = 0.5
LOOKED_AT = 2000  # characters, for the script
# Kana before Han: Japanese has both.
SCRIPTS = (
    (0x3040, 0x30FF, "ja"),
    (0xAC00, 0xD7A3, "ko"),
    (0x1100, 0x11FF, "ko"),
    (0x4E00, 0x9FFF, "zh"),
    (0x3400, 0x4DBF, "zh"),
    (0x0400, 0x04FF, "ru"),
    (0x0600, 0x06FF, "ar"),
    (0x0590, 0x05FF, "he"),
    (0x0370, 0x03FF, "el"),
    (0x0E00, 0x0E7F, "th"),
    (0x0900, 0x097F, "hi"),
)


def head_of(weights: Weights, name: str, outputs: int) -> Head:
    """The head whose tensors are called ``name.*``."""
    bits = weights.get(f"{name}.ngrams", "U8", None)
    present = [8 * at + bit for at, byte in enumerate(bits) for bit in range(8) if byte >> bit & 1]
    counts = weights.get(f"{name}.ngram_counts", "U16", len(present))
    entries = zip(
        weights.get(f"{name}.ngram_outputs", "U8", sum(counts)),
        weights.get(f"{name}.ngram_weights", "I8", sum(counts)),
        strict=True,
    )
    return Head(
        weights.get(f"{name}.bias", "F32", outputs),
        weights.rows(f"{name}.embedding", "I8", 256),
        weights.get(f"{name}.embedding_scale", "F32", outputs),
        {ngram: dict(next(entries) for _ in range(count)) for ngram, count in zip(present, counts, strict=True)},
        tuple(weights.get(f"{name}.ngram_scale", "F32", 2)),
    )


@cache
def ngram_of(word: str, spec: str) -> int:
    """The n-gram of a declared word."""
    (ngram,) = featurise(Request(word), None, spec).word_ngrams
    return ngram


def unit(features: Features) -> list[float]:
    """The embedding at length 1."""
    return [value * features.inverse_norm for value in features.embedding]


@dataclass(frozen=True)
class Tasks:
    """A classifier of tasks."""

    header: dict[str, Any]
    heads: list[Head]  # of the whole, its beginning, its end
    cues: list[list[float]]
    bounds: list[tuple[float, float]]
    weak_embedding: list[float]
    weak_cues: list[float]
    encoder: Encoder

    @classmethod
    def read(cls, artifact: bytes, encoder: Encoder) -> Tasks:
        """An artifact of kind ``tasks``."""
        header, tensors, _ = read_tensors(artifact, "tasks")
        weights, outputs = Weights(tensors), len(header["categories"])
        cues = weights.rows("cues", "F32", len(weights.get("weak.cues", "F32", None)))
        return cls(
            header,
            [head_of(weights, name, outputs) for name in ("whole", "beginning", "end")],
            cues,
            list(zip(weights.get("cue_least", "F32", None), weights.get("cue_most", "F32", None), strict=True)),
            weights.get("weak.embedding", "F32", 256),
            weights.get("weak.cues", "F32", None),
            encoder,
        )

    def answer(self, text: str) -> dict[str, Any]:
        """The whole answer, as the engine's JSON has it."""
        text = trimmed(text)
        whole = self.features(text)
        categories = self.header["categories"]
        scores, (known, _) = self.scores(0, whole)
        data = text.encode()
        edges = (data[: floor_boundary(data, EDGE)], data[ceiling_boundary(data, max(len(data) - EDGE, 0)) :])
        for head, edge in enumerate(edges, 1):
            try:
                read = whole if len(edge) == len(data) else self.features(edge.decode())
            except Refusal:  # marks alone: they say nothing
                continue
            more, _ = self.scores(head, read)
            scores = [a + b for a, b in zip(scores, more, strict=True)]
        names = list(whole.cues)
        cues = [
            min(max(value, least), most)
            for value, (least, most) in zip(whole.cues.values(), self.bounds, strict=True)
        ]
        scores = [
            score + sum(w * c for w, c in zip(row, cues, strict=True))
            for score, row in zip(scores, self.cues, strict=True)
        ]
        best = max(range(len(scores)), key=lambda at: (scores[at], -at))
        shifted = [math.exp((score - scores[best]) / self.header["temperature"]) for score in scores]
        probabilities = [value / sum(shifted) for value in shifted]
        confidence = probabilities[best]
        given = confidence >= self.header["threshold"] and known >= self.header.get("least_known", 0.0)

        by_category = dict(zip(categories, probabilities, strict=True))
        by_cue = dict(zip(names, cues, strict=True))
        heuristics: dict[str, dict[str, float]] = {"capability": {}, "complexity": {}, "structured_output": {}}
        for each in self.header["heuristics"]:
            heuristics[each["group"]][each["name"]] = sigmoid(
                each["bias"]
                + sum(weight * by_category[name] for name, weight in each.get("categories", {}).items())
                + sum(weight * by_cue[name] for name, weight in each.get("cues", {}).items())
                + sum(weight for word, weight in each.get("words", {}).items() if self.has(word, whole))
            )
        weak = self.header["weak"]
        raw = (
            weak["bias"]
            + sum(w * e for w, e in zip(self.weak_embedding, unit(whole), strict=True))
            + sum(w * c for w, c in zip(self.weak_cues, cues, strict=True))
        )
        expected = min(max(interpolate(weak["knots"], weak["values"], raw), 0.0), 1.0)
        declared = ["capabilities", "complexity", "structured_output", "language"]
        if not given or categories[best] not in weak["measured"]:
            declared.append("weak_quality")
        return {
            "category": categories[best] if given else "unknown",
            "best": categories[best],
            "confidence": confidence,
            "probabilities": probabilities,
            "capabilities": [name for name, value in heuristics["capability"].items() if value >= CAPABLE],
            "capability_scores": heuristics["capability"],
            "complexity": heuristics["complexity"],
            "structured_output": next(iter(heuristics["structured_output"].values()), None),
            "language": self.language(text, whole),
            "weak_quality": 1 + 4 * expected,
            "heuristic": declared,
            "artifact_version": self.header["version"],
        }

    def features(self, text: str) -> Features:
        """The features of a part of the text."""
        return featurise(Request(text), self.encoder, self.header["spec"])

    def scores(self, head: int, features: Features) -> tuple[list[float], list[float]]:
        """One head's scores, and the shares of n-grams it knows."""
        return self.heads[head].scores(unit(features), (features.word_ngrams, features.character_ngrams))

    def has(self, word: str, features: Features) -> bool:
        """Whether a text has a declared word."""
        return ngram_of(word, self.header["spec"]) in features.word_ngrams

    def language(self, text: str, features: Features) -> str | None:
        """By the script, and where that is Latin by the words."""
        found = [0] * len(SCRIPTS)
        letters = 0
        for character in text[:LOOKED_AT]:
            letters += character.isalpha()
            inside = [at for at, (first, last, _) in enumerate(SCRIPTS) if first <= ord(character) <= last]
            if character.isalpha() and inside:
                found[inside[0]] += 1
        foreign = sum(found)
        if letters and 2 * foreign >= letters:
            # Kana are in every Japanese sentence and in no Chinese one.
            at = 0 if 10 * found[0] >= foreign else max(range(len(found)), key=lambda at: (found[at], -at))
            return SCRIPTS[at][2]
        counts = {
            code: sum(self.has(word, features) for word in words)
            for code, words in sorted(self.header["languages"].items())
        }
        most = max(counts.values(), default=0)
        level = [code for code, count in counts.items() if count == most]
        return level[0] if most > 0 and len(level) == 1 else None


def trimmed(text: str) -> str:
    """Without white space at either end."""
    kept: Sequence[int] = [at for at, character in enumerate(text) if not is_white_space(character)]
    return text[kept[0] : kept[-1] + 1] if kept else ""
