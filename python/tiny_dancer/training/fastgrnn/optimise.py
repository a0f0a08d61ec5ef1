"""The one training loop: AdamW, warm-up and cosine, early stopping, pruning masks, checkpoints.

Nothing is random but by seed, epoch and step, so a resumed run takes the same steps as one that was never stopped.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer.errors import TrainingError
from tiny_dancer.training.fastgrnn.checkpoint import NOWHERE
from tiny_dancer.training.fastgrnn.gradients import jax, optax
from tiny_dancer.training.fastgrnn.gradients import numpy as jnp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import numpy.typing as npt

    from tiny_dancer.training.fastgrnn.cell import Array, Parameters
    from tiny_dancer.training.fastgrnn.checkpoint import Checkpoints

    Rows = Mapping[str, npt.NDArray[Any]]


_POOL = 16
"""Steps whose rows are sorted by length together."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how fast to learn.

    Attributes:
        epochs: passes over the rows, at most.
        batch: rows a step.
        learning_rate: at the end of the warm-up (the first tenth); it falls to 0 along a half cosine.
        weight_decay: of AdamW, on matrices only.
        patience: epochs without a better score on held-out rows before the phase ends.
        keep_from: first epoch whose model may be kept (pruning: the first at full sparsity).
        fewest_steps: epochs are added until there are so many steps (:meth:`for_rows`).
    """

    epochs: int = 30
    batch: int = 128
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    patience: int = 8
    keep_from: int = 0
    fewest_steps: int = 2000

    def for_rows(self, rows: int) -> Plan:
        """The plan on few rows: smaller steps, and more epochs where there would be too few of them."""
        batch = int(np.clip(rows // 40, 8, self.batch))
        epochs = max(self.epochs, -(-self.fewest_steps * batch // rows))
        # The last epochs, with their small steps, are worth most: stopping waits for half of a long plan.
        return replace(self, batch=batch, epochs=epochs, patience=max(self.patience, epochs // 2))


@dataclass(frozen=True, slots=True)
class Learned:
    """The best model seen, and how it scored on held-out rows.

    Attributes:
        model: its parameters.
        score: on held-out rows, higher is better.
        epochs: run in all.
    """

    model: Parameters
    score: float
    epochs: int


def optimise(
    model: Parameters,
    loss: Callable[[Parameters, dict[str, Array], Array], Array],
    rows: Rows,
    score: Callable[[Parameters], float],
    plan: Plan,
    *,
    seed: int,
    phase: str = "training",
    checkpoints: Checkpoints = NOWHERE,
    masks: Callable[[Parameters, int], Parameters] | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> Learned:
    """Minimises ``loss`` by AdamW and keeps the epoch that scores best.

    Args:
        model: where to start.
        loss: (parameters, batch, random key) to the mean loss of the batch.
        rows: arrays with one row a training example.
        score: of a model on held-out rows, higher is better.
        plan: how long and how fast.
        seed: of order and noise.
        phase: names the checkpoint and the progress.
        checkpoints: where state is kept after each epoch.
        masks: (parameters, epoch) to 0/1 arrays that multiply the parameters after each step of that epoch.
        progress: called with a phrase after each epoch.

    Raises:
        TrainingError: the loss is no longer finite.
    """
    count = len(next(iter(rows.values())))
    batch = min(plan.batch, count)
    steps = count // batch
    optimiser = _optimiser(plan, plan.epochs * steps)

    @jax.jit  # type: ignore[untyped-decorator]
    def update(model: Any, state: Any, mask: Any, batch: dict[str, Array], number: int) -> tuple[Any, Any, Array]:
        key = jax.random.fold_in(jax.random.key(seed), number)
        value, gradient = jax.value_and_grad(loss)(model, batch, key)
        change, state = optimiser.update(gradient, state, model)
        model = optax.apply_updates(model, change)
        return jax.tree.map(jnp.multiply, model, mask), state, value

    # Moments and counts start at 0; in numpy, for what jax makes outside of `update` it compiles piece by piece.
    shapes = jax.eval_shape(optimiser.init, model)
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
    mask = jax.tree.map(lambda leaf: np.ones(np.shape(leaf), np.float32), model)
    best, best_score, best_epoch, first = model, -np.inf, -1, 0
    if (found := checkpoints.load(phase, (model, state, best, mask))) is not None:
        facts, (model, state, best, mask) = found
        best_score, best_epoch, first = facts["best_score"], facts["best_epoch"], facts["epoch"] + 1
        if facts["finished"]:
            return Learned(best, best_score, first)
    epoch = first
    for epoch in range(first, plan.epochs):
        if masks is not None:
            mask = masks(model, epoch)
        values = []
        for step, chosen in enumerate(_batches(rows, count, batch, np.random.default_rng([seed, epoch]))):
            part = _part(rows, chosen)
            model, state, value = update(model, state, mask, part, epoch * steps + step)
            values.append(value)
        total = float(np.sum(jax.device_get(values)))
        if not np.isfinite(total):
            raise TrainingError("loss", f"{total} in epoch {epoch + 1}", "lower the learning rate")
        if epoch >= plan.keep_from:
            reached = score(model)
            if reached > best_score:
                best, best_score, best_epoch = model, reached, epoch
        done = epoch + 1 == plan.epochs or (epoch >= plan.keep_from and epoch - best_epoch >= plan.patience)
        facts = {"epoch": epoch, "best_score": best_score, "best_epoch": best_epoch, "finished": done}
        checkpoints.save(phase, facts, (model, state, best, mask))
        progress(f"{phase}, epoch {epoch + 1}")
        if done:
            break
    return Learned(best, best_score, epoch + 1)


def _batches(rows: Rows, count: int, batch: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Rows of each step, int64 [steps, batch]; where rows have a `length`, those of a step have similar ones."""
    steps = count // batch
    order = generator.permutation(count)[: steps * batch]
    if "length" not in rows:
        return order.reshape(steps, batch)
    for start in range(0, len(order), _POOL * batch):
        pool = order[start : start + _POOL * batch]
        order[start : start + _POOL * batch] = pool[np.argsort(rows["length"][pool], kind="stable")]
    return generator.permutation(order.reshape(steps, batch))


def _part(rows: Rows, chosen: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
    """The rows of one step; `values` lose the padding behind the longest, up to a multiple of 4 (few shapes)."""
    part = {name: values[chosen] for name, values in rows.items()}
    if "length" in part:
        part["values"] = part["values"][:, : -4 * (-int(part["length"].max()) // 4)]
    return part


def _optimiser(plan: Plan, steps: int) -> Any:
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, plan.learning_rate, warmup_steps=max(1, steps // 10), decay_steps=max(2, steps)
    )
    return optax.chain(
        optax.clip_by_global_norm(1.0),
        optax.adamw(schedule, weight_decay=plan.weight_decay, mask=_matrices),
    )


def _matrices(model: Parameters) -> Any:
    return jax.tree.map(lambda each: each.ndim > 1, model)
