"""The training phases: baseline, distilled, pruned, int4. Each takes a model and gives a better or smaller one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer.training.fastgrnn import cell, losses, prune, quantise
from tiny_dancer.training.fastgrnn.gradients import jax
from tiny_dancer.training.fastgrnn.gradients import numpy as jnp
from tiny_dancer.training.fastgrnn.optimise import Learned, Plan, optimise

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from tiny_dancer.training.fastgrnn.cell import Activation, Array, Parameters
    from tiny_dancer.training.fastgrnn.checkpoint import Checkpoints
    from tiny_dancer.training.fastgrnn.data import Inputs

    Floats = npt.NDArray[np.float32]
    Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Lesson:
    """What every phase learns from and is stopped by.

    Attributes:
        learning, learning_label: inputs and labels (int64 [n]) to learn from.
        stopping, stopping_label: those that say when to stop.
        labels: L.
        activation: exact or piecewise-linear.
        step_dropout: share of steps whose input is dropped while learning.
        state_dropout: share of the last state dropped while learning.
        seed: of order and noise.
        checkpoints: where state is kept.
        progress: called after each epoch.
    """

    learning: Inputs
    learning_label: Ints
    stopping: Inputs
    stopping_label: Ints
    labels: int
    activation: Activation
    step_dropout: float
    state_dropout: float
    seed: int
    checkpoints: Checkpoints
    progress: Callable[[str], None]


def learn(
    lesson: Lesson,
    start: Parameters,
    plan: Plan,
    phase: str,
    *,
    teacher: Floats | None = None,
    share: float = 0.0,
    temperature: float = 1.0,
    masks: Callable[[Parameters, int], Parameters] | None = None,
    held_as: quantise.Form = "f32",
) -> Learned:
    """One phase, from ``start``.

    Args:
        lesson: the data.
        start: parameters to start from.
        plan: how long and how fast.
        phase: its name.
        teacher: logits [n, L] to imitate, or None for labels alone.
        share, temperature: of the distillation loss.
        masks: for pruning.
        held_as: the form whose rounding the forward pass goes through (quantisation-aware training).
    """
    table = None if lesson.learning.table is None else jnp.asarray(lesson.learning.table)
    kind = lesson.activation

    def seen(model: Parameters) -> Parameters:
        return model if held_as == "f32" else quantise.with_fake_quantisation(model, held_as)

    def looked_up(values: Array) -> Array:
        return values if table is None else table[values]

    def loss(model: Parameters, batch: dict[str, Array], key: Array) -> Array:
        model = seen(model)
        steps_key, state_key = jax.random.split(key)
        x = looked_up(batch["values"])
        x = x * jax.random.bernoulli(steps_key, 1 - lesson.step_dropout, x.shape[:2])[..., None]
        h = cell.last_state(model, x, batch["length"], kind)
        h = h * jax.random.bernoulli(state_key, 1 - lesson.state_dropout, h.shape) / (1 - lesson.state_dropout)
        logits = cell.logits(model, h)
        if teacher is None:
            return losses.cross_entropy(logits, batch["label"])
        return losses.distillation(logits, batch["teacher"], batch["label"], share, temperature)

    @jax.jit  # type: ignore[untyped-decorator]
    def held_out(model: Parameters, values: Array, length: Array, label: Array) -> tuple[Array, Array]:
        model = seen(model)
        logits = cell.logits(model, cell.last_state(model, looked_up(values), length, kind))
        return (logits.argmax(-1) == label).mean(), losses.cross_entropy(logits, label)

    def judge(model: Parameters) -> float:
        inputs = lesson.stopping
        accuracy, entropy = held_out(model, inputs.values, inputs.length, lesson.stopping_label)
        return float(accuracy) - 1e-3 * float(entropy)  # equal accuracies: the surer model

    rows = {
        "values": lesson.learning.values,
        "length": lesson.learning.length,
        "label": lesson.learning_label,
        **({} if teacher is None else {"teacher": teacher}),
    }
    return optimise(
        start,
        loss,
        rows,
        judge,
        plan,
        seed=lesson.seed,
        phase=phase,
        checkpoints=lesson.checkpoints,
        masks=masks,
        progress=lesson.progress,
    )


def pruned(
    lesson: Lesson,
    start: Parameters,
    plan: Plan,
    final: float,
    ramp: int,
    *,
    teacher: Floats | None,
    share: float,
    temperature: float,
) -> Learned:
    """Prunes to ``final`` over ``ramp`` epochs, then tunes what is left for the rest of the plan."""
    return learn(
        lesson,
        start,
        replace(plan, keep_from=ramp),
        "pruned",
        teacher=teacher,
        share=share,
        temperature=temperature,
        masks=partial(prune.masks, epochs=ramp, final=final),
    )
