"""Labelled texts for routes: read from tables, checked, featurised."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import DataError
from tiny_dancer.training.data.columns import Checker, says_something
from tiny_dancer.training.data.raw import read_raw
from tiny_dancer.training.routes.head import NGRAMS, TextFeatures

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

OUT_OF_SCOPE = "oos"
"""The label of rows that belong to no route, unless another is named; rows without a label belong to none
either."""


@dataclass(frozen=True, slots=True)
class LabelledTexts:
    """n texts and the route of each.

    Attributes:
        text: n texts.
        label: n names; None where the row is out of scope. Empty where labels were not read.
        name: of the file, for messages.
    """

    text: tuple[str, ...]
    label: tuple[str | None, ...]
    name: str = "data"

    def __len__(self) -> int:
        return len(self.text)

    def digest(self) -> str:
        """SHA-256 over texts and labels."""
        sha = hashlib.sha256()
        for each in (*self.text, *(label or "" for label in self.label)):
            sha.update(each.encode() + b"\0")
        return sha.hexdigest()


def read_texts(
    path: Path | object, text: str = "text", label: str | None = None, out_of_scope: str = OUT_OF_SCOPE
) -> LabelledTexts:
    """Reads a column of texts, and of labels where one is named.

    Raises:
        DataError: no such file or column, no rows, an empty text.
    """
    wanted = {text, label}
    table = read_raw(path, lambda name: name in wanted)
    for column, option in ((text, "--text"), (label, "--label")):
        if column is not None and column not in table.columns:
            found = f"no such column in {table.name}: {', '.join(table.names)}"
            raise DataError(column, found, f"name the column ({option})")
    checker = Checker(table)
    texts = checker.texts(text)
    for row, value in enumerate(texts):
        if value is None or not says_something(value):
            raise checker.fault(text, row, value, "give the row a text, or drop it")
    if not texts:
        raise DataError("table", f"{table.name} has no rows", "add rows")
    labels: list[str | None] = []
    if label is not None:
        labels = [
            None if each is None or not each.strip() or each == out_of_scope else each
            for each in checker.texts(label)
        ]
    return LabelledTexts(tuple(map(str, texts)), tuple(labels), table.name)


@cache
def everyday_requests() -> tuple[str, ...]:
    """Requests that belong to none of anybody's routes, in no order (``recipes/everyday_requests.py``)."""
    return tuple(_core.data_file("requests.txt").decode().splitlines())


def features_of(texts: Sequence[str], vectors: Any = None, speller: _core.Speller | None = None) -> TextFeatures:
    """What heads read of texts; ``vectors`` [n, D] of another encoder take the place of the engine's embedding,
    and unknown words are read as ``speller`` does.

    Raises:
        RequestError: a text of white space alone, or no valid Unicode.
    """
    from scipy import sparse

    table = _core.featurise(texts, by=_core.sentence_encoder(), speller=speller)
    ones = np.ones(len(table.ngrams), np.float32)
    ngrams = sparse.csr_matrix(
        (ones, table.ngrams.astype(np.int32), table.ngram_offsets), shape=(len(table.tokens), NGRAMS)
    )
    found = np.asarray(table.embedding if vectors is None else vectors, np.float32)
    length = np.linalg.norm(found, axis=1, keepdims=True)
    return TextFeatures(ngrams, np.asarray(found / np.where(length == 0, 1, length), np.float32))
