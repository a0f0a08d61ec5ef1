"""`tiny-dancer models …` as a user runs it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.commands import done, fails, run

from tiny_dancer import Router, _core
from tiny_dancer.routing.resilient import ResilientRouter

if TYPE_CHECKING:
    from pathlib import Path

DEFAULT = _core.data_path("default.safetensors")


def versions(folder: Path) -> dict[str, str]:
    found = json.loads(done("models", "list", folder, "--json"))
    return {each["version"]: each["state"] for each in found["support"]["versions"]}


def test_the_life_of_a_version(tmp_path: Path) -> None:
    folder = tmp_path / "registry"
    assert "no versions yet" in done("models", "list", folder)
    assert done("models", "add", folder, "support", DEFAULT, "--note", "first").startswith("support 0.1.0 added")
    assert "0.2.0 added" in done("models", "add", folder, "support", DEFAULT, "--bump", "minor")
    assert "7.0.0 added" in done("models", "add", folder, "support", DEFAULT, "--version", "v7.0.0")
    assert versions(folder) == {"0.1.0": "added", "0.2.0": "added", "7.0.0": "added"}
    assert done("models", "promote", folder, "support", "0.1.0") == "support 0.1.0 serves\n"
    router = ResilientRouter.from_registry(folder, "support")
    done("models", "promote", folder, "support", "v0.2.0")
    assert router.reload() == "0.2.0"
    assert router.route("hello").artifact_version == "0.2.0"
    table = done("models", "list", folder)
    assert "serving" in table
    assert "last known good" in table
    assert "request-router" in table
    assert done("models", "rollback", folder, "support") == "support 0.1.0 serves again\n"
    assert "retired" in done("models", "retire", folder, "support", "0.2.0")
    assert versions(folder) == {"0.1.0": "serving", "0.2.0": "retired", "7.0.0": "added"}
    said = done("models", "gc", folder, "support", "--keep", 0)
    assert "2 versions removed" in said
    assert "0.2.0 (retired)" in said
    found = json.loads(done("models", "list", folder, "support", "--json"))["support"]
    assert [each["version"] for each in found["versions"]] == ["0.1.0"]
    assert found["versions"][0]["notes"] == {"note": "first"}
    assert [each["action"] for each in found["history"]] == ["promote", "promote", "rollback"]
    assert found["last_known_good"] is None
    assert Router.load(folder / "support" / "v0.1.0.safetensors").header["version"] == "0.1.0"


def test_what_cannot_be_done_is_one_line_and_changes_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "registry"
    done("models", "add", folder, "support", DEFAULT)
    done("models", "promote", folder, "support", "0.1.0")
    before = (folder / "support" / "index.json").read_bytes()
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"no artifact")
    for words, message in (
        (("add", folder, "support", other), "artifact"),
        (("add", folder, "support", tmp_path / "absent"), "path of an artifact"),
        (("add", folder, "support", DEFAULT, "--version", "1"), "MAJOR.MINOR.PATCH"),
        (("add", folder, "support", DEFAULT, "--version", "0.1.0"), "exists"),
        (("add", folder, "support", DEFAULT, "--bump", "huge"), "major, minor, patch"),
        (("add", folder, "../up", DEFAULT), "letters, digits"),
        (("promote", folder, "support", "9.9.9"), "the versions are: 0.1.0"),
        (("promote", folder, "suport", "0.1.0"), "the names are: support"),
        (("rollback", folder, "support"), "promote a version"),
        (("retire", folder, "support", "0.1.0"), "promote another one first"),
        (("gc", folder, "support", "--keep", "-1"), "0"),
    ):
        assert message in fails(2, "models", *words)
    assert (folder / "support" / "index.json").read_bytes() == before
    assert [each.name for each in tmp_path.iterdir() if each.name == "up"] == []


def test_what_is_damaged_is_named_and_the_rest_listed(tmp_path: Path) -> None:
    folder = tmp_path / "registry"
    for name in ("sound", "torn", "odd"):
        done("models", "add", folder, name, DEFAULT)
        done("models", "add", folder, name, DEFAULT)
    (folder / "torn" / "index.json").write_text("{")
    content = json.loads((folder / "odd" / "index.json").read_text())
    content["versions"][1]["version"] = "1000000000.0.0"
    (folder / "odd" / "index.json").write_text(json.dumps(content))
    for options in ([], ["--json"]):
        result = run("models", "list", folder, *options)
        assert result.returncode == 1
        lines = result.stderr.decode().splitlines()
        assert [line.partition(":")[0] for line in lines] == ["damaged"] * 2
        assert "odd: version 2: " in lines[0]
        assert "torn: index: " in lines[1]
    found = json.loads(result.stdout)
    assert {name: [each["version"] for each in entry["versions"]] for name, entry in found.items()} == {
        "sound": ["0.1.0", "0.1.1"],
        "odd": ["0.1.0"],
    }
    assert "index" in fails(2, "models", "list", folder, "torn")
    done("models", "promote", folder, "sound", "0.1.0")


@pytest.mark.parametrize("command", ["list", "add", "promote", "rollback", "retire", "gc"])
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = run("models", command, "--help")
    assert result.returncode == 0
    assert f"Example: tiny-dancer models {command} registry" in " ".join(result.stdout.decode().split())
