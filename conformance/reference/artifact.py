"""Bytes ↔ artifact: a safetensors file, read and written by hand (the engine's ``artifact.rs``).

The file: 8 bytes, the header's length (little-endian); the header, a JSON object; the tensors' bytes. In the
header, each tensor's name stands for its ``dtype``, ``shape`` and ``data_offsets`` (first and one past the last
byte, from the header's end), and ``__metadata__`` for strings: ``tiny_dancer``, the JSON of everything that is
no weight, ``sha256`` of the tensors' bytes, and ``header_sha256`` of that JSON, which older files lack.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
from dataclasses import dataclass
from typing import Any

from .errors import Refusal
from .price import is_number, is_sound

FORMAT, FEATURE_SPEC = "1.1.0", "3"
LARGEST_FILE, LARGEST_HEADER = 64 << 20, 4 << 20
MOST_MODELS, MOST_COMPONENTS, MOST_BACKENDS, MOST_SELF_CHECKS = 512, 16, 16, 256

_SIZES = {"F32": 4, "I8": 1, "U16": 2, "U8": 1}
_LETTERS = {"F32": "f", "I8": "b", "U16": "H", "U8": "B"}


@dataclass(frozen=True)
class Tensor:
    """A matrix or vector, row by row, little-endian."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    @classmethod
    def of(cls, dtype: str, shape: tuple[int, ...], values: list[float] | list[int]) -> Tensor:
        """A tensor of ``values``."""
        assert len(values) == math.prod(shape)
        return cls(dtype, shape, struct.pack(f"<{len(values)}{_LETTERS[dtype]}", *values))

    def values(self) -> list[Any]:
        """All values in order."""
        count = len(self.data) // _SIZES[self.dtype]
        return list(struct.unpack(f"<{count}{_LETTERS[self.dtype]}", self.data))


def read_tensors(data: bytes, kind: str) -> tuple[dict[str, Any], dict[str, Tensor], str]:
    """Header, tensors and checksum of a file of ``kind``, after all checks of the file itself."""
    if not 8 <= len(data) <= LARGEST_FILE:
        raise Refusal("ArtifactInvalid", "file")
    (length,) = struct.unpack_from("<Q", data)
    if length > min(LARGEST_HEADER, len(data) - 8) or data[8:9] != b"{":
        raise Refusal("ArtifactInvalid", "header length")
    body = data[8 + length :]
    try:
        listing = json.loads(data[8 : 8 + length])
        metadata = listing.pop("__metadata__")
        text, checksum = metadata["tiny_dancer"], metadata["sha256"]
        header = json.loads(text)
        tensors = _cut(listing, body)
        major = header["format"].partition(".")[0]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refusal("ArtifactInvalid", "header") from error
    if major != FORMAT.partition(".")[0]:
        raise Refusal("ArtifactVersion", "format")
    if header.get("kind") != kind:
        raise Refusal("ArtifactInvalid", "kind")
    if hashlib.sha256(body).hexdigest() != checksum:
        raise Refusal("ArtifactChecksum", "sha256")
    seal = metadata.get("header_sha256")
    if seal is None and header["format"].split(".")[1:2] == ["0"]:
        # Nothing covers what this header claims.
        header["guarantee"] = None
    elif seal != hashlib.sha256(text.encode()).hexdigest():
        raise Refusal("ArtifactChecksum", "header_sha256")
    return header, tensors, checksum


def _cut(listing: dict[str, Any], body: bytes) -> dict[str, Tensor]:
    """The tensors, which must fill ``body`` without holes or overlaps."""
    tensors, end = {}, 0
    for name, entry in sorted(listing.items(), key=lambda item: item[1]["data_offsets"]):
        first, last = entry["data_offsets"]
        shape = tuple(entry["shape"])
        if first != end or last - first != math.prod(shape) * _SIZES[entry["dtype"]]:
            raise ValueError(name)
        tensors[name] = Tensor(entry["dtype"], shape, body[first:last])
        end = last
    if end != len(body):
        raise ValueError("bytes that belong to no tensor")
    return tensors


