"""A candidate's past as it is written down, in every database."""

from __future__ import annotations

from typing import Any

import msgspec

from tiny_dancer.storage.candidates import CandidateRecord


class Before(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=True):
    """A candidate as it is written down: without its embedding, and without what nothing was said of."""

    id: str
    created_at: float
    text: str | None = None
    last_accessed_at: float | None = None
    access_count: int = 0
    success_count: float = 0.0
    trial_count: int = 0
    confidence: float | None = None
    metadata: dict[str, Any] = {}
    group: str | None = None
    position: int | None = None
    namespace: tuple[str, ...] = ()
    ttl_s: float | None = None
    expires_at: float | None = None
    updated_at: float | None = None


_FIELDS = Before.__struct_fields__
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Before).decode


def written(record: CandidateRecord) -> str:
    """The JSON that is kept of a candidate."""
    return _encode(Before(**{name: getattr(record, name) for name in _FIELDS})).decode()


def read(before: str) -> CandidateRecord:
    """A candidate of its JSON.

    Raises:
        msgspec.MsgspecError: it is none.
    """
    found = _decode(before)
    return CandidateRecord(**{name: getattr(found, name) for name in _FIELDS})
