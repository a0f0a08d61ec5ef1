"""The cell against its equations written out, one number at a time, in double precision."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tiny_dancer.training.fastgrnn import cell
from tiny_dancer.training.fastgrnn.gradients import jax

LOGISTIC = {"exact": lambda x: 1 / (1 + math.exp(-x)), "piecewise": lambda x: min(1, max(0, (x + 1) / 2))}
HYPERBOLIC = {"exact": math.tanh, "piecewise": lambda x: min(1, max(-1, x))}


def by_hand(model, sequence, kind):
    """z = σ(Wx + Uh + b_z), c = τ(Wx + Uh + b_h), h' = (σ(ζ)(1 − z) + σ(ν))·c + z·h."""
    whole = {name: np.asarray(model[name], np.float64) for name in ("gate_bias", "update_bias", "zeta", "nu")}
    matrices = []
    for name in ("input_weight", "recurrent_weight"):
        weight = model[name]
        if isinstance(weight, dict):
            weight = np.asarray(weight["left"], np.float64) @ np.asarray(weight["right"], np.float64)
        matrices.append(np.asarray(weight, np.float64))
    W, U = matrices
    zeta, nu = (LOGISTIC["exact"](float(whole[name][0])) for name in ("zeta", "nu"))
    h = [0.0] * len(whole["gate_bias"])
    for x in sequence:
        following = []
        for row in range(len(h)):
            pre = sum(W[row, j] * x[j] for j in range(len(x))) + sum(U[row, j] * h[j] for j in range(len(h)))
            z = LOGISTIC[kind](pre + whole["gate_bias"][row])
            c = HYPERBOLIC[kind](pre + whole["update_bias"][row])
            following.append((zeta * (1 - z) + nu) * c + z * h[row])
        h = following
    return np.array(h)


@pytest.mark.parametrize("kind", ["exact", "piecewise"])
@pytest.mark.parametrize("rank", [None, 2])
def test_the_last_state_is_the_equations(kind, rank) -> None:
    generator = np.random.default_rng(1)
    model = cell.new_model(5, 6, 3, seed=2, rank=rank)
    model["gate_bias"] = np.float32(generator.normal(0, 1, 6))
    model["update_bias"] = np.float32(generator.normal(0, 1, 6))
    model["nu"] = np.float32([-0.7])
    x = generator.normal(0, 1, (4, 7, 5)).astype(np.float32)
    length = np.array([7, 3, 1, 0])
    found = np.asarray(cell.last_state(model, x, length, kind))
    for row in range(4):
        assert found[row] == pytest.approx(by_hand(model, x[row, : length[row]], kind), abs=2e-6)
    assert not found[3].any(), "no step leaves h₀ = 0"


def test_padding_changes_nothing() -> None:
    generator = np.random.default_rng(3)
    model = cell.new_model(4, 8, 2, seed=0)
    x = generator.normal(0, 1, (3, 5, 4)).astype(np.float32)
    length = np.array([5, 2, 4])
    padded = np.concatenate([x, np.full((3, 6, 4), 99, np.float32)], axis=1)
    short, long = (np.asarray(cell.last_state(model, each, length, "exact")) for each in (x, padded))
    assert short == pytest.approx(long, abs=1e-6)


def test_gradients_reach_every_parameter() -> None:
    generator = np.random.default_rng(4)
    model = cell.new_model(4, 5, 3, seed=1, rank=2)
    x = generator.normal(0, 1, (6, 4, 4)).astype(np.float32)
    length = np.full(6, 4)

    def loss(model):
        return (cell.logits(model, cell.last_state(model, x, length, "exact")) ** 2).mean()

    for leaf in jax.tree.leaves(jax.grad(loss)(model)):
        assert np.abs(np.asarray(leaf)).max() > 0


def test_the_same_seed_gives_the_same_start() -> None:
    first, again, other = (jax.tree.leaves(cell.new_model(3, 4, 2, seed)) for seed in (5, 5, 6))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