def write(header: dict[str, Any], tensors: dict[str, Tensor], *, sealed: bool = True) -> bytes:
    """An artifact file; ``sealed`` ones have a checksum of their header, as all have since format 1.1.

    Tensors lie in order of alignment (widest first), then name; keys are sorted.
    """
    order = sorted(tensors, key=lambda name: (-_SIZES[tensors[name].dtype], name))
    body = b"".join(tensors[name].data for name in order)
    text = json.dumps(header, sort_keys=True, ensure_ascii=False)
    metadata = {"sha256": hashlib.sha256(body).hexdigest(), "tiny_dancer": text}
    if sealed:
        metadata["header_sha256"] = hashlib.sha256(text.encode()).hexdigest()
    listing: dict[str, Any] = {"__metadata__": metadata}
    at = 0
    for name in order:
        tensor = tensors[name]
        offsets = [at, at + len(tensor.data)]
        listing[name] = {"data_offsets": offsets, "dtype": tensor.dtype, "shape": list(tensor.shape)}
        at = offsets[1]
    head = json.dumps(listing, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    head += b" " * (-len(head) % 8)
    return struct.pack("<Q", len(head)) + head + body


class Weights:
    """An artifact's tensors, each checked when it is asked for."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self._tensors = tensors

    def dtype(self, name: str) -> str | None:
        """What the tensor of this name holds, if there is one."""
        tensor = self._tensors.get(name)
        return None if tensor is None else tensor.dtype

    def get(self, name: str, dtype: str, *shape: int | None) -> list[Any]:
        """Values of a tensor; ``None`` in ``shape`` stands for any size. All are finite and within ± 1e9."""
        tensor = self._tensors.get(name)
        if tensor is None or tensor.dtype != dtype or len(tensor.shape) != len(shape):
            raise Refusal("ArtifactInvalid", name)
        if any(wanted not in (None, size) for wanted, size in zip(shape, tensor.shape, strict=True)):
            raise Refusal("ArtifactInvalid", name)
        values = tensor.values()
        if not all(map(is_number, values)):
            raise Refusal("ArtifactInvalid", name)
        return values

    def rows(self, name: str, dtype: str, columns: int) -> list[list[Any]]:
        """Rows of a matrix with this many columns (at least one)."""
        values = self.get(name, dtype, None, columns)
        return [values[at : at + columns] for at in range(0, len(values), columns)]


def check_header(header: dict[str, Any]) -> None:
    """Refuses a header that contradicts itself."""

    def require(condition: bool, field: str) -> None:
        if not condition:
            raise Refusal("ArtifactInvalid", field)

    models = header["models"]
    require(1 <= len(models) <= MOST_MODELS, "models")
    names = [model.get("name") for model in models]
    require(all(isinstance(name, str) and name for name in names) and len(set(names)) == len(names), "models")
    require(all(map(is_sound, models)), "models")
    require(0 <= header["best_constant"] < len(models), "best_constant")
    require(header["components"] <= MOST_COMPONENTS, "components")
    require((header["components"] == 0) == (not header["backends"]), "components")
    prefixes = [backend["name"] for backend in header["backends"]]
    require(len(prefixes) <= MOST_BACKENDS and len(set(prefixes)) == len(prefixes), "backends")
    require(len(header.get("self_check", [])) <= MOST_SELF_CHECKS, "self_check")
    policy = header["policy"]
    match policy["kind"]:
        case "constant":
            require(policy["model"] < len(models), "policy")
        case "threshold":
            require(policy["weak"] != policy["strong"] and math.isfinite(policy["threshold"]), "policy")
            require(max(policy["weak"], policy["strong"]) < len(models), "policy")
        case "cost_weight":
            require(math.isfinite(policy["cost_weight"]) and policy["cost_weight"] >= 0, "policy")
        case _:
            require(False, "policy")
    for field in ("guard_margin", "set_width", "set_coverage"):
        number = header.get(field, 0.0 if field == "guard_margin" else None)
        require(number is not None and math.isfinite(number) and number >= 0, field)
    require(header["set_coverage"] <= 1, "set_coverage")
    likeness = header.get("likeness")
    if likeness is not None:
        require(0 < likeness["level"] < 1 and likeness["rows"] > 0, "likeness")
