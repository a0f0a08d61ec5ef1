"""Runs commands, and writes tables for them."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet
from tests.synthetic import requests

from tiny_dancer.cli import main

EXECUTABLE = Path(sys.executable).with_name("tiny-dancer")


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    returncode: int
    stdout: bytes
    stderr: bytes


def execute(*arguments: object, stdin: bytes = b"", cwd: Path | None = None) -> Ended:
    """Runs the installed executable."""
    words = [str(each) for each in arguments]
    found = subprocess.run(
        [EXECUTABLE, *words], input=stdin, capture_output=True, cwd=cwd, timeout=170, check=False
    )
    return Ended(found.returncode, found.stdout, found.stderr)


def run(*arguments: object, stdin: bytes = b"", cwd: Path | None = None) -> Ended:
    """The same function the executable calls, in this process: starting one for each command takes minutes."""
    streams = [io.TextIOWrapper(io.BytesIO(initial), "utf-8", write_through=True) for initial in (stdin, b"", b"")]
    argv, given, folder = sys.argv, sys.stdin, Path.cwd()
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    sys.argv, sys.stdin = ["tiny-dancer", *(str(each) for each in arguments)], streams[0]
    os.chdir(cwd or folder)
    try:
        with redirect_stdout(streams[1]), redirect_stderr(streams[2]), warnings.catch_warnings():
            # As in a process of its own: what it warns of is printed, and is no error.
            warnings.resetwarnings()
            warnings.simplefilter("default")
            warnings.simplefilter("ignore", ResourceWarning)
            try:
                main()
                code: object = 0
            except SystemExit as ended:
                code = ended.code or 0
    finally:
        sys.argv, sys.stdin = argv, given
        root.handlers[:] = handlers
        root.setLevel(level)
        os.chdir(folder)
    assert isinstance(code, int)
    return Ended(code, *(stream.buffer.getvalue() for stream in streams[1:]))  # type: ignore[attr-defined]


def done(*arguments: object, stdin: bytes = b"", cwd: Path | None = None) -> str:
    result = run(*arguments, stdin=stdin, cwd=cwd)
    assert result.returncode == 0, result.stderr.decode()
    assert b"Traceback" not in result.stderr
    return result.stdout.decode()


def fails(code: int, *arguments: object, stdin: bytes = b"", cwd: Path | None = None) -> str:
    """The one line the command fails with."""
    result = run(*arguments, stdin=stdin, cwd=cwd)
    said = result.stderr.decode()
    assert result.returncode == code, said
    assert "Traceback" not in said
    lines = [line for line in said.splitlines() if line.strip()]
    assert len(lines) == 1, said
    assert result.stdout == b""
    return lines[0]


def columns(n: int, seed: int) -> dict[str, list[Any]]:
    """A table of our own: a cheap model that fails on hard requests, and a dear one; one cell is not observed."""
    texts, hard = requests(n, seed)
    generator = np.random.default_rng(seed)
    cheap = np.where(hard, 0.0, 1.0)
    flip = generator.random(n) < 0.08
    cheap[flip] = 1 - cheap[flip]
    dear = (generator.random(n) < 0.93).astype(float)
    return {
        "sample_id": [f"id-{seed}-{row}" for row in range(n)],
        "eval_name": ["sums" if each else "words" for each in hard],
        "prompt": list(texts),
        "cheap": [None if row == 3 else float(value) for row, value in enumerate(cheap)],
        "cheap|total_cost": [len(text) * 1e-7 for text in texts],
        "dear": [float(value) for value in dear],
        "dear|total_cost": [len(text) * 1e-5 for text in texts],
    }


def write(table: dict[str, list[Any]], path: Path) -> Path:
    rows = list(zip(*table.values(), strict=True))
    if path.suffix == ".parquet":
        parquet.write_table(pa.table(table), path)
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(table)
            writer.writerows(["" if value is None else value for value in row] for row in rows)
    else:
        path.write_text("".join(json.dumps(dict(zip(table, row, strict=True))) + "\n" for row in rows))
    return path
