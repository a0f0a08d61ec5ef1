"""OpenRouter's ``provider`` object as a request has it; :mod:`.selection` keeps to it."""

from __future__ import annotations

import math
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from tiny_dancer.gateway.errors import GatewayError

_Names = Annotated[tuple[str, ...], Meta(max_length=100)]
_Price = Annotated[float, Meta(ge=0)]


class MaxPrice(Struct, frozen=True, forbid_unknown_fields=True):
    """Most a model may ask.

    Attributes:
        prompt: USD per million prompt tokens.
        completion: USD per million output tokens.
        request: USD per request.
    """

    prompt: _Price | None = None
    completion: _Price | None = None
    request: _Price | None = None


class Provider(Struct, frozen=True):
    """What is asked.

    Attributes:
        order: upstreams to try first, in this order.
        only: no other upstreams.
        ignore: not these.
        allow_fallbacks: whether another model may serve, and an upstream that ``order`` does not list.
        require_parameters: only upstreams that get every field of the request: none that it is translated for.
        max_price: no dearer models.
        sort: ``price`` chooses the cheapest model of a router, ``latency`` the fastest.
        data_collection: ``deny``: only upstreams of which the configuration says that they keep nothing.
        beyond: fields that only OpenRouter understands.
    """

    order: _Names = ()
    only: _Names | None = None
    ignore: _Names = ()
    allow_fallbacks: bool = True
    require_parameters: bool = False
    max_price: MaxPrice | None = None
    sort: Literal["price", "latency", "throughput"] | None = None
    data_collection: Literal["allow", "deny"] | None = None
    beyond: tuple[str, ...] = ()


_KNOWN: Final = frozenset(Provider.__struct_fields__) - {"beyond"}


def parse_provider(raw: msgspec.Raw) -> Provider | None:
    """The field ``provider`` of a request; None where it says nothing.

    Raises:
        GatewayError: 400, naming the field at fault.
    """
    try:
        given: dict[str, Any] = msgspec.json.decode(raw, type=dict[str, Any] | None) or {}
        given = {name: value for name, value in given.items() if value is not None}
        prices = given.get("max_price")
        if isinstance(prices, dict):
            given["max_price"] = {name: _number(value) for name, value in prices.items() if value is not None}
        known = {name: value for name, value in given.items() if name in _KNOWN}
        beyond = tuple(name for name in given if name not in _KNOWN)
        return msgspec.convert({**known, "beyond": beyond}, Provider) if given else None
    except (msgspec.ValidationError, msgspec.DecodeError, RecursionError) as error:
        raise GatewayError(
            400, f"Invalid 'provider': {str(error)[:300]}.", param="provider", code="invalid_value"
        ) from error


def _number(value: object) -> object:
    """OpenRouter takes prices as texts too."""
    try:
        return float(value) if isinstance(value, str) and math.isfinite(float(value)) else value
    except ValueError:
        return value
