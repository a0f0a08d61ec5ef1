"""What the `db` commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from tiny_dancer.storage import RowCounts

Database = Annotated[str, typer.Argument(help="Database: a file, or postgresql://user@host/name.")]


def counted(counts: RowCounts) -> str:
    """Rows in words."""
    gateway = f", {counts.requests:,} requests, {counts.api_keys:,} API keys"
    queued = f", {counts.queued:,} queued" if counts.queued else ""
    return (
        f"{counts.candidates:,} candidates, {counts.routing:,} decisions, {counts.outcomes:,} outcomes, "
        f"{counts.feedback:,} feedback{gateway if counts.requests or counts.api_keys else ''}{queued}"
    )
