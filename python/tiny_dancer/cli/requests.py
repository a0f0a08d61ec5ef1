"""What commands about a gateway's requests share: spans of time, and amounts in words."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tiny_dancer.errors import OptionError

if TYPE_CHECKING:
    from tiny_dancer.storage import RequestSummary, Storage

_AGO = re.compile(r"(\d{1,6})([mhdw])")
_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}


def moment(option: str, text: str | None, now: float) -> float | None:
    """UTC seconds of a date, a time, or so long before ``now``: ``2026-11-01``, ``2026-11-01T12:00``, ``7d``.

    Raises:
        OptionError: it is none, or before 1970.
    """
    if text is None:
        return None
    if match := _AGO.fullmatch(text):
        return max(now - int(match[1]) * _SECONDS[match[2]], 0.0)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        remedy = "give a date, 2026-11-01, a time, 2026-11-01T12:00, or how long ago: 30m, 12h, 7d, 4w"
        raise OptionError(option, text, remedy) from None
    seconds = (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
    if seconds < 0:
        raise OptionError(option, text, "give a date from 1970 on")
    return seconds


def key_names(storage: Storage) -> dict[str, str]:
    """Names of the API keys by id, as people tell them apart."""
    return {key.id: f"{key.name} ({key.id})" for key in storage.api_keys()}


def verdict(total: RequestSummary) -> list[str]:
    """What was saved or lost, and what could not be compared, in sentences."""
    lines = []
    if total.compared:
        baseline = f"the strongest model alone would have cost {money(total.baseline_cost)}"
        spent = f"spent {money(total.cost)} where {baseline}"
        share = "" if total.saved_share is None else f" ({abs(total.saved_share):.1%})"
        if money(total.cost) == money(total.baseline_cost):
            lines.append(f"saved nothing: {spent}, over {total.compared:,} requests")
        elif total.saved > 0:
            lines.append(f"saved {money(total.saved)}{share}: {spent}, over {total.compared:,} requests")
        else:
            lines.append(f"LOST {money(-total.saved)}{share}: {spent}, over {total.compared:,} requests")
    else:
        lines.append("no request has both a price and a baseline: nothing can be compared")
    if total.unpriced:
        also = f"; {money(total.other_cost)} of known spend is among them" if total.other_cost else ""
        lines.append(f"{total.unpriced:,} requests have no price or no baseline and are left out{also}")
    if total.guessed:
        requests = f"{total.guessed:,} request{'' if total.guessed == 1 else 's'}"
        lines.append(
            f"{money(total.guessed_cost)} of what was spent is guessed, for {requests} whose upstream did not say"
        )
    return lines


def money(value: float) -> str:
    """USD with four figures at least."""
    return f"{value:,.{decimals_of(abs(value))}f} USD"


def decimals_of(size: float) -> int:
    """Decimals of an amount: so many that an amount of this size shows four figures; two at least."""
    return min(max(3 - math.floor(math.log10(size)), 2), 12) if size else 2


def short(count: int) -> str:
    """A number of tokens, in millions or thousands where it is large."""
    if count >= 1_000_000:
        return f"{count / 1e6:,.2f} M"
    return f"{count / 1e3:,.1f} k" if count >= 10_000 else f"{count:,}"
