"""What a call can cost at most, by the engine's prices."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiny_dancer.errors import OptionError
from tiny_dancer.routing.arguments import engine_prices
from tiny_dancer.storage.values import integer

if TYPE_CHECKING:
    from tiny_dancer.types import ModelInfo


def most_cost(model: ModelInfo, *, prompt_tokens: int, output_tokens: int) -> float:
    """The most that a call can cost, USD: with no more tokens than these, whatever is read from the model's cache
    or written into it, and whichever tier of prices the prompt falls into. What is to be reserved for it
    (:meth:`tiny_dancer.budgets.Budgets.reserve`).

    Args:
        model: its prices.
        prompt_tokens: of the prompt at most.
        output_tokens: of the answer at most.

    Raises:
        OptionError: no price, or one that cannot be; or no number of tokens.
    """
    prompt = integer("prompt_tokens", prompt_tokens, error=OptionError)
    output = integer("output_tokens", output_tokens, error=OptionError)
    prices = engine_prices(model)
    # A tier may be cheaper than what is below it.
    lengths = {prompt, *(min(each.above_tokens, prompt) for each in model.tiers)}
    costs = [
        prices.cost(length, output, cached=cached, written=written)
        for length in lengths
        for cached, written in ((0, 0), (length, 0), (0, length))
    ]
    found = [cost for cost in costs if cost is not None]
    if not found:
        raise OptionError("model", "no price", "give input_cost_per_token and output_cost_per_token")
    return max(found)
