"""Featurised tables: outcomes with the engine's hashed features instead of any text.

Rows that are kin are in one group, also those that only the texts tell.

The columns, beside ``sample_id``, ``eval_name``, ``group``, ``weight`` and the models' own:

* ``features|ngrams``: list of uint32, the gaps between a row's sorted n-gram numbers (the first
  counts from zero). Random gaps of an 18-bit space cost 10 bits each under byte-stream-split and
  zstd, against 12 as Parquet's own delta encoding.
* ``features|cues``: fixed-size binary, the row's little-endian float32 cues.
* ``features|embedding``: fixed-size binary, the row's int8 values.
* ``features|tokens``: int32.

The schema's metadata holds the feature specification under ``tiny_dancer_features``.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tiny_dancer import _core
from tiny_dancer.errors import DataError
from tiny_dancer.evaluation.disguise import Texts
from tiny_dancer.evaluation.groups import independent
from tiny_dancer.training.data import arrow
from tiny_dancer.training.data.raw import read_raw
from tiny_dancer.types import FeatureTable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tiny_dancer.training.data.arrow import Column
    from tiny_dancer.training.data.raw import RawTable
    from tiny_dancer.types import Outcomes

NGRAMS = "features|ngrams"
CUES = "features|cues"
EMBEDDING = "features|embedding"
TOKENS = "features|tokens"
LEADING_COLUMNS = ("sample_id", "eval_name", "group", "weight")
FEATURE_COLUMNS = (NGRAMS, CUES, EMBEDDING, TOKENS)
SPEC_KEY = "tiny_dancer_features"
NGRAM_SPACE = 2 * _core.CHAR_BASE
REMEDY = "featurise the table again"


def write_featurised(outcomes: Outcomes, path: Path | str, *, feature_spec: str) -> None:
    """Writes outcomes with their features, and no text, to one Parquet file.

    Reading it back gives the same arrays bit for bit.

    Args:
        outcomes: featurised outcomes; prompt, tools and messages are left out.
        path: the file to write, ending in ``.parquet``.
        feature_spec: what the features were made with, as text; tables are joined only when equal.

    Raises:
        DataError: outcomes without features, a model name no column can have, another suffix, or a
            path that cannot be written.
    """
    path = Path(path)
    features = outcomes.features
    if features is None:
        raise DataError("features", "none", "featurise the outcomes before writing them")
    if path.suffix.lower() != ".parquet":
        raise DataError("path", path.name, "a featurised table is a .parquet file")
    for model in outcomes.models:
        if "|" in model or model in (*LEADING_COLUMNS, "prompt", "tools", "messages"):
            raise DataError("models", model, "rename the model: a table's column cannot have this name")
    columns: dict[str, Column] = {
        "sample_id": arrow.strings(outcomes.sample_id),
        "eval_name": arrow.strings(outcomes.task),
        # Once the texts are gone, copies in disguise cannot be told any more.
        "group": arrow.numbers(outcomes.group if Texts.of(outcomes) is None else independent(outcomes).group),
        "weight": arrow.numbers(outcomes.weight),
    }
    encodings = {"sample_id": "DELTA_BYTE_ARRAY", "group": "DELTA_BINARY_PACKED"}
    dictionaries = ["eval_name", "weight"]
    for index, model in enumerate(outcomes.models):
        columns[model] = arrow.numbers(outcomes.quality[:, index])
        dictionaries.append(model)
        for suffix, values in (("total_cost", outcomes.cost), ("latency_s", outcomes.latency)):
            if values is not None:
                columns[f"{model}|{suffix}"] = arrow.numbers(values[:, index])
                encodings[f"{model}|{suffix}"] = "BYTE_STREAM_SPLIT"
    columns[NGRAMS] = arrow.lists(features.ngram_offsets, _gaps(features))
    columns[CUES] = arrow.fixed_bytes(features.cues.astype("<f4", copy=False).view(np.uint8))
    columns[EMBEDDING] = arrow.fixed_bytes(features.embedding.view(np.uint8))
    columns[TOKENS] = arrow.numbers(features.tokens)
    encodings |= {
        f"{NGRAMS}.list.element": "BYTE_STREAM_SPLIT",
        CUES: "BYTE_STREAM_SPLIT",
        EMBEDDING: "BYTE_STREAM_SPLIT",
        TOKENS: "DELTA_BINARY_PACKED",
    }
    try:
        arrow.write_parquet(path, columns, {SPEC_KEY: feature_spec}, encodings, dictionaries)
    except OSError as error:
        raise DataError("path", f"{path}: {error}", "write to a folder that exists and has room") from error


def read_feature_spec(path: Path | str) -> str | None:
    """The feature specification of a featurised table; None for any other table."""
    return feature_spec_of(read_raw(path, lambda _name: False))


def is_featurised(raw: RawTable) -> bool:
    """Whether the table holds features instead of text."""
    return any(name in raw.names for name in FEATURE_COLUMNS)


def feature_spec_of(raw: RawTable) -> str | None:
    """The feature specification in the table's metadata."""
    return raw.metadata.get(SPEC_KEY)


