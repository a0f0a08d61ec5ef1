"""A process that is killed while it changes a registry, at any moment, leaves it usable; several share one."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from tiny_dancer import Router, _core
from tiny_dancer.registry import Registry

if TYPE_CHECKING:
    from pathlib import Path

CHANGES = """
import itertools, sys
from tiny_dancer import _core
from tiny_dancer.registry import Registry

registry = Registry(sys.argv[1], load=lambda data: None)
for number in itertools.count():
    version = registry.add("a", _core.data_path("default.safetensors")).version
    registry.promote("a", version)
    if number % 5 == 3:
        registry.rollback("a")
    if number % 3 == 2:
        registry.collect_garbage("a", keep=1)
    print(version, flush=True)
"""

SHARES = """
import sys
from tiny_dancer import _core
from tiny_dancer.registry import Registry

registry = Registry(sys.argv[1], load=lambda data: None)
for _ in range(15):
    version = registry.add("a", _core.data_path("default.safetensors")).version
    registry.promote("a", version)
    print(version, flush=True)
"""


def start(code: str, folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", code, str(folder)], stdout=subprocess.PIPE, text=True)


def test_killed_at_any_moment_the_registry_goes_on(tmp_path: Path) -> None:
    generator = random.Random(4)
    registry = Registry(tmp_path, load=Router)
    first = registry.add("a", _core.data_path("default.safetensors")).version
    registry.promote("a", first)
    seen = leftovers = 0
    for _ in range(25):
        child = start(CHANGES, tmp_path)
        assert child.stdout is not None
        # Killed a moment after it has said something, so that it is at work, wherever in it.
        child.stdout.readline()
        time.sleep(generator.random() * 0.02)
        child.send_signal(signal.SIGKILL)
        said = child.stdout.read().split()
        child.wait()
        seen += 1 + len(said)
        versions = registry.versions("a")
        serving = registry.serving("a")
        assert [each.state for each in versions].count("serving") == 1
        for each in versions:  # the index names no file that is missing or torn
            assert registry.read("a", each.version).version == each
        assert Router(registry.read("a").data).header["version"] == serving.version
        files = {path.name for path in (tmp_path / "a").glob("v*.safetensors*")}
        leftovers += bool(files - {f"v{each.version}.safetensors" for each in versions})
        added = registry.add("a", _core.data_path("default.safetensors"))
        registry.promote("a", added.version)
        assert registry.rollback("a").version == serving.version
        registry.collect_garbage("a", keep=1)
        files = {path.name for path in (tmp_path / "a").iterdir()}
        owned = {f"v{each.version}.safetensors" for each in registry.versions("a")}
        assert files == owned | {"index.json", ".lock"}
    assert seen >= 25


def test_processes_that_share_a_registry_lose_nothing(tmp_path: Path) -> None:
    children = [start(SHARES, tmp_path) for _ in range(4)]
    said = [line for child in children for line in child.communicate(timeout=120)[0].split()]
    assert [child.returncode for child in children] == [0, 0, 0, 0]
    assert len(said) == len(set(said)) == 60
    registry = Registry(tmp_path, load=Router)
    assert {each.version for each in registry.versions("a")} == set(said)
    assert len(registry.history("a")) == 60
    assert registry.history("a")[-1].version == registry.serving("a").version
    assert all(registry.read("a", version) for version in said)
