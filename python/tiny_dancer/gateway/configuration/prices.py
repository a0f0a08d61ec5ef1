"""Prices from LiteLLM's price map (``model_prices_and_context_window.json``), where the configuration has none.

The map is the operator's own download: none is in this package.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import msgspec

from tiny_dancer.errors import ConfigError
from tiny_dancer.gateway.configuration.settings import PriceTier

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tiny_dancer.gateway.configuration.settings import GatewayConfig, Model

_LARGEST = 64 * 1024 * 1024
# The map's words for a field of ours, the first that is there.
_PRICES = {
    "input_cost_per_token": ("input_cost_per_token",),
    "output_cost_per_token": ("output_cost_per_token",),
    "cache_read_input_token_cost": ("cache_read_input_token_cost",),
    "cache_creation_input_token_cost": ("cache_creation_input_token_cost",),
    "cost_per_request": ("input_cost_per_request",),
}
_WINDOW = ("max_input_tokens", "max_tokens")
_PER_TOKEN = [field for field in _PRICES if field.endswith(("_per_token", "_token_cost"))]
_TIER = re.compile(rf"({'|'.join(_PER_TOKEN)})_above_(\d+)k_tokens")


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


def _read(path: Path) -> Mapping[str, msgspec.Raw]:
    try:
        if path.stat().st_size > _LARGEST:
            raise ConfigError("prices", f"{path} is larger than 64 MiB", "give LiteLLM's price map")
        return msgspec.json.decode(path.read_bytes(), type=dict[str, msgspec.Raw])
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
    found: dict[str, Any] = {}
    for field, words in _PRICES.items():
        if getattr(model, field) is None and (price := _number(entry, words)) is not None:
            found[field] = price
    if model.context_window is None and (window := _number(entry, _WINDOW)) and window >= 1:
        found["context_window"] = int(window)
    if model.max_output_tokens is None and (most := _number(entry, ("max_output_tokens",))) and most >= 1:
        found["max_output_tokens"] = int(most)
    # Tiers belong to the prices beside them: the map's are no tiers of the configuration's own.
    own = (model.tiers, model.input_cost_per_token, model.output_cost_per_token)
    if own == ([], None, None) and (tiers := _tiers(entry)):
        found["tiers"] = tiers
    return msgspec.structs.replace(model, **found)


def _tiers(entry: Mapping[str, Any]) -> list[PriceTier]:
    """Prices for long prompts, which the map writes as ``input_cost_per_token_above_200k_tokens``."""
    tiers: dict[int, dict[str, Any]] = {}
    for word in entry:
        if (match := _TIER.fullmatch(word)) and (price := _number(entry, (word,))) is not None:
            tiers.setdefault(1000 * int(match[2]), {})[match[1]] = price
    return [PriceTier(above_tokens=above, **prices) for above, prices in sorted(tiers.items())]


def _number(entry: Mapping[str, Any], words: tuple[str, ...]) -> float | None:
    """The first that is a number; the map writes explanations where a provider says nothing."""
    for word in words:
        value = entry.get(word)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0:
            return float(value)
    return None
