"""Pruning: the schedule's values, which weights go, and a support that stays."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tiny_dancer.training.fastgrnn import cell, losses, prune
from tiny_dancer.training.fastgrnn.optimise import Plan, optimise


def test_the_schedule_has_zhu_and_guptas_values() -> None:
    values = [prune.sparsity_at(epoch, 10, 0.9) for epoch in range(12)]
    for epoch in range(10):
        assert values[epoch] == pytest.approx(0.9 * (1 - (1 - (epoch + 1) / 10) ** 3))
    assert values[0] == pytest.approx(0.2439)
    assert values[9:] == [0.9, 0.9, 0.9]
    assert values == sorted(values)


@settings(deadline=None)  # the first call compiles
@given(st.integers(1, 20), st.integers(1, 20), st.floats(0, 1), st.integers(0, 99))
def test_the_smallest_weights_go(rows, columns, sparsity, seed) -> None:
    weight = np.random.default_rng(seed).normal(0, 1, (rows, columns)).astype(np.float32)
    mask = np.asarray(prune.magnitude_mask(weight, sparsity))
    zeros = round(sparsity * weight.size)
    assert (mask == 0).sum() == zeros
    if 0 < zeros < weight.size:
        assert np.abs(weight[mask == 0]).max() <= np.abs(weight[mask == 1]).min()


def test_a_pruned_run_reaches_its_sparsity_and_keeps_its_support() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(0, 1, (160, 3, 6)).astype(np.float32)
    label = (x[:, :, 0].sum(1) > 0).astype(np.int64)
    length = np.full(160, 3)
    supports = []

    def masks(model, epoch):
        found = prune.masks(model, epoch, epochs=10, final=0.8)
        supports.append(np.asarray(found["recurrent_weight"]))
        return found

    def loss(model, batch, key):
        del key
        state = cell.last_state(model, batch["values"], batch["length"], "exact")
        return losses.cross_entropy(cell.logits(model, state), batch["label"])

    rows = {"values": x, "length": length, "label": label}
    plan = Plan(epochs=14, batch=32, keep_from=10, patience=99)
    start = cell.new_model(6, 10, 2, seed=0)
    learned = optimise(start, loss, rows, lambda model: -float(loss(model, rows, None)), plan, seed=0, masks=masks)
    assert prune.share_of_zeros(learned.model) == pytest.approx(0.8, abs=0.01)
    shares = [(each == 0).mean() for each in supports]
    assert shares[:10] == pytest.approx([prune.sparsity_at(epoch, 10, 0.8) for epoch in range(10)], abs=0.006)
    assert all(np.array_equal(each, supports[9]) for each in supports[10:]), "the support is frozen"
    kept = np.asarray(learned.model["recurrent_weight"])
    assert np.array_equal(kept != 0, supports[9] == 1)
    assert np.abs(np.asarray(learned.model["head"]["weight"])).min() > 0, "only W and U are pruned"
