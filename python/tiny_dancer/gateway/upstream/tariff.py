"""What an answer costs: the one place where a model's prices meet the tokens it was billed for.

Routing reckons with the engine's account of the same prices, as far as they are known before an answer is; see
:meth:`Tariff.by_length`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Struct

from tiny_dancer.gateway.configuration.settings import TokenPrices
from tiny_dancer.types import PriceTier

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tiny_dancer.gateway.configuration import settings as config
    from tiny_dancer.gateway.upstream.dialect import Usage

# What answers call tiers of service that the price map knows by another name.
_ALSO: Final = {"fast": "priority", "batches": "batch"}


class _Rates(Struct, frozen=True, gc=False):
    """USD a token, nothing left open, for prompts longer than ``above`` tokens.

    Attributes:
        known: whether a price for the prompt or the answer was given; without one it costs nobody knows what.
    """

    above: int
    known: bool
    input: float
    output: float
    cached: float
    written: float
    written_hour: float
    input_audio: float
    output_audio: float
    reasoning: float


class Tariff:
    """The prices of one model.

    A kind of token without a price costs what the kind it belongs to does, or nothing where that has none either.
    """

    __slots__ = ("_by_service", "_request", "_standard", "by_length")

    def __init__(self, settings: config.Model) -> None:
        self._request = settings.cost_per_request
        standard = _steps(settings, (tier for tier in settings.tiers if tier.service_tier is None))
        self._standard = _rates(standard)
        named = {tier.service_tier.lower() for tier in settings.tiers if tier.service_tier is not None}
        self._by_service = {
            name: _rates(_steps(settings, (t for t in settings.tiers if (t.service_tier or name).lower() == name)))
            for name in named
        }
        for also, name in _ALSO.items():
            if name in named:
                self._by_service.setdefault(also, self._by_service[name])
        self.by_length = tuple(
            PriceTier(
                above_tokens=above,
                input_cost_per_token=step["input_cost_per_token"],
                output_cost_per_token=step["output_cost_per_token"],
                cache_read_input_token_cost=step["cache_read_input_token_cost"],
                cache_creation_input_token_cost=step["cache_creation_input_token_cost"],
            )
            for above, step in standard[1:]
        )
        """Tiers by the prompt's length alone, as routing reckons with them."""

    def cost(self, usage: Usage) -> float | None:
        """USD of an answer; None without prices.

        A token is of one kind: what is cached or written is not counted as audio too, nor audio as reasoning.
        """
        steps = self._standard
        if usage.tier and self._by_service:
            steps = self._by_service.get(usage.tier.lower(), steps)
        cost = self._request
        if cost is None:
            if not steps[0].known:
                return None
            cost = 0.0
        rest, output = usage.input_tokens, usage.output_tokens
        rates = steps[0]
        if len(steps) > 1:
            for step in steps:
                if rest <= step.above:
                    break
                rates = step
        if usage.cached_tokens:
            part = min(usage.cached_tokens, rest)
            rest -= part
            cost += part * rates.cached
        if usage.written_tokens:
            part = min(usage.written_tokens, rest)
            hour = min(usage.written_hour_tokens, part)
            rest -= part
            cost += (part - hour) * rates.written + hour * rates.written_hour
        if usage.input_audio_tokens:
            part = min(usage.input_audio_tokens, rest)
            rest -= part
            cost += part * rates.input_audio
        if usage.output_audio_tokens:
            part = min(usage.output_audio_tokens, output)
            output -= part
            cost += part * rates.output_audio
        if usage.reasoning_tokens:
            part = min(usage.reasoning_tokens, output)
            output -= part
            cost += part * rates.reasoning
        return cost + rest * rates.input + output * rates.output


_Step = tuple[int, dict[str, float | None]]


def _steps(settings: config.Model, tiers: Iterable[config.PriceTier]) -> list[_Step]:
    """Prices by the prompt's length, shortest first, each as those before it but for what its tiers name.

    Of tiers of one length, the one for a tier of service says the last word.
    """
    names = TokenPrices.__struct_fields__
    steps: list[_Step] = [(-1, {name: getattr(settings, name) for name in names})]
    for tier in sorted(tiers, key=lambda each: (each.above_tokens, each.service_tier is not None)):
        named = {name: price for name in names if (price := getattr(tier, name)) is not None}
        if "output_cost_per_token" in named:
            named.setdefault("output_cost_per_reasoning_token", None)
        above, before = steps[-1]
        # From the first token on: there is no prompt it does not hold for.
        begins = tier.above_tokens or -1
        if above == begins:
            before.update(named)
        else:
            steps.append((begins, {**before, **named}))
    return steps


def _rates(steps: list[_Step]) -> list[_Rates]:
    return [_resolved(above, step) for above, step in steps]


def _resolved(above: int, step: dict[str, float | None]) -> _Rates:
    def price(name: str, otherwise: float) -> float:
        found = step[name]
        return otherwise if found is None else found

    prompt, output = price("input_cost_per_token", 0.0), price("output_cost_per_token", 0.0)
    written = price("cache_creation_input_token_cost", prompt)
    return _Rates(
        above=above,
        known=any(step[name] is not None for name in ("input_cost_per_token", "output_cost_per_token")),
        input=prompt,
        output=output,
        cached=price("cache_read_input_token_cost", prompt),
        written=written,
        written_hour=price("cache_creation_input_token_cost_above_1hr", written),
        input_audio=price("input_cost_per_audio_token", prompt),
        output_audio=price("output_cost_per_audio_token", output),
        reasoning=price("output_cost_per_reasoning_token", output),
    )
