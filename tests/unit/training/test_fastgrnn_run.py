"""The pipeline: what it learns, that it repeats itself, and that a killed run goes on where it was."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tiny_dancer import DataError, OptionError, TrainingError, _core
from tiny_dancer.routing import Classifier
from tiny_dancer.training.fastgrnn import cell, data, export, prune, quantise
from tiny_dancer.training.fastgrnn.checkpoint import Checkpoints
from tiny_dancer.training.fastgrnn.data import Examples
from tiny_dancer.training.fastgrnn.judge import judge
from tiny_dancer.training.fastgrnn.optimise import Plan, optimise
from tiny_dancer.training.fastgrnn.run import Settings, fit_classifier

SHORT = Plan(epochs=3, batch=32, fewest_steps=0)
TINY = Settings(
    hidden=8,
    plan=SHORT,
    distil_plan=SHORT,
    prune_plan=SHORT,
    teacher_plan=SHORT,
    teacher_hidden=4,
    forms=("int8",),
)
ENOUGH = replace(SHORT, epochs=12, learning_rate=1e-2)


def order_matters(n=240, seed=0):
    """Label: whether the larger of two pulses comes first; the mean over steps says nothing about it."""
    generator = np.random.default_rng(seed)
    small, large = generator.uniform(0.2, 0.5, n), generator.uniform(0.8, 1.2, n)
    first = generator.random(n) < 0.5
    x = np.zeros((n, 4, 2), np.float32)
    x[:, 0, 0], x[:, 3, 0] = np.where(first, large, small), np.where(first, small, large)
    x[:, :, 1] = generator.normal(0, 0.05, (n, 4))
    return Examples(tuple("up" if each else "down" for each in first), None, x, "pulses")


def test_every_form_learns_what_the_mean_cannot_tell(tmp_path) -> None:
    settings = replace(
        TINY,
        hidden=12,
        plan=ENOUGH,
        distil_plan=ENOUGH,
        teacher_plan=ENOUGH,
        prune_plan=replace(ENOUGH, epochs=14),
        sparsity=0.8,
        forms=("f32", "sparse", "int4", "int8"),
    )
    said: list[str] = []
    fitted = fit_classifier(order_matters(), settings=settings, checkpoint=tmp_path / "c", progress=said.append)
    assert fitted.model == "fastgrnn"
    assert "fastgrnn minus bag" in fitted.chosen_because
    assert fitted.difference.low > 0.1
    phases = {phase.name: phase for phase in fitted.phases}
    assert list(phases) == [
        "baseline, f32",
        "distilled, f32",
        "f32",
        "sparse",
        "int4",
        "int8",
        "bag of inputs, f32",
    ]
    for name in ("baseline, f32", "distilled, f32", "int8"):
        assert phases[name].accuracy > 0.9, name
    assert phases["sparse"].accuracy > 0.8
    assert phases["int4"].accuracy > 0.8
    assert phases["bag of inputs, f32"].accuracy < 0.75
    assert 0 < len(said) <= settings.steps(240) + 2
    assert not (tmp_path / "c").exists(), "a run that is done leaves no checkpoints"

    fresh = order_matters(400, seed=9)
    classifier = Classifier.from_bytes(fitted.artifact)
    found = judge(classifier, fresh)
    assert found.accuracy > 0.9
    assert found.interval[0] < found.accuracy <= found.interval[1]
    assert found.rows == 400
    assert found.calibration_error < 0.15
    header = classifier.header
    assert header["labels"] == ["down", "up"]
    assert header["input"]["dimensions"] == 2
    assert len(header["self_check"]) == 3


@pytest.mark.parametrize("activation", ["exact", "piecewise"])
@pytest.mark.parametrize("rank", [None, 3])
@pytest.mark.parametrize("form", export.FORMS)
def test_the_engine_says_what_the_reference_says(form, rank, activation) -> None:
    fresh = order_matters(50, seed=1)
    inputs = data.inputs(fresh, None)
    model = cell.new_model(2, 12, 2, seed=4, rank=rank)
    scales = quantise.calibrate(model, inputs.values, inputs.length, activation)
    exported = export.export_cell(model, activation, form, scales)
    artifact = export.classifier_artifact(exported, ("down", "up"), None, 2, 1.0, {}, version="0.1.0", created="")
    found = Classifier.from_bytes(artifact).predict_logits(fresh.vectors)
    # A value on the edge between two integers may be rounded either way, which moves what follows by a step.
    off = np.abs(found - export.cell_logits(exported, inputs)).max(1)
    assert np.median(off) < 1e-5
    assert off.max() < (1e-5 if form == "f32" else 0.02)


def test_smaller_forms_make_smaller_artifacts() -> None:
    model = cell.new_model(64, 64, 4, seed=0)
    masks = prune.masks(model, 9, epochs=10, final=0.9)
    thin = {name: model[name] * masks[name] if name in prune.PRUNED else model[name] for name in model}
    sizes = {}
    for form in export.FORMS:
        exported = export.export_cell(thin if form == "sparse" else model, "exact", form, None)
        sizes[form] = sum(values.nbytes for values in exported.tensors.values())
    assert sizes["f32"] > 3.5 * sizes["int8"]
    assert sizes["int8"] > 1.6 * sizes["int4"]
    assert sizes["int8"] > 2 * sizes["sparse"]


def test_texts_are_learned_with_the_words_order() -> None:
    kinds = ["small", "large", "old", "young", "black", "white", "tired", "happy"]
    pairs = [(first, second) for first in kinds for second in kinds]
    texts = [f"the {a} cat sees the {b} dog" for a, b in pairs] + [
        f"the {a} dog sees the {b} cat" for a, b in pairs
    ]
    labels = ["cat"] * len(pairs) + ["dog"] * len(pairs)
    settings = replace(TINY, hidden=24, plan=ENOUGH, step_dropout=0.0)
    fitted = fit_classifier(Examples(tuple(labels), tuple(texts), None), settings=settings)
    assert fitted.model == "fastgrnn"
    phases = {phase.name: phase.accuracy for phase in fitted.phases}
    assert phases["int8"] > 0.9
    assert phases["bag of inputs, f32"] < 0.6
    classifier = Classifier.from_bytes(fitted.artifact)
    assert classifier.header["input"]["most_steps"] == 8
    assert classifier.predict(["the green dog sees the green cat"])[0].label == "dog"


KILLED = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {folder!r})
from test_fastgrnn_run import TINY, fit_classifier, order_matters
count = 0
def progress(step):
    global count
    count += 1
    if count == {epochs}:
        os.kill(os.getpid(), signal.SIGKILL)
fit_classifier(order_matters(), kind="fastgrnn", settings=TINY, checkpoint=Path({checkpoint!r}), progress=progress)
"""


