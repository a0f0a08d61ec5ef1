"""Which rows an artifact was trained on, without the rows: a Bloom filter (Bloom 1970) of sketches in its header.

A row's eight sketches are three MinHashes each (Broder 1997) of its n-grams, without those that are common in the
training table (a template's, say). Equal rows share all eight; rows whose n-gram sets have a Jaccard similarity J
share each with probability J³, so three of eight are found for J = .8 in 86 % of cases, for .9 in 99 %, for .5 in
7 % and for .3 in 0.1 %. Rows with too few n-grams of their own are remembered exactly. What the filter itself
takes for a sketch by mistake makes at most one row in 200 look like one trained on: :func:`_least_shared` asks for
more than three sketches where it has to.

A filter of the older kind, which finds equal rows alone, is still read.
"""

from __future__ import annotations

import base64
import hashlib
import math
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tiny_dancer.errors import DataError
from tiny_dancer.evaluation.groups import NGRAM_SPACE, min_hashes
from tiny_dancer.routing import featurise

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    from tiny_dancer.types import FeatureTable

    Flags = npt.NDArray[np.bool_]
    Keys = npt.NDArray[np.uint64]

MOST_SEEN = 0.02
"""Share of held-out rows that may look like training rows: common short requests repeat."""
SKETCHES = 8
MIN_HASHES = 3
_LEAST_SHARED = 3
_HASHES = 4
_BITS_A_SKETCH = 8
_MOST_ROWS = 6000
"""Rows remembered, 64 bits each; of a larger table those whose first sketch is smallest. Filter and common n-grams
together then take less than 64 KiB of the header."""
_COMMON_SHARE = 0.05
_MOST_COMMON = 2000
_FEWEST_NGRAMS = 8
_MOST_MISTAKEN = 0.005


@dataclass(frozen=True, slots=True)
class Overlap:
    """What of a table an artifact was trained on.

    Attributes:
        rows: bool [n], rows that equal or nearly equal one trained on.
        share: of the rows; where the artifact remembers a part of its training rows, scaled up to all, and less
            those its filter takes for one by mistake.
    """

    rows: Flags
    share: float

    @property
    def too_much(self) -> bool:
        """Whether more of them were trained on than repeated short requests account for."""
        return self.share > MOST_SEEN


def optimistic(share: float) -> str:
    """What is said of figures on rows of which a share was trained on; empty for a share that means little."""
    if share <= MOST_SEEN:
        return ""
    return f"About {share:.0%} of these rows were trained on: the figures are optimistic."


def dropped_note(rows: int) -> str:
    """What is said of rows left out because they look like rows trained on; empty for none."""
    if not rows:
        return ""
    what = (
        "1 row that equals or nearly equals one" if rows == 1 else f"{rows:,} rows that equal or nearly equal some"
    )
    return f"Left out: {what} trained on."


def remember(features: FeatureTable) -> dict[str, Any]:
    """A filter of these rows, as JSON values; the same for any order of the rows."""
    frequency = np.bincount(features.ngrams, minlength=NGRAM_SPACE)
    most = max(4.0, _COMMON_SHARE * len(features))
    chosen = np.argsort(-frequency, kind="stable")[:_MOST_COMMON]
    common = np.zeros(NGRAM_SPACE, np.bool_)
    common[chosen] = frequency[chosen] > most
    packed = zlib.compress(np.packbits(common).tobytes(), 9)
    return {**_filter(_text_keys(features, common)), "common": base64.b85encode(packed).decode()}


def remember_inputs(inputs: Sequence[Any]) -> dict[str, Any]:
    """A filter of a classifier's inputs: texts, or sequences of vectors, of which equal ones are found."""
    if isinstance(inputs[0], str):
        return remember(featurise(inputs, None, None))
    return _filter(_exact_keys(_vector_bytes(inputs)))


def training_rows(header: Mapping[str, Any], features: FeatureTable, *, copies_only: bool = False) -> Overlap:
    """Which of these rows the artifact of this header was trained on; none where it remembers nothing.

    Args:
        header: of the artifact.
        features: n rows.
        copies_only: leave out near copies: for tables of short texts, which resemble each other by chance.
    """
    # Rows that a model was added from are remembered beside those of training.
    memories = [header.get("training") or {}, *header.get("added", [])]
    rows, share = np.zeros(len(features), np.bool_), 0.0
    for each in memories:
        if each.get("rows_seen") is not None and len(features):
            found = _remembered(each["rows_seen"], features, copies_only=copies_only)
            rows, share = rows | found.rows, min(1.0, share + found.share)
    return Overlap(rows, share)


def _remembered(memory: Mapping[str, Any], features: FeatureTable, *, copies_only: bool) -> Overlap:
    """Which of these rows one filter remembers."""
    if "sketches" not in memory:
        return _found(memory, _older_positions(features, memory["bits"])[:, None], 1)
    common = np.unpackbits(np.frombuffer(zlib.decompress(base64.b85decode(memory["common"])), np.uint8))
    keys = _text_keys(features, common.astype(np.bool_))
    return _found(memory, _positions(keys, memory["bits"]), SKETCHES if copies_only else None)


def training_inputs(header: Mapping[str, Any], inputs: Any) -> Overlap:
    """Which of these inputs a classifier was trained on: equal ones, since short texts resemble each other."""
    memory = (header.get("training") or {}).get("rows_seen")
    if memory is None or not len(inputs):
        return Overlap(np.zeros(len(inputs), np.bool_), 0.0)
    if header["input"]["kind"] == "tokens":
        features = featurise([str(each) for each in inputs], None, None)
        return training_rows(header, features, copies_only=True)
    return _found(memory, _positions(_exact_keys(_vector_bytes(inputs)), memory["bits"]), SKETCHES)


