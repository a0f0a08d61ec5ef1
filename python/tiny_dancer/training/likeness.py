"""What "like the rows a certificate was earned on" means, fitted on those rows (the engine's ``likeness.rs``).

Rows are told from requests of every kind (:func:`background`, written for this purpose) by least squares with a
ridge: linear in the embedding, linear and quadratic in standardised cues. The ridge draws the weights of the cues
to a distance from the rows' mean: what no request of the background has (tools, say) tells nothing, and still is
unlike where no row has it. A density of the rows alone found less: what sets a kind of request apart is what it
has in common against all others (docs/adr/0016, with figures). The score becomes a conformal p-value by the scores
that rows had from the fits of other folds, so that of requests like them no larger share than the level counts as
unlike, however good or bad the score is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer import _core
from tiny_dancer.evaluation.split import grouped_folds
from tiny_dancer.routing.router import needs_encoder

if TYPE_CHECKING:
    import numpy.typing as npt

    from tiny_dancer.types import FeatureTable

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]

LEVEL = 0.05
"""p-values up to this one count as unlike: the share of requests like the rows that lose the guarantee."""
FEWEST_GROUPS = 20
"""Below this no p-value could be as small as the level: there is no test."""
_MOST_ROWS = 2000
_MOST_SCORES = 64
_FOLDS = 5
_FEWEST_FOLDS = 2
_RIDGE = 1.8
"""On inputs as scaled here and a mean loss; between a third and three times as much, power changed by .02."""
_DISTANCE = 0.02
"""Of a cue's squared distance from the rows' mean, in spreads; half or twice was as good, 0 found .04 less."""
_EMBEDDING = 16.0
"""Unit embeddings are multiplied by this: each dimension then varies as a standardised cue does."""
_LARGEST_STANDARD = 5.0  # as in the engine
_LEAST_SPREAD = 0.05
"""A cue that varies less is scaled as if it varied this much."""


def background_texts() -> list[str]:
    """Requests of every kind: questions, chat, code, mathematics, tools, many languages, noise."""
    text = _core.data_file("background.txt").decode()
    return [each.strip("\n") for each in text.split("\n%%\n")]


@cache
def background() -> FeatureTable:
    """Features of :func:`background_texts`."""
    return _core.featurise(background_texts())


@dataclass(frozen=True, slots=True)
class Likeness:
    """A test of requests against rows, as an artifact holds it.

    Attributes:
        tensors: by their names in the artifact.
        rows: calibration rows.
    """

    tensors: dict[str, npt.NDArray[np.float32]]
    rows: int

    def header(self) -> dict[str, Any]:
        """The ``likeness`` field of an artifact's header."""
        return {"level": LEVEL, "rows": self.rows}


@dataclass(frozen=True, slots=True)
class Discriminant:
    """A score of requests, float64 [n]; higher: less like the rows it was fitted on."""

    mean: Floats
    scale: Floats
    weights: Floats
    intercept: float

    def __call__(self, features: FeatureTable) -> Floats:
        """The scores, float64 [n]."""
        return np.asarray(_inputs(features, self.mean, self.scale) @ self.weights + self.intercept)


def _inputs(features: FeatureTable, mean: Floats, scale: Floats) -> Floats:
    """Standardised cues, their squares and the unit embedding, float64 [n, 2 · CUES + 256]."""
    standard = (features.cues.astype(np.float64) - mean) * scale
    standard = np.clip(standard, -_LARGEST_STANDARD, _LARGEST_STANDARD)
    embedding = features.embedding.astype(np.float64)
    norm = np.linalg.norm(embedding, axis=1, keepdims=True)
    unit = np.divide(embedding, norm, out=np.zeros_like(embedding), where=norm > 0)
    return np.hstack([standard, standard**2, _EMBEDDING * unit])


