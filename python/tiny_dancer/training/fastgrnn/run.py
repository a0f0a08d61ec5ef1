"""The pipeline, top to bottom: baseline → distilled → pruned → integers, beside the plain competitor."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer.errors import OptionError
from tiny_dancer.evaluation.bootstrap import paired_difference
from tiny_dancer.evaluation.overlap import remember_inputs
from tiny_dancer.extras import require
from tiny_dancer.routing import Classifier
from tiny_dancer.training.fastgrnn import cell, data, export, phases, prune, quantise, report
from tiny_dancer.training.fastgrnn.bag import fit_bag
from tiny_dancer.training.fastgrnn.checkpoint import Checkpoints
from tiny_dancer.training.fastgrnn.optimise import Plan
from tiny_dancer.training.fastgrnn.teacher import TEACHER_PLAN, teacher_logits

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    from tiny_dancer.evaluation.bootstrap import Interval
    from tiny_dancer.training.fastgrnn.data import Examples
    from tiny_dancer.training.fastgrnn.export import Exported, Held

KINDS = ("auto", "fastgrnn", "bag")


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything about a run that is no data.

    Attributes:
        hidden: H, at most 512.
        rank: of W and U as products of two factors; None keeps them whole.
        activation: exact, or the paper's piecewise-linear pair.
        forms: what the better of baseline and distilled model is turned into; the last one is written.
        sparsity: share of W and U that pruning removes.
        plan: of the baseline.
        distil_plan: of the distilled model, which starts from the baseline.
        prune_plan: of pruning and the tuning after it.
        teacher_hidden, teachers, teacher_plan: size, number and plan of the teachers.
        share, temperature: a and T of the distillation loss.
        step_dropout, state_dropout: noise while learning; steps are dropped from texts only.
        seed: of everything random.
    """

    hidden: int = 256
    rank: int | None = None
    activation: cell.Activation = "exact"
    forms: tuple[Held, ...] = ("int8",)
    sparsity: float = 0.9
    plan: Plan = field(default_factory=lambda: Plan(epochs=20, learning_rate=5e-3))
    distil_plan: Plan = field(default_factory=lambda: Plan(epochs=14, learning_rate=3e-3))
    prune_plan: Plan = field(default_factory=lambda: Plan(epochs=18, learning_rate=2e-3))
    teacher_hidden: int = 128
    teachers: int = 1
    teacher_plan: Plan = TEACHER_PLAN
    share: float = 0.7
    temperature: float = 2.0
    step_dropout: float = 0.1
    state_dropout: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.hidden <= 512:
            raise OptionError("hidden", self.hidden, "give 1 to 512")
        if not 0 < self.sparsity < 1:
            raise OptionError("sparsity", self.sparsity, "give a share between 0 and 1, such as 0.9")
        unknown = [form for form in self.forms if form not in export.FORMS]
        if unknown or not self.forms:
            raise OptionError("form", ", ".join(unknown) or "none", f"give one of {', '.join(export.FORMS)}")

    def steps(self, rows: int) -> int:
        """Epochs of all phases together, at most, on so many rows: how often progress is reported."""
        plans = [self.plan, self.distil_plan, *[self.teacher_plan] * self.teachers]
        plans += [self.prune_plan] * ("sparse" in self.forms) + [self.distil_plan] * ("int4" in self.forms)
        return sum(plan.for_rows(rows).epochs for plan in plans)


@dataclass(frozen=True, slots=True)
class FittedClassifier:
    """A trained classifier and how it came about.

    Attributes:
        artifact: the file's bytes.
        model: `fastgrnn` or `bag`: which one is in it.
        phases: the training table.
        difference: accuracy of fastgrnn minus that of the bag on held-out rows; None where one was asked for.
        chosen_because: which model is written and why, in words.
        split: the rows learned from, stopped on and held out.
    """

    artifact: bytes
    model: str
    phases: tuple[report.Phase, ...]
    difference: Interval | None
    chosen_because: str
    split: data.Split


