"""Training on perturbed copies as well: typos and Markdown, which normalisation cannot undo."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import TrainingError
from tiny_dancer.evaluation.disguise import Texts
from tiny_dancer.evaluation.groups import assign_groups
from tiny_dancer.evaluation.robustness import perturb
from tiny_dancer.routing import featurise

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tiny_dancer.evaluation.robustness import Perturbation
    from tiny_dancer.training.fit import Fitted
    from tiny_dancer.types import Outcomes

KINDS: tuple[Perturbation, ...] = ("typos", "markdown")
"""Case and white space change no feature, so copies of those would be the rows again."""
_WEIGHT = 0.5


def with_copies(outcomes: Outcomes, seed: int) -> Outcomes:
    """The n rows, then n copies of every kind with half the weight, each in its row's group.

    Raises:
        TrainingError: the table holds no text (it is featurised), or chat messages.
    """
    if outcomes.prompt is None or outcomes.messages is not None or outcomes.features is None:
        raise TrainingError("augment", "no plain text in the table", "train without --augment, or on the prompts")
    n = len(outcomes)
    texts = list(outcomes.prompt)
    for kind in KINDS:
        texts += [perturb(text, kind, seed) for text in outcomes.prompt]
    index = np.tile(np.arange(n), 1 + len(KINDS))
    tools = None if outcomes.tools is None else _repeated(outcomes.tools, index)
    return replace(
        outcomes.rows(index),
        sample_id=tuple(f"{outcomes.sample_id[row]}#{copy // n}" for copy, row in enumerate(index)),
        prompt=tuple(texts),
        features=featurise(texts, None, tools),
        weight=outcomes.weight[index] * np.where(np.arange(len(index)) < n, 1.0, _WEIGHT),
        group=assign_groups(outcomes.features, outcomes.group, Texts.of(outcomes))[index],
    )


def _repeated(values: Sequence[str | None], index: npt.NDArray[np.int64]) -> list[str | None]:
    return [values[row] for row in index]


def better_of(plain: Fitted, augmented: Fitted) -> Fitted:
    """The router trained with copies where its out-of-fold expectations of the n original rows are no worse.

    Judged by the squared error of the differences between models; rows with gaps are left out. What is returned
    speaks of the original rows only, and its artifact says which copies it was trained on.
    """
    n = len(plain.outcomes)
    seen = np.isfinite(plain.outcomes.quality).all(axis=1)

    def relative(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(values[seen] - values[seen].mean(axis=1, keepdims=True))

    truth = relative(plain.outcomes.quality)
    error, other = (((relative(each.quality[:n]) - truth) ** 2).sum(axis=1) for each in (plain, augmented))
    if not seen.any() or np.average(error - other, weights=plain.outcomes.weight[seen]) < 0:
        return plain
    header = _core.read_header(augmented.artifact)
    training = {**header["training"], "rows": n, "copies": list(KINDS)}
    return replace(
        augmented,
        artifact=_core.with_header(augmented.artifact, {**header, "training": training}),
        outcomes=plain.outcomes,
        quality=augmented.quality[:n],
        cost=None if augmented.cost is None else augmented.cost[:n],
        decision=augmented.decision[:n],
        folds=augmented.folds[:n],
    )
