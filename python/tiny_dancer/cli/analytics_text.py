"""What `tiny-dancer analytics` prints for people."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from tiny_dancer.cli.output import printable
from tiny_dancer.cli.requests import decimals_of, money, short, verdict
from tiny_dancer.evaluation.terminal import FittedTable
from tiny_dancer.storage.summaries import DAY, HOUR, figures

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rich.console import Console

    from tiny_dancer.storage import RequestSummary
    from tiny_dancer.storage.summaries import Group

# Dimensions that are themselves a course of time.
TIMES = frozenset({"day", "hour"})
_NOBODY = {"model": "(none served)", "key": "(no key)"}
# A name is shown up to here; files have all of it.
_LONGEST = 60
# A terminal that has room for every column: with names, so much more for each of them.
_WIDE, _MORE = 90, 20
_BLOCKS, _ASCII = " ▁▂▃▄▅▆▇█", " .:-=+*#@"


@dataclass(frozen=True, slots=True)
class Span:
    """A span of time as it was asked for, in UTC seconds, and the present."""

    since: float | None
    until: float | None
    now: float

    @property
    def unit(self) -> str:
        """By what its course is told: hours of up to two days, else days."""
        return "hour" if self.since is not None and self._end - self.since <= 2 * DAY else "day"

    @property
    def _end(self) -> float:
        return self.now if self.until is None else self.until

    def places(self, moments: Sequence[str | None]) -> tuple[int, int]:
        """The first and the last unit of its course, as numbers since 1970; ``moments``: those with requests."""
        length = HOUR if self.unit == "hour" else DAY
        known = [place_of(each) // length for each in moments if each is not None]
        if self.since is None:
            return (min(known), max(known)) if known else (0, 0)
        last = math.ceil(self._end / length) - 1
        first = int(self.since // length)
        return first, max([first, last, *known])


def place_of(moment: str) -> int:
    """Seconds since 1970 of a day or hour."""
    return int(datetime.fromisoformat(moment if "T" in moment else f"{moment}T00:00Z").timestamp())


def sparkline(values: Sequence[float], *, ascii: bool) -> str:
    """A bar a value, from 0 to the highest; nothing where a value is 0 or below."""
    levels = _ASCII if ascii else _BLOCKS
    most = max(values, default=0.0)
    if not 0 < most < math.inf:
        return " " * len(values)
    return "".join(levels[math.ceil(max(value, 0.0) / most * (len(levels) - 1))] for value in values)


def most_spent(groups: Sequence[RequestSummary], top: int | None) -> Sequence[RequestSummary]:
    """The groups of most spending, then of most requests, in the order that all of them have."""
    if top is None or top >= len(groups):
        return groups
    kept = sorted(range(len(groups)), key=lambda place: (-groups[place].spent, -groups[place].requests, place))
    return [groups[place] for place in sorted(kept[:top])]


def show_all(terminal: Console, whole: RequestSummary, trend: Sequence[RequestSummary], span: Span) -> None:
    """One figure a line, with its course."""
    ends = span.places([each.group[-1] for each in trend])
    width = max(min(terminal.width - 50, 48), 8)

    def course(figure: Callable[[RequestSummary], float]) -> str:
        return _course(terminal, trend, figure, span, ends, width)

    rows = [
        ("requests", f"{whole.requests:,}", course(lambda each: each.requests)),
        ("failed", f"{whole.errors:,} ({_failed(whole)})", course(lambda each: each.errors)),
        ("fallbacks", f"{whole.fallbacks:,}", course(lambda each: each.fallbacks)),
        ("tokens in", short(whole.input_tokens), course(lambda each: each.input_tokens)),
        ("tokens out", short(whole.output_tokens), course(lambda each: each.output_tokens)),
        ("spent", money(whole.spent), course(lambda each: each.spent)),
        ("saved", money(whole.saved) if whole.compared else "", course(lambda each: each.saved)),
    ]
    for name, found in (("latency", whole.latency_percentiles), ("first byte", whole.ttft_percentiles)):
        if found is not None:
            each = (found.p50, found.p90, found.p95, found.p99)
            rows.append((f"{name}, p50 p90 p95 p99", " ".join(map(_seconds, each)), ""))
    if whole.confidence is not None:
        rows.append(("confidence", f"{whole.confidence:.3f}", ""))
    if whole.score is not None and (interval := whole.score_interval) is not None:
        low, high = interval
        rows.append((f"score, {whole.feedback:,} told", f"{whole.score:.3f} ({low:.3f} to {high:.3f})", ""))
    terminal.print(FittedTable(("", "", f"by {span.unit}"), rows, words=frozenset({0, 2})))
    _note(terminal, *verdict(whole), *_gone(whole))


def show_groups(
    terminal: Console,
    by: Sequence[str],
    groups: Sequence[RequestSummary],
    shown: Sequence[RequestSummary],
    whole: RequestSummary,
    trend: Sequence[RequestSummary],
    span: Span,
    keys: Mapping[str, str],
) -> None:
    """One group a line: in the order of time, else those of most spending first."""
    timed = bool(TIMES.intersection(by))
    ordered = list(shown)
    if not timed:
        ordered.sort(key=lambda each: (-each.spent, -each.requests))
    courses: defaultdict[Group, list[RequestSummary]] = defaultdict(list)
    for each in trend:
        courses[each.group[:-1]].append(each)
    ends = span.places([each.group[-1] for each in trend])
    wide = terminal.width >= _WIDE + _MORE * len(by)
    width = 24 if wide else 12
    decimals = decimals_of(max((each.spent for each in shown), default=0.0))

    def cells(each: RequestSummary) -> dict[str, str]:
        known = figures(each)
        found = {"requests": f"{each.requests:,}"}
        if not timed:
            of_group = trend if each is whole else courses[each.group]
            found[f"by {span.unit}"] = _course(terminal, of_group, _requests, span, ends, width)
        found["failed"] = _failed(each)
        if wide:
            found["tokens in"] = short(each.input_tokens)
            found["out"] = short(each.output_tokens)
        found["spent (USD)"] = f"{each.spent:,.{decimals}f}"
        found["saved"] = "" if each.saved_share is None else f"{each.saved_share:.1%}"
        found["p50 (s)"] = _seconds(known["latency_p50"])
        found["p95 (s)"] = _seconds(known["latency_p95"])
        if wide:
            found["p99 (s)"] = _seconds(known["latency_p99"])
            found["first byte p50"] = _seconds(known["ttft_p50"])
        if whole.score is not None:
            found["score"] = "" if each.score is None else f"{each.score:.2f}"
        return found

    rows = [
        (
            *(_name(terminal, name, value, keys) for name, value in zip(by, each.group, strict=True)),
            *cells(each).values(),
        )
        for each in ordered
    ]
    rows.append(("all", *[""] * (len(by) - 1), *cells(whole).values()))
    header = (*by, *cells(whole))
    words = {*range(len(by)), *(place for place, name in enumerate(header) if name.startswith("by "))}
    terminal.print(FittedTable(header, rows, words=frozenset(words), total=True))
    if len(shown) < len(groups):
        _note(
            terminal,
            f"{len(groups) - len(shown):,} more groups of less spending are in the total, not in the table",
        )
    _note(terminal, *verdict(whole), *_gone(whole))


def _gone(whole: RequestSummary) -> list[str]:
    """What retention has removed, in sentences."""
    lines = []
    if whole.removed:
        lines.append(
            f"{whole.removed:,} of the requests are no longer stored: their sums are kept, "
            "their percentiles are not"
        )
    if whole.unknown:
        lines.append(
            f"{whole.unknown:,} requests that are no longer stored may belong here too and are not counted: "
            "nobody knows their time, or what they are asked for"
        )
    return lines


def _requests(summary: RequestSummary) -> float:
    return summary.requests


def _course(
    terminal: Console,
    summaries: Sequence[RequestSummary],
    figure: Callable[[RequestSummary], float],
    span: Span,
    ends: tuple[int, int],
    width: int,
) -> str:
    first, last = ends
    length = HOUR if span.unit == "hour" else DAY
    each = max(-(-(last - first + 1) // width), 1)
    sums = [0.0] * -(-(last - first + 1) // each)
    for summary in summaries:
        if (moment := summary.group[-1]) is not None:
            sums[(place_of(moment) // length - first) // each] += figure(summary)
    return sparkline(sums, ascii=terminal.options.ascii_only)


def _name(terminal: Console, dimension: str, value: str | None, keys: Mapping[str, str]) -> str:
    if value is None:
        return "(removed)"
    if dimension == "key":
        value = keys.get(value, value)
    # One line, whatever a client sent.
    text = printable(value) or _NOBODY.get(dimension, "(none)")
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}..."
    return text.encode("ascii", "backslashreplace").decode() if terminal.options.ascii_only else text


def _failed(summary: RequestSummary) -> str:
    return "" if summary.success_rate is None else f"{1 - summary.success_rate:.1%}"


def _seconds(value: float | None) -> str:
    """Three figures, or whole seconds."""
    return "" if value is None else f"{value:,.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def _note(terminal: Console, *lines: str) -> None:
    for line in lines:
        terminal.print(line, markup=False, highlight=False, soft_wrap=True)
