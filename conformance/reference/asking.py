"""What a caller asks of a decision beyond the request, by name (the engine's ``options.rs``)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from typing import Any

from .errors import Refusal
from .json_text import NotJsonError, Number, Object, parse

MOST_TOKENS = 1e9
# What the weight of cost is multiplied by where no policy of this name was fixed.
SCALES = {"cheapest": 2.0, "balanced": 1.0, "quality": 0.0}
FORMER = {"cost": "cheapest"}


def invalid(name: str) -> Refusal:
    """An option that is none."""
    return Refusal("OptionInvalid", name)


@dataclass(frozen=True)
class Options:
    """What a caller asks; the default asks nothing, and an empty ``allowed`` allows all. Models by name."""

    max_cost: float | None = None
    min_quality: float | None = None
    max_latency: float | None = None
    allowed: list[str] = field(default_factory=list)
    exclude: list[str] = field(default_factory=list)
    pin: str | None = None
    threshold: float | None = None
    cost_weight: float | None = None
    policy: str | None = None
    expected_output_tokens: float | None = None
    current: str | None = None
    cached_tokens: dict[str, float] = field(default_factory=dict)

    @classmethod
    def from_json(cls, text: str) -> Options:
        """Options as a JSON object, each at most once; empty text and null ask nothing."""
        if text.strip() in ("", "null"):
            return cls()
        try:
            given = parse(text)
        except NotJsonError as error:
            raise invalid("options") from error
        names = [key for key, _ in given.members] if isinstance(given, Object) else [""]
        if len(set(names)) != len(names) or not {each.name for each in fields(cls)}.issuperset(names):
            raise invalid("options")
        return cls(**{key: option(key, value) for key, value in given.members if value is not None})

    def check(self, models: list[str]) -> None:
        """Every value is in its range, every name one of ``models``."""
        most = {
            "max_cost": math.inf,
            "max_latency": math.inf,
            "cost_weight": math.inf,
            "expected_output_tokens": MOST_TOKENS,
            "min_quality": 1.0,
        }
        for name, bound in most.items():
            number = getattr(self, name)
            if number is not None and not (0.0 <= number <= bound and math.isfinite(number)):
                raise invalid(name)
        if self.threshold is not None and (not math.isfinite(self.threshold) or self.cost_weight is not None):
            raise invalid("threshold")
        single = [name for name in (self.pin, self.current) if name is not None]
        if not set(models).issuperset([*self.allowed, *self.exclude, *single, *self.cached_tokens]):
            raise invalid("models")
        if not all(0.0 <= tokens <= MOST_TOKENS for tokens in self.cached_tokens.values()):
            raise invalid("cached_tokens")


def option(name: str, value: Any) -> Any:
    """The value of an option, if it is of the option's type."""
    match name, value:
        case (("allowed" | "exclude"), list()) if all(isinstance(each, str) for each in value):
            return value
        case "cached_tokens", Object(members) if all(isinstance(tokens, Number) for _, tokens in members):
            return {model: finite(tokens) for model, tokens in members}
        case (("allowed" | "exclude" | "cached_tokens"), _):
            raise invalid(name)
        case (("pin" | "current"), str()):
            return value
        case "policy", str() if FORMER.get(value, value) in SCALES:
            return FORMER.get(value, value)
        case (("pin" | "current" | "policy"), _):
            raise invalid(name)
        case _, Number():
            return finite(value)
    raise invalid(name)


def finite(number: Number) -> float:
    """The double nearest to a number, if there is one."""
    value = float(number.written)
    if not math.isfinite(value):
        raise invalid("options")
    return value