def fit_classifier(
    examples: Examples,
    validation: Examples | None = None,
    *,
    kind: str = "auto",
    settings: Settings = Settings(),
    checkpoint: Path | None = None,
    version: str = "0.1.0",
    created: str = "",
    progress: Callable[[str], None] = lambda _: None,
) -> FittedClassifier:
    """Trains a classifier; the same examples, settings and seed give the same bytes on one machine.

    Args:
        examples: labelled texts or labelled sequences of vectors.
        validation: held-out examples; None holds out a fifth of each label.
        kind: `fastgrnn`, `bag`, or `auto`: both, and the one that is right on more held-out rows.
        settings: everything else.
        checkpoint: folder that keeps the state after each epoch, so that a run that was killed goes on there; it
            is removed at the end.
        version, created: of the artifact.
        progress: called after each epoch.

    Raises:
        TrainingError: too few rows or labels, or a loss that is not finite.
        DataError: validation examples of another kind or without a known label.
        MissingExtraError: jax is not installed, which all but a bag needs.
    """
    if kind not in KINDS:
        raise OptionError("model", kind, "give auto, fastgrnn or bag")
    if kind != "bag":
        require("jax", "optax", instead="ask for the model bag, which needs neither")
    split = data.split(examples, validation, settings.seed)
    names = tuple(sorted(set(examples.label)))
    number = {name: at for at, name in enumerate(names)}
    label = [
        np.array([number[each] for each in part.label])
        for part in (split.learning, split.stopping, split.held_out)
    ]
    steps = None if split.learning.texts is None else data.most_steps(split.learning)
    run = _Run(
        split, names, label, steps, settings, version, created, _checkpoints(checkpoint, split, settings), progress
    )

    found: dict[str, _Made] = {}
    if kind != "bag":
        found["fastgrnn"] = run.fastgrnn()
    if kind != "fastgrnn":
        found["bag"] = run.bag()
    difference = None
    chosen = next(iter(found))
    because = f"{chosen}, as asked"
    if kind == "auto":
        difference = paired_difference(found["fastgrnn"].right, found["bag"].right, bounds=(-1.0, 1.0))
        chosen = "fastgrnn" if difference.estimate > 0 else "bag"
        because = report.verdict(chosen, difference)
    run.checkpoints.clear()
    return FittedClassifier(found[chosen].artifact, chosen, tuple(run.table), difference, because, split)


def _checkpoints(folder: Path | None, split: data.Split, settings: Settings) -> Checkpoints:
    facts = [part.digest() for part in (split.learning, split.stopping)]
    content = json.dumps([facts, asdict(settings)], sort_keys=True)
    return Checkpoints(folder, hashlib.sha256(content.encode()).hexdigest())


