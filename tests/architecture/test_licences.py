"""The licence check of `make check` refuses what it should."""

from __future__ import annotations

import json
from email.message import Message
from typing import Any, cast

import pytest
from tools.check_licences import Package, allowed, crates, declared, distributions, refusals


@pytest.mark.parametrize(
    "expression",
    [
        "MIT",
        "MIT OR Apache-2.0",
        "MIT/Apache-2.0",
        "Apache-2.0 / MIT",
        "MIT OR Apache-2.0 OR LGPL-2.1-or-later",
        "GPL-3.0-only OR MIT",
        "(MIT OR Apache-2.0) AND Unicode-3.0",
        "Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT",
        "BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0",
    ],
)
def test_what_can_be_met_is_allowed(expression: str) -> None:
    assert allowed(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "GPL-3.0-only",
        "MIT AND GPL-3.0-only",
        "MIT AND (GPL-3.0-only OR SSPL-1.0)",
        "GPL-2.0-only WITH Classpath-exception-2.0",
        "MIT WITH Something",
        "(MIT",
        "MIT)",
        "MIT Apache-2.0",
        "MIT OR",
        "proprietary",
    ],
)
def test_what_cannot_be_met_is_refused(expression: str) -> None:
    assert not allowed(expression)


def test_a_refusal_names_package_licence_and_remedy() -> None:
    fine, copyleft, silent = (
        Package("a", "1", "MIT"),
        Package("b", "2", "GPL-3.0-only"),
        Package("c", "3", ""),
    )
    first, second = refusals([fine, copyleft, silent])
    assert first.startswith("b 2: licence GPL-3.0-only; replace the dependency")
    assert second.startswith("c 3: licence not declared; replace the dependency")


def test_crates_are_read_from_cargo_metadata() -> None:
    output = json.dumps({"packages": [{"name": "a", "version": "1.0.0", "license": None}]})
    assert crates(output) == [Package("a", "1.0.0", "")]


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ([("License-Expression", "MIT"), ("License", "BSD")], "MIT"),
        (
            [("License", "long text\n" * 40), ("Classifier", "License :: OSI Approved :: BSD License")],
            "BSD-3-Clause",
        ),
        ([("Classifier", "License :: OSI Approved :: GNU General Public License v3 (GPLv3)")], "'GNU"),
        ([("Classifier", "License :: OSI Approved"), ("License", "ISC")], "ISC"),
        ([("License", "long text\n" * 40)], ""),
        ([], ""),
    ],
)
def test_a_distribution_declares_its_licence_in_one_of_three_ways(
    fields: list[tuple[str, str]], licence: str
) -> None:
    class Distribution:
        metadata = Message()

    for name, value in fields:
        Distribution.metadata[name] = value
    found = declared(cast("Any", Distribution))
    assert found.startswith(licence) if licence else found == ""
    assert allowed(found) == (licence in {"MIT", "BSD-3-Clause", "ISC"})


def test_a_licence_that_was_read_counts_while_the_package_says_the_same() -> None:
    class Distribution:
        metadata = Message()

    Distribution.metadata["Name"] = "protobuf"
    Distribution.metadata["License"] = "3-Clause BSD License"
    assert declared(cast("Any", Distribution)) == "BSD-3-Clause"
    Distribution.metadata.replace_header("License", "Another")
    assert not allowed(declared(cast("Any", Distribution)))


def test_an_exception_is_for_one_package_and_one_licence() -> None:
    certificates, other = Package("certifi", "1", "MPL-2.0"), Package("a", "1", "MPL-2.0")
    changed = Package("certifi", "2", "GPL-3.0-only")
    assert [line.partition(":")[0] for line in refusals([certificates, other, changed])] == ["a 1", "certifi 2"]


def test_dependencies_are_followed_through_extras_and_in_turn() -> None:
    names = {package.name for package in distributions("tiny-dancer")}
    assert {"tiny-dancer", "numpy", "scikit-learn", "joblib"} <= names
    assert "pytest" not in names
