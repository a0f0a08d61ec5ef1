"""Prediction sets for a classifier: calibrated on rows it was not trained on, kept in its artifact."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import DataError, OptionError
from tiny_dancer.evaluation.conformal import SplitConformalClassifier, same_length
from tiny_dancer.evaluation.overlap import held_out, training_inputs
from tiny_dancer.routing import Classifier
from tiny_dancer.training.data.columns import Checker
from tiny_dancer.training.data.raw import read_raw

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from tiny_dancer.evaluation.conformal import LabelMethod


def read_groups(path: Path, column: str) -> tuple[str, ...]:
    """A table's column of names, n strings.

    Raises:
        DataError: no such column, or a row without a name.
    """
    if path.suffix.lower() == ".npz":
        raise DataError(column, f"no names in {path.name}", "groups need a table: Parquet, CSV or JSONL")
    raw = read_raw(path, lambda name: name == column)
    checker = Checker(raw)
    if column not in raw.columns:
        found = f"no such column in {raw.name}: {', '.join(raw.names)}"
        raise DataError(column, found, "name the column that holds the groups (--group)")
    names = []
    for row, name in enumerate(checker.texts(column)):
        if name is None or not name.strip():
            raise checker.fault(column, row, name, "give the row a group, or drop it")
        names.append(name)
    return tuple(names)


@dataclass(frozen=True, slots=True)
class CalibratedClassifier:
    """A classifier that gives prediction sets.

    Attributes:
        artifact: the file's bytes.
        rows: it was calibrated on.
        alpha: share of misses allowed.
        threshold: the largest nonconformity score in a set, from all rows.
        own: groups with a threshold of their own.
        pooled: groups with too few rows for one.
        accuracy: share of these rows whose most probable label is the true one.
        mean_size: labels in a set, mean over these rows.
        empty: share of these rows whose set is empty.
        dropped: rows left out because they equal rows trained on.
    """

    artifact: bytes
    rows: int
    alpha: float
    threshold: float
    own: tuple[str, ...]
    pooled: tuple[str, ...]
    accuracy: float
    mean_size: float
    empty: float
    dropped: int = 0


def calibrate_classifier(
    artifact: bytes,
    inputs: Sequence[str] | npt.NDArray[Any] | Sequence[npt.ArrayLike],
    labels: Sequence[str],
    *,
    alpha: float = 0.1,
    method: LabelMethod = "lac",
    group: Sequence[str] | None = None,
    notes: Mapping[str, str] | None = None,
) -> CalibratedClassifier:
    """Writes the threshold of split conformal prediction into a classifier's artifact.

    A set then holds the true label with probability at least 1 - alpha, over inputs like these and over draws of
    these rows; see :mod:`tiny_dancer.evaluation.conformal`. An earlier calibration is replaced.

    Args:
        artifact: the file's bytes, of kind ``classifier``.
        inputs: n texts or sequences of vectors it was not trained on, as :meth:`Classifier.predict` takes them.
        labels: n of the artifact's labels.
        alpha: share of misses allowed.
        method: ``lac`` (smallest sets on average, sometimes empty) or ``aps`` (never empty).
        group: n names; each group with at least ceil(1 / alpha) - 1 rows gets a threshold of its own.
        notes: to record beside it, such as a date.

    Raises:
        DataError: unknown labels, or rows the artifact was trained on.
        OptionError: an alpha outside (0, 1), too few rows for it (says how many are needed), or the method.
        RequestError: an input that cannot be labelled.
    """
    classifier = Classifier(artifact)
    same_length("labels", len(labels), len(inputs))
    column = {label: index for index, label in enumerate(classifier.labels)}
    unknown = sorted({label for label in labels if label not in column})
    if unknown:
        rows = sum(label not in column for label in labels)
        shown = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        remedy = "leave these rows out: no set can hold a label the classifier does not know"
        raise DataError("labels", f"{len(unknown)} unknown to the classifier in {rows} rows: {shown}", remedy)
    if method not in ("lac", "aps"):
        raise OptionError("method", method, "choose lac or aps")
    kept = held_out(training_inputs(classifier.header, inputs))
    dropped = len(labels) - len(kept)
    if dropped:
        inputs, labels = [inputs[row] for row in kept], [labels[row] for row in kept]
        group = None if group is None else [group[row] for row in kept]
    probabilities = classifier.predict_proba(inputs)
    truth = np.array([column[label] for label in labels], np.int64)
    fitted = SplitConformalClassifier.conformalize(probabilities, truth, alpha=alpha, method=method, group=group)
    sizes = fitted.predict_set(probabilities, group=group).sum(axis=1)
    sha = hashlib.sha256(np.ascontiguousarray(probabilities).tobytes())
    sha.update("\n".join(labels).encode())
    found = fitted.header() | dict(notes or {}) | {"data_digest": sha.hexdigest()}
    own = tuple(found.get("groups", {}))
    return CalibratedClassifier(
        artifact=_core.with_header(artifact, {**classifier.header, "conformal": found}),
        rows=fitted.rows,
        alpha=fitted.alpha,
        threshold=fitted.threshold,
        own=own,
        pooled=tuple(sorted(set(group or ()) - set(own))),
        accuracy=float((probabilities.argmax(axis=1) == truth).mean()),
        mean_size=float(sizes.mean()),
        empty=float((sizes == 0).mean()),
        dropped=dropped,
    )
