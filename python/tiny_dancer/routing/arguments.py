"""Arguments as callers write them: options of a decision, numbers, and changes to an artifact's models."""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeAlias, TypedDict, TypeVar

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import OptionError
from tiny_dancer.types import ModelInfo, PriceTier

PolicyName: TypeAlias = Literal["quality", "balanced", "cheapest", "cost"]
"""An artifact's policies; ``cost`` is the former name of ``cheapest``."""


class Asked(TypedDict, total=False):
    """What a caller asks of a decision beyond the request; None, or an empty list, asks nothing.

    Attributes:
        max_cost: most USD the answer may be expected to cost; every model needs a price.
        min_quality: least quality to expect, in [0, 1].
        max_latency: most seconds the answer may be expected to take; every model needs measured latencies.
        allowed: only these models.
        exclude: not these.
        pin: this model, whatever the policy says.
        threshold: least gain worth the dearer of two models, in place of the artifact's.
        cost_weight: quality worth one unit of cost, in place of the artifact's.
        policy: one of the policies that training fixed: ``quality`` (the most quality), ``balanced`` (no quality
            given up for cost) or ``cheapest`` (little); ``cost`` is the former name of ``cheapest``. The one in
            force, which a certificate may have replaced, keeps its name. Of an artifact that holds a single
            policy, and of a threshold or cost weight given beside it, they weigh cost not at all, as it is, or
            twice.
        expected_output_tokens: of any model, where the caller knows.
        current: the model the conversation is with. It stays where leaving its prompt cache does not pay.
        cached_tokens: tokens of the prompt's front in a model's prompt cache, by model.
    """

    max_cost: float | None
    min_quality: float | None
    max_latency: float | None
    allowed: Iterable[str]
    exclude: Iterable[str]
    pin: str | None
    threshold: float | None
    cost_weight: float | None
    policy: PolicyName | None
    expected_output_tokens: float | None
    current: str | None
    cached_tokens: Mapping[str, float] | None


def engine_options(given: Asked, models: Iterable[str]) -> _core.Options | None:
    """Options as the engine takes them; None where nothing is asked.

    Raises:
        OptionError: a value that is none of its kind. What is out of range, or none of ``models``, is refused when
            deciding.
    """
    if not given:
        return None
    try:
        return _core.Options(**given)
    except OptionError as error:
        if error.field in ("allowed", "exclude", "pin", "current", "cached_tokens"):
            remedy = f"{error.remedy}; the models are {', '.join(models)}"
            raise OptionError(error.field, error.value, remedy) from error
        raise


_Routing = TypeVar("_Routing", bound=Callable[..., Any])


def with_options(function: _Routing) -> _Routing:
    """Shows the options of :class:`Asked` in a function's signature, one by one, where it takes ``**options``."""
    shown = inspect.signature(function)
    named = [each for each in shown.parameters.values() if each.kind is not inspect.Parameter.VAR_KEYWORD]
    for name, kind in Asked.__annotations__.items():
        default = () if name in ("allowed", "exclude") else None
        written = kind.__forward_arg__  # as the source has it: annotations here are not evaluated
        named.append(inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=written))
    function.__signature__ = shown.replace(parameters=named)  # type: ignore[attr-defined]  # what inspect reads
    return function


_FIELDS = {
    "input_cost_per_token": "price_input",
    "output_cost_per_token": "price_output",
    "cost_per_request": "price_request",
    "cache_read_input_token_cost": "price_cached_input",
    "cache_creation_input_token_cost": "price_cache_write",
    "expected_output_tokens": "expected_output_tokens",
    "context_window": "context_window",
    "name": "name",
}
_TIER_FIELDS = {
    "above_tokens": "above",
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cached_input",
    "cache_creation_input_token_cost": "cache_write",
}


def number(field: str, value: object) -> float | None:
    """A number as a float; None where there is none.

    Raises:
        OptionError: it is no number, or beyond any float.
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        raise OptionError(field, repr(value), "give a number")
    try:
        return float(value)
    except OverflowError as error:
        raise OptionError(field, "an integer beyond any float", "give a finite number") from error


def model_changes(names: list[str], models: Mapping[str, str | ModelInfo]) -> str | None:
    """Changes to an artifact's models as the engine takes them: JSON, one object a model.

    None where nothing changes.

    Args:
        names: of the artifact's models, in the order of its columns.
        models: by these names, the model to call instead, or what is to change.

    Raises:
        OptionError: ``models`` names none of the artifact's, or a value cannot be what it stands for. The engine
            refuses prices that would leave a kind of token free.
    """
    if not isinstance(models, Mapping):
        raise OptionError("models", type(models).__name__, "give {name: name to call, or ModelInfo}")
    unknown = [name for name in models if name not in names]
    if unknown:
        raise OptionError("models", unknown[0], f"the artifact's models are {', '.join(names)}")
    if not models:
        return None
    changes: list[dict[str, Any]] = []
    for name in names:
        asked = models.get(name, name)
        info = ModelInfo(name=asked) if isinstance(asked, str) else asked
        if not isinstance(info, ModelInfo):
            raise OptionError(f"models[{name!r}]", type(info).__name__, "give a name or a ModelInfo")
        changes.append(price_fields(info, f"models[{name!r}]"))
    return json.dumps(changes)


def price_fields(info: ModelInfo, where: str = "prices") -> dict[str, Any]:
    """What ``info`` says, by the names of an artifact's models.

    Raises:
        OptionError: a price that is no finite number.
    """
    fields = _renamed(info, _FIELDS, where)
    if info.tiers:
        fields["price_tiers"] = _tiers(info.tiers, f"{where}.tiers")
    return fields


def engine_prices(info: ModelInfo) -> _core.Prices:
    """The prices in ``info``, as the engine accounts by them.

    Raises:
        OptionError: one that is no finite number, or a kind of token that would silently be free.
    """
    found = _prices(info)
    if (wrong := found.incomplete()) is not None:
        given, missing = wrong
        raise OptionError(missing, f"{given} alone", f"give {missing} as well, 0 where it is free")
    return found


def incomplete_prices(info: ModelInfo) -> tuple[str, str] | None:
    """What is priced, and which price is missing, where a kind of token would silently be free; else None.

    Raises:
        OptionError: a price that is no finite number.
    """
    return _prices(info).incomplete()


def _prices(info: ModelInfo) -> _core.Prices:
    fields = price_fields(info)
    return _core.Prices(json.dumps({word: value for word, value in fields.items() if word.startswith("price_")}))


def _renamed(given: ModelInfo | PriceTier, fields: Mapping[str, str], where: str) -> dict[str, Any]:
    """What is not None, by the engine's names."""
    found = ((key, word, getattr(given, key)) for key, word in fields.items())
    return {word: _plain(f"{where}.{key}", value) for key, word, value in found if value is not None}


def _tiers(tiers: Iterable[PriceTier], where: str) -> list[dict[str, Any]]:
    renamed = []
    for place, tier in enumerate(tiers):
        if not isinstance(tier, PriceTier):
            raise OptionError(f"{where}[{place}]", type(tier).__name__, "give a PriceTier")
        renamed.append(_renamed(tier, _TIER_FIELDS, f"{where}[{place}]"))
    return renamed


def _plain(field: str, value: object) -> str | int | float:
    """A name as it is, a number as Python's own: numpy's are no JSON."""
    if isinstance(value, str) and field.endswith(".name"):
        return value
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value)
    found = number(field, value)
    if found is None or not math.isfinite(found):
        raise OptionError(field, value, "give a finite number")
    return found
