"""What `tiny-dancer analytics` writes for programs: the same columns in the same order in every form."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from tiny_dancer.extras import needed
from tiny_dancer.storage.summaries import EMPTY, figures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiny_dancer.storage import RequestSummary

# What a spreadsheet takes for the begin of a formula (OWASP, CSV injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_plain(
    by: Sequence[str], whole: Sequence[RequestSummary], groups: Sequence[RequestSummary]
) -> dict[str, Any]:
    """The figures as JSON values; ``total`` is None where there are no requests."""
    return {"total": figures(whole[0]) if whole else None, "groups": [_row(by, each) for each in groups]}


def _row(by: Sequence[str], summary: RequestSummary) -> dict[str, Any]:
    return {**dict(zip(by, summary.group, strict=True)), **figures(summary)}


def as_csv(by: Sequence[str], groups: Sequence[RequestSummary]) -> bytes:
    """A row a group. A text that a spreadsheet would take for a formula is written after an apostrophe; what is
    not known is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*by, *figures(EMPTY)])
    for each in groups:
        named = [_harmless(value) for value in each.group]
        writer.writerow([*named, *("" if value is None else value for value in figures(each).values())])
    return text.getvalue().encode()


def _harmless(value: str | None) -> str:
    if value is None:
        return ""
    return f"'{value}" if value.startswith(_FORMULA) else value


def as_parquet(by: Sequence[str], groups: Sequence[RequestSummary]) -> bytes:
    """A row a group: texts, 64-bit counts, doubles."""
    with needed():
        import pyarrow as pa
        from pyarrow import parquet
    kinds = {
        name: pa.int64() if isinstance(value, int) else pa.float64() for name, value in figures(EMPTY).items()
    }
    columns = {
        name: pa.array([each.group[place] for each in groups], pa.string()) for place, name in enumerate(by)
    }
    rows = [figures(each) for each in groups]
    columns.update({name: pa.array([row[name] for row in rows], kind) for name, kind in kinds.items()})
    sink = io.BytesIO()
    parquet.write_table(pa.table(columns), sink)
    return sink.getvalue()
