"""Ten minutes of everything that can go wrong around a database: is anything lost, torn, leaked, not restored?

    python benchmarks/load/bench_storage_faults.py                 600 seconds
    python benchmarks/load/bench_storage_faults.py --seconds 30

Processes write, search with filters, back up and restore over copies that others have open, on a disk of 384 MB
that is filled again and again. They are killed, stopped and started; another program holds locks; files may not
grow. In the end everything that was acknowledged is compared with what is there. Only root may mount the small
disk: without it, the disk is not filled, and the figures say so.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.integration.storage_faults import faults

from common import write


def main() -> None:
    """Runs, and writes what came of it; exits with 1 where anything went wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        live = folder / "live"
        live.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=384m", "none", str(live)]
        small = not os.getuid() and subprocess.run(mount, check=False, capture_output=True).returncode == 0
        try:
            tally = faults(folder, given.seconds, given.seed, small_disk=small)
        finally:
            if small:
                subprocess.run(["umount", "--lazy", str(live)], check=True)
    write(
        "storage_faults",
        {"seed": given.seed, "small_disk": small, **asdict(tally)},
        "Writers, searches with filters, backups and restores over used targets under kills (SIGKILL), stops, a "
        "full disk, limits of file size and another program's locks. refused: calls that said so in a typed "
        "error. Wanted: 0 in everything from lost to left_over; every backup opens and verifies.",
    )
    sys.exit(1 if tally.wrong else 0)


if __name__ == "__main__":
    main()
