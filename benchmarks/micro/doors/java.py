"""The C library, called from Java by foreign functions."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from doors import Given, Measured, printed
from doors.c import CRATE, LIBRARY, library, netstrings

LABEL = "Java"
OLDEST = 22


def measure(given: Given) -> Measured | str:
    """By ``java/Speed.java``, after the virtual machine has compiled what runs often."""
    commands = _jdk()
    if commands is None:
        return f"needs a JDK of {OLDEST} or newer, in JAVA_HOME or /usr/lib/jvm"
    if missing := library():
        return missing
    classes = given.folder / "java"
    sources = [str(CRATE / "java" / f"{name}.java") for name in ("TinyDancer", "Speed")]
    printed(str(commands / "javac"), "-d", str(classes), *sources)
    native = (
        "--enable-native-access=ALL-UNNAMED",
        f"-Dtiny.dancer.library={LIBRARY / 'lib' / 'libtiny_dancer.so.0'}",
    )
    files = (given.artifact, given.encoder, netstrings(given), given.vectors)
    command = (str(commands / "java"), *native, "-cp", str(classes), "Speed", *map(str, files), str(given.rounds))
    found = json.loads(printed(*command))
    return Measured(
        found["decide_us"], found["rank_us"], "JSON to JSON by foreign functions; candidates by numbers"
    )


def _jdk() -> Path | None:
    places = [Path(os.environ.get("JAVA_HOME", "/nowhere")), *Path("/usr/lib/jvm").glob("*")]
    for compiler in (place / "bin" / "javac" for place in places):
        version = re.search(r"\d+", printed(str(compiler), "-version")) if compiler.exists() else None
        if version and int(version[0]) >= OLDEST:
            return compiler.parent
    return None
