"""What is wrong with routes: their utterances compared with each other, and tried on a log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table

    from tiny_dancer.routing.semantic import SemanticRoutes

_OVERLAP = 0.1
"""Share of a route's utterances nearer to one other route, from which on the two overlap."""
_CHUNK = 2048


@dataclass(frozen=True, slots=True)
class LintReport:
    """Findings.

    Attributes:
        nearer: (route, utterance, the route it is nearer to, by how much cosine), the worst first.
        overlaps: (route, other, share of the first's utterances nearer to the second), largest first.
        few: routes with fewer than three utterances.
        never: routes that no request of the log was given.
        dead_thresholds: routes whose own threshold no request reached although they were the most probable one.
        holes: requests of the log that no route is for, the least in scope first.
        requests: of the log.
    """

    nearer: tuple[tuple[str, str, str, float], ...]
    overlaps: tuple[tuple[str, str, float], ...]
    few: tuple[str, ...]
    never: tuple[str, ...] = ()
    dead_thresholds: tuple[str, ...] = ()
    holes: tuple[str, ...] = ()
    requests: int = 0

    def summary(self) -> list[str]:
        """One line a kind of finding."""
        lines = [
            f"{len(self.nearer):,} utterances nearer to another route, {len(self.overlaps):,} pairs that overlap",
            f"routes with fewer than three utterances: {', '.join(self.few) or 'none'}",
        ]
        if self.requests:
            lines += [
                f"routes that never fire on {self.requests:,} requests: {', '.join(self.never) or 'none'}",
                f"thresholds that never fire: {', '.join(self.dead_thresholds) or 'none'}",
                f"requests that no route is for: {len(self.holes):,}",
            ]
        return lines


def lint_routes(
    texts: Sequence[str],
    labels: Sequence[str | None],
    router: SemanticRoutes | None = None,
    requests: Sequence[str] = (),
) -> LintReport:
    """Compares each utterance with those of its own route and of all others, by the nearest of each.

    Raises:
        TrainingError: fewer than two routes.
    """
    rows = [at for at, label in enumerate(labels) if label is not None]
    names = sorted({str(labels[at]) for at in rows})
    if len(names) < 2:
        raise TrainingError("label", f"{len(names)} routes", "give utterances of at least two routes")
    y = np.array([names.index(str(labels[at])) for at in rows])
    order = np.argsort(y, kind="stable")
    vectors, y = _core.encode([texts[rows[at]] for at in order], _core.sentence_encoder()), y[order]
    starts, counts = np.searchsorted(y, np.arange(len(names))), np.bincount(y, minlength=len(names))
    nearer: list[tuple[str, str, str, float]] = []
    toward = np.zeros((len(names), len(names)))
    for start in range(0, len(y), _CHUNK):
        part = np.arange(start, min(start + _CHUNK, len(y)))
        cosine = vectors[part] @ vectors.T
        cosine[np.arange(len(part)), part] = -1.0  # itself
        best = np.maximum.reduceat(cosine, starts, axis=1)
        own = best[np.arange(len(part)), y[part]].copy()
        best[np.arange(len(part)), y[part]] = -np.inf
        other = best.argmax(axis=1)
        lead = best.max(axis=1) - own
        for at in np.flatnonzero((lead > 0) & (counts[y[part]] > 1)).tolist():
            row = part[at]
            toward[y[row], other[at]] += 1
            nearer.append((names[y[row]], texts[rows[order[row]]], names[other[at]], float(lead[at])))
    share = toward / np.maximum(counts, 1)[:, None]
    overlaps = [(names[a], names[b], float(share[a, b])) for a, b in np.argwhere(share >= _OVERLAP).tolist()]
    never: tuple[str, ...] = ()
    dead: tuple[str, ...] = ()
    holes: tuple[str, ...] = ()
    if router is not None and requests:
        found = router.route_many(requests)
        given = {each.name for each in found}
        never = tuple(route.name for route in router.routes if route.name not in given)
        wanted = {each.best for each in found}
        dead = tuple(
            route.name
            for route in router.routes
            if route.threshold is not None and route.name in wanted and route.name in never
        )
        out = [at for at, each in enumerate(found) if each.name is None]
        out.sort(key=lambda at: (found[at].in_scope_score or 0.0, at))
        holes = tuple(requests[at] for at in out)
    return LintReport(
        nearer=tuple(sorted(nearer, key=lambda each: (-each[3], each[:3]))),
        overlaps=tuple(sorted(overlaps, key=lambda each: (-each[2], each[:2]))),
        few=tuple(name for name, count in zip(names, counts.tolist(), strict=True) if count < 3),
        never=never,
        dead_thresholds=dead,
        holes=holes,
        requests=len(requests),
    )


def lint_tables(found: LintReport, most: int) -> list[Table]:
    """The worst findings of each kind."""
    from rich.table import Table

    from tiny_dancer.evaluation.terminal import cell

    def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[Table]:
        if not rows:
            return []
        made = Table(title=title)
        for column in columns:
            made.add_column(column)
        for row in rows[:most]:
            made.add_row(*map(cell, row))
        return [made]

    return [
        *table("nearer to another route", ("route", "utterance", "nearer to", "by"), found.nearer),
        *table("overlapping routes", ("route", "other", "share of its utterances"), found.overlaps),
        *table("requests that no route is for", ("request",), [(text,) for text in found.holes]),
    ]
