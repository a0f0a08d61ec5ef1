"""The report's plots as inline SVG, drawn by matplotlib; colours come from the page's style sheet."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np

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
        axes.scatter([c[1] for c in shown], [c[2] for c in shown], color=INK, s=22, zorder=3, label="one model")
        axes.scatter(*router, color=ROUTER, s=70, marker="D", zorder=4, label="router as set")
        spent = [c[1] for c in shown]
        if unit == "USD" and min(spent) > 0 and max(spent) > LOGARITHMIC_FROM * min(spent):
            axes.set_xscale("log")
        axes.set_xlabel("mean cost per request (USD)" if unit == "USD" else f"{unit} per request")
        axes.set_ylabel("mean quality")
        axes.legend(fontsize=9, loc="best")

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
        axes.legend(fontsize=9, loc="lower right")

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
        axes.legend(fontsize=9, loc="upper left")

    return _draw("reliability", label, paint)


def share_plot(models: tuple[ModelFigures, ...], label: str) -> str:
    """Share of decisions by model, the largest on top."""
    ordered = sorted(models, key=lambda m: m.share)

    def paint(axes: Any) -> None:
        names = [m.name if len(m.name) <= 28 else m.name[:25] + "…" for m in ordered]
        bars = axes.barh(range(len(ordered)), [100 * m.share for m in ordered], color=ROUTER, height=0.62)
        axes.bar_label(bars, labels=[f"{100 * m.share:.1f} %" for m in ordered], padding=4, fontsize=9)
        axes.set_yticks(range(len(ordered)), names)
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.14)
        axes.set_xlabel("share of decisions (%)")

    return _draw("share", label, paint, height=min(8.0, max(1.7, 0.36 * len(ordered) + 0.9)))
