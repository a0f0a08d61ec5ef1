"""Tables of texts and their labels: Parquet, CSV or JSONL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tiny_dancer.errors import DataError
from tiny_dancer.training.data.columns import MISSING, Checker
from tiny_dancer.training.data.raw import read_raw

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TEXT_COLUMNS = ("text", "prompt")
LABEL_COLUMNS = ("label", "intent", "category")


@dataclass(frozen=True, slots=True)
class LabelledTexts:
    """n texts with their labels.

    Attributes:
        texts: n strings.
        labels: n names.
        group: n names, or None where no such column was asked for.
    """

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    group: tuple[str, ...] | None

    def __len__(self) -> int:
        return len(self.texts)


def read_labelled(path: Path | str, *, label: str | None = None, group: str | None = None) -> LabelledTexts:
    """Reads texts (column ``text`` or ``prompt``) and labels.

    Args:
        path: the file; CSV and JSONL also gzipped.
        label: the labels' column; else the first there is of ``label``, ``intent`` and ``category``.
        group: a column of names, for calibration by group.

    Raises:
        DataError: a column is absent, or a row lacks its text, label or group; names column and row.
    """
    asked = {*TEXT_COLUMNS, *((label,) if label else LABEL_COLUMNS), *((group,) if group else ())}
    raw = read_raw(path, lambda name: name in asked)
    checker = Checker(raw)

    def column(wanted: Sequence[str]) -> tuple[str, ...]:
        name = next((each for each in wanted if each in raw.columns), None)
        if name is None:
            found = f"absent from {raw.name}, which has {', '.join(raw.names)}"
            raise DataError(" or ".join(wanted), found, "name the column so, or choose another")
        values = []
        for row, value in enumerate(checker.texts(name)):
            if value is None or value.strip().lower() in (MISSING if wanted is not TEXT_COLUMNS else ("",)):
                raise checker.fault(name, row, value, "fill it in, or leave the row out")
            values.append(value)
        return tuple(values)

    return LabelledTexts(
        texts=column(TEXT_COLUMNS),
        labels=column((label,) if label else LABEL_COLUMNS),
        group=column((group,)) if group else None,
    )
