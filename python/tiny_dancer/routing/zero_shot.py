"""Which of several descriptions a text is most like, with a probability: nothing was trained for them.

Each choice's words and description are encoded as a text is. With c the cosines to the K choices, those below 0
as 0, the probability of choice i is ``exp(s c[i]) / Σ exp(s c[j])``: a softmax with one scale for all. Where
the likest choice is not even :data:`LEAST_LIKENESS` alike, the scale shrinks by as much: likeness to none tells
nothing. The scale was fitted on the label sets of four tables (intents, banking questions, tools, subjects; 2
to 50 choices, drawn at random and among the most alike) and judged on the set left out each time
(``recipes/zero_shot.py``, ``benchmarks/results/zero_shot.json``). Scales that follow the number of choices or
the cosines were no better there.

It tells what a text is about. What a text is like in form, tone or kind of task is not what likeness measures:
there, and where the text is like none of the choices, nothing is calibrated.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from tiny_dancer import _core

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from tiny_dancer.routing.questions import Choice

__all__ = ["FITTED_ON", "LEAST_LIKENESS", "SCALE", "Likeness", "compare", "encode", "probabilities"]

SCALE: Final = 16.2
"""Scores per unit of cosine."""
LEAST_LIKENESS: Final = 0.15
"""Cosine of the likest choice below which nothing is calibrated: few texts of intents are below it, and two in
three of a table that asks for kinds of tasks, where the likest choice of three is right as often as chance."""
FITTED_ON: Final = "a233b0aecc1ff26741d597ffbf69beee9a3264a8c25b6b98e16b3346cd96faeb"
"""Checksum of the encoder that the scale was fitted with."""

_BETWEEN_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|[_\-./\s]+")


class Likeness(NamedTuple):
    """What :func:`compare` finds.

    Attributes:
        probabilities: of each choice, float64 [K].
        calibrated: whether the map to probabilities was fitted for this encoder, and the text is like one of them.
    """

    probabilities: npt.NDArray[np.float64]
    calibrated: bool


def encode(text: str) -> npt.NDArray[np.float32]:
    """The text's vector, float32 [256]; its head and tail count."""
    found: npt.NDArray[np.float32] = _core.encode([text], _core.sentence_encoder())[0]
    return found


def compare(vector: npt.NDArray[np.float32], choices: Sequence[Choice]) -> Likeness:
    """How probable it is that a text is about each of K choices.

    Args:
        vector: of the text, by :func:`encode`.
        choices: at least one.
    """
    vectors = _core.encode([*map(described, choices)], _core.sentence_encoder()).astype(np.float64)
    likeness = vectors @ vector.astype(np.float64)
    return Likeness(probabilities(likeness), bool(likeness.max() >= LEAST_LIKENESS) and _is_fitted())


def probabilities(likeness: npt.NDArray[np.float64], scale: float = SCALE) -> npt.NDArray[np.float64]:
    """Of the choices, by the cosines of texts to them, float64 [..., K] both."""
    cosines = np.maximum(likeness, 0.0)
    best = cosines.max(-1, keepdims=True)
    found = np.exp(scale * np.minimum(best / LEAST_LIKENESS, 1.0) * (cosines - best))
    shares: npt.NDArray[np.float64] = found / found.sum(-1, keepdims=True)
    return shares


def described(choice: Choice) -> str:
    """A choice as it is compared: its value in words (``card_arrival``: card arrival), and its description."""
    words = _BETWEEN_WORDS.sub(" ", str(choice.value)).strip() or str(choice.value)
    if isinstance(choice.value, bool) and choice.description:
        return choice.description
    return f"{words}: {choice.description}" if choice.description else words


@cache
def _is_fitted() -> bool:
    return _core.sentence_encoder().checksum == FITTED_ON
