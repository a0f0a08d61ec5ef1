"""Labelled texts and labelled sequences of vectors: read, checked, split."""

from __future__ import annotations

import hashlib
import warnings
import zipfile
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer import _core, files
from tiny_dancer.errors import DataError, TrainingError
from tiny_dancer.training.data.columns import Checker
from tiny_dancer.training.data.raw import DataWarning, not_readable, read_raw

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

LABEL_COLUMNS = ("label", "intent", "category")
"""Where labels are looked for unless a column is named."""
TOKEN_SCALE = 1 / 16
"""Steps of a text are the encoder's int8 rows times this constant, which brings their values to about 0.7."""
MOST_STEPS = 64
LARGEST_VALUE = 1e9
"""The engine takes no larger input."""
FEWEST_ROWS = 20
_FEWEST_OF_A_LABEL = 3


@dataclass(frozen=True, slots=True)
class Examples:
    """n texts or n sequences of vectors, and what they are.

    Attributes:
        label: n strings; empty where labels were not read.
        texts: n texts, or None.
        vectors: float32 [n, steps, dimensions], or None.
        name: of the file, for messages.
    """

    label: tuple[str, ...]
    texts: tuple[str, ...] | None
    vectors: npt.NDArray[np.float32] | None
    name: str = "data"

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def inputs(self) -> Any:
        """What a classifier is given: the texts or the vectors."""
        return self.texts if self.vectors is None else self.vectors

    def rows(self, index: npt.NDArray[np.int64]) -> Examples:
        """Examples of the rows at ``index``, in that order."""
        return replace(
            self,
            label=tuple(self.label[i] for i in index) if self.label else (),
            texts=None if self.texts is None else tuple(self.texts[i] for i in index),
            vectors=None if self.vectors is None else self.vectors[index],
        )

    def digest(self) -> str:
        """SHA-256 over inputs and labels."""
        sha = hashlib.sha256()
        for text in (*self.label, *(self.texts or ())):
            sha.update(text.encode() + b"\0")
        if self.vectors is not None:
            sha.update(np.ascontiguousarray(self.vectors).tobytes())
        return sha.hexdigest()


@dataclass(frozen=True, slots=True)
class Split:
    """Rows to learn from, rows that stop and calibrate the learning, rows that judge the result."""

    learning: Examples
    stopping: Examples
    held_out: Examples


def read_examples(path: Path, *, label_column: str | None = None, require_label: bool = True) -> Examples:
    """Reads a table with `text` and `label` (Parquet, CSV, JSONL), or an `.npz` with `x` and `y`.

    Args:
        path: the file. In an `.npz`, `x` is [n, steps, dimensions] or [n, dimensions] (one step) and `y` [n].
        label_column: of a table; else the first there is of `label`, `intent` and `category`.
        require_label: False reads no labels: for predicting.

    Raises:
        DataError: no such file or column, an empty text, a missing label, numbers that are not finite.
    """
    if path.suffix.lower() == ".npz":
        return _read_arrays(path, require_label)
    wanted = {"text", label_column} if label_column else {"text", *LABEL_COLUMNS}
    table = read_raw(path, lambda name: name in wanted)
    checker = Checker(table)
    if "text" not in table.columns:
        raise DataError(
            "text", f"no such column in {table.name}: {', '.join(table.names)}", "name the texts' column so"
        )
    texts = checker.texts("text")
    for row, text in enumerate(texts):
        if text is None or not text.strip():
            raise checker.fault("text", row, text, "give the row a text, or drop it")
    if not texts:
        raise DataError("table", f"{table.name} has no rows", "add rows")
    labels: list[str | None] = []
    if require_label:
        column = label_column or next((name for name in LABEL_COLUMNS if name in table.columns), LABEL_COLUMNS[0])
        if column not in table.columns:
            found = f"no such column in {table.name}: {', '.join(table.names)}"
            raise DataError(column, found, "name the column that holds the labels (--label)")
        labels = checker.texts(column)
        for row, label in enumerate(labels):
            if label is None or not label.strip():
                raise checker.fault(column, row, label, "give the row a label, or drop it")
    return Examples(tuple(map(str, labels)), tuple(map(str, texts)), None, table.name)


