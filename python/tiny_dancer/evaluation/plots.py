"""The report's plots as inline SVG, drawn by matplotlib; colours come from the page's style sheet."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer.evaluation.wording import MOST_MODELS
from tiny_dancer.extras import needed

if TYPE_CHECKING:
    from collections.abc import Callable

    from tiny_dancer.evaluation.results import CalibrationFigures, CurveFigures, ModelFigures, PairView

# Drawn in these colours, then handed to CSS variables so that dark and light pages both read well.
INKS = {
    "#010203": "var(--ink)",
    "#040506": "var(--faint)",
    "#a10001": "var(--router)",
    "#a20002": "var(--tfidf)",
    "#a30003": "var(--length)",
    "#a40004": "var(--random)",
    "#a50005": "var(--oracle)",
}
LOGARITHMIC_FROM = 20
TALLEST = 3
"""How often the height of the curves fits below them: single models further down are counted, not drawn."""
INK, FAINT, ROUTER, TFIDF, LENGTH, RANDOM, ORACLE = INKS
STYLES = {
    "router": (ROUTER, "-", 2.4),
    "tfidf": (TFIDF, "--", 1.6),
    "length": (LENGTH, "-.", 1.6),
    "random": (RANDOM, ":", 1.8),
    "oracle": (ORACLE, (0, (1, 3)), 1.4),
}


def _draw(name: str, label: str, paint: Callable[[Any], None], *, width: float = 5.6, height: float = 3.8) -> str:
    """One figure as an ``<svg role="img">`` with a text alternative, ids prefixed by ``name``."""
    with needed():
        import matplotlib as mpl
        from matplotlib.backends.backend_svg import FigureCanvasSVG
        from matplotlib.figure import Figure
    style: Any = {
        "svg.fonttype": "none",
        "svg.hashsalt": name,
        "font.family": "sans-serif",
        "font.size": 10,
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": FAINT,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": FAINT,
        "grid.alpha": 0.25,
        "legend.frameon": False,
        "text.parse_math": False,
    }
    with mpl.rc_context(style):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.patch.set_visible(False)
        paint(axes)
        handles, titles = axes.get_legend_handles_labels()
        if handles:  # beside the axes, where no curve can be
            columns = min(2 if max(map(len, titles)) > 20 else 3, len(handles))
            figure.legend(handles, titles, loc="outside lower center", ncols=columns, fontsize=9)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inlined(buffer.getvalue(), name, label)


def _inlined(svg: str, name: str, label: str) -> str:
    """The SVG without XML prologue and metadata, its ids made unique, its colours handed to the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\s(?:xmlns:\w+|xmlns|version)="[^"]*"', "", svg)
    svg = re.sub(r'(\bid="|url\(#|href="#)', lambda match: f"{match.group()}{name}-", svg)
    svg = svg.replace("xlink:href", "href")
    svg = re.sub(r"font: ([^;\"]*?)'[^;\"]*", r"font: \1system-ui, sans-serif", svg)
    for drawn, variable in INKS.items():
        svg = svg.replace(drawn, variable)
    size = re.search(r'width="[\d.]+pt" height="[\d.]+pt"', svg)
    if size:
        svg = svg.replace(size.group(), f'role="img" aria-label="{label}"', 1)
    return svg.strip()


def cost_quality_plot(
    curves: tuple[CurveFigures, ...],
    constants: list[tuple[str, float, float]],
    router: tuple[float, float],
    unit: str,
    label: str,
) -> str:
    """Curves with the router's band, the constants (name, cost, quality) and the router as it is set."""

    def paint(axes: Any) -> None:
        for curve in sorted(curves, key=lambda c: c.name == "router"):
            colour, dashes, thickness = STYLES[curve.name]
            axes.plot(
                curve.cost,
                curve.quality,
                color=colour,
                linestyle=dashes,
                linewidth=thickness,
                label=curve.title,
            )
            if curve.low:
                axes.fill_between(curve.cost, curve.low, curve.high, color=colour, alpha=0.15, linewidth=0)
        shown = [c for c in constants if np.isfinite(c[1]) and np.isfinite(c[2])]
        heights = [value for curve in curves for value in (*curve.quality, *curve.low, *curve.high, router[1])]
        floor = min(heights) - TALLEST * (max(heights) - min(heights)) if len(heights) > 1 else -np.inf
        drawn = [c for c in shown if c[2] >= floor]
        below = len(shown) - len(drawn)
        title = f"one model ({below} more lie below)" if below else "one model"
        axes.scatter([c[1] for c in drawn], [c[2] for c in drawn], color=INK, s=22, zorder=3, label=title)
        axes.scatter(*router, color=ROUTER, s=70, marker="D", zorder=4, label="router as set")
        spent = [c[1] for c in shown]
        if unit == "USD" and min(spent) > 0 and max(spent) > LOGARITHMIC_FROM * min(spent):
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, place: f"{value:.10f}".rstrip("0").rstrip("."))
            axes.xaxis.set_minor_formatter(lambda value, place: "")
        axes.set_xlabel("mean cost per request (USD)" if unit == "USD" else f"{unit} per request")
        axes.set_ylabel("mean quality")

    return _draw("cost", label, paint)


def calls_plot(pair: PairView, label: str) -> str:
    """Quality against the share of strong calls, one curve per score."""

    def paint(axes: Any) -> None:
        for method in sorted(pair.methods, key=lambda m: m.name == "router"):
            colour, dashes, thickness = STYLES[method.name]
            title = "random" if method.name == "random" else method.title
            axes.plot(
                [100 * s for s in method.share],
                method.quality,
                color=colour,
                linestyle=dashes,
                linewidth=thickness,
                label=title,
            )
        axes.set_xlabel("calls to the strong model (%)")
        axes.set_ylabel("mean quality")

    return _draw("calls", label, paint)


def reliability_plot(calibration: CalibrationFigures, label: str) -> str:
    """Observed against forecast quality in equal-mass bins."""

    def paint(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], color=RANDOM, linestyle=":", linewidth=1.6, label="perfect")
        axes.plot(
            calibration.predicted,
            calibration.observed,
            color=ROUTER,
            marker="o",
            markersize=5,
            linewidth=1.6,
            label="forecasts",
        )
        axes.set_xlabel("forecast quality")
        axes.set_ylabel("observed quality")

    return _draw("reliability", label, paint)


def share_plot(models: tuple[ModelFigures, ...], label: str) -> str:
    """Share of decisions by model, the largest on top; of many models the last bar is what the others have."""
    ordered = sorted(models, key=lambda m: -m.share)
    shares = [(m.name if len(m.name) <= 28 else m.name[:25] + "…", m.share) for m in ordered]
    if len(shares) > MOST_MODELS:
        called = min(MOST_MODELS - 1, sum(share > 0 for _, share in shares))
        rest = shares[called:]
        shares = [*shares[:called], (f"{len(rest)} others", sum(share for _, share in rest))]
    shares.reverse()

    def paint(axes: Any) -> None:
        bars = axes.barh(range(len(shares)), [100 * share for _, share in shares], color=ROUTER, height=0.62)
        axes.bar_label(bars, labels=[f"{100 * share:.1f} %" for _, share in shares], padding=4, fontsize=9)
        axes.set_yticks(range(len(shares)), [name for name, _ in shares])
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.14)
        axes.set_xlabel("share of decisions (%)")

    return _draw("share", label, paint, height=max(1.7, 0.36 * len(shares) + 0.9))
