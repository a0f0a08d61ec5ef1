"""The last requests, each with why its model served and what each other one would have cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from tiny_dancer.gateway.upstream.dialect import Usage
from tiny_dancer.gateway.upstream.tariff import Tariff

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiny_dancer.gateway.configuration.settings import GatewayConfig
    from tiny_dancer.storage import Storage
    from tiny_dancer.types import RequestRecord

MOST: Final = 50
"""Requests that are shown."""


def decisions(storage: Storage, config: GatewayConfig) -> list[dict[str, Any]]:
    """The last requests, newest first, as JSON values; of no prompt more than its tokens."""
    tariffs = {name: Tariff(model) for name, model in config.models.items()}
    names = {key.id: key.name for key in storage.api_keys()}
    return [_decision(record, tariffs, names) for record in storage.request_history(limit=MOST)]


def _decision(record: RequestRecord, tariffs: Mapping[str, Tariff], names: Mapping[str, str]) -> dict[str, Any]:
    return {
        "id": record.id,
        "time": record.time,
        "endpoint": record.endpoint,
        "key": names.get(record.key, record.key),
        "asked": record.asked,
        "model": record.model,
        "upstream": record.upstream,
        "status": record.status,
        "error": record.error,
        "router": record.router,
        "routed_by": record.routed_by,
        "reason": record.reason,
        "level": record.level,
        "hops": record.hops,
        "confidence": record.confidence,
        "attempts": record.attempts,
        "fallbacks": record.fallbacks,
        "input_tokens": record.input_tokens,
        "output_tokens": record.output_tokens,
        "cached_tokens": record.cached_tokens,
        "cost": record.cost,
        "baseline_cost": record.baseline_cost,
        "guessed": record.guessed,
        "latency": record.latency,
        "removed": dict(record.removed),
        "models": _models(record, tariffs),
    }


def _models(record: RequestRecord, tariffs: Mapping[str, Tariff]) -> list[dict[str, Any]]:
    """Every model with what was expected of it, and what it would have cost; of the one that served, what it did.

    The others are reckoned with the same tokens and today's prices, nothing cached: what one model has cached
    another has not.
    """
    scores = record.scores or {}
    usage = Usage(record.input_tokens, record.output_tokens)
    found = []
    for name in sorted({*scores, *tariffs, *([record.model] if record.model else [])}):
        cost = record.cost if name == record.model else None
        if record.model and name != record.model and name in tariffs:
            cost = tariffs[name].cost(usage)
        found.append({"model": name, "score": scores.get(name), "cost": cost})
    return found
