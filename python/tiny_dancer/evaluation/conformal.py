"""Conformal prediction over arrays: sets and intervals that hold the truth as often as asked, from any scores.

Each class is made by ``conformalize`` from rows the model was *not* trained on, and promises coverage of at least
1 - alpha over rows exchangeable with those, whatever the model is (Vovk, Gammerman and Shafer 2005): the threshold
is the ceil((n + 1)(1 - alpha))-th smallest of n nonconformity scores. The promise is for the average over rows and
over draws of the calibration rows. With ``group`` it holds within each group that has at least ceil(1 / alpha) - 1
rows (Mondrian); groups with fewer, and unknown ones, are served by the pooled threshold, without a promise of
their own. ``header`` gives what an artifact keeps. The arithmetic is the engine's
(``crates/tiny-dancer/src/conformal.rs``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import ArtifactError, DataError, OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Bools = npt.NDArray[np.bool_]

LabelMethod = Literal["lac", "aps"]


def conformal_quantile(scores: npt.ArrayLike, alpha: float) -> float:
    """The ceil((n + 1)(1 - alpha))-th smallest of n scores: one more score exceeds it with chance alpha at most.

    Infinite where n < ceil(1 / alpha) - 1. For alpha <= 0 infinite, for alpha >= 1 minus infinity: adaptive
    inference asks for such levels.

    Args:
        scores: float [n].
        alpha: share of misses allowed.

    Raises:
        DataError: a score is NaN.
    """
    values = vector(scores, "scores", infinite=True)
    if np.isnan(alpha):
        raise OptionError("alpha", alpha, "give the share of misses allowed, such as 0.1")
    return _core.conformal_quantile(values.tobytes(), alpha)


@dataclass(frozen=True, slots=True)
class _SplitConformal:
    engine: _core.ConformalCalibration

    @property
    def alpha(self) -> float:
        """Share of misses allowed."""
        return self.engine.alpha

    @property
    def rows(self) -> int:
        """Calibration rows."""
        return self.engine.rows

    @property
    def threshold(self) -> float:
        """The largest nonconformity score still in a set, from all calibration rows."""
        return self.engine.threshold

    def header(self) -> dict[str, Any]:
        """JSON values for an artifact's header, under ``conformal``."""
        header: dict[str, Any] = json.loads(self.engine.json())
        return header

    @classmethod
    def from_header(cls, header: Mapping[str, Any]) -> Self:
        """From what an artifact's header holds under ``conformal``.

        Raises:
            ArtifactError: no calibration, or one for something else.
        """
        found = cls(_core.ConformalCalibration(json.dumps(dict(header))))
        if found.engine.score not in cls._scores():
            remedy = f"this class reads {' and '.join(cls._scores())}"
            raise ArtifactError("conformal.score", found.engine.score, remedy)
        return found

    @classmethod
    def _scores(cls) -> tuple[str, ...]:
        raise NotImplementedError

    @staticmethod
    def _fit(score: str, scores: Floats, group: Sequence[str] | None, alpha: float) -> _core.ConformalCalibration:
        if group is not None:
            same_length("group", len(group), len(scores))
        groups = None if group is None else [str(each) for each in group]
        return _core.ConformalCalibration.fit(score, scores.tobytes(), groups, alpha)

    def _thresholds(self, group: Sequence[str] | None, rows: int) -> Floats:
        if group is None:
            return np.full(rows, self.threshold)
        same_length("group", len(group), rows)
        return np.frombuffer(self.engine.thresholds([str(each) for each in group]), "<f8")


