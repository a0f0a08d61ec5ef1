"""How certain it is that a candidate is relevant, by conformal p-values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import ArtifactError
from tiny_dancer.evaluation.conformal import same_length, vector

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

_CLASSES = ("relevant", "irrelevant")


@dataclass(frozen=True, slots=True)
class ConformalRelevance:
    """p-values of "this candidate is relevant" and "… is irrelevant", each class calibrated by itself.

    A candidate's uncertainty is the smaller of the two: the smallest alpha at which its prediction set is a single
    answer (Vovk, Gammerman and Shafer 2005).

    Calibrate on the candidates that will be asked about. What is promised holds for a candidate drawn from all
    those calibrated on, not for ones picked because they score high: the first five of several hundred score above
    nearly all irrelevant ones, and would seem certainly relevant. Where the first k of a ranking are shown,
    calibrate on the first k of each question (figures: ``benchmarks/quality/bench_conformal_candidates.py``).
    """

    engine: _core.ConformalRelevance

    @classmethod
    def conformalize(
        cls,
        scores: npt.ArrayLike,
        relevant: npt.ArrayLike,
        *,
        question: npt.ArrayLike | None = None,
        most_knots: int = _core.CONFORMAL_MOST_KNOTS,
    ) -> Self:
        """Calibrates on n candidates, none of a question that was trained on.

        Args:
            scores: float [n], higher for relevant ones.
            relevant: bool [n].
            question: int [n]. Candidates of one question depend on each other; then what is promised holds for a
                candidate drawn at random from a new question (Lee, Barber and Willett 2023). Without, every
                candidate counts as a draw of its own.
            most_knots: scores kept of each class, 4 bytes each. Fewer make p-values larger by at most
                1 / most_knots, never smaller.

        Raises:
            OptionError: no room for knots, or no candidate of a class.
            DataError: scores that are not finite, or arrays of different lengths.
        """
        values, flags = vector(scores, "scores"), np.asarray(relevant, np.bool_)
        same_length("relevant", len(flags), len(values))
        questions = None
        if question is not None:
            questions = np.ascontiguousarray(np.asarray(question), "<i8")
            same_length("question", len(questions), len(values))
        return cls(
            _core.ConformalRelevance.fit(
                values.tobytes(),
                flags.astype("u1").tobytes(),
                None if questions is None else questions.tobytes(),
                most_knots,
            )
        )

    @classmethod
    def from_artifact(cls, header: Mapping[str, Any], tensors: Mapping[str, npt.NDArray[Any]]) -> Self:
        """From what :meth:`header` and :meth:`tensors` gave.

        Raises:
            ArtifactError: a number or tensor is absent.
            OptionError: they contradict each other.
        """
        try:
            relevant, irrelevant = (
                (
                    float(header[name]["rows"]),
                    float(header[name]["step"]),
                    np.ascontiguousarray(tensors[f"relevance.{name}"], "<f4").tobytes(),
                )
                for name in _CLASSES
            )
        except KeyError as error:
            raise ArtifactError(f"relevance.{error.args[0]}", "absent", "calibrate the artifact again") from error
        return cls(_core.ConformalRelevance.from_parts(relevant, irrelevant))

    def p_values(self, scores: npt.ArrayLike) -> Floats:
        """p-values of relevant and irrelevant, float64 [n, 2]; super-uniform for candidates of that class."""
        return np.frombuffer(self.engine.p_values(vector(scores, "scores").tobytes()), "<f8").reshape(-1, 2)

    def uncertainty(self, scores: npt.ArrayLike) -> Floats:
        """The smaller p-value, float64 [n]."""
        smaller: Floats = self.p_values(scores).min(axis=1)
        return smaller

    def header(self) -> dict[str, Any]:
        """JSON values for a candidate scorer's header, under ``relevance``; :meth:`tensors` belong to them."""
        parts = zip(_CLASSES, self.engine.parts(), strict=True)
        return {name: {"rows": rows, "step": step} for name, (rows, step, _) in parts}

    def tensors(self) -> dict[str, npt.NDArray[np.float32]]:
        """The sorted scores an artifact keeps, float32: relevant ones negated."""
        parts = zip(_CLASSES, self.engine.parts(), strict=True)
        return {f"relevance.{name}": np.frombuffer(knots, "<f4") for name, (_, _, knots) in parts}
