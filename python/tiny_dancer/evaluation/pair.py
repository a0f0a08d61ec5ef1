"""The two-model view of an evaluation: which pair, and how each score orders the requests between them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer.evaluation.baselines import column_means
from tiny_dancer.evaluation.metrics import PairScorer
from tiny_dancer.evaluation.results import PairMethod, PairView

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from tiny_dancer.evaluation.bootstrap import Bootstrap

    Floats = npt.NDArray[np.float64]

FIGURES = ("apgr_binned", "apgr_exact", "cpt50_binned", "cpt80_binned", "cpt50_exact", "cpt80_exact")
CURVE_POINTS = 101


def choose_pair(quality: Floats, cost: Floats, weight: Floats, best: int) -> tuple[int, int] | None:
    """(weak, strong): the cheapest model no other dominates, and the best constant; None where they are one.

    A model is dominated where another is no dearer and no worse, and one of the two strictly. ``quality`` and
    ``cost`` are [n, m].
    """
    means, costs = column_means(quality, weight), column_means(cost, weight)
    known = [j for j in range(len(means)) if np.isfinite(means[j])]
    # Nothing is cheaper than the cheapest, so among the cheapest only a better one dominates.
    weak = min(known, key=lambda j: (costs[j], -means[j], j))
    return None if weak == best else (weak, best)


@dataclass(frozen=True, slots=True)
class PairScores:
    """Scorers of one pair, ready to be read under bootstrap weightings.

    Attributes:
        weak: column of the weak model.
        strong: column of the strong model.
        scorers: by method name, the router's first.
    """

    weak: int
    strong: int
    scorers: dict[str, PairScorer]

    def statistics(self, weights: Floats) -> Floats:
        """Figures of every method, float64 [b, 6 methods]: ``FIGURES`` of the first, then of the next."""
        columns: list[Floats] = []
        for scorer in self.scorers.values():
            figures = scorer.figures(weights)
            columns += [getattr(figures, name) for name in FIGURES]
        return np.stack(columns, axis=1)


def pair_scores(pair: tuple[int, int], scores: Mapping[str, Floats | None], quality: Floats) -> PairScores | None:
    """Scorers for the methods that have a score; None where no row has both models observed."""
    weak, strong = quality[:, pair[0]], quality[:, pair[1]]
    if not (np.isfinite(weak) & np.isfinite(strong)).any():
        return None
    scorers = {name: PairScorer(s, weak, strong) for name, s in scores.items() if s is not None}
    gain = np.where(np.isfinite(strong - weak), strong - weak, 0.0)
    scorers["random"] = PairScorer(np.zeros(len(quality)), weak, strong)
    scorers["oracle"] = PairScorer(gain, weak, strong)
    return PairScores(pair[0], pair[1], scorers)


def pair_view(
    scores: PairScores,
    bootstrap: Bootstrap,
    first_column: int,
    models: tuple[str, ...],
    titles: Mapping[str, str],
    weight: Floats,
) -> PairView:
    """The view with intervals; the pair's figures start at ``first_column`` of the bootstrap."""
    methods = []
    rows = dropped = 0
    weak = strong = float("nan")
    for place, (name, scorer) in enumerate(scores.scorers.items()):
        at = {figure: first_column + place * len(FIGURES) + i for i, figure in enumerate(FIGURES)}
        curve = scorer.curve(weight, "exact")
        rows, dropped, weak, strong = curve.rows, curve.dropped, curve.quality_weak, curve.quality_strong
        share = np.linspace(0.0, 1.0, CURVE_POINTS)
        methods.append(
            PairMethod(
                name=name,
                title=titles[name],
                apgr=bootstrap.interval(at["apgr_binned"]),
                apgr_exact=bootstrap.interval(at["apgr_exact"]),
                cpt50=bootstrap.interval(at["cpt50_binned"]),
                cpt80=bootstrap.interval(at["cpt80_binned"]),
                cpt50_exact=bootstrap.interval(at["cpt50_exact"]),
                cpt80_exact=bootstrap.interval(at["cpt80_exact"]),
                gap=None if place == 0 else bootstrap.interval(first_column, minus=at["apgr_binned"]),
                share=tuple(share.tolist()),
                quality=tuple(np.interp(share, curve.share, curve.quality).tolist()),
            )
        )
    return PairView(
        weak=models[scores.weak],
        strong=models[scores.strong],
        quality_weak=weak,
        quality_strong=strong,
        rows=rows,
        dropped=dropped,
        defined=strong > weak,
        methods=tuple(methods),
    )
