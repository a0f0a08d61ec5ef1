"""The package for Node: a request in JavaScript in, the whole decision as an object out."""

from __future__ import annotations

import json
from pathlib import Path

from doors import Given, Measured, printed, without

LABEL = "Node"
ROOT = Path(__file__).resolve().parents[3]
CRATE = ROOT / "crates" / "tiny-dancer-node"
PACKAGES = ROOT / "target" / "npm"


def measure(given: Given) -> Measured | str:
    """By ``speed.mjs``, over the packages that ``make node`` has assembled."""
    missing = without("node", "npm", "make", "cargo")
    if missing:
        return missing
    printed("make", "--silent", "-C", str(ROOT), "node")
    project = given.folder / "node"
    project.mkdir(exist_ok=True)
    (project / "package.json").write_text('{"private": true}', encoding="utf-8")
    packed = [str(project / _packed(each, project)) for each in sorted(PACKAGES.iterdir())]
    printed(
        "npm", "install", "--prefix", str(project), "--offline", "--no-audit", "--no-fund", "--silent", *packed
    )
    files = (given.artifact, given.encoder, given.requests, given.vectors)
    package = project / "node_modules" / "tiny-dancer"
    command = ("node", str(CRATE / "speed.mjs"), str(package), *map(str, files), str(given.rounds))
    found = json.loads(printed(*command))
    if found.pop("backend") != "native":
        return "the native module was not loaded"
    module = next(PACKAGES.glob("tiny-dancer-*/tiny-dancer.node"))
    extra = {
        "candidates given with the query, as a matrix, us": round(found["matrix_us"], 1),
        "candidates given with the query, one by one, us": round(found["each_us"], 1),
        "the same with metadata, times, uses and success rates, us": round(found["whole_us"], 1),
        "a decision of a batch of 4,096, us": round(found["batch_us"], 2),
        "module, bytes": module.stat().st_size,
        "packed main package, bytes": (project / _named(packed, "tiny-dancer-0")).stat().st_size,
    }
    return Measured(found["decide_us"], found["rank_us"], "a text to a decision as an object", extra)


def _packed(package: Path, folder: Path) -> str:
    return printed("npm", "pack", "--silent", "--pack-destination", str(folder), str(package)).split()[-1]


def _named(paths: list[str], beginning: str) -> str:
    return next(path for path in paths if Path(path).name.startswith(beginning))
