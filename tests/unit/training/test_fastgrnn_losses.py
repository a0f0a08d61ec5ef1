"""Losses: cross-entropy, distillation with its T², and the listwise loss."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_dancer.training.fastgrnn import losses
from tiny_dancer.training.fastgrnn.gradients import jax


def softmax(x):
    shifted = np.exp(x - x.max(-1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


def logits(seed, rows=6, labels=5):
    return np.random.default_rng(seed).normal(0, 2, (rows, labels)).astype(np.float32)


@settings(deadline=None, max_examples=30)  # the first call compiles
@given(st.floats(0, 1), st.floats(0.5, 8), st.integers(0, 99))
def test_distillation_is_hintons_sum(share, temperature, seed) -> None:
    student, teacher, label = logits(seed), logits(seed + 100), np.arange(6) % 5
    hard = -np.log(softmax(student.astype(float))[np.arange(6), label]).mean()
    p, q = softmax(teacher.astype(float) / temperature), softmax(student.astype(float) / temperature)
    wanted = (1 - share) * hard + share * temperature**2 * (p * np.log(p / q)).sum(1).mean()
    found = float(losses.distillation(student, teacher, label, share, temperature))
    assert found == pytest.approx(wanted, rel=2e-3, abs=2e-4)


def test_t_squared_keeps_the_size_of_the_gradient() -> None:
    student, teacher = logits(1), logits(2)

    def size(temperature):
        return float(np.linalg.norm(jax.grad(losses.soft)(student, teacher, temperature)))

    assert size(100.0) == pytest.approx(size(50.0), rel=0.03)
    # Hinton's limit: (student − teacher) / L, both centred, over the rows of the mean.
    centred = [each - each.mean(1, keepdims=True) for each in (student, teacher)]
    assert size(500.0) == pytest.approx(np.linalg.norm(centred[0] - centred[1]) / 5 / 6, rel=0.03)


def test_a_student_that_agrees_has_nothing_to_learn() -> None:
    same = logits(3)
    assert float(losses.soft(same, same + 1, 2.0)) == pytest.approx(0, abs=1e-5)


def test_listwise_is_the_cross_entropy_of_each_list_and_ignores_what_is_absent() -> None:
    score = np.float32([[1, 2, 0.5, 9], [0.1, 0.2, 0.3, 0.4]])
    relevance = np.float32([[0, 1, 1, 5], [1, 0, 0, 0]])
    present = np.array([[True, True, True, False], [True] * 4])
    first = -(np.log(softmax(score[0, :3].astype(float)))[1:]).mean()
    second = -np.log(softmax(score[1].astype(float)))[0]
    relevance[0, 3] = 0
    found = float(losses.listwise(score, relevance, present))
    assert found == pytest.approx((first + second) / 2, rel=1e-5)
    score[0, 3] = -50
    assert float(losses.listwise(score, relevance, present)) == pytest.approx(found, rel=1e-6)
    same = float(losses.soft_listwise(score, score, present, 2.0))
    assert same == pytest.approx(0, abs=1e-6)