def test_a_killed_run_goes_on_and_ends_in_the_bytes_of_one_that_nothing_stopped(tmp_path) -> None:
    """One seed: before the kill and after it in two processes, or in one go."""
    epochs = 5  # within the second of three phases
    folder = tmp_path / "kept"
    script = KILLED.format(folder=str(Path(__file__).parent), epochs=epochs, checkpoint=str(folder))
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, timeout=120, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert list(folder.glob("*.npz"))
    said: list[str] = []
    again = fit_classifier(
        order_matters(), kind="fastgrnn", settings=TINY, checkpoint=folder, progress=said.append
    )
    whole = fit_classifier(order_matters(), kind="fastgrnn", settings=TINY)
    assert again.artifact == whole.artifact
    assert [phase.correct for phase in again.phases] == [phase.correct for phase in whole.phases]
    assert len(said) == 9 - epochs, "finished epochs are not run again"


def test_checkpoints_of_another_run_or_damaged_ones_are_not_used(tmp_path) -> None:
    state = {"a": np.ones(3, np.float32)}
    Checkpoints(tmp_path / "c", "one").save("phase", {"epoch": 4}, state)
    loaded = Checkpoints(tmp_path / "c", "one").load("phase", state)
    assert loaded is not None
    facts, found = loaded
    assert facts["epoch"] == 4
    assert np.array_equal(found["a"], state["a"])
    assert Checkpoints(tmp_path / "c", "two").load("phase", state) is None
    assert Checkpoints(tmp_path / "c", "one").load("phase", {"a": np.ones(4)}) is None
    assert Checkpoints(tmp_path / "c", "one").load("other", state) is None
    path = tmp_path / "c" / "phase.npz"
    path.write_bytes(path.read_bytes()[:60])
    assert Checkpoints(tmp_path / "c", "one").load("phase", state) is None


def test_early_stopping_keeps_the_best_epoch() -> None:
    scores = iter([0.1, 0.5, 0.4, 0.3, 0.2, 0.9])
    seen = []

    def score(model):
        seen.append(float(model["w"][0]))
        return next(scores)

    rows = {"x": np.ones((8, 1), np.float32)}
    plan = Plan(epochs=6, batch=8, patience=3)
    start = {"w": np.zeros(1, np.float32)}
    learned = optimise(
        start, lambda model, batch, key: -(model["w"] * batch["x"]).mean(), rows, score, plan, seed=0
    )
    assert learned.epochs == 5, "three epochs after the second without a better one"
    assert learned.score == 0.5
    assert float(learned.model["w"][0]) == seen[1]


def test_a_loss_that_is_not_finite_is_refused() -> None:
    rows = {"x": np.ones((8, 1), np.float32)}
    start = {"w": np.zeros(1, np.float32)}
    with pytest.raises(TrainingError, match="loss: nan in epoch 1"):
        optimise(start, lambda m, b, k: (m["w"] / 0 * b["x"]).mean(), rows, lambda m: 0.0, SHORT, seed=0)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"hidden": 0}, "hidden"),
        ({"hidden": 513}, "hidden"),
        ({"sparsity": 1.0}, "sparsity"),
        ({"forms": ()}, "form"),
    ],
)
def test_settings_out_of_range_are_refused(changes, field) -> None:
    with pytest.raises(OptionError) as caught:
        replace(TINY, **changes)
    assert caught.value.field == field


def test_one_model_alone_can_be_asked_for() -> None:
    with pytest.raises(OptionError, match="model: forest"):
        fit_classifier(order_matters(), kind="forest", settings=TINY)
    fitted = fit_classifier(order_matters(), kind="bag", settings=TINY)
    assert fitted.model == "bag"
    assert fitted.difference is None
    assert _core.read_header(fitted.artifact)["model"] == {"kind": "bag"}
    assert [phase.name for phase in fitted.phases] == ["bag of inputs, f32"]


def test_judging_needs_a_known_label() -> None:
    classifier = Classifier.from_bytes(fit_classifier(order_matters(), kind="bag", settings=TINY).artifact)
    with pytest.raises(DataError, match="none of the labels"):
        judge(classifier, replace(order_matters(), label=("sideways",) * 240))