@dataclass(frozen=True, slots=True)
class SplitConformalClassifier(_SplitConformal):
    """Sets of labels that hold the true one with probability at least 1 - alpha."""

    @classmethod
    def _scores(cls) -> tuple[str, ...]:
        return ("lac", "aps")

    @classmethod
    def conformalize(
        cls,
        probabilities: npt.ArrayLike,
        labels: npt.ArrayLike,
        *,
        alpha: float = 0.1,
        method: LabelMethod = "lac",
        group: Sequence[str] | None = None,
        uniform: npt.ArrayLike | None = None,
    ) -> Self:
        """Calibrates on n rows that were not trained on.

        Args:
            probabilities: float [n, number of labels]; rows sum to 1.
            labels: int [n], the true labels' columns.
            alpha: share of misses allowed.
            method: ``lac`` (Sadinle, Lei and Wasserman 2019), the smallest sets on average, sometimes empty; or
                ``aps`` (Romano, Sesia and Candès 2020), never empty, with sizes that follow the difficulty.
            group: n names; each group with enough rows gets a threshold of its own.
            uniform: float [n] in [0, 1], drawn at random: randomises APS, here and in :meth:`predict_set`.

        Raises:
            OptionError: an alpha outside (0, 1), or too few rows for it; says how many are needed.
            DataError: probabilities, labels, groups or draws that cannot be used.
        """
        if method not in cls._scores():
            raise OptionError("method", method, "choose 'lac' or 'aps'")
        scores = _label_scores(method, probabilities, uniform)
        truth = np.asarray(labels)
        same_length("labels", len(truth), len(scores))
        if truth.dtype.kind not in "iu" or truth.ndim != 1:
            raise DataError("labels", f"{truth.dtype} {truth.shape}", "give the labels' columns, integers [n]")
        if len(truth) and not (truth.min() >= 0 and truth.max() < scores.shape[1]):
            raise DataError("labels", f"{truth.min()} to {truth.max()}", f"columns end at {scores.shape[1] - 1}")
        own = np.ascontiguousarray(scores[np.arange(len(truth)), truth])
        return cls(cls._fit(method, own, group, alpha))

    def predict_set(
        self,
        probabilities: npt.ArrayLike,
        *,
        group: Sequence[str] | None = None,
        uniform: npt.ArrayLike | None = None,
    ) -> Bools:
        """Which labels are in each row's set, bool [n, number of labels]; arguments as in :meth:`conformalize`."""
        scores = _label_scores(self.engine.score, probabilities, uniform)
        inside: Bools = scores <= self._thresholds(group, len(scores))[:, None]
        return inside


@dataclass(frozen=True, slots=True)
class SplitConformalRegressor(_SplitConformal):
    """Intervals that hold the true value with probability at least 1 - alpha: prediction ± threshold."""

    @classmethod
    def _scores(cls) -> tuple[str, ...]:
        return ("absolute_residual",)

    @classmethod
    def conformalize(
        cls,
        predicted: npt.ArrayLike,
        actual: npt.ArrayLike,
        *,
        alpha: float = 0.1,
        group: Sequence[str] | None = None,
    ) -> Self:
        """Calibrates on n rows that were not trained on.

        Args:
            predicted: float [n].
            actual: float [n], same unit.
            alpha: share of misses allowed.
            group: n names; each group with enough rows gets a width of its own.

        Raises:
            OptionError: an alpha outside (0, 1), or too few rows for it; says how many are needed.
            DataError: values that are not finite, or of different lengths.
        """
        forecast, truth = vector(predicted, "predicted"), vector(actual, "actual")
        same_length("actual", len(truth), len(forecast))
        residuals = np.frombuffer(_core.conformal_residuals(forecast.tobytes(), truth.tobytes()), "<f8")
        return cls(cls._fit("absolute_residual", residuals, group, alpha))

    def predict_interval(self, predicted: npt.ArrayLike, *, group: Sequence[str] | None = None) -> Floats:
        """Lower and upper end a row, float64 [n, 2]."""
        forecast = vector(predicted, "predicted")
        widths = self._thresholds(group, len(forecast))
        ends = _core.conformal_intervals(forecast.tobytes(), np.ascontiguousarray(widths).tobytes())
        return np.frombuffer(ends, "<f8").reshape(-1, 2)


@dataclass(frozen=True, slots=True)
class SplitConformalRanker(_SplitConformal):
    """How many candidates of a ranking to keep, so that a relevant one is among them with probability 1 - alpha.

    ``threshold`` is that number. The promise is for questions that have a relevant candidate.
    """

    @classmethod
    def _scores(cls) -> tuple[str, ...]:
        return ("rank",)

    @classmethod
    def conformalize(
        cls,
        scores: Sequence[npt.ArrayLike],
        relevant: Sequence[npt.ArrayLike],
        *,
        alpha: float = 0.1,
        group: Sequence[str] | None = None,
    ) -> Self:
        """Calibrates on n questions that were not trained on.

        Args:
            scores: per question float [its candidates], higher is better.
            relevant: per question bool [its candidates]; questions without a relevant candidate are left out.
            alpha: share of misses allowed.
            group: n names; each group with enough questions gets a number of its own.

        Raises:
            OptionError: an alpha outside (0, 1), or too few questions for it; says how many are needed.
            DataError: scores that are not finite, or flags of another number.
        """
        same_length("relevant", len(relevant), len(scores))
        if group is not None:
            same_length("group", len(group), len(scores))
        ranks, groups = [], []
        for question, (each, flags) in enumerate(zip(scores, relevant, strict=True)):
            values = vector(each, f"scores[{question}]").astype("<f4")
            marks = np.asarray(flags, np.bool_)
            same_length(f"relevant[{question}]", len(marks), len(values))
            rank = _core.conformal_rank_score(values.tobytes(), marks.astype("u1").tobytes())
            if rank is not None:
                ranks.append(rank)
                groups.append("" if group is None else str(group[question]))
        return cls(cls._fit("rank", np.array(ranks, "<f8"), None if group is None else groups, alpha))

    def predict_set(self, scores: npt.ArrayLike, *, group: str | None = None) -> npt.NDArray[np.int64]:
        """The candidates to keep for one question, best first: their positions, int64 [at most threshold]."""
        values = vector(scores, "scores").astype("<f4")
        keep = int(self._thresholds(None if group is None else [group], 1)[0])
        return np.argsort(-values, kind="stable")[:keep].astype(np.int64)


