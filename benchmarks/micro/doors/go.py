"""The C library, called from Go: what cgo and its texts add."""

from __future__ import annotations

import json
import os

from doors import Given, Measured, printed, without
from doors.c import CRATE, LIBRARY, library

LABEL = "Go"


def measure(given: Given) -> Measured | str:
    """By ``go/cmd/speed``, over the package there."""
    missing = without("go", "pkg-config") or library()
    if missing:
        return missing
    settings = {
        "PKG_CONFIG_PATH": str(LIBRARY / "lib" / "pkgconfig"),
        "GOCACHE": os.environ.get("GOCACHE", str(LIBRARY.parent / "go")),
        "GOFLAGS": "-mod=mod",
        "GOPROXY": "off",
        "CGO_ENABLED": "1",
    }
    printed("go", "build", "-C", str(CRATE / "go"), "-o", f"{given.folder / 'go'}/", "./cmd/speed", **settings)
    files = (given.artifact, given.encoder, given.requests, given.vectors)
    command = (str(given.folder / "go" / "speed"), *map(str, files), str(given.rounds))
    found = json.loads(printed(*command, LD_LIBRARY_PATH=str(LIBRARY / "lib")))
    return Measured(found["decide_us"], found["rank_us"], "JSON to JSON by cgo; candidates by numbers")