def _read_arrays(path: Path, require_label: bool) -> Examples:
    try:
        opened = files.opened(path)
    except OSError as error:
        raise not_readable(path, error) from error
    try:
        # Opened here: numpy leaves a torn file open.
        with opened, np.load(opened, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("x", "y") if name in file.files}
    except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise DataError("table", f"{path.name}: {error}", "write it with numpy.savez, without objects") from error
    for name in ("x", "y") if require_label else ("x",):
        if name not in arrays:
            raise DataError(name, f"no such array in {path.name}", "write x [n, steps, dimensions] and y [n]")
    x = arrays["x"]
    if x.ndim == 2:
        x = x[:, None]
    if x.ndim != 3 or not x.size or x.dtype.kind not in "fiub":
        raise DataError("x", f"{x.dtype} {x.shape} in {path.name}", "give numbers [n, steps, dimensions]")
    inside = (x >= -LARGEST_VALUE) & (x <= LARGEST_VALUE)
    if not inside.all():
        row, step, column = np.argwhere(~inside)[0]
        found = f"{x[row, step, column]} in row {row}, step {step}, column {column} of {path.name}"
        raise DataError("x", found, f"give finite numbers within ±{LARGEST_VALUE:g}")
    x = x.astype(np.float32)
    if not require_label:
        return Examples((), None, x, path.name)
    y = arrays["y"]
    if y.shape != (len(x),):
        raise DataError("y", f"shape {y.shape} for {len(x)} rows of x", "give one label a row")
    if y.dtype.kind not in "iuUb":
        raise DataError("y", f"type {y.dtype} in {path.name}", "give labels as whole numbers or text")
    return Examples(tuple(str(label) for label in y.tolist()), None, x, path.name)


def split(examples: Examples, validation: Examples | None, seed: int) -> Split:
    """Holds out a fifth of each label unless ``validation`` is given, and a tenth of the rest to stop on.

    Equal inputs with equal labels stay together. Rows of ``validation`` whose label is nowhere in ``examples`` are
    left out, with a warning: no model can be right on them.

    Raises:
        TrainingError: too few rows, one label only, or a label with too few rows or too few different ones.
        DataError: ``validation`` is of another kind, or knows none of the labels.
    """
    names, count = np.unique(examples.label, return_counts=True)
    if len(names) < 2:
        raise TrainingError("label", f"only {str(names[0])!r}", "give rows of at least two labels")
    if len(examples) < FEWEST_ROWS:
        raise TrainingError("table", f"{len(examples)} rows", f"give at least {FEWEST_ROWS}")
    rare = [str(name) for name, each in zip(names, count, strict=True) if each < _FEWEST_OF_A_LABEL]
    if rare:
        remedy = f"give at least {_FEWEST_OF_A_LABEL} rows of each label, or join labels"
        raise TrainingError("label", f"too few rows of {', '.join(rare[:10])}", remedy)
    # Equal rows stay together: each set needs one of its own.
    needed = 3 if validation is None else 2
    same = _numbered(examples)
    labels = np.array(examples.label)
    alike = [str(name) for name in names if len(np.unique(same[labels == name])) < needed]
    if alike:
        remedy = f"give at least {needed} different rows of each label, or join labels"
        raise TrainingError("label", f"too few different rows of {', '.join(alike[:10])}", remedy)
    rest = examples
    if validation is None:
        outside = _share(examples, 0.2, seed, leave=2)
        validation, rest = examples.rows(np.flatnonzero(outside)), examples.rows(np.flatnonzero(~outside))
    else:
        validation = with_known_labels(validation, tuple(map(str, names)), examples)
    stopping = _share(rest, 0.1, seed + 1, leave=1)
    return Split(rest.rows(np.flatnonzero(~stopping)), rest.rows(np.flatnonzero(stopping)), validation)


def with_known_labels(examples: Examples, labels: Sequence[str], like: Examples | None = None) -> Examples:
    """The examples whose label is one of ``labels``; a warning names the others."""
    if like is not None and (
        (examples.vectors is None) != (like.vectors is None)
        or (
            examples.vectors is not None
            and like.vectors is not None
            and examples.vectors.shape[2] != like.vectors.shape[2]
        )
    ):
        raise DataError("validation", f"{examples.name} holds other inputs than {like.name}", "give the same kind")
    known = np.isin(examples.label, labels)
    if not known.any():
        found = f"none of the labels in {examples.name} is known: {', '.join(sorted(set(examples.label))[:10])}"
        raise DataError("label", found, "give rows with labels that were learned")
    if not known.all():
        unknown = sorted({examples.label[row] for row in np.flatnonzero(~known)})
        message = (
            f"{int((~known).sum())} rows of {examples.name} are left out: no row teaches their label"
            f" ({', '.join(unknown[:10])}{', …' if len(unknown) > 10 else ''})"
        )
        warnings.warn(DataWarning(message), stacklevel=2)
    return examples.rows(np.flatnonzero(known))