@dataclass(frozen=True, slots=True)
class AdaptiveConformal:
    """The state of adaptive conformal inference, for rows that drift (Gibbs and Candès 2021).

    Ask for the threshold at ``level``, then go on with :meth:`after`. Over T rows in any order the share of misses
    differs from alpha by at most (max(alpha, 1 - alpha) + gamma) / (T gamma) (proposition 4.1). ``level`` is not
    clamped, which the bound rests on: :func:`conformal_quantile` gives everything at 0 and below, nothing from 1.

    Attributes:
        alpha: share of misses aimed at.
        gamma: step of the level; larger follows drift sooner and varies more.
        level: of the next row; alpha at first.
    """

    alpha: float
    gamma: float
    level: float

    @classmethod
    def start(cls, alpha: float = 0.1, gamma: float = 0.005) -> Self:
        """The state before the first row.

        Raises:
            OptionError: an alpha outside (0, 1), or a gamma outside (0, 1].
        """
        _core.conformal_next_level(alpha, gamma, alpha, True)
        return cls(alpha, gamma, alpha)

    def after(self, covered: bool) -> Self:
        """The state after a row whose set held the truth, or did not: level + gamma (alpha - missed)."""
        return replace(self, level=_core.conformal_next_level(self.alpha, self.gamma, self.level, bool(covered)))


def _label_scores(method: str, probabilities: npt.ArrayLike, uniform: npt.ArrayLike | None) -> Floats:
    table = np.asarray(probabilities)
    if table.ndim != 2 or table.shape[1] == 0 or table.dtype.kind not in "fiu":
        raise DataError("probabilities", f"{table.dtype} {table.shape}", "give float [rows, labels]")
    outside = ~((table >= 0) & (table <= 1)).all(axis=1)
    if outside.any():
        row = int(np.flatnonzero(outside)[0])
        raise DataError(f"probabilities[{row}]", table[row], "give numbers between 0 and 1, NaN is none")
    off = np.abs(table.sum(axis=1, dtype=np.float64) - 1) > 1e-3
    if off.any():
        row = int(np.flatnonzero(off)[0])
        raise DataError(f"probabilities[{row}]", f"sum {table[row].sum():g}", "give rows that sum to 1")
    draws = None
    if uniform is not None:
        draws = vector(uniform, "uniform")
        same_length("uniform", len(draws), len(table))
        if len(draws) and not (draws.min() >= 0 and draws.max() <= 1):
            raise DataError("uniform", f"{draws.min():g} to {draws.max():g}", "give draws between 0 and 1")
    flat = _core.conformal_label_scores(
        method,
        np.ascontiguousarray(table, "<f4").tobytes(),
        table.shape[1],
        None if draws is None else draws.tobytes(),
    )
    return np.frombuffer(flat, "<f8").reshape(table.shape)


def vector(values: npt.ArrayLike, name: str, *, infinite: bool = False) -> Floats:
    """Values as a contiguous float64 vector; DataError for NaN, and for infinities unless allowed."""
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "fiub":
        raise DataError(name, f"{array.dtype} {array.shape}", "give a vector of numbers")
    floats = np.ascontiguousarray(array, "<f8")
    wrong = np.isnan(floats) if infinite else ~np.isfinite(floats)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise DataError(f"{name}[{row}]", floats[row], "leave out rows without a number")
    return floats


def same_length(name: str, found: int, wanted: int) -> None:
    """DataError where an array has another length than the rows it belongs to."""
    if found != wanted:
        raise DataError(name, f"{found} for {wanted} rows", "give one for each row")
