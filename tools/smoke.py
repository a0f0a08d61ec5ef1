"""Try an installed wheel: the version, a decision by the shipped artifact, the command.

    pip install dist/*.whl && python tools/smoke.py

Only what the package needs by itself may be imported here.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import tiny_dancer

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """0 where all of it works; says what was tried."""
    installed = Path(tiny_dancer.__file__).resolve()
    if installed.is_relative_to(ROOT / "python"):
        print(f"{installed}: this is the working tree; install a wheel and unset PYTHONPATH", file=sys.stderr)
        return 1
    assert (installed.parent / "gateway" / "dashboard" / "static" / "index.html").is_file(), "no dashboard"
    decision = tiny_dancer.Router.load().route("A farmer has 17 sheep and buys 5 more. How many has he?")
    assert decision.model in ("weak", "strong"), decision
    command = Path(sysconfig.get_path("scripts")) / "tiny-dancer"
    said = subprocess.run([command, "--version"], check=True, capture_output=True, text=True).stdout.strip()
    assert said == f"tiny-dancer {tiny_dancer.__version__}", said
    print(f"{said} on {sys.platform}, Python {sys.version.split()[0]}: {decision.model}, {decision.reason}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
