"""``/v1/queue``: what waits for people. Operators see, claim and answer it; clients see and cancel their own.

An operator is a key that was made with ``--operator``, also where no key is needed to call models: what is in the
queue are other people's messages.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta

from tiny_dancer.budgets.clock import steady
from tiny_dancer.errors import OptionError, QueueError, StorageError
from tiny_dancer.gateway.errors import GatewayError, storage_unavailable
from tiny_dancer.storage.queue import CLAIM_SECONDS, STATES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tiny_dancer.gateway.access.caller import Caller
    from tiny_dancer.storage import QueuedRequest, QueueStorage

ADDRESS: Final = "/v1/queue"
ACTIONS: Final = ("claim", "answer", "cancel")
PAGE: Final = 100
"""Requests of a page where nobody says otherwise, and at most."""


class Claim(msgspec.Struct, forbid_unknown_fields=True):
    """``/v1/queue/{id}/claim``.

    Attributes:
        seconds: for which nobody else can claim or answer it.
    """

    seconds: Annotated[float, Meta(gt=0, le=86_400)] = CLAIM_SECONDS


class Said(msgspec.Struct, forbid_unknown_fields=True):
    """``/v1/queue/{id}/answer``.

    Attributes:
        answer: what the client gets.
    """

    answer: Annotated[str, Meta(min_length=1, max_length=1_000_000)]


_claim = msgspec.json.Decoder(Claim).decode
_said = msgspec.json.Decoder(Said).decode


def split(path: str) -> tuple[str, str] | None:
    """Id and action of an address, each empty where there is none; None where it is none of the queue's."""
    if path == ADDRESS:
        return "", ""
    if not path.startswith(f"{ADDRESS}/"):
        return None
    id, _, action = path[len(ADDRESS) + 1 :].partition("/")
    return (id, action) if id and (not action or action in ACTIONS) else None


async def answer(
    storage: QueueStorage, caller: Caller, id: str, action: str, query: bytes, body: bytes
) -> dict[str, Any]:
    """The body of the answer.

    Args:
        storage: keeps the queue.
        caller: who asks.
        id: of a request; empty: all.
        action: one of :data:`ACTIONS`; empty: look.
        query: of the address.
        body: of the request.

    Raises:
        GatewayError: 400, 403, 404, 409 or 503.
    """
    try:
        if not id:
            return await _listed(storage, caller, _asked(query))
        found = await _find(storage, caller, id)
        if not action:
            return _described(found, caller)
        return _described(await _act(storage, caller, found, action, body), caller)
    except QueueError as error:
        raise _refused(error) from error
    except OptionError as error:
        raise GatewayError(
            400, f"Invalid {error.field}: {error.value}; {error.remedy}.", param=error.field, code="invalid_value"
        ) from error
    except StorageError as error:
        raise storage_unavailable() from error


async def _listed(storage: QueueStorage, caller: Caller, asked: Mapping[str, str]) -> dict[str, Any]:
    operator = _is_operator(caller)
    if caller.key is None:
        raise _not_allowed()
    states = tuple(asked["state"].split(",")) if "state" in asked else ("waiting", "claimed")
    limit = asked.get("limit", str(PAGE))
    if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= PAGE):
        raise GatewayError(
            400, f"Invalid limit: {limit[:20]!r}; give 1 to {PAGE}.", param="limit", code="invalid_value"
        )
    found = await asyncio.to_thread(
        storage.queued_requests,
        states=None if states == ("all",) else states,  # type: ignore[arg-type]
        key=None if operator else caller.id,
        after=asked.get("after"),
        limit=int(limit) + 1,
        now=steady(),
    )
    page = found[: int(limit)]
    data = [_described(each, caller) for each in page]
    for each in data:
        each.pop("context", None)  # messages are long: they are read one by one
    return {"object": "list", "data": data, "has_more": len(found) > len(page)}


def _asked(query: bytes) -> dict[str, str]:
    asked = dict(parse_qsl(query.decode("latin-1")))
    for name in asked:
        if name not in ("state", "limit", "after"):
            raise GatewayError(
                400,
                f"Unknown parameter {name[:100]!r}; use state, limit, after.",
                param=name,
                code="invalid_value",
            )
    return asked


async def _find(storage: QueueStorage, caller: Caller, id: str) -> QueuedRequest:
    found: tuple[QueuedRequest, ...] = ()
    if id.isprintable() and len(id) <= 100:
        found = await asyncio.to_thread(storage.queued_requests, states=None, ids=(id,), now=steady())
    if not found or not (_is_operator(caller) or found[0].key == caller.id):
        # Somebody else's looks like none.
        raise GatewayError(
            404, f"No request in the queue has the id '{id[:100]}'.", param="id", code="queued_request_not_found"
        )
    return found[0]


async def _act(
    storage: QueueStorage, caller: Caller, found: QueuedRequest, action: str, body: bytes
) -> QueuedRequest:
    by = caller.name or "a client without a key"
    if action == "cancel":
        return await asyncio.to_thread(storage.cancel_request, found.id, by, now=steady())
    if not _is_operator(caller):
        raise _not_allowed()
    try:
        if action == "claim":
            seconds = _claim(body or b"{}").seconds
            return await asyncio.to_thread(storage.claim_request, found.id, by, seconds=seconds, now=steady())
        said = _said(body).answer
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise GatewayError(400, f"Invalid body: {str(error)[:300]}.", code="invalid_value") from error
    return await asyncio.to_thread(storage.answer_request, found.id, by, said, now=steady())


def _is_operator(caller: Caller) -> bool:
    return caller.key is not None and caller.key.operator


def _not_allowed() -> GatewayError:
    return GatewayError(
        403,
        "Only operators may do this: make a key with `tiny-dancer keys create NAME --operator`.",
        code="operator_required",
    )


def _refused(error: QueueError) -> GatewayError:
    if error.field in ("id", "after"):
        return GatewayError(404, f"{error}.", param=error.field, code="queued_request_not_found")
    if error.field == "state":
        return GatewayError(409, f"It is {error.value}: {error.remedy}.", code="queued_request_taken")
    return GatewayError(400, f"Invalid {error}.", param=error.field, code="invalid_value")


def _described(found: QueuedRequest, caller: Caller) -> dict[str, Any]:
    """A request, as its asker or an operator may see it."""
    told: dict[str, Any] = {
        "object": "queued_request",
        "id": found.id,
        "state": found.state(steady()),
        "created": found.time,
        "expires": found.expires_at,
        "answer": found.answer,
    }
    if _is_operator(caller):
        told |= {
            "said": found.said,
            "chain": found.chain,
            "key": found.key,
            "hops": found.hops,
            "claimed_by": found.claimed_by,
            "claimed_until": found.claimed_until,
            "ended_by": found.ended_by,
            "ended": found.ended_at,
            "context": msgspec.Raw(found.context.encode()),
        }
    return told


CLAIM: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "seconds": {"type": "number", "exclusiveMinimum": 0, "maximum": 86_400, "description": "It lasts so long."}
    },
    "additionalProperties": False,
}
SAID: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"answer": {"type": "string", "minLength": 1, "maxLength": 1_000_000}},
    "required": ["answer"],
    "additionalProperties": False,
}
SCHEMA: Final[dict[str, Any]] = {
    "object": {"const": "queued_request"},
    "id": {"type": "string"},
    "state": {"enum": list(STATES)},
    "created": {"type": "number"},
    "expires": {"type": "number"},
    "answer": {"type": ["string", "null"]},
}
"""What everybody sees of a request; operators see more."""
