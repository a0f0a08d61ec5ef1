"""Every command without any extra, and with the gateway's alone: it works, or says which extra to install."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tiny_dancer.cli.application import application
from tiny_dancer.errors import MissingExtraError
from tiny_dancer.extras import EXTRA_OF, needed, require

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[2]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
WORKS = ""
# Of every command: arguments, what it lacks without any extra, and what it lacks with that of the gateway alone.
COMMANDS: dict[str, tuple[str, str, str]] = {
    "demo": ("", "train,report", "train,report"),
    "route": ("hello", WORKS, WORKS),
    "train": ("t.csv --out o", "train", "train"),
    "predict": ("default t.csv --out p.parquet", "train", "train"),
    "calibrate": ("default t.csv --share strong=.2 --out o", "train", "train"),
    "evaluate": ("default t.csv", "train", "train"),
    "report": ("t.csv --out r.html", "train,report", "train,report"),
    "inspect": ("default", WORKS, WORKS),
    "bench": ("--artifact none.safetensors", WORKS, WORKS),
    "savings": ("none.db", "sqlite", WORKS),
    "analytics": ("none.db", "sqlite", WORKS),
    "data check": ("t.csv", "train", "train"),
    "data featurise": ("t.csv --out f.parquet", "train", "train"),
    "data split": ("t.csv --out-train a.csv --out-test b.csv", "train", "train"),
    "candidates train": ("m.csv q.csv --out o", "train", "train"),
    "candidates eval": ("m.csv q.csv", "train", "train"),
    "candidates predict": ("a m.csv q.csv --out p", "train", "train"),
    "candidates import": ("m.csv --database d.db", "train,sqlite", "train"),
    "candidates route": ("--database d.db --query x", "sqlite", WORKS),
    "candidates learn": ("d.db --out o", "train,sqlite", "train"),
    "classifier train": ("l.csv --out o", "train", "train"),
    "classifier predict": ("a l.csv --out o", "train", "train"),
    "classifier evaluate": ("a l.csv", "train", "train"),
    "routes fit": ("l.csv --out o", "train", "train"),
    "routes predict": ("a l.csv --out o", "train", "train"),
    "routes eval": ("a l.csv", "train", "train"),
    "routes match": ("none.safetensors x", WORKS, WORKS),
    "routes list": ("none.safetensors", WORKS, WORKS),
    "routes add": ("none.safetensors n --utterance x --out o", WORKS, WORKS),
    "routes import": ("none.yaml --out o", WORKS, WORKS),
    "routes lint": ("l.csv", "train", "train"),
    "tools train": ("t.csv q.csv --out o", "train", "train"),
    "tools select": ("t.csv x", "train", "train"),
    "tools predict": ("default t.csv q.csv --out p", "train", "train"),
    "tools eval": ("t.csv q.csv", "train", "train"),
    "classify": ("t.csv --out p.parquet", "train", "train"),
    "models list": ("registry", WORKS, WORKS),
    "models add": ("registry m none.safetensors", WORKS, WORKS),
    "models reprice": ("a m=1 --out o", "train", "train"),
    "models remove": ("a m --out o", "train", "train"),
    "models promote": ("registry m 1", WORKS, WORKS),
    "models rollback": ("registry m", WORKS, WORKS),
    "models retire": ("registry m 1", WORKS, WORKS),
    "models gc": ("registry m --keep 1", WORKS, WORKS),
    "db stats": ("none.db", "sqlite", WORKS),
    "db backup": ("none.db copy.db", "sqlite", WORKS),
    "db restore": ("none.db copy.db", "sqlite", WORKS),
    "db vacuum": ("none.db", "sqlite", WORKS),
    "db shell": ("none/none.db", "sqlite", WORKS),
    "db plpython": ("", WORKS, WORKS),
    "gateway init": ("", WORKS, WORKS),
    "gateway check": ("--no-upstreams", "gateway", WORKS),
    "gateway": ("--config none.yaml", WORKS, WORKS),
    "keys create": ("anna", "sqlite", WORKS),
    "keys list": ("", "sqlite", WORKS),
    "keys revoke": ("nobody", "sqlite", WORKS),
    "budget set": ("all 5", "sqlite", WORKS),
    "budget status": ("", "sqlite", WORKS),
    "budget remove": ("all", "sqlite", WORKS),
    "budget forecast": ("", "sqlite", WORKS),
    "budget optimize": ("5", "sqlite", WORKS),
    "queue list": ("", "sqlite", WORKS),
    "queue show": ("q_1", "sqlite", WORKS),
    "queue claim": ("q_1", "sqlite", WORKS),
    "queue answer": ("q_1 yes", "sqlite", WORKS),
    "queue cancel": ("q_1", "sqlite", WORKS),
    "agents add": ("writer", "sqlite", WORKS),
    "agents import": ("none.json", WORKS, WORKS),
    "agents list": ("", "sqlite", WORKS),
    "agents search": ("hello", "sqlite", WORKS),
    "agents stats": ("", "sqlite", WORKS),
    "agents deactivate": ("nobody", "sqlite", WORKS),
    "policy try": ("hello", "sqlite", WORKS),
    "mcp": ("--database d.db", "mcp", "mcp"),
}
# Commands of theirs that need more than the command does.
FURTHER = (
    ("db stats postgresql://127.0.0.1:1/x", "postgres", "postgres"),
    ("savings none.db --plot x.svg", "sqlite,report", "report"),
    ("analytics none.db --out x.parquet", "sqlite,train", "train"),
    ("gateway --demo", "gateway", None),  # with the extra it would serve
)
RUN = """
import contextlib, io, json, sys
from importlib.abc import MetaPathFinder
from tiny_dancer.extras import EXTRA_OF

