"""Quantisation: bounds on every weight's error, packing, sparse forms, static scales, straight-through."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from tiny_dancer import TrainingError
from tiny_dancer.training.fastgrnn import cell, quantise, reference
from tiny_dancer.training.fastgrnn.gradients import jax
from tiny_dancer.training.fastgrnn.integers import LARGEST, pack, to_integers, unpack

weights = arrays.arrays(
    np.float32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.floats(-100, 100, width=32)
)


@given(weights, st.sampled_from(["int8", "int4"]))
def test_no_weight_is_off_by_more_than_half_a_step(weight, form) -> None:
    integers, scale = to_integers(weight, form)
    assert np.abs(integers.astype(int)).max(initial=0) <= LARGEST[form]
    assert (scale > 0).all()
    step = np.abs(weight).max(1) / LARGEST[form]
    error = np.abs(integers * scale[:, None] - weight)
    assert (error <= 0.5001 * step[:, None] + 1e-6).all()


@given(arrays.arrays(np.int8, st.tuples(st.integers(1, 6), st.integers(1, 9)), elements=st.integers(-7, 7)))
def test_packing_loses_nothing(integers) -> None:
    packed = pack(integers)
    assert packed.shape == (len(integers), (integers.shape[1] + 1) // 2)
    assert np.array_equal(unpack(packed, integers.shape[1]), integers)


def test_the_low_nibble_comes_first_in_twos_complement() -> None:
    assert pack(np.int8([[1, -1, 7]])).tolist() == [[0xF1, 0x07]]


@given(weights, st.sampled_from(["f32", "int8"]))
def test_a_sparse_matrix_reads_back(weight, form) -> None:
    weight = np.where(np.abs(weight) < 30, 0, weight)
    tensors = quantise.matrix_tensors("m", weight, form, None, sparse=True)
    read = reference.read_matrix(tensors, "m", weight.shape[1])
    if form == "f32":
        assert np.array_equal(read.values, weight)
    else:
        integers, scale = to_integers(weight, "int8")
        assert np.array_equal(read.values, integers)
        assert np.array_equal(read.scale, scale)
    assert tensors["m.columns"].dtype == tensors["m.counts"].dtype == np.uint16


def sequences(rows=150, steps=6, dimensions=5):
    generator = np.random.default_rng(7)
    return generator.normal(0, 1, (rows, steps, dimensions)).astype(np.float32), np.full(rows, steps)


@pytest.mark.parametrize("rank", [None, 3])
@pytest.mark.parametrize("kind", ["exact", "piecewise"])
@pytest.mark.parametrize("sparse", [False, True])
def test_the_integer_cell_stays_near_the_cell(rank, kind, sparse) -> None:
    x, length = sequences()
    model = cell.new_model(5, 12, 3, seed=3, rank=rank)
    scales = quantise.calibrate(model, x, length, kind)
    exact = np.asarray(cell.last_state(model, x, length, kind))
    errors = {}
    for form in ("f32", "int8", "int4"):
        static = None if form == "f32" else scales
        tensors = quantise.cell_tensors(model, "p", form, kind, static, sparse=sparse)
        read = reference.Cell.read(tensors, "p", 5)
        errors[form] = np.abs(read.last_state(x, length) - exact).max()
    assert errors["f32"] < 2e-6
    assert errors["int8"] < 0.1
    if not sparse:
        assert errors["int8"] < errors["int4"], "fewer bits say less"


def test_scales_cover_what_calibration_saw() -> None:
    x, length = sequences()
    length[0] = 2
    x[0, 2:] = 1e6  # padding, which no step reads
    model = cell.new_model(5, 8, 3, seed=3)
    scales = quantise.calibrate(model, x, length, "exact").by_matrix
    assert scales["input_weight"] == pytest.approx(np.abs(x[1:]).max() / 127, rel=0.3)
    assert 0 < scales["recurrent_weight"] * 127 < 2
    assert quantise.calibrate(model, x, length, "exact", 1 / 16).by_matrix["input_weight"] == 1 / 16


def test_calibration_and_export_refuse_what_says_nothing() -> None:
    model = cell.new_model(5, 8, 3, seed=3)
    with pytest.raises(TrainingError, match="no samples"):
        quantise.calibrate(model, np.zeros((0, 2, 5), np.float32), np.zeros(0, np.int64), "exact")
    with pytest.raises(TrainingError, match="not finite"):
        quantise.matrix_tensors("m", np.float32([[np.nan]]), "int8", None)


@settings(deadline=None, max_examples=30)  # the first call compiles
@given(arrays.arrays(np.float32, (3, 4), elements=st.floats(-100, 100, width=32)))
def test_the_forward_pass_rounds_and_the_gradient_does_not(weight) -> None:
    integers, scale = to_integers(weight, "int4")
    seen = np.asarray(quantise.fake_quantise(weight, "int4"))
    assert seen == pytest.approx(integers * scale[:, None], abs=1e-3 * max(1, float(np.abs(weight).max())))
    gradient = jax.grad(lambda each: quantise.fake_quantise(each, "int4").sum())(weight)
    assert np.asarray(gradient) == pytest.approx(np.ones_like(weight))