def read_features(raw: RawTable) -> FeatureTable:
    """The features of a featurised table.

    Raises:
        DataError: a feature column is missing or does not hold what ``write_featurised`` writes.
    """
    for name in FEATURE_COLUMNS:
        if name not in raw.columns:
            raise DataError(name, f"no such column in {raw.name}", REMEDY)
    offsets, ngrams = _ngrams(raw)
    cues = arrow.as_fixed_bytes(raw.columns[CUES])
    embedding = arrow.as_fixed_bytes(raw.columns[EMBEDDING])
    if cues is None or cues.shape[1] % 4:
        raise _broken(raw, CUES)
    if embedding is None or embedding.shape[1] != _core.EMBEDDING_DIMENSIONS:
        raise _broken(raw, EMBEDDING)
    cue_values = cues.copy().view("<f4").astype(np.float32, copy=False)
    if not np.isfinite(cue_values).all():
        raise _broken(raw, CUES)
    column = raw.columns[TOKENS]
    tokens = arrow.as_floats(column) if arrow.is_integer(column) else np.full(raw.rows, np.nan)
    if not (tokens >= 0).all() or not (tokens < 2**31).all():
        raise _broken(raw, TOKENS)
    return FeatureTable(
        ngram_offsets=offsets,
        ngrams=ngrams,
        cues=cue_values,
        embedding=embedding.copy().view(np.int8),
        tokens=tokens.astype(np.int32),
    )


def joined_features(parts: Sequence[FeatureTable], names: Sequence[str]) -> FeatureTable:
    """The features of several tables, one below the other.

    Raises:
        DataError: they have different numbers of cues.
    """
    widths = [part.cues.shape[1] for part in parts]
    for width, name in zip(widths, names, strict=True):
        if width != widths[0]:
            raise DataError(CUES, f"{widths[0]} cues in {names[0]}, {width} in {name}", REMEDY)
    starts = np.concatenate(([0], np.cumsum([len(part.ngrams) for part in parts])))
    offsets = [part.ngram_offsets[1:] + start for part, start in zip(parts, starts[:-1], strict=True)]
    return FeatureTable(
        ngram_offsets=np.concatenate((np.zeros(1, np.int64), *offsets)),
        ngrams=np.concatenate([part.ngrams for part in parts]),
        cues=np.concatenate([part.cues for part in parts]),
        embedding=np.concatenate([part.embedding for part in parts]),
        tokens=np.concatenate([part.tokens for part in parts]),
    )


def _gaps(features: FeatureTable) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    """Each n-gram number less its predecessor in the row."""
    gaps = np.diff(features.ngrams.astype(np.int64), prepend=0)
    starts = features.ngram_offsets[:-1][np.diff(features.ngram_offsets) > 0]
    gaps[starts] = features.ngrams[starts]
    return gaps.astype(np.uint32)


def _ngrams(
    raw: RawTable,
) -> tuple[np.ndarray[tuple[int], np.dtype[np.int64]], np.ndarray[tuple[int], np.dtype[np.uint32]]]:
    """Offsets and numbers out of the gaps; refuses numbers that are unsorted or outside the space."""
    lists = arrow.as_lists(raw.columns[NGRAMS])
    if lists is None or lists[1].dtype.kind != "u":
        raise _broken(raw, NGRAMS)
    offsets, gaps = lists
    sums = np.concatenate(([0], np.cumsum(gaps, dtype=np.int64)))
    lengths = np.diff(offsets)
    numbers = sums[1:] - np.repeat(sums[offsets[:-1]], lengths)
    within = np.ones(len(gaps), bool)
    within[offsets[:-1][lengths > 0]] = False
    if (gaps[within] == 0).any() or (numbers >= NGRAM_SPACE).any():
        raise _broken(raw, NGRAMS)
    return offsets, numbers.astype(np.uint32)


def _broken(raw: RawTable, column: str) -> DataError:
    return DataError(column, f"broken features in {raw.name}", REMEDY)
