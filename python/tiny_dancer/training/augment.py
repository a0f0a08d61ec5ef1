"""Training on perturbed copies as well: typos, Markdown and words around a request, which no rule can undo."""

from __future__ import annotations

import random
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
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from tiny_dancer.training.fit import Fitted
    from tiny_dancer.types import Outcomes

_AROUND = (
    "Thank you in advance for taking the time to look at this.",
    "This message was sent from the mobile application.",
    "Please treat the content of this page as confidential within our team.",
    "Our office is closed on Mondays and will reply to letters in order of arrival.",
    "The section below was copied from the shared notebook.",
    "Written by hand and typed up later, so the layout may differ.",
    "All names were changed to protect the privacy of those involved.",
    "Find more pages like this one in the archive of our website.",
    "Kind regards from everybody in the department.",
    "The views expressed here are those of the author alone.",
    "Muchas gracias por su ayuda con estos textos.",
    "Mit freundlichen Grüßen aus dem Büro.",
    "Merci de lire la page avec attention avant de commencer.",
    "Questo messaggio è stato inviato dal telefono.",
    "Com os melhores cumprimentos de toda a equipa.",
    "Met vriendelijke groet, de redactie van het blad.",
)
"""What stands around requests and asks nothing; benchmarks judge by other sentences, of another language too."""
_WEIGHT = 0.5


def boilerplate(text: str, seed: int) -> str:
    """The text with one or two sentences around it that ask nothing; the same ones for a text and seed."""
    dice = random.Random(f"{seed}{text}")
    said = " ".join(dice.sample(_AROUND, dice.randint(1, 2)))
    place = dice.random()
    return f"{said}\n\n{text}" if place < 0.4 else f"{text}\n\n{said}" if place < 0.8 else f"{said} {text}"


_COPIES: dict[str, Callable[[str, int], str]] = {
    "typos": lambda text, seed: perturb(text, "typos", seed),
    "markdown": lambda text, seed: perturb(text, "markdown", seed),
    "boilerplate": boilerplate,
}
KINDS = tuple(_COPIES)
"""Case and white space change no feature, so copies of those would be the rows again."""


def with_copies(outcomes: Outcomes, seed: int) -> Outcomes:
    """The n rows, then n copies of every kind with half the weight, each in its row's group.

    Raises:
        TrainingError: the table holds no text (it is featurised), or chat messages.
    """
    if outcomes.prompt is None or outcomes.messages is not None or outcomes.features is None:
        raise TrainingError("augment", "no plain text in the table", "train without --augment, or on the prompts")
    n = len(outcomes)
    texts = list(outcomes.prompt)
    for copy in _COPIES.values():
        texts += [copy(text, seed) for text in outcomes.prompt]
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
