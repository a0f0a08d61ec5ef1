"""The workflows are well formed, ask for little, and run what a developer runs: the Makefile's targets."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
# What `make check`, `make test` and `make docs` run: a workflow that repeated one of these would drift from it.
OF_THE_MAKEFILE = re.compile(
    r"\b(pytest|ruff|mypy|lint-imports|mkdocs|maturin develop|cargo (fmt|clippy|test|doc|deny check licenses))\b"
)


def read(path: Path) -> dict[str, Any]:
    found = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in read(path)["jobs"].values() for step in job.get("steps", ())]


def actionlint() -> list[str] | None:
    """The command; None where it is not installed."""
    in_go = Path.home() / "go" / "bin" / "actionlint"
    found = shutil.which("actionlint") or (str(in_go) if in_go.is_file() else None)
    return None if found is None else [found, "-no-color"]


def test_there_are_workflows() -> None:
    assert {path.stem for path in WORKFLOWS} >= {"audit", "check", "release", "test", "wheels"}


def test_actionlint_finds_nothing() -> None:
    command = actionlint()
    if command is None:
        pytest.skip("actionlint is not installed: go install github.com/rhysd/actionlint/cmd/actionlint@latest")
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_no_workflow_repeats_the_makefile(path: Path) -> None:
    repeated = [
        step["run"]
        for step in steps(path)
        if "run" in step and OF_THE_MAKEFILE.search(re.sub(r"rustup [^\n&]*", "", step["run"]))
    ]
    assert not repeated, f"{path.name}: call make instead: {repeated}"


def test_the_targets_that_workflows_call_exist() -> None:
    called = {
        target
        for path in WORKFLOWS
        for step in steps(path)
        for target in re.findall(r"\bmake ([a-z-]+)", step.get("run", ""))
    }
    assert called <= TARGETS, f"the Makefile has no {called - TARGETS}"
    assert called >= {"check", "docs", "test"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_only_read_unless_a_job_says_so(path: Path) -> None:
    content = read(path)
    assert content["permissions"] == {"contents": "read"}
    assert "concurrency" in content
    for name, job in content["jobs"].items():
        assert "timeout-minutes" in job or "uses" in job, f"{path.name}: {name} may run for ever"
        if path.stem != "release":
            assert "permissions" not in job, f"{path.name}: {name}"
    assert "secrets." not in path.read_text(encoding="utf-8"), "nothing here needs a secret: publish by trust"


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_checkout_leaves_no_token_behind(path: Path) -> None:
    for step in steps(path):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False