def discriminant(features: FeatureTable, others: FeatureTable) -> Discriminant:
    """Ridge regression of +1 for the others and −1 for the rows, each half of the weight.

    The weights are shrunk towards those of :data:`_DISTANCE` times the squared distance of the cues from the rows'
    mean, which is linear and quadratic in them: ridge regression of what that leaves of the target.
    """
    sets = (features, others)
    # Moments of an even mixture of the two.
    means = [each.cues.astype(np.float64).mean(0) for each in sets]
    mean = (means[0] + means[1]) / 2
    variance = sum(each.cues.astype(np.float64).var(0) for each in sets) / 2 + ((means[0] - means[1]) / 2) ** 2
    scale = 1 / np.maximum(np.sqrt(variance), _LEAST_SPREAD)
    inputs = np.vstack([_inputs(each, mean, scale) for each in sets])
    weight = np.repeat([0.5 / len(each) for each in sets], [len(each) for each in sets])
    target = np.repeat([-1.0, 1.0], [len(each) for each in sets])
    centre = weight @ inputs
    cues, near = len(mean), 2 * weight[: len(features)] @ inputs[: len(features)]
    towards = np.zeros(inputs.shape[1])
    towards[:cues] = -2 * _DISTANCE * near[:cues]
    towards[cues : 2 * cues] = _DISTANCE
    centred = inputs - centre
    gram = (centred * weight[:, None]).T @ centred + _RIDGE * np.eye(inputs.shape[1])
    left = target - centred @ towards
    weights = towards + np.linalg.solve(gram, centred.T @ (weight * left))
    return Discriminant(mean, scale, weights, -float(centre @ weights))


def fit_likeness(features: FeatureTable, group: Ints, seed: int = 0, *, encoder: bool = True) -> Likeness | None:
    """The test for requests like these rows; None where there are too few groups of rows to calibrate it.

    Args:
        features: the rows'.
        group: int64 [n], rows that belong together; of more than 2,000 rows, as many are drawn.
        seed: of folds, and of the draw.
        encoder: False where the rows' features are without what the static encoder makes.

    Rows are scored by fits without their fold, requests by the fit on all rows, which is a little closer to them:
    the level errs on the side of flagging too few.
    """
    if len(np.unique(group)) < FEWEST_GROUPS:
        return None
    if len(features) > _MOST_ROWS:
        drawn = np.sort(np.random.default_rng(seed).permutation(len(features))[:_MOST_ROWS])
        features, group = features.rows(drawn), group[drawn]
    # A few groups may have nearly all rows.
    count = len(np.unique(group))
    if count < _FEWEST_FOLDS:
        return None
    folds, others = grouped_folds(group, min(_FOLDS, count), seed), background()
    if not encoder:
        others = _core.without_encoder(others)
    scores = np.empty(len(features))
    for fold in np.unique(folds):
        inside, outside = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        scores[outside] = discriminant(features.rows(inside), others)(features.rows(outside))
    fitted = discriminant(features, others)
    # The engine's score has no intercept.
    knots, p_values = conformal_steps(scores - fitted.intercept)
    cues = features.cues.shape[1]
    tensors = {
        "mean": fitted.mean,
        "scale": fitted.scale,
        "linear": fitted.weights[:cues],
        "square": fitted.weights[cues : 2 * cues],
        "embedding": _EMBEDDING * fitted.weights[2 * cues :],
        "scores": knots,
        "p_values": p_values,
    }
    named = {f"likeness.{name}": np.ascontiguousarray(values, np.float32) for name, values in tensors.items()}
    return Likeness(named, len(features))


def conformal_steps(scores: Floats) -> tuple[npt.NDArray[np.float32], Floats]:
    """Knots and p-values of a score up to the first knot, up to the second, …, beyond the last.

    The p-value of a score s is (1 + rows scored ≥ s) / (n + 1), exact with up to 64 distinct scores. Of more,
    those kept are densest at the upper end, and between two of them the p-value is that of the lower one's next
    row: never below the exact one, so the test stays valid.
    """
    rounded = np.sort(scores.astype(np.float32))
    n = len(rounded)
    above = np.unique(np.round(np.geomspace(1, n, _MOST_SCORES))).astype(np.int64) - 1
    kept = np.unique(rounded) if len(np.unique(rounded)) <= _MOST_SCORES else np.unique(rounded[n - 1 - above])
    beyond = n - np.searchsorted(rounded, kept, side="right")
    return kept, np.append(1.0, (1 + beyond) / (n + 1))


def with_likeness(artifact: bytes, features: FeatureTable, group: Ints) -> bytes:
    """The artifact with a test for requests like these rows in place of the one it had.

    Where they are too few for a test it has none: what training rows were like says nothing of these.
    """
    header = {key: value for key, value in _core.read_header(artifact).items() if key != "likeness"}
    found = fit_likeness(features, group, encoder=needs_encoder(header))
    if found is None:
        return _core.with_header(artifact, header)
    return _core.artifact_bytes(
        {**header, "likeness": found.header()}, _core.read_tensors(artifact) | found.tensors
    )
