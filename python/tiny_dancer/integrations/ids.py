"""Ids of what the doors store: what one namespace names, no other can take, read or replace."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


def scoped(namespace: Sequence[str], *name: Any) -> str:
    """The id of what a namespace calls by this name, as JSON: labels with separators stay apart.

    Each door has names of its own form, so that what one stores is no other's: LangGraph's keys are texts, places
    in a session are numbers, LangChain's ids are lists of one text.
    """
    return json.dumps([*namespace, *name], ensure_ascii=False)
