"""Kernel ridge regression on a bounded set of training rows (Nyström: Williams and Seeger 2001)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer.training.backends.trees import cue_importances, unit_embedding, unit_vectors

if TYPE_CHECKING:
    import numpy.typing as npt

    from tiny_dancer.training.backends.base import Matrix, Targets
    from tiny_dancer.types import FeatureTable

_CLIP = 4.0
_MANY = 1000
"""Standardised cues beyond this many deviations are clipped: int8 holds ±127 at 127 / 4 steps a deviation."""


@dataclass(frozen=True, slots=True)
class FittedMemory:
    """Landmarks, their coefficients, and how cues are standardised."""

    embeddings: npt.NDArray[np.int8]
    cues: npt.NDArray[np.int8]
    coefficients: npt.NDArray[np.float32]
    intercept: npt.NDArray[np.float32]
    cue_mean: npt.NDArray[np.float32]
    cue_scale: npt.NDArray[np.float32]
    gamma: npt.NDArray[np.float32]
    kind: str = "memory"

    def predict(self, features: FeatureTable) -> Matrix:
        """Components [n, r]."""
        cues = _standardise(features.cues, self.cue_mean, self.cue_scale)
        kernel = _kernel(unit_embedding(features), cues, unit_vectors(self.embeddings), self.cues, self.gamma)
        return np.asarray(kernel @ self.coefficients.T.astype(np.float64) + self.intercept)

    def tensors(self) -> dict[str, npt.NDArray[Any]]:
        """Tensors by the engine's names."""
        names = ("embeddings", "cues", "coefficients", "intercept", "cue_mean", "cue_scale", "gamma")
        return {name: getattr(self, name) for name in names}


def _standardise(
    cues: npt.NDArray[np.float32], mean: npt.NDArray[np.float32], scale: npt.NDArray[np.float32]
) -> npt.NDArray[np.int8]:
    standard = np.clip((cues - mean) * scale, -127, 127)
    # Half away from zero, as the engine rounds.
    return np.asarray(np.trunc(standard + np.copysign(np.float32(0.5), standard)), np.int8)


def _kernel(
    unit_a: npt.NDArray[np.float32],
    cues_a: npt.NDArray[np.int8],
    unit_b: npt.NDArray[np.float32],
    cues_b: npt.NDArray[np.int8],
    gamma: npt.NDArray[np.float32],
) -> Matrix:
    """exp(−γ₀·(2 − 2·cosine) − γ₁·‖cue difference‖²), float64 [a, b]."""
    a, b = cues_a.astype(np.float32), cues_b.astype(np.float32)
    squared = (a * a).sum(1)[:, None] + (b * b).sum(1)[None] - 2 * (a @ b.T)
    exponent = -gamma[0] * (2 - 2 * (unit_a @ unit_b.T)) - gamma[1] * np.maximum(squared, 0)
    return np.asarray(np.exp(np.minimum(exponent, 0).astype(np.float64)))


@dataclass(frozen=True, slots=True)
class Memory:
    """Ridge on a Gaussian kernel over standardised cues times one over static embeddings.

    Attributes:
        landmarks: most training rows kept; with fewer rows all are, and the fit is exact.
        cue_width: Σ w_c (z_c − z'_c)² is divided by this, and by as much more as there are fewer than 1,000 rows:
            few rows have few near neighbours; the cue weights w_c sum to 1, half of it spread evenly, half by the
            cue's importance to a few extremely randomised trees (automatic relevance).
        embedding_width: ‖e − e'‖² is divided by this.
        ridge: penalty on the kernel norm, per row.
    """

    name: str = "memory"
    landmarks: int = 256
    cue_width: float = 1.5
    embedding_width: float = 1.5
    ridge: float = 0.02

    def fit(self, features: FeatureTable, targets: Targets, seed: int) -> FittedMemory:
        """Solves (K_lw W K_wl + n·ridge·K_ll) c = K_lw W Y for landmark coefficients."""
        mean = features.cues.mean(0)
        deviation = features.cues.std(0)
        varies = deviation > 1e-6
        relevance = 0.5 * varies / max(1, int(varies.sum())) + 0.5 * cue_importances(features, targets, seed)
        largest = float(relevance.max())
        root = np.sqrt(relevance / largest) if largest > 0 else relevance
        scale = np.where(varies, root * 127 / _CLIP / np.where(varies, deviation, 1), 0).astype(np.float32)
        cues = _standardise(features.cues, mean, scale)
        gamma_cues = largest * (_CLIP / 127) ** 2 / (self.cue_width * max(1.0, _MANY / len(features)))
        gamma = np.array([1 / self.embedding_width, gamma_cues], np.float32)
        n = len(features)
        generator = np.random.default_rng(seed)
        chosen = np.sort(generator.permutation(n)[: self.landmarks])
        unit = unit_embedding(features)
        to_landmarks = _kernel(unit, cues, unit[chosen], cues[chosen], gamma)
        among = to_landmarks[chosen]
        total = targets.weight.sum()
        intercept = targets.weight @ targets.components / total
        weighted = to_landmarks * targets.weight[:, None]
        left = weighted.T @ to_landmarks + self.ridge * n * among
        left[np.diag_indices_from(left)] += 1e-6 * np.trace(left) / len(left)
        coefficients = np.linalg.solve(left, weighted.T @ (targets.components - intercept))
        return FittedMemory(
            embeddings=np.ascontiguousarray(features.embedding[chosen]),
            cues=cues[chosen],
            coefficients=np.ascontiguousarray(coefficients.T, np.float32),
            intercept=intercept.astype(np.float32),
            cue_mean=mean.astype(np.float32),
            cue_scale=scale,
            gamma=gamma,
        )
