"""What a request is like: a conformal p-value (the engine's ``likeness.rs``)."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from .backends import CUES
from .errors import Refusal
from .single import dot, single
from .word_pieces import DIMENSIONS

if TYPE_CHECKING:
    from .artifact import Weights
    from .features import Features

MOST_SCORES = 64
LARGEST_STANDARD = 5.0


class LikenessTest:
    """A discriminant between the calibration rows and requests of every kind, and the scores those rows had."""

    def __init__(self, weights: Weights, spec: dict[str, Any]) -> None:
        self.mean, self.scale, self.linear, self.square = (
            weights.get(f"likeness.{name}", "F32", CUES) for name in ("mean", "scale", "linear", "square")
        )
        self.embedding = weights.get("likeness.embedding", "F32", DIMENSIONS)
        self.scores = weights.get("likeness.scores", "F32", None)
        self.p_values = weights.get("likeness.p_values", "F32", len(self.scores) + 1)
        self.level = single(spec["level"])
        rising = all(a < b for a, b in pairwise(self.scores))
        falling = all(a > b for a, b in pairwise(self.p_values))
        if len(self.scores) > MOST_SCORES or not rising:
            raise Refusal("ArtifactInvalid", "likeness.scores")
        if self.p_values[0] != 1.0 or not falling or self.p_values[-1] <= 0.0:
            raise Refusal("ArtifactInvalid", "likeness.p_values")

    def score(self, features: Features) -> float:
        """The higher, the less like the calibration rows."""
        standard = []
        for cue, mean, scale in zip(features.cues.values(), self.mean, self.scale, strict=True):
            value = single(single(cue - mean) * scale)
            standard.append(max(-LARGEST_STANDARD, min(LARGEST_STANDARD, value)))
        squares = [single(value * value) for value in standard]
        form = single(dot(self.linear, standard) + dot(self.square, squares))
        return single(form + dot(self.embedding, features.unit_embedding))

    def p_value(self, features: Features) -> float:
        """Of the p-values that belong to the intervals between the scores kept, the one where this score lies."""
        score = self.score(features)
        return float(self.p_values[sum(kept < score for kept in self.scores)])