@dataclass(frozen=True, slots=True)
class _Made:
    """An artifact, and which held-out rows it labels rightly (float64 [n], 0 or 1)."""

    artifact: bytes
    right: npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Run:
    """One run: the data as the phases want them, and the table they fill."""

    split: data.Split
    labels: tuple[str, ...]
    label: list[npt.NDArray[np.int64]]
    steps: int | None
    settings: Settings
    version: str
    created: str
    checkpoints: Checkpoints
    progress: Callable[[str], None]
    table: list[report.Phase] = field(default_factory=list)

    def fastgrnn(self) -> _Made:
        """All phases of the cell; the last form asked for."""
        settings, rows = self.settings, len(self.split.learning)
        learning, stopping = data.compacted(
            *(data.inputs(part, self.steps) for part in (self.split.learning, self.split.stopping))
        )
        texts = self.steps is not None
        lesson = phases.Lesson(
            learning,
            self.label[0],
            stopping,
            self.label[1],
            len(self.labels),
            settings.activation,
            settings.step_dropout if texts else 0.0,
            settings.state_dropout,
            settings.seed,
            self.checkpoints,
            self.progress,
        )
        start = cell.new_model(
            learning.dimensions, settings.hidden, len(self.labels), settings.seed, settings.rank
        )
        baseline = phases.learn(lesson, start, settings.plan.for_rows(rows), "baseline")
        self._judge("baseline, f32", self._exported(baseline.model, "f32", learning), stopping, baseline.epochs)

        teacher, accuracy, size = teacher_logits(
            (learning, self.label[0]),
            (stopping, self.label[1]),
            len(self.labels),
            hidden=settings.teacher_hidden,
            members=settings.teachers,
            plan=settings.teacher_plan.for_rows(rows),
            seed=settings.seed,
            checkpoints=self.checkpoints,
            progress=self.progress,
        )
        teaching = phases.Teaching(teacher, settings.share, settings.temperature)
        distilled = phases.learn(
            lesson, baseline.model, settings.distil_plan.for_rows(rows), "distilled", teaching=teaching
        )
        note = f"teachers: {settings.teachers} GRU, {size:,} weights, {accuracy:.4f} on stopping rows"
        better = max(baseline, distilled, key=lambda each: each.score)
        if better is baseline:
            note += "; no better there than the baseline, which goes on"
        self._judge(
            "distilled, f32", self._exported(distilled.model, "f32", learning), stopping, distilled.epochs, note
        )
        for form in settings.forms:
            model, epochs, note = better.model, 0, ""
            if form == "sparse":
                thinned = phases.pruned(
                    lesson, model, settings.prune_plan.for_rows(rows), settings.sparsity, teaching
                )
                model, epochs = thinned.model, thinned.epochs
                note = f"{prune.share_of_zeros(model):.1%} of W and U are 0"
            if form == "int4":
                aware = phases.learn(
                    lesson, model, settings.distil_plan.for_rows(rows), "int4", held_as="int4", teaching=teaching
                )
                model, epochs = aware.model, aware.epochs
            made = self._judge(form, self._exported(model, form, learning), stopping, epochs, note)
        return made

    def bag(self) -> _Made:
        """The plain competitor."""
        split = self.split
        bag = fit_bag(split.learning, self.label[0], split.stopping, self.label[1], len(self.labels))
        exported = export.Exported("bag", bag.tensors())
        temperature = export.fit_temperature(bag.logits(split.stopping), self.label[1])
        return self._made("bag of inputs, f32", exported, temperature, 0)

    def _exported(self, model: cell.Parameters, form: Held, learning: data.Inputs) -> Exported:
        """The model in a form, its activation scales calibrated on rows learned from."""
        scales = None
        if form != "f32":
            rows = np.linspace(0, len(learning.length) - 1, min(len(learning.length), quantise.MOST_SAMPLES))
            chosen = rows.astype(np.int64)
            scales = quantise.calibrate(
                model, learning.dense(chosen), learning.length[chosen], self.settings.activation, learning.step
            )
        return export.export_cell(model, self.settings.activation, form, scales)

    def _judge(self, name: str, exported: Exported, stopping: data.Inputs, epochs: int, note: str = "") -> _Made:
        temperature = export.fit_temperature(export.cell_logits(exported, stopping), self.label[1])
        return self._made(name, exported, temperature, epochs, note)

    def _rows_seen(self) -> dict[str, Any]:
        """A filter of the inputs learned from, by which calibration refuses them and evaluation tells them."""
        return remember_inputs([*self.split.learning.inputs, *self.split.stopping.inputs])

    def _made(self, name: str, exported: Exported, temperature: float, epochs: int, note: str = "") -> _Made:
        """The artifact, judged and timed in the engine, as one row of the table."""
        held_out = self.split.held_out
        dimensions = 0 if held_out.vectors is None else held_out.vectors.shape[2]
        facts = {
            "training": {
                "rows": len(self.split.learning),
                "stopping_rows": len(self.split.stopping),
                "data_digest": self.split.learning.digest(),
                "rows_seen": self._rows_seen(),
                "seed": self.settings.seed,
                "phase": name,
            }
        }
        artifact = export.classifier_artifact(
            exported,
            self.labels,
            self.steps,
            dimensions,
            temperature,
            facts,
            version=self.version,
            created=self.created,
        )
        classifier = Classifier.from_bytes(artifact)
        right = report.correct_rows(classifier.predict_logits(held_out.inputs), self.label[2])
        some = [held_out.rows(np.array([row])).inputs for row in range(min(64, len(held_out)))]
        microseconds, ratio = report.timed([partial(classifier.predict_proba, each) for each in some])
        self.table.append(
            report.Phase(name, len(artifact), int(right.sum()), len(right), microseconds, ratio, epochs, note)
        )
        return _Made(artifact, right)


def settings_for(
    examples: Examples, *, hidden: int | None = None, form: str = "int8", sparsity: float = 0.9, seed: int = 0
) -> Settings:
    """Settings that suit texts (H = 256) or sequences of vectors (H = 64, smaller teachers)."""
    texts = examples.texts is not None
    return Settings(
        hidden=(256 if texts else 64) if hidden is None else hidden,
        forms=(form,),  # type: ignore[arg-type]
        sparsity=sparsity,
        teacher_hidden=128 if texts else 64,
        seed=seed,
    )
