"""The files under ``deploy/`` name what exists: no container engine and no systemd is needed to see that."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import tomllib
from configparser import ConfigParser
from pathlib import Path

import pytest
from tests.commands import done

from tiny_dancer.gateway.configuration.settings import Limits

ROOT = Path(__file__).resolve().parents[3]
DEPLOY = ROOT / "deploy"


def instructions() -> list[tuple[str, str]]:
    """The Containerfile's, with continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", (DEPLOY / "Containerfile").read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines if line.strip()]


def test_the_container_is_built_from_what_is_there(tmp_path: Path) -> None:
    built = shutil.ignore_patterns("*.so", "__pycache__", "target")
    copied = [shlex.split(rest) for name, rest in instructions() if name == "COPY"]
    for *sources, target in copied:
        for source in sources:
            assert (ROOT / source).exists(), source
            into = tmp_path / target / source if target == "./" else tmp_path / target
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, into, ignore=built)
            else:
                shutil.copy(ROOT / source, into)
    # All that the build needs is among it: the workspace, and what the package's metadata names.
    cargo = ["cargo", "metadata", "--locked", "--offline", "--no-deps", "--format-version", "1"]
    found = subprocess.run(cargo, cwd=tmp_path, capture_output=True, check=False)
    assert found.returncode == 0, found.stderr
    project = tomllib.loads((tmp_path / "pyproject.toml").read_text())
    assert (tmp_path / project["project"]["readme"]).is_file()
    assert all((tmp_path / each).is_file() for each in project["project"]["license-files"])
    assert (tmp_path / project["tool"]["maturin"]["manifest-path"]).is_file()
    assert (tmp_path / project["tool"]["maturin"]["python-source"] / "tiny_dancer" / "__init__.py").is_file()


def test_the_container_runs_a_command_that_exists_as_a_user_without_rights() -> None:
    found = instructions()
    names = [name for name, _ in found]
    stages = [rest for name, rest in found if name == "FROM"]
    assert len(stages) == 2
    assert all(":" in stage.split()[0] and ":latest" not in stage for stage in stages)
    last = found[len(names) - names[::-1].index("FROM") :]
    assert ("USER", "10001:10001") in last
    assert names.index("VOLUME") > names.index("USER"), "the volume is the user's"
    installed = next(rest for name, rest in last if name == "RUN" and "pip install" in rest)
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (asked,) = re.findall(r"\[([a-z0-9,]+)\]", installed)
    assert set(asked.split(",")) <= set(extras)
    entry = next(rest for name, rest in last if name == "ENTRYPOINT")
    assert entry == '["tiny-dancer", "gateway"]'
    command = next(rest for name, rest in last if name == "CMD")
    assert "--config" in command
    assert "--config" in done("gateway", "--help")
    health = next(rest for name, rest in last if name == "HEALTHCHECK")
    (code,) = re.findall(r'"-c", "(.*)"\]', health)
    compile(code, "HEALTHCHECK", "exec")
    assert "/health/live" in code


def test_the_unit_leaves_time_to_drain() -> None:
    text = (DEPLOY / "tiny-dancer-gateway.service").read_text()
    unit = ConfigParser(interpolation=None, strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(text)
    service = unit["Service"]
    assert service["ExecStart"].endswith("/bin/tiny-dancer gateway --config /etc/tiny-dancer/gateway.yaml")
    assert service["ExecReload"] == "/bin/kill -HUP $MAINPID"
    assert service["Type"] == "notify"
    assert service["KillMode"] == "mixed"
    assert float(service["TimeoutStopSec"]) >= Limits().drain + 15


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    systemd = shutil.which("systemd-analyze")
    if systemd is None:
        pytest.skip("needs systemd-analyze")
    text = (DEPLOY / "tiny-dancer-gateway.service").read_text()
    unit = tmp_path / "tiny-dancer-gateway.service"
    unit.write_text(re.sub(r"/opt/\S+/tiny-dancer", "/bin/true", text))
    found = subprocess.run([systemd, "verify", unit], capture_output=True, text=True, check=False, timeout=60)
    assert found.returncode == 0, found.stderr
    assert unit.name not in found.stderr, found.stderr
