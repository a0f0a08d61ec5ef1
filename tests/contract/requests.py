"""Requests of a gateway to test with."""

from __future__ import annotations

from typing import Any

from tiny_dancer.storage import ApiKey
from tiny_dancer.types import RequestRecord

DAY = 86_400
# The start of a UTC day.
MIDNIGHT = 20_300.0 * DAY


def request(id: str, time: float = MIDNIGHT, **rest: Any) -> RequestRecord:
    return RequestRecord(
        **{
            "endpoint": "chat.completions",
            "key": "",
            "asked": "auto",
            "status": 200,
            "id": id,
            "time": time,
            **rest,
        }
    )


def api_key(id: str, digit: str = "a", **rest: Any) -> ApiKey:
    return ApiKey(**{"id": id, "name": f"of {id}", "secret_hash": digit * 64, "created_at": MIDNIGHT, **rest})
