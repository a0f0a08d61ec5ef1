"""Fail where a dependency's licence is not on the list in deny.toml.

    python tools/check_licences.py

Checked are every crate in Cargo.lock (what the engine links, and what builds and tests it) and every
installed Python distribution that the package or one of its extras needs, and theirs in turn. The tools of
the `dev` group are not checked: they are not linked, copied or shipped.

cargo-deny reads the same list and checks crates more closely: texts, duplicates, sources. `make check` runs it
where it is installed; it takes minutes to compile and PyPI's wheel of it is years old, so a fresh machine has
this alone.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from collections.abc import Iterable

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = frozenset(tomllib.loads((ROOT / "deny.toml").read_text(encoding="utf-8"))["licenses"]["allow"])
"""SPDX identifiers under which a dependency may be distributed with an MIT project: those of cargo-deny."""

CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
"""Trove classifiers of distributions that give no SPDX expression."""

READ = {
    # Its own notice: "or any OSI-approved licence you like"; taken under MIT.
    "apsw": ("any-OSI", "MIT"),
    # BSD's three clauses; code that its compiler generates belongs to whoever wrote the input.
    "protobuf": ("3-Clause BSD License", "BSD-3-Clause"),
    # The two names of a dual licence; its repository holds both texts and says "either".
    "sqlite-vec": ("MIT License, Apache License, Version 2.0", "MIT OR Apache-2.0"),
}
"""Distributions that declare what is no SPDX expression: what they say, and what it means. Read again when it
changes."""

EXCEPTIONS = {
    # Writes the header of the C library for who changes it; nothing of it is linked or shipped. As certifi.
    "cbindgen": "MPL-2.0",
    # The certificates of authorities, installed by requests for the `otel` extra, and neither linked nor shipped.
    # MPL-2.0 asks that changes to its own files are published, and nothing of what reads them.
    "certifi": "MPL-2.0",
    # A reader of JSON that langsmith installs for langchain-core (extra `langchain`); as above.
    "orjson": "MPL-2.0 AND (Apache-2.0 OR MIT)",
    # The driver of PostgreSQL (extra `postgres`), installed beside the package by who asks for it; imported, and
    # neither changed nor shipped: what the LGPL asks of a program that uses a library is met.
    "psycopg": "LGPL-3.0-only",
    "psycopg-binary": "LGPL-3.0-only",
    "psycopg-pool": "LGPL-3.0-only",
}
"""Distributions that may be needed under a licence that is not on the list, and under no other."""

DISTRIBUTION = "tiny-dancer"
LONGEST_EXPRESSION = 80
"""A longer `License` field is a licence's text, not its name."""
REMEDY = (
    "replace the dependency, or read its licence, add its SPDX identifier to deny.toml, and "
    "name it in NOTICE where it asks for that"
)


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """A dependency and the licence it declares, as an SPDX expression; empty where it declares none."""

    name: str
    version: str
    licence: str


def allowed(expression: str) -> bool:
    """Whether an SPDX expression can be met with licences on the list: one side of OR, every side of AND."""
    tokens = re.findall(r"[()]|[^\s()]+", expression.replace("/", " OR "))
    position = 0

    def take() -> str:
        nonlocal position
        position += 1
        return tokens[position - 1] if position <= len(tokens) else ""

    def following() -> str:
        return tokens[position].upper() if position < len(tokens) else ""

    def either() -> bool:
        met = both()
        while following() == "OR":
            take()
            met = both() or met
        return met

    def both() -> bool:
        met = one()
        while following() == "AND":
            take()
            met = one() and met
        return met

    def one() -> bool:
        name = take()
        if name == "(":
            met = either()
            return take() == ")" and met
        if following() == "WITH":
            take()
            name = f"{name} WITH {take()}"
        return name in ALLOWED

    return bool(tokens) and either() and position == len(tokens)


def crates(cargo_metadata: str) -> list[Package]:
    """The packages in the output of `cargo metadata`."""
    packages = json.loads(cargo_metadata)["packages"]
    return sorted(Package(each["name"], each["version"], each["license"] or "") for each in packages)


def declared(distribution: metadata.Distribution) -> str:
    """A distribution's licence as an SPDX expression: as it says itself, else by its classifiers."""
    fields = distribution.metadata
    if "License-Expression" in fields:
        return str(fields["License-Expression"])
    classified = [
        line.rsplit(" :: ", 1)[-1]
        for line in fields.get_all("Classifier") or []
        if line.startswith("License :: ") and line != "License :: OSI Approved"
    ]
    if classified:
        return " AND ".join(CLASSIFIERS.get(name, f"'{name}'") for name in classified)
    text = str(fields["License"]).strip() if "License" in fields else ""
    said, meant = READ.get(canonicalize_name(str(fields["Name"])), ("", ""))
    if said and text == said:
        return meant
    return text if len(text) <= LONGEST_EXPRESSION else ""


def distributions(root: str) -> list[Package]:
    """The installed distributions that ``root``, with all its extras, needs, and theirs in turn.

    Those its markers exclude on this platform, or of an extra that is not installed, are left out.
    """
    everything = tuple(metadata.metadata(root).get_all("Provides-Extra") or [])
    waiting = [(root, everything)]
    seen: set[tuple[str, tuple[str, ...]]] = set()
    found: set[Package] = set()
    while waiting:
        name, extras = waiting.pop()
        key = (canonicalize_name(name), extras)
        if key in seen:
            continue
        seen.add(key)
        try:
            distribution = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        found.add(Package(distribution.name, distribution.version, declared(distribution)))
        for line in distribution.requires or []:
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
                waiting.append((needed.name, tuple(sorted(needed.extras))))
    return sorted(found)


def refusals(packages: Iterable[Package]) -> list[str]:
    """One line for each package whose licence is not on the list."""
    return [
        f"{each.name} {each.version}: licence {each.licence or 'not declared'}; {REMEDY}"
        for each in packages
        if not allowed(each.licence) and EXCEPTIONS.get(each.name) != each.licence
    ]


def main() -> int:
    """Check both ecosystems; 1 where a licence is refused."""
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--quiet"]
    rust = crates(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    python = distributions(DISTRIBUTION)
    refused = refusals([*rust, *python])
    for line in refused:
        print(line, file=sys.stderr)
    if not refused:
        print(f"licences: {len(rust)} crates and {len(python)} distributions are on the list")
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
