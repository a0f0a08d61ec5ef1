"""The module and the command in wasmtime, a host that shares nothing with Node: `pip install wasmtime`."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.integration.doors import ROOT

GLUE = ROOT / "crates" / "tiny-dancer-wasm" / "js"


class EngineError(Exception):
    """What the engine refused."""

    def __init__(self, code: str, field: str, value: str, remedy: str) -> None:
        """From the four fields of its JSON."""
        super().__init__(f"{code}: {field}: {value}; {remedy}")
        self.code, self.field, self.value, self.remedy = code, field, value, remedy


def operations() -> dict[str, int]:
    """Numbers of operations by name, as the glue for JavaScript has them."""
    glue = (GLUE / "instance.js").read_text(encoding="utf-8")
    listed = re.search(r"const OPERATIONS = \[(.*?)\]", glue, re.DOTALL)
    assert listed is not None
    return {name: number for number, name in enumerate(re.findall(r"'(\w+)'", listed[1]))}


class Engine:
    """One instance of a module, called as `js/instance.js` does."""

    def __init__(self, path: Path) -> None:
        """Compiles it; nothing is given to it, as it imports nothing."""
        import wasmtime

        module_engine = wasmtime.Engine()
        module = wasmtime.Module.from_file(module_engine, str(path))
        self.imports = list(module.imports)
        self._store = wasmtime.Store(module_engine)
        exports: Any = wasmtime.Instance(self._store, module, []).exports(self._store)
        self._input, self._call, self._answer = (exports[name] for name in ("input", "call", "answer"))
        self._memory = exports["memory"]
        self._operations = operations()

    @property
    def memory(self) -> int:
        """Bytes of its memory."""
        size: int = self._memory.data_len(self._store)
        return size

    def call(self, operation: str, first: bytes | str = b"", second: bytes | str = b"") -> str:
        """Does an operation; a trap is an exception of wasmtime's."""
        one, two = (given.encode() if isinstance(given, str) else given for given in (first, second))
        start = self._input(self._store, len(one) + len(two)) & 0xFFFFFFFF
        self._memory.write(self._store, one + two, start)
        length = self._call(self._store, self._operations[operation], len(one), len(two))
        done, length = length >= 0, length if length >= 0 else -1 - length
        begin = self._answer(self._store) & 0xFFFFFFFF
        answer = bytes(self._memory.read(self._store, begin, begin + length)).decode()
        if not done:
            raise EngineError(**json.loads(answer))
        return answer

    def replay(self, case: dict[str, Any]) -> list[str]:
        """The answers to a case of `tests/integration/doors.py`."""
        answers: list[str] = []
        for operation, first, second in case["steps"]:
            given = [
                (answers[-1] if answers else "") if each is None
                else Path(each["file"]).read_bytes() if isinstance(each, dict)
                else each
                for each in (first, second)
            ]  # fmt: skip
            try:
                answers.append(self.call(operation, *given))
            except EngineError as error:
                said = {"code": error.code, "field": error.field, "value": error.value, "remedy": error.remedy}
                answers.append(json.dumps(said))
                break
        return answers


@dataclass(frozen=True)
class Done:
    """What a command said, and its exit code."""

    code: int
    out: str
    error: str


def wasi(command: Path, folder: Path, arguments: list[str], given: str = "") -> Done:
    """Runs a command as `wasmtime run --dir FOLDER::. COMMAND ARGUMENTS` does."""
    import tempfile

    import wasmtime

    engine = wasmtime.Engine()
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    store = wasmtime.Store(engine)
    with tempfile.TemporaryDirectory() as kept:
        files = {name: Path(kept) / name for name in ("in", "out", "error")}
        files["in"].write_text(given, encoding="utf-8")
        config = wasmtime.WasiConfig()
        config.argv = ["tiny-dancer", *arguments]
        config.preopen_dir(str(folder), ".")
        config.stdin_file, config.stdout_file = str(files["in"]), str(files["out"])
        config.stderr_file = str(files["error"])
        store.set_wasi(config)
        module = wasmtime.Module.from_file(engine, str(command))
        code = 0
        try:
            linker.instantiate(store, module).exports(store)["_start"](store)
        except wasmtime.ExitTrap as ended:
            code = ended.code
        del store
        out, error = (files[name].read_text(encoding="utf-8") for name in ("out", "error"))
    return Done(code, out, error)
