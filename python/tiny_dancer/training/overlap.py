"""Which rows an artifact was trained on, without the rows: a Bloom filter (Bloom 1970) in its header."""

from __future__ import annotations

import base64
import hashlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy.typing as npt

    from tiny_dancer.types import FeatureTable

_MOST_SEEN = 0.02
"""Share of calibration rows that may equal training rows: common short requests repeat."""
_HASHES = 4
_BITS_A_ROW = 10
_MOST_BITS = 1 << 18
"""32 KiB: with more than some 26,000 rows the filter fills up and finds less."""


def _positions(features: FeatureTable, bits: int) -> npt.NDArray[np.int64]:
    """The filter's bits for each row, int64 [n, hashes]; equal features have equal bits."""
    positions = np.empty((len(features), _HASHES), np.int64)
    for row, (start, end) in enumerate(zip(features.ngram_offsets[:-1], features.ngram_offsets[1:], strict=True)):
        key = hashlib.blake2b(np.ascontiguousarray(features.ngrams[start:end]).tobytes(), digest_size=4 * _HASHES)
        key.update(features.embedding[row].tobytes())
        positions[row] = np.frombuffer(key.digest(), "<u4") % bits
    return positions


def remember(features: FeatureTable) -> dict[str, Any]:
    """A filter of these rows, as JSON values."""
    bits = min(_MOST_BITS, 1 << math.ceil(math.log2(max(64, _BITS_A_ROW * len(features)))))
    filled = np.zeros(bits, np.bool_)
    filled[_positions(features, bits).ravel()] = True
    return {"bits": bits, "filter": base64.b85encode(np.packbits(filled).tobytes()).decode()}


def share_seen(memory: Mapping[str, Any], features: FeatureTable) -> float:
    """Share of these rows that were among those remembered, 0 where it cannot be told from the filter's errors.

    A row that was not is mistaken for one with probability filled⁴; that share is taken off.
    """
    bits: int = memory["bits"]
    filled = np.unpackbits(np.frombuffer(base64.b85decode(memory["filter"]), np.uint8))[:bits].astype(np.bool_)
    error = float(filled.mean()) ** _HASHES
    found = float(filled[_positions(features, bits)].all(axis=1).mean())
    noise = 4 * math.sqrt(error * (1 - error) / len(features))
    return 0.0 if found <= error + noise else (found - error) / (1 - error)


def refuse_training_rows(header: Mapping[str, Any], features: FeatureTable) -> None:
    """Refuses rows an artifact remembers being trained on; one that remembers nothing refuses none.

    Raises:
        DataError: more of them than repeated short requests account for.
    """
    memory = (header.get("training") or {}).get("rows_seen")
    seen = 0.0 if memory is None else share_seen(memory, features)
    if seen > _MOST_SEEN:
        raise DataError(
            "table", f"about {seen:.0%} of its rows were trained on", "calibrate on rows held out from training"
        )


def remember_more(memory: Mapping[str, Any] | None, features: FeatureTable) -> dict[str, Any]:
    """The filter with further rows in it."""
    if memory is None:
        return remember(features)
    bits: int = memory["bits"]
    filled = np.unpackbits(np.frombuffer(base64.b85decode(memory["filter"]), np.uint8))[:bits].astype(np.bool_)
    filled[_positions(features, bits).ravel()] = True
    return {"bits": bits, "filter": base64.b85encode(np.packbits(filled).tobytes()).decode()}
