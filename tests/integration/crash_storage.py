"""Hundreds of rounds of storage_crashes.py: python -m tests.integration.crash_storage --rounds 300."""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from tests.integration.storage_crashes import crash

from tiny_dancer.storage import SqliteStorage


def main() -> None:
    """Prints what was checked."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "agent.db"
        tally = crash(path, options.rounds, options.seed)
        with SqliteStorage(path) as storage:
            counts = storage.verify()
    print(f"{tally}, {counts}, {time.monotonic() - start:.0f} s: nothing lost, the file good after every kill")


if __name__ == "__main__":
    main()