def held_out(overlap: Overlap) -> npt.NDArray[np.int64]:
    """Rows that may be calibrated on: those not trained on.

    Raises:
        DataError: more of them were trained on than repeated short requests account for.
    """
    if overlap.too_much:
        raise DataError(
            "table",
            f"about {overlap.share:.0%} of its rows were trained on",
            "calibrate on rows held out from training",
        )
    return np.flatnonzero(~overlap.rows)


def _text_keys(features: FeatureTable, common: Flags) -> Keys:
    """Sketches, uint64 [n, SKETCHES]."""
    kept = ~common[features.ngrams]
    offsets = np.concatenate(([0], np.cumsum(kept, dtype=np.int64)))[features.ngram_offsets]
    keys = np.empty((len(features), SKETCHES), np.uint64)
    alone = np.diff(offsets) < _FEWEST_NGRAMS
    own = np.flatnonzero(~alone)
    hashes = min_hashes(offsets, features.ngrams[kept], own, SKETCHES * MIN_HASHES)
    parts = hashes.reshape(len(own), SKETCHES, MIN_HASHES).astype(np.uint64)
    mixed = np.broadcast_to(np.arange(SKETCHES, dtype=np.uint64), parts.shape[:2]).copy()
    for part in range(MIN_HASHES):
        mixed = (mixed ^ parts[:, :, part]) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(29)
    keys[own] = mixed
    keys[alone] = _exact_keys(_feature_bytes(features, int(row)) for row in np.flatnonzero(alone))
    return keys


def _feature_bytes(features: FeatureTable, row: int) -> bytes:
    start, end = features.ngram_offsets[row : row + 2]
    ngrams, embedding = np.ascontiguousarray(features.ngrams[start:end]), features.embedding[row]
    return bytes(ngrams) + bytes(embedding)


def _vector_bytes(inputs: Any) -> Iterable[bytes]:
    return (np.ascontiguousarray(each, "<f4").tobytes() for each in inputs)


def _exact_keys(rows: Iterable[bytes]) -> Keys:
    """uint64 [n, SKETCHES]: hashes of the bytes."""
    digests = b"".join(hashlib.blake2b(row, digest_size=8 * SKETCHES).digest() for row in rows)
    return np.frombuffer(digests, "<u8").reshape(-1, SKETCHES).astype(np.uint64)


def _positions(keys: Keys, bits: int) -> npt.NDArray[np.int64]:
    """The filter's bits for each sketch, int64 [n, SKETCHES, hashes] (Kirsch and Mitzenmacher 2006)."""
    first, second = keys >> np.uint64(32), keys & np.uint64(0xFFFFFFFF)
    steps = np.arange(_HASHES, dtype=np.uint64)
    return ((first[..., None] + steps * (second[..., None] | np.uint64(1))) % np.uint64(bits)).astype(np.int64)


def _filter(keys: Keys) -> dict[str, Any]:
    rows = len(keys)
    kept = keys[np.argsort(keys[:, 0], kind="stable")[:_MOST_ROWS]]
    bits = 8 * math.ceil(max(64, _BITS_A_SKETCH * SKETCHES * len(kept)) / 8)
    filled = np.zeros(bits, np.bool_)
    filled[_positions(kept, bits).ravel()] = True
    packed = base64.b85encode(np.packbits(filled).tobytes()).decode()
    return {"sketches": SKETCHES, "bits": bits, "filter": packed, "kept": len(kept) / max(1, rows)}


def _least_shared(mistaken: float) -> int:
    """Sketches that must be found for a row to be; a sketch is mistaken for one found with this probability."""
    chances = [
        math.comb(SKETCHES, shared) * mistaken**shared * (1 - mistaken) ** (SKETCHES - shared)
        for shared in range(SKETCHES + 1)
    ]
    return next(
        (least for least in range(_LEAST_SHARED, SKETCHES) if sum(chances[least:]) <= _MOST_MISTAKEN), SKETCHES
    )


def _found(memory: Mapping[str, Any], positions: npt.NDArray[np.int64], needed: int | None) -> Overlap:
    """Rows of whose sketches enough are in the filter; positions int64 [n, sketches, hashes]."""
    filled = np.unpackbits(np.frombuffer(base64.b85decode(memory["filter"]), np.uint8)).astype(np.bool_)
    mistaken = float(filled[: memory["bits"]].mean()) ** positions.shape[2]
    least = _least_shared(mistaken) if needed is None else needed
    sketches = positions.shape[1]
    rows = filled[positions].all(axis=2).sum(axis=1) >= least
    error = sum(
        math.comb(sketches, shared) * mistaken**shared * (1 - mistaken) ** (sketches - shared)
        for shared in range(least, sketches + 1)
    )
    noise = 4 * math.sqrt(error * (1 - error) / len(rows))
    share = float(rows.mean())
    share = 0.0 if share <= error + noise else (share - error) / (1 - error)
    return Overlap(rows, min(1.0, share / memory.get("kept", 1.0)))


def _older_positions(features: FeatureTable, bits: int) -> npt.NDArray[np.int64]:
    """Bits of a filter of exact features, int64 [n, hashes]: how artifacts before format 1.1 remember rows."""
    positions = np.empty((len(features), _HASHES), np.int64)
    for row, (start, end) in enumerate(zip(features.ngram_offsets[:-1], features.ngram_offsets[1:], strict=True)):
        key = hashlib.blake2b(np.ascontiguousarray(features.ngrams[start:end]).tobytes(), digest_size=4 * _HASHES)
        key.update(features.embedding[row].tobytes())
        positions[row] = np.frombuffer(key.digest(), "<u4") % bits
    return positions