def _numbered(examples: Examples) -> npt.NDArray[np.int64]:
    """A number for each row, the same for equal inputs: int64 [n]."""
    if examples.texts is not None:
        # No array of texts: every one would take as much memory as the longest.
        number = {text: at for at, text in enumerate(sorted(set(examples.texts)))}
        return np.array([number[text] for text in examples.texts])
    assert examples.vectors is not None
    flat = np.ascontiguousarray(examples.vectors).reshape(len(examples), -1)
    _, same = np.unique(flat, axis=0, return_inverse=True)
    return same.ravel()


def _share(examples: Examples, share: float, seed: int, leave: int) -> npt.NDArray[np.bool_]:
    """A random share of each label's rows, at least one of each: bool [n]. Equal rows stay together, and ``leave``
    different ones of each label are left."""
    same = _numbered(examples)
    drawn = np.random.default_rng(seed).random(int(same.max()) + 1)[same]
    chosen = np.zeros(len(examples), bool)
    labels = np.array(examples.label)
    for name in np.unique(labels):
        own = np.flatnonzero(labels == name)
        different = np.unique(drawn[own])
        enough = np.sort(drawn[own])[max(1, round(share * len(own))) - 1]
        chosen[own] = drawn[own] <= min(enough, different[len(different) - leave - 1])
    return chosen


@dataclass(frozen=True, slots=True)
class Inputs:
    """What the cell steps over.

    Attributes:
        values: tokens' rows in ``table``, int32 [n, steps], or float32 [n, steps, dimensions]; padded behind.
        length: int64 [n], steps of each row.
        table: float32 [rows, dimensions], or None where ``values`` are the inputs themselves.
        step: every input is a whole multiple of it, in ±127; None where not.
    """

    values: npt.NDArray[Any]
    length: npt.NDArray[np.int64]
    table: npt.NDArray[np.float32] | None
    step: float | None

    @property
    def dimensions(self) -> int:
        """Of one step's input."""
        return int((self.values if self.table is None else self.table).shape[-1])

    def dense(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Inputs of some rows, float32 [rows, steps, dimensions]."""
        return self.values[rows] if self.table is None else self.table[self.values[rows]]


def most_steps(examples: Examples) -> int:
    """Steps a text is cut to: all of it for 99 texts in 100, at least 8, at most 64."""
    assert examples.texts is not None
    offsets, _ = _core.token_steps(examples.texts, MOST_STEPS)
    return int(np.clip(np.ceil(np.quantile(np.diff(offsets), 0.99)), 8, MOST_STEPS))


def inputs(examples: Examples, steps: int | None) -> Inputs:
    """Inputs of texts, cut to ``steps`` known tokens each, or of vectors as they are (``steps`` is None)."""
    if examples.texts is None:
        assert examples.vectors is not None
        n, length, _ = examples.vectors.shape
        return Inputs(examples.vectors, np.full(n, length, np.int64), None, None)
    assert steps is not None
    offsets, tokens = _core.token_steps(examples.texts, steps)
    length = np.diff(offsets)
    inside = np.arange(steps) < length[:, None]
    values = np.zeros(inside.shape, np.int32)
    values[inside] = tokens
    table = _core.token_rows().astype(np.float32) * np.float32(TOKEN_SCALE)
    return Inputs(values, length, table, TOKEN_SCALE)


def compacted(first: Inputs, second: Inputs) -> tuple[Inputs, Inputs]:
    """Both with a table of those rows alone that occur in them: what is learned on carries it along."""
    if first.table is None:
        return first, second
    used, place = np.unique(np.concatenate([first.values, second.values]), return_inverse=True)
    place = place.reshape(-1, first.values.shape[1]).astype(np.int32)
    table = first.table[used]
    count = len(first.values)
    return replace(first, values=place[:count], table=table), replace(second, values=place[count:], table=table)
