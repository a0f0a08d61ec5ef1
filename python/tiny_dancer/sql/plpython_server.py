"""What PostgreSQL's functions in plpython3u ask the server for: rows, and the artifacts and encoders in them."""

from __future__ import annotations

import hashlib
import json
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from tiny_dancer import _core
from tiny_dancer.errors import (
    ArtifactError,
    OptionError,
    TinyDancerError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


BROUGHT = tuple(sorted(path.stem for path in _core.data_path("").glob("*.safetensors")))
"""Artifacts of the package, which are there without being loaded."""
_ENCODERS = {"encoder": _core.encoder, "sentences": _core.sentence_encoder}
_KEPT = 16
"""Most artifacts that a backend keeps loaded: those that were used last."""


class NoArtifactError(TinyDancerError):
    """There is no artifact of the name or checksum asked for."""


_PLANS: dict[str, Any] = {}
_LOADED: OrderedDict[tuple[str, str], Any] = OrderedDict()
"""By checksum of the bytes and changes of the models: a row that was replaced is another."""
_CHECKSUMS: dict[str, str] = {}


def rows_of(server: Any, query: str, *values: tuple[str, Any]) -> Any:
    """Rows of a query, whose plan is kept as long as the backend lives."""
    plan = _PLANS.get(query)
    if plan is None:
        plan = _PLANS[query] = server.prepare(query, [kind for kind, _ in values])
    return server.execute(plan, [value for _, value in values])


def where_brought(name: str) -> str | None:
    """Checksum of an artifact of the package, or None where it has none of this name."""
    if name not in BROUGHT:
        return None
    if name not in _CHECKSUMS:
        _CHECKSUMS[name] = hashlib.sha256(_core.data_file(f"{name}.safetensors")).hexdigest()
    return _CHECKSUMS[name]


def artifact_of(server: Any, name: str | None, kind: str) -> Any:
    """What is loaded of the artifact of a name: a row of the table, or one of the package's."""
    if name is None:
        name = (
            rows_of(server, "SELECT current_setting('tiny_dancer.artifact', true) AS name")[0]["name"] or "default"
        )
    found = rows_of(server, "SELECT checksum, models FROM tiny_dancer.artifacts WHERE name = $1", ("text", name))
    if len(found):
        checksum, models = found[0]["checksum"], found[0]["models"] or ""
    else:
        checksum, models = where_brought(name), ""
        if checksum is None:
            remedy = (
                "load one by tiny_dancer.load_artifact, or use one that there is: select name, checksum from "
                f"tiny_dancer.artifacts; the package brings {', '.join(BROUGHT)}"
            )
            raise NoArtifactError("artifact", name, remedy)
    key = (checksum, models)
    known = _LOADED.get(key)
    if known is None:
        if len(found):
            query = "SELECT bytes FROM tiny_dancer.artifacts WHERE name = $1"
            known = loaded(server, rows_of(server, query, ("text", name))[0]["bytes"], models)
        elif name in _ENCODERS:  # which the package has loaded, or loads for everything
            known = ("encoder", _ENCODERS[name]())
        else:
            known = loaded(server, _core.data_file(f"{name}.safetensors"), models)
        _LOADED[key] = known
        while len(_LOADED) > _KEPT:
            _LOADED.popitem(last=False)
    _LOADED.move_to_end(key)
    found_kind, object = known
    if found_kind != kind:
        raise OptionError("artifact", f"{name} is of kind '{found_kind}'", f"name one of kind '{kind}'")
    return object


def loaded(server: Any, data: bytes, models: str) -> tuple[str, Any]:
    """An artifact's kind, and what the engine makes of it."""
    if _is_encoder(data):
        return "encoder", _core.Encoder(data)
    header = _core.read_header(data)
    kind = header["kind"]
    if models and kind != "request-router":
        raise OptionError("models", f"given for an artifact of kind '{kind}'", "only a router has models")
    encoder = _encoder_of(server, encoder_needed(header))
    if kind == "request-router":
        return kind, _core.Router(data, encoder, models or None)
    if kind == "routes":
        return kind, _core.Routes(data, encoder)
    if kind == "tasks":
        return kind, _core.Tasks(data, encoder)
    if kind == "candidates":
        return kind, _core.CandidateScorer(data)
    if kind == "tools":
        return kind, (data, encoder)
    raise ArtifactError("kind", kind, "give a router, routes, tasks, candidates, tools or an encoder")


def _is_encoder(data: bytes) -> bool:
    """Whether these are the bytes of an encoder, by what a safetensors file says of itself."""
    length = int.from_bytes(data[:8], "little")
    try:
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {}) if length <= len(data) else {}
        return bool(json.loads(metadata.get("tiny_dancer", "{}")).get("kind") == "encoder")
    except (ValueError, RecursionError, AttributeError):
        return False  # what else is wrong with them, loading says


def encoder_needed(header: Mapping[str, Any]) -> str | None:
    """Checksum of the encoder that an artifact names."""
    named = header.get("encoder")
    if isinstance(named, dict):
        named = named.get("checksum")
    return named or (header.get("features") or {}).get("encoder")


def _encoder_of(server: Any, checksum: str | None) -> _core.Encoder | None:
    """The encoder of a checksum: one of the package's, or of the table."""
    if checksum is None:
        return None
    for brought in _ENCODERS.values():
        if brought().checksum == checksum:
            return brought()
    query = "SELECT name FROM tiny_dancer.artifacts WHERE kind = 'encoder' AND encoder = $1 ORDER BY name LIMIT 1"
    found = rows_of(server, query, ("text", checksum))
    encoder: _core.Encoder | None = artifact_of(server, found[0]["name"], "encoder") if len(found) else None
    return encoder


def encoder_named(server: Any, name: str | None) -> _core.Encoder | None:
    """The encoder of a name."""
    if name is None:
        return None
    found: _core.Encoder = artifact_of(server, name, "encoder")
    return found
