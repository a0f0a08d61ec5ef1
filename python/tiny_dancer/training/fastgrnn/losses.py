"""What is minimised: cross-entropy, distillation, and the listwise loss of rankings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tiny_dancer.training.fastgrnn.gradients import jax, optax
from tiny_dancer.training.fastgrnn.gradients import numpy as jnp

if TYPE_CHECKING:
    from tiny_dancer.training.fastgrnn.cell import Array

_ABSENT = -1e9


def cross_entropy(logits: Array, label: Array) -> Array:
    """Mean −log p of the right label; logits [n, L], labels int [n]."""
    return optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()


def distillation(student: Array, teacher: Array, label: Array, share: float, temperature: float) -> Array:
    """(1 − a)·CE + a·T²·KL(softmax(teacher / T) ‖ softmax(student / T)): Hinton et al. 2015, arXiv:1503.02531.

    T² keeps the size of the soft part's gradient, which dividing logits by T shrinks by 1 / T².

    Args:
        student: logits [n, L].
        teacher: logits [n, L].
        label: right labels, int [n].
        share: a, in [0, 1].
        temperature: T.
    """
    return (1 - share) * cross_entropy(student, label) + share * soft(student, teacher, temperature)


def soft(student: Array, teacher: Array, temperature: float) -> Array:
    """T²·KL(softmax(teacher / T) ‖ softmax(student / T)), mean over rows."""
    wanted = jax.nn.log_softmax(teacher / temperature)
    given = jax.nn.log_softmax(student / temperature)
    return temperature**2 * (jnp.exp(wanted) * (wanted - given)).sum(-1).mean()


def listwise(score: Array, relevance: Array, present: Array) -> Array:
    """Cross-entropy of the softmax over each query's candidates: ListNet's top-1 loss (Cao et al. 2007).

    Args:
        score: [queries, candidates].
        relevance: at least 0, the same shape; a query's relevances are divided by their sum.
        present: bool, the same shape; False where a query has fewer candidates.
    """
    wanted = relevance / jnp.maximum(relevance.sum(-1, keepdims=True), 1e-12)
    given = jax.nn.log_softmax(jnp.where(present, score, _ABSENT))
    return -(jnp.where(present, wanted * given, 0)).sum(-1).mean()


def soft_listwise(score: Array, teacher: Array, present: Array, temperature: float) -> Array:
    """:func:`soft` over each query's candidates that are present."""
    absent = jnp.where(present, 0.0, _ABSENT)
    wanted = jax.nn.log_softmax(teacher / temperature + absent)
    given = jax.nn.log_softmax(score / temperature + absent)
    return temperature**2 * jnp.where(present, jnp.exp(wanted) * (wanted - given), 0).sum(-1).mean()
