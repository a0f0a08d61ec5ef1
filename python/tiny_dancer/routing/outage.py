"""Choosing a model while the learned policy cannot: from what the artifact's header says of the models."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from tiny_dancer import _core
from tiny_dancer.errors import NoFeasibleModelError, OptionError, RequestError
from tiny_dancer.resilience import BAD_INPUT, BUGS, FAILURES

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from tiny_dancer.resilience import Bugs
    from tiny_dancer.types import FeatureTable


@dataclass(frozen=True, slots=True)
class Asked:
    """What a caller asks of a decision beyond the request, as :meth:`tiny_dancer.Router.route` takes it."""

    max_cost: float | None = None
    min_quality: float | None = None
    max_latency: float | None = None
    allowed: object = ()
    exclude: object = ()
    pin: str | None = None
    threshold: float | None = None
    cost_weight: float | None = None
    expected_output_tokens: float | None = None


class Query:
    """One request as the fallback levels read it, featurised once and only if asked."""

    def __init__(self, text: str, messages: _core.Messages | None, tools: str | None, bugs: Bugs) -> None:
        """``messages`` as ``_core`` takes them, in place of ``text`` where given; ``bugs`` is told of those.

        Raises:
            RequestError: there is nothing to route. (What is not Unicode is found when featurised.)
        """
        contents = [text] if messages is None else [content for _, content in messages]
        if not any(content.strip() for content in contents):
            raise RequestError("request", "empty", "give a text, or messages with some")
        self._given = (text, messages, tools)
        self._bugs = bugs
        self.characters = sum(map(len, contents)) + len(tools or "")

    @cached_property
    def features(self) -> FeatureTable:
        """Features of the one request.

        Raises:
            RequestError: it cannot be featurised because of what it holds.
        """
        text, messages, tools = self._given
        return _core.featurise([text], None if messages is None else [messages], [tools])

    @cached_property
    def tokens(self) -> int | None:
        """Word pieces of the request, or None where even featurising fails."""
        try:
            return int(self.features.tokens[0])
        except BAD_INPUT:
            raise
        except FAILURES as error:
            if isinstance(error, BUGS):
                self._bugs.saw(error)
            return None


def compared(text: str, messages: _core.Messages | None, tools: str | None) -> tuple[str, Hashable]:
    """(text, context) of a request for :class:`DecisionCache`: what the user said last, and all around it.

    ``messages`` as ``_core`` takes them, in place of ``text`` where they are given.
    """
    if messages is None:
        return text, tools
    if len(messages) == 1:
        return messages[0][1], tools
    last = len(messages) - 1
    while last > 0 and messages[last][0] != 1:
        last -= 1
    if messages[last][0] != 1:  # nobody is the user
        last = len(messages) - 1
    return messages[last][1], (tools, *messages[:last], *messages[last + 1 :])


class ModelTable:
    """The models of an artifact, and what is known of them without its weights."""

    def __init__(self, header: Mapping[str, Any], default: str | None) -> None:
        """From a request router's header, with the caller's names and prices.

        Args:
            header: see :attr:`tiny_dancer.Router.header`.
            default: the model of the last level; the best constant one where None.

        Raises:
            OptionError: ``default`` is none of the models.
        """
        self._models: list[Mapping[str, Any]] = header["models"]
        self.names: tuple[str, ...] = tuple(model["name"] for model in self._models)
        if default is not None and default not in self.names:
            raise OptionError("default_model", repr(default), f"the models are {', '.join(self.names)}")
        self.default = self.names[header["best_constant"]] if default is None else default
        policy = header["policy"]
        self._weak = self.names[policy["weak"]] if policy["kind"] == "threshold" else None

    def check(self, asked: Asked) -> None:
        """Refuses what :meth:`tiny_dancer.Router.route` refuses.

        Raises:
            OptionError: an unknown model, a number outside its range, or one that needs a price or latency nobody
                gave.
        """
        for field in ("allowed", "exclude"):
            _names(field, getattr(asked, field), self.names)
        if asked.pin is not None:
            _names("pin", [asked.pin], self.names)
        for field in ("max_cost", "max_latency", "expected_output_tokens", "cost_weight"):
            _check_number(field, getattr(asked, field), math.inf)
        _check_number("min_quality", asked.min_quality, 1.0)
        for model in self._models:
            if asked.max_cost is not None and math.isnan(_cost(model, 0, asked)):
                raise OptionError(f"price of {model['name']}", "unknown", "max_cost needs it")
            if asked.max_latency is not None and model.get("latency") is None:
                raise OptionError(f"latency of {model['name']}", "unknown", "max_latency needs it")

    def feasible(self, asked: Asked, query: Query) -> tuple[str, ...]:
        """Models that satisfy the constraints, in the artifact's order.

        Expected cost and latency are computed as the engine computes them, but without the length the answer is
        expected to have. Where the tokens are not known, a limit on them counts every character as one: a limit
        on cost is kept rather than used up; a context window is not judged. ``min_quality`` removes nothing:
        without the engine nothing is expected of quality.

        Raises:
            NoFeasibleModelError: nothing is left; it lists what removed which model.
        """
        allowed = _names("allowed", asked.allowed, self.names)
        excluded = _names("exclude", asked.exclude, self.names)
        kept, removed = [], []
        for model in self._models:
            name = model["name"]
            tokens = query.characters if query.tokens is None else query.tokens
            cause = ""
            if (allowed and name not in allowed) or name in excluded or asked.pin not in (None, name):
                cause = "allowed, exclude or pin"
            elif query.tokens is not None and _needed(model, tokens, asked) > (
                model["context_window"] or math.inf
            ):
                cause = "its context window"
            elif asked.max_cost is not None and _cost(model, tokens, asked) > asked.max_cost:
                cause = f"max_cost={asked.max_cost}"
            elif asked.max_latency is not None and _latency(model, tokens) > asked.max_latency:
                cause = f"max_latency={asked.max_latency}"
            if cause:
                removed.append(f"{cause} removed {name}")
            else:
                kept.append(name)
        if not kept:
            raise NoFeasibleModelError("models", ", ".join(removed), "relax the constraints")
        return tuple(kept)

    def strong(self, feasible: tuple[str, ...], asked: Asked, query: Query) -> str:
        """The default model where it is feasible, else the dearest that is: price is all that is left to go by."""
        if self.default in feasible:
            return self.default
        return max(feasible, key=lambda name: self._price(name, asked, query))

    def light(self, feasible: tuple[str, ...], asked: Asked, query: Query) -> str | None:
        """The weak model of a pair, or the cheapest that is cleared for routing; None where none is known."""
        if self._weak is not None:
            return self._weak if self._weak in feasible else None
        cleared = {model["name"] for model in self._models if model["cleared"]} & set(feasible)
        priced = [name for name in feasible if name in cleared and self._price(name, asked, query) > -math.inf]
        return min(priced, key=lambda name: self._price(name, asked, query), default=None)

    def _price(self, name: str, asked: Asked, query: Query) -> float:
        tokens = query.characters if query.tokens is None else query.tokens
        cost = _cost(self._models[self.names.index(name)], tokens, asked)
        return -math.inf if math.isnan(cost) else cost


def _names(field: str, given: object, known: tuple[str, ...]) -> tuple[str, ...]:
    remedy = f"the models are {', '.join(known)}"
    if not isinstance(given, Iterable):
        raise OptionError(field, repr(given), f"give a list of names; {remedy}")
    listed = (given,) if isinstance(given, str) else tuple(given)
    for name in listed:
        if name not in known:
            raise OptionError(field, repr(name), remedy)
    return listed


def _check_number(field: str, value: object, most: float) -> None:
    if value is None:
        return
    try:
        number = float(value)  # type: ignore[arg-type]  # anything may come; what is no number is refused here
    except (TypeError, ValueError, OverflowError) as error:
        raise OptionError(field, repr(value), "give a number") from error
    if isinstance(value, bool | str) or not (math.isfinite(number) and 0 <= number <= most):
        raise OptionError(
            field, repr(value), "give a finite number ≥ 0" if most > 1 else "give a number in [0, 1]"
        )


def _written(model: Mapping[str, Any], asked: Asked) -> float:
    given = asked.expected_output_tokens
    expected = model["expected_output_tokens"] if given is None else given
    return math.nan if expected is None else float(expected)


def _needed(model: Mapping[str, Any], tokens: int, asked: Asked) -> float:
    written = _written(model, asked)
    return tokens + (0.0 if math.isnan(written) else written)


def _cost(model: Mapping[str, Any], tokens: int, asked: Asked) -> float:
    """USD, as ``expected_cost`` in the engine's ``router.rs``; NaN where unknown."""
    prices = [model[f"price_{part}"] for part in ("input", "output", "request")]
    if any(price is not None for price in prices):
        per_input, per_output, per_request = (price or 0.0 for price in prices)
        written = per_output * _written(model, asked) if per_output else 0.0
        return float(per_request + per_input * tokens + written)
    if model["cost"] is None:
        return math.nan
    constant, per_token, _ = model["cost"]
    return max(0.0, float(constant + per_token * tokens))


def _latency(model: Mapping[str, Any], tokens: int) -> float:
    constant, per_token = model["latency"]
    return max(0.0, float(constant + per_token * tokens))
