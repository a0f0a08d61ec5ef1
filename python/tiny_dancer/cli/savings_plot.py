"""The plot of `tiny-dancer savings`: spend beside baseline by day, and what they come to."""

from __future__ import annotations

import io
from datetime import date, timedelta
from html import escape
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from tiny_dancer.extras import needed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiny_dancer.storage import RequestSummary

FORMATS = (".svg", ".png", ".html")
SPENT, BASELINE, SAVED, LOST = "#0b62b8", "#c3c8ce", "#146c43", "#a4262c"
# More days are summed up by week: their bars would be too thin to tell apart.
MOST_DAYS = 92

_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1"><title>{title}</title><style>
body{{margin:0 auto;max-width:62rem;padding:2rem 1.25rem 4rem;background:#fbfbf9;color:#1d2126;
font:16px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif}}
h1{{font-size:1.45rem;line-height:1.3}}
figure{{margin:1.5rem 0;background:#fff;border:1px solid #dfe2e5;border-radius:.3rem;padding:.9rem}}
figure svg{{width:100%;height:auto;display:block}}
table{{border-collapse:collapse;width:100%;font-size:.84rem;font-variant-numeric:tabular-nums}}
th,td{{padding:.35rem .6rem;text-align:right;border-top:1px solid #dfe2e5}}
th:first-child{{text-align:left;font-weight:400}}thead th{{border-top:0}}
</style></head><body><h1>{title}</h1>{notes}<figure>{svg}</figure>
<table><thead><tr>{header}</tr></thead><tbody>{rows}</tbody></table></body></html>
"""


def draw(suffix: str, by_day: Sequence[RequestSummary], lines: Sequence[str]) -> bytes:
    """The plot as a file of the kind that ``suffix`` names.

    Args:
        suffix: one of :data:`FORMATS`.
        by_day: sums by day, one or more.
        lines: what the figures come to, the first of them the headline.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    if suffix != ".html":
        return _figure(suffix.removeprefix("."), by_day, lines[0])
    svg = _figure("svg", by_day, None).decode()
    svg = svg[svg.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{escape(lines[0])}"', 1)
    header = ("day", "requests", "spent (USD)", "strongest (USD)", "saved (USD)", "no price")
    rows = [
        (
            each.group[0] or "",
            f"{each.requests:,}",
            *(f"{x:.6g}" for x in (each.cost, each.baseline_cost, each.saved)),
            f"{each.unpriced:,}",
        )
        for each in by_day
    ]
    return _PAGE.format(
        title=escape(lines[0]),
        notes="".join(f"<p>{escape(line)}</p>" for line in lines[1:]),
        svg=svg,
        header="".join(f'<th scope="col">{escape(name)}</th>' for name in header),
        rows="".join(
            f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{cell}</td>" for cell in row[1:])}</tr>'
            for row in rows
        ),
    ).encode()


def _figure(format: str, by_day: Sequence[RequestSummary], title: str | None) -> bytes:
    with needed():
        import matplotlib as mpl
        import matplotlib.dates
        from matplotlib.figure import Figure
        from matplotlib.ticker import FuncFormatter
    dates: Any = matplotlib.dates  # without types
    step, starts, spent, baseline = _periods(by_day)
    places = dates.date2num(starts)
    saved = list(accumulate(b - s for s, b in zip(spent, baseline, strict=True)))
    style: Any = {
        "font.family": "sans-serif",
        "font.size": 10,
        "svg.hashsalt": "savings",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "grid.alpha": 0.3,
        "legend.frameon": False,
        "text.parse_math": False,
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(8.6, 5.4), layout="constrained")
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        width = 0.42 * step
        top.bar(places - width / 2, baseline, width, color=BASELINE, label="strongest model alone")
        top.bar(places + width / 2, spent, width, color=SPENT, label="spent")
        top.set_ylabel(f"USD a {'week' if step == 7 else 'day'}")
        top.legend(fontsize=9, loc="lower right", bbox_to_anchor=(1, 1), ncols=2)
        if title:
            figure.suptitle(title, fontsize=11, x=0.01, ha="left", wrap=True)
        colour = SAVED if saved[-1] >= 0 else LOST
        bottom.plot(places, saved, color=colour, linewidth=2, marker="o", markersize=4 if len(saved) <= 31 else 0)
        bottom.fill_between(places, saved, color=colour, alpha=0.15)
        bottom.axhline(0, color="#878f98", linewidth=0.8)
        bottom.set_ylabel("saved so far (USD)")
        bottom.annotate(
            f"{saved[-1]:,.4g}", (places[-1], saved[-1]), xytext=(6, 0), textcoords="offset points",
            color=colour, fontweight="bold", va="center", annotation_clip=False,
        )  # fmt: skip
        bottom.set_xlim(places[0] - 0.7 * step, places[-1] + step * max(1.0, len(places) / 14))
        locator = dates.AutoDateLocator(minticks=1, maxticks=10)
        locator.intervald[3] = [1, 2, 3, 7, 14, 21]  # whole days, not hours between two of them
        bottom.xaxis.set_major_locator(locator)
        bottom.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
        for axes in (top, bottom):
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, place: f"{value:,.6g}"))
        buffer = io.BytesIO()
        metadata = {"Date": None, "Creator": None} if format == "svg" else None
        figure.savefig(buffer, format=format, dpi=150, metadata=metadata)
    return buffer.getvalue()


def _periods(by_day: Sequence[RequestSummary]) -> tuple[int, list[date], list[float], list[float]]:
    """Days in a period, and of each period its first day, spend and baseline; those without requests too."""
    sums = {date.fromisoformat(each.group[0] or ""): each for each in by_day}
    first, last = min(sums), max(sums)
    step = 1 if (last - first).days < MOST_DAYS else 7
    starts = [first + timedelta(days=day) for day in range(0, (last - first).days + 1, step)]
    weeks = [
        [sums[day] for day in (start + timedelta(days=n) for n in range(step)) if day in sums] for start in starts
    ]
    return (
        step,
        starts,
        [sum(each.cost for each in week) for week in weeks],
        [sum(each.baseline_cost for each in week) for week in weeks],
    )