absent = set(EXTRA_OF) - set(json.loads(sys.argv[1]))

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from tiny_dancer.cli import main

found = {}
for command in json.loads(sys.argv[2]):
    sys.argv = ["tiny-dancer", *command.split()]
    said = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(said):
        try:
            main()
        except SystemExit as ended:
            code = ended.code
    found[command] = (code, said.getvalue())
print(json.dumps(found))
"""


@cache
def installed() -> Mapping[str, list[str]]:
    """What is installed, by what is imported: every package's list of files is read for it."""
    return packages_distributions()


@cache
def imports_of(extra: str) -> frozenset[str]:
    """The libraries an extra brings, by their names in an import, as far as the table knows them."""
    names = {re.split(r"[\[<>=;, ]", each)[0].lower() for each in PROJECT["optional-dependencies"][extra]}
    return frozenset(
        library for library in EXTRA_OF if {name.lower() for name in installed().get(library, ())} & names
    )


def test_every_command_is_tried() -> None:
    groups = {group.name: group.typer_instance for group in application.registered_groups}
    commands = {command.name for command in application.registered_commands} | {"gateway"}
    for name, group in groups.items():
        assert group is not None
        commands |= {f"{name} {command.name}" for command in group.registered_commands}
    assert set(COMMANDS) == commands


@pytest.mark.parametrize("extra", ["", "gateway"], ids=["base", "gateway"])
def test_every_command_says_which_extra_to_install(extra: str, tmp_path: Path) -> None:
    for name in ("t", "m", "q", "l"):
        (tmp_path / f"{name}.csv").write_text("prompt,a,b\nx,1,0\n")
    place = 2 if extra else 1
    expected = {f"{name} {found[0]}".strip(): found[place] for name, found in COMMANDS.items()}
    expected |= {command: lacks for command, *found in FURTHER if (lacks := found[place - 1]) is not None}
    there = sorted(imports_of(extra)) if extra else []
    finished = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(there), json.dumps(list(expected))],
        cwd=tmp_path,
        env={"OPENAI_API_KEY": "none", "PATH": "", "PYTHONPATH": str(ROOT / "python")},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    for command, (code, said) in json.loads(finished.stdout).items():
        lacks = expected[command]
        if lacks:
            assert code == 2 and said.count("\n") == 1, (command, said)
            assert said.endswith(f": not installed; pip install 'tiny-dancer[{lacks}]'\n"), (command, said)
        else:
            assert "pip install" not in said and "Traceback" not in said, (command, said)


def test_an_extra_brings_what_the_table_says_of_it() -> None:
    for library, extra in EXTRA_OF.items():
        if library in installed():
            assert library in imports_of(extra) or library in ("joblib", "langchain_core", "langgraph"), library
        assert extra in PROJECT["optional-dependencies"]


def test_every_library_that_is_imported_is_a_dependency_or_in_the_table() -> None:
    base = {"numpy", "msgspec", "yaml", "typer", "rich", "tiny_dancer"}
    imported = set()
    for path in (ROOT / "python" / "tiny_dancer").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add((node.module or "").partition(".")[0])
    beside = {"pydantic"}  # comes with mcp and with langchain-core, which are imported before it
    unknown = imported - base - set(sys.stdlib_module_names) - set(EXTRA_OF) - beside
    assert not unknown, f"put {unknown} into tiny_dancer/extras.py"


def test_one_place_alone_says_what_to_install() -> None:
    raising = [
        path
        for path in (ROOT / "python" / "tiny_dancer").rglob("*.py")
        if "MissingExtraError(" in path.read_text(encoding="utf-8").replace("class MissingExtraError(", "")
    ]
    assert [path.name for path in raising] == ["extras.py"]


def test_jax_is_an_extra_of_its_own() -> None:
    extras = PROJECT["optional-dependencies"]
    named = {extra for extra, requirements in extras.items() if any("jax" in each for each in requirements)}
    assert named == {"fastgrnn"}
    assert set(extras["train"]) < set(extras["fastgrnn"])


def test_other_errors_stay_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_module"), needed():
        import no_such_module  # type: ignore[import-not-found]  # noqa: F401
    monkeypatch.setitem(sys.modules, "jax", None)
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(
        MissingExtraError,
        match=r"^scipy, jax: not installed; pip install 'tiny-dancer\[train,fastgrnn\]', or wait$",
    ):
        require("numpy", "scipy", "jax", instead="wait")
    require("numpy")
