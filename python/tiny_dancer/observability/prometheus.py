"""Prometheus' text format, version 0.0.4.

https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format. Written here rather than by
prometheus_client, which takes 25 µs a line: a scrape would hold up the requests of its process for tens of
milliseconds. Tests read the text with its parser.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tiny_dancer.observability.families import Family
    from tiny_dancer.observability.metrics import Series

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def render(families: Iterable[tuple[Family, Iterable[Series]]]) -> bytes:
    """The text of a scrape.

    Args:
        families: each metric once, with its series, no two of which have the same labels.
    """
    return "".join(line for family, series in families for line in _lines(family, series)).encode(
        "utf-8", "backslashreplace"
    )


def _lines(family: Family, series: Iterable[Series]) -> Iterator[str]:
    name = family.name
    kind = "histogram" if family.bounds else "counter" if name.endswith("_total") else "gauge"
    yield f"# HELP {name} {family.help}\n# TYPE {name} {kind}\n"
    ends = [*map(repr, family.bounds), "+Inf"] if family.bounds else []
    for one in series:
        labels = ",".join(
            f'{label}="{value.translate(_ESCAPES)}"'
            for label, value in zip(family.labels, one.labels, strict=True)
        )
        braces = f"{{{labels}}}" if labels else ""
        if not family.bounds:
            yield f"{name}{braces} {one.value!r}\n"
            continue
        start = f'{name}_bucket{{{labels}{"," if labels else ""}le="'
        count = 0
        for end, count in zip(ends, accumulate(one.counts), strict=True):
            yield f'{start}{end}"}} {count}\n'
        yield f"{name}_sum{braces} {one.value!r}\n{name}_count{braces} {count}\n"
