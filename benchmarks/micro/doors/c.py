"""The C library, called from C."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from doors import Given, Measured, printed, without

LABEL = "C"
ROOT = Path(__file__).resolve().parents[3]
CRATE = ROOT / "crates" / "tiny-dancer-ffi"
LIBRARY = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "c"


def library() -> str | None:
    """Builds the library; a text says why it cannot be built here."""
    missing = without("make", "cargo", "cc") or ("" if sys.platform == "linux" else "needs Linux")
    if missing:
        return missing
    printed("make", "--silent", "-C", str(ROOT), "c")
    return None


def netstrings(given: Given) -> Path:
    """The requests as programs without a parser of JSON read them: the length of each before it."""
    path = given.folder / "requests.net"
    texts = [json.dumps(text).encode() for text in json.loads(given.requests.read_text(encoding="utf-8"))]
    path.write_bytes(b"".join(b"%d:%s" % (len(text), text) for text in texts))
    return path


def measure(given: Given) -> Measured | str:
    """By ``c/speed.c``, linked with what ``make c`` has built."""
    missing = library()
    if missing:
        return missing
    program = given.folder / "speed"
    standard = ("-std=c11", "-D_POSIX_C_SOURCE=200809L", "-O2")
    linked = (f"-I{LIBRARY / 'include'}", f"-L{LIBRARY / 'lib'}", "-ltiny_dancer")
    printed("cc", *standard, str(CRATE / "c" / "speed.c"), "-o", str(program), *linked)
    files = (given.artifact, given.encoder, netstrings(given), given.vectors)
    command = (str(program), *map(str, files), str(given.rounds))
    found = json.loads(printed(*command, LD_LIBRARY_PATH=str(LIBRARY / "lib")))
    size = (LIBRARY / "lib" / "libtiny_dancer.so.0").stat().st_size
    note = "JSON to JSON; candidates by numbers"
    return Measured(found["decide_us"], found["rank_us"], note, {"library, bytes": size})
