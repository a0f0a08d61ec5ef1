"""What was fitted and how good it is, in words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from tiny_dancer.evaluation.intervals import exact_interval

if TYPE_CHECKING:
    from rich.table import Table

    from tiny_dancer.routing.semantic import RoutesEvaluation
    from tiny_dancer.training.routes.fit import FitReport


def report_lines(report: FitReport) -> list[str]:
    """Of a fit."""
    low, high = report.interval
    lines = [
        f"{report.method}: {report.routes:,} routes from {report.n:,} rows; on rows left out:",
        f"accuracy {report.accuracy:.4f}, 95 % interval {low:.4f} to {high:.4f}",
    ]
    if report.ece is None:
        lines.append("not calibrated: too few rows to leave any out; give forty or more")
    else:
        lines.append(f"expected calibration error {report.ece:.4f}, log loss {report.log_loss:.4f}")
    if report.near_miss_auroc is not None:
        caught = report.near_misses_caught or 0.0
        lines.append(
            f"rows of unknown routes: AUROC {report.near_miss_auroc:.4f}; {caught:.0%} called out of scope at "
            f"{report.false_alarms:.0%} false alarms"
        )
    if not math.isnan(report.far_auroc):
        which = "out of scope in the table" if report.out_of_scope_rows else "of everyday life"
        lines.append(f"rows {which}: AUROC {report.far_auroc:.4f}")
    if not math.isnan(report.flips_under_typos):
        lines.append(f"typos change the best route of {report.flips_under_typos:.1%}")
    return lines


def evaluation_lines(found: RoutesEvaluation, inside: int) -> list[str]:
    """Of a judgement; ``inside`` is the number of texts that belong to a route."""
    lines = []
    if inside:
        low, high = exact_interval(round(found.accuracy * inside), inside)
        lines += [
            f"accuracy {found.accuracy:.4f}, 95 % interval {low:.4f} to {high:.4f}, {inside:,} texts of routes",
            f"given the right route {found.given:.4f}, expected calibration error {found.calibration_error:.4f}",
        ]
    if found.out_of_scope_f1 is not None:
        area = "" if found.out_of_scope_auroc is None else f"AUROC {found.out_of_scope_auroc:.4f}, "
        lines.append(f"{found.n - inside:,} texts of no route: {area}F1 {found.out_of_scope_f1:.4f}")
    return lines


def confusion_table(found: RoutesEvaluation, most: int) -> Table:
    """The pairs of routes that are taken for each other most often."""
    from rich.table import Table

    from tiny_dancer.evaluation.terminal import cell

    table = Table(title="taken for each other")
    for name in ("right", "best", "texts"):
        table.add_column(name, justify="right" if name == "texts" else "left")
    for own, best, count in found.confusions[:most]:
        table.add_row(*map(cell, (own, best, count)))
    return table
