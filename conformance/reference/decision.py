"""The whole answer, by name (the engine's ``decision.rs``)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .policy import Expectations, Header
    from .select import Choice


@dataclass(frozen=True)
class Decision:
    """The choice, what was expected, the probability that no other model would have been better, and how like the
    request is to those the artifact was calibrated on (a p-value; None: it cannot say)."""

    header: Header
    choice: Choice
    expect: Expectations
    confidence: float
    likeness: float | None
    tokens: int

    @property
    def model(self) -> int:
        """Index of the model chosen."""
        return self.choice.model

    @property
    def quality(self) -> list[float]:
        """Expected quality of every model."""
        return self.expect.quality

    def answer(self) -> dict[str, Any]:
        """All there is to say; null is unknown."""
        names = [model["name"] for model in self.header["models"]]
        choice, expect = self.choice, self.expect

        def named(values: list[Any]) -> dict[str, Any]:
            return dict(zip(names, values, strict=True))

        return {
            "model": names[choice.model],
            "scores": named(expect.quality),
            "costs": named(expect.cost),
            "latencies": named(expect.latency),
            "tokens": self.tokens,
            "output_tokens": named(expect.output_tokens),
            "removed": {name: by for name, by in named(expect.removed).items() if by},
            "quality": expect.quality[choice.model],
            "cost": expect.cost[choice.model],
            "confidence": self.confidence,
            "likeness": self.likeness,
            "prediction_set": [name for name, member in named(expect.prediction_set).items() if member],
            "reason": choice.reason,
            "routed_by": choice.routed_by,
            "guarantee": None if choice.uncovered else self.header.get("guarantee"),
            "guarantee_note": choice.uncovered,
            "artifact_version": self.header["version"],
        }
