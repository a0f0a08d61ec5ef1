"""Prices from LiteLLM's price map (``model_prices_and_context_window.json``), where the configuration has none.

The map is the operator's own download: none is in this package.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from tiny_dancer import files, types
from tiny_dancer.errors import ConfigError
from tiny_dancer.gateway.configuration.settings import PriceTier, TokenPrices
from tiny_dancer.routing.arguments import incomplete_prices
from tiny_dancer.types import ModelInfo

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tiny_dancer.gateway.configuration.settings import GatewayConfig, Model

_LARGEST = 64 * 1024 * 1024
_WINDOW = ("max_input_tokens", "max_tokens")
_PER_TOKEN: Final = TokenPrices.__struct_fields__
# What routing reckons with, before an answer is there.
_OF_THE_ENGINE: Final = (
    "input_cost_per_token",
    "output_cost_per_token",
    "cache_read_input_token_cost",
    "cache_creation_input_token_cost",
)
# A price that belongs to another is the map's only where that one is.
_BESIDE: Final = {
    "cache_creation_input_token_cost_above_1hr": "cache_creation_input_token_cost",
    "input_cost_per_audio_token": "input_cost_per_token",
    "output_cost_per_audio_token": "output_cost_per_token",
    "output_cost_per_reasoning_token": "output_cost_per_token",
}
# The map's words for tiers of service at the end of a price's name, and what answers call them.
_SERVICE_TIERS: Final = {name: name for name in ("flex", "priority", "balanced", "ultrafast")} | {
    "batches": "batch"
}
_TIER: Final = re.compile(
    rf"({'|'.join(_PER_TOKEN)})(?:_above_(\d+)(k?)_tokens)?(?:_({'|'.join(_SERVICE_TIERS)}))?"
)
_HALF_IF_CACHED: Final = "fireworks_ai"  # what is cached costs half, and the map does not say so
_FROM_THE_TOKEN_ON: Final = "xai"  # a long prompt begins with the token that the map names, not after it


def fill(config: GatewayConfig, path: Path) -> GatewayConfig:
    """The configuration with prices and context windows where its models leave them out.

    A model is looked up as ``<upstream>/<model>``, ``<kind>/<model>`` and ``<model>``, by what its deployments
    call it, then by its own name. The first entry found gives all that is taken. What the configuration says
    stays.

    Raises:
        ConfigError: the file cannot be read, or is no price map.
    """
    entries = _read(path)
    models = {}
    for name, model in config.models.items():
        keys = (key for key in _keys(name, model, config) if key in entries)
        found = _entry(entries[key], key, path) if (key := next(keys, None)) is not None else {}
        models[name] = _filled(model, found)
    return msgspec.structs.replace(config, models=models)


def unpriced(config: GatewayConfig) -> list[str]:
    """Models whose cost is unknown: neither a request nor both kinds of token have a price."""
    return [name for name, model in config.models.items() if not is_priced(model)]


def is_priced(model: Model) -> bool:
    """Whether what a request costs can be said."""
    by_token = model.input_cost_per_token is not None and model.output_cost_per_token is not None
    return by_token or model.cost_per_request is not None


def incomplete(model: Model) -> tuple[str, str] | None:
    """What is priced, and which price is missing, where a kind of token would silently be free.

    Tiers of service have no say: who is not in one pays what is beside them.
    """

    def given(prices: TokenPrices) -> dict[str, Any]:
        return {name: getattr(prices, name) for name in _OF_THE_ENGINE}

    tiers = tuple(
        types.PriceTier(above_tokens=tier.above_tokens, **given(tier))
        for tier in model.tiers
        if tier.service_tier is None
    )
    return incomplete_prices(ModelInfo(cost_per_request=model.cost_per_request, tiers=tiers, **given(model)))


def _read(path: Path) -> Mapping[str, msgspec.Raw]:
    try:
        return msgspec.json.decode(files.read(path, most=_LARGEST), type=dict[str, msgspec.Raw])
    except OSError as error:
        raise ConfigError("prices", f"{path}: {error.strerror}", "check the path") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError("prices", f"{path} is no JSON object", "give LiteLLM's price map") from error


def _keys(name: str, model: Model, config: GatewayConfig) -> Iterator[str]:
    for called in (*(each.model for each in model.deployments if each.model), name):
        for deployment in model.deployments:
            yield f"{deployment.upstream}/{called}"
            if upstream := config.upstreams.get(deployment.upstream):
                yield f"{upstream.kind}/{called}"
        yield called


def _entry(raw: msgspec.Raw, key: str, path: Path) -> dict[str, Any]:
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise ConfigError("prices", f"{path}: {key!r} is no object", "give LiteLLM's price map") from error


def _filled(model: Model, entry: Mapping[str, Any]) -> Model:
    entry = _plain(entry)
    found: dict[str, Any] = {}
    for field in _PER_TOKEN:
        beside = _BESIDE.get(field)
        taken = getattr(model, field) is None and (beside is None or getattr(model, beside) is None)
        if taken and (price := _number(entry, (field,))) is not None:
            found[field] = price
    # What the map gives no price, an answer that is no tokens, say, it counts as free.
    if found.keys() & _PER_TOKEN:
        for field in ("input_cost_per_token", "output_cost_per_token"):
            if getattr(model, field) is None:
                found.setdefault(field, 0.0)
    if model.cost_per_request is None and (price := _number(entry, ("input_cost_per_request",))) is not None:
        found["cost_per_request"] = price
    if model.context_window is None and (window := _number(entry, _WINDOW)) and window >= 1:
        found["context_window"] = int(window)
    if model.max_output_tokens is None and (most := _number(entry, ("max_output_tokens",))) and most >= 1:
        found["max_output_tokens"] = int(most)
    # Tiers belong to the prices beside them: the map's are no tiers of the configuration's own.
    own = (model.tiers, model.input_cost_per_token, model.output_cost_per_token)
    if own == ([], None, None) and (tiers := _tiers(entry)):
        found["tiers"] = tiers
    return msgspec.structs.replace(model, **found)


def _plain(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    """The entry with every price under a name of its own."""
    if entry.get("litellm_provider") == _HALF_IF_CACHED and "cache_read_input_token_cost" not in entry:
        prompt = _number(entry, ("input_cost_per_token",))
        return entry if prompt is None else {**entry, "cache_read_input_token_cost": prompt / 2}
    ranges = entry.get("tiered_pricing")
    if not isinstance(ranges, list):
        return entry
    # ``tiered_pricing``: prices by the prompt's length, each range complete in itself, and no tiers of service.
    plain = {word: value for word, value in entry.items() if _TIER.fullmatch(word) is None}
    output = _number(entry, ("output_cost_per_token",))
    for each in ranges:
        if not isinstance(each, dict) or (prompt := _number(each, ("input_cost_per_token",))) is None:
            continue
        bounds = each.get("range")
        start = _number({"start": bounds[0]}, ("start",)) if isinstance(bounds, list) and bounds else None
        if start is None:
            continue
        prices = {field: price for field in _PER_TOKEN if (price := _number(each, (field,))) is not None}
        if output is not None:
            prices.setdefault("output_cost_per_token", output)
        for field in ("cache_read_input_token_cost", "cache_creation_input_token_cost"):
            prices.setdefault(field, prompt)
        written = prices["cache_creation_input_token_cost"]
        prices.setdefault("cache_creation_input_token_cost_above_1hr", written)
        ending = f"_above_{int(start)}_tokens" if start else ""
        plain |= {field + ending: price for field, price in prices.items()}
    return plain


def _tiers(entry: Mapping[str, Any]) -> list[PriceTier]:
    """Prices for long prompts and tiers of service, which the map writes as
    ``input_cost_per_token_above_200k_tokens``, ``input_cost_per_token_flex`` and both after one another."""
    first = 1 if entry.get("litellm_provider") == _FROM_THE_TOKEN_ON else 0
    tiers: dict[tuple[int, str], dict[str, Any]] = {}
    for word in entry:
        match = _TIER.fullmatch(word)
        if match is None or word in _PER_TOKEN or (price := _number(entry, (word,))) is None:
            continue
        field, tokens, thousands, service = match.groups()
        above = 0 if tokens is None else int(tokens) * (1000 if thousands else 1) - first
        tiers.setdefault((above, _SERVICE_TIERS.get(service, "")), {})[field] = price
    return [
        PriceTier(above_tokens=above, service_tier=service or None, **prices)
        for (above, service), prices in sorted(tiers.items())
        if above or service
    ]


def _number(entry: Mapping[str, Any], words: tuple[str, ...]) -> float | None:
    """The first that is a number; the map writes explanations where a provider says nothing."""
    for word in words:
        value = entry.get(word)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0:
            return float(value)
    return None
