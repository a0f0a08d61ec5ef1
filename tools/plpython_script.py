"""Writes ``python/tiny_dancer/sql/plpython.sql``: the extension's SQL for servers where it may not be installed.

    python tools/plpython_script.py          # writes it
    python tools/plpython_script.py --check  # exits 1 where the committed one differs

It is made of the storage's tables and the parts of ``crates/tiny-dancer-pg/sql``. A native function becomes a call
of ``tiny_dancer.sql.plpython``, with the same name, arguments and result; one that is not there is left out, as is
what stands over it, and what concerns extensions alone.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "python" / "tiny_dancer" / "sql" / "plpython.sql"
TABLES = ROOT / "python" / "tiny_dancer" / "storage" / "postgres" / "migrations"
PARTS = ROOT / "crates" / "tiny-dancer-pg" / "sql"
ORDER = ("arguments", "models", "doors", "candidates", "agents", "budgets", "history", "ruvector")
OF_EXTENSIONS = ("first", "rights")
"""Parts that concern extensions alone."""

HEAD = """\
-- Tiny Dancer in PostgreSQL, where the extension may not be installed: the same functions, in plpython3u over the
-- Python package. Printed by `tiny-dancer db plpython`. Run it as a superuser; the server's Python has to find the
-- package: set PYTHONPATH for the server, or install it where that Python looks.
--
-- Made by tools/plpython_script.py of the extension's own SQL. Change that.

BEGIN;
CREATE EXTENSION IF NOT EXISTS plpython3u;
CREATE SCHEMA IF NOT EXISTS tiny_dancer;
"""
TAIL = """\
GRANT SELECT ON tiny_dancer.artifacts TO PUBLIC;
COMMIT;
"""

_PLAIN = {"…": "...", "→": "->", "×": "x", "’": "'", "–": "-", "µ": "u", "≥": ">=", "≤": "<="}
_NATIVE = re.compile(r"\bAS\s+'MODULE_PATHNAME',\s*'(\w+)_wrapper'")
_OF_ANY_TYPE = re.compile(r'(?:anycompatible|"any") DEFAULT NULL::real\[\]')
_DEFINED = re.compile(r"^CREATE (?:FUNCTION|TYPE|TABLE|VIEW) tiny_dancer\.(\w+)", re.MULTILINE)
_TOKEN = re.compile(r"--[^\n]*|'(?:[^']|'')*'|(\$\w*\$).*?\1|\bBEGIN ATOMIC\b|\bCASE\b|\bEND\b|;", re.DOTALL)


def statements(sql: str) -> list[str]:
    """The statements of a script, each with the comments before it."""
    found, start, depth = [], 0, 0
    for token in _TOKEN.finditer(sql):
        word = token[0]
        if word == "BEGIN ATOMIC" or (word == "CASE" and depth):
            depth += 1
        elif word == "END" and depth:
            depth -= 1
        elif word == ";" and not depth:
            found.append(sql[start : token.end()].strip("\n"))
            start = token.end()
    rest = re.sub(r"--[^\n]*", "", sql[start:]).strip()
    if rest:
        raise ValueError(f"no statement ends here: {rest[:60]}")
    return found


def without_comments(statement: str) -> str:
    """A statement without the comments before it."""
    return re.sub(r"\A(?:\s*--[^\n]*\n)+", "", statement).strip()


def arguments(declaration: str) -> list[str]:
    """Names of the arguments of a function that is declared, but for those it answers with."""
    inside = declaration[declaration.index("(") + 1 :]
    depth, end = 1, 0
    while depth:
        depth += {"(": 1, ")": -1}.get(inside[end], 0)
        end += 1
    names = []
    for each in re.split(r",(?![^(\[]*[)\]])", inside[: end - 1]):
        words = each.split()
        if words and words[0].upper() != "OUT":
            names.append(words[0].strip('"'))
    return names


def in_plpython(statement: str, native: str) -> str:
    """The declaration of a native function as one in plpython."""
    named = ", ".join([f'plpy, "{native}"', *arguments(statement)])
    body = f"AS $python$\nfrom tiny_dancer.sql.plpython import call\nreturn call({named})\n$python$"
    statement = _NATIVE.sub(lambda _: body, statement)
    # plpython takes no argument of any type: of arrays of numbers one, which all others become by themselves.
    statement = _OF_ANY_TYPE.sub("double precision[] DEFAULT NULL", statement)
    return re.sub(r"\bLANGUAGE c\b", "LANGUAGE plpython3u", statement)


def _mentions(statement: str, names: set[str]) -> bool:
    return any(re.search(rf"tiny_dancer\.{name}\b", statement) for name in names)


def script(known: frozenset[str], pure: frozenset[str], parts: Path = PARTS) -> str:
    """The whole of it.

    Args:
        known: native functions that are there.
        pure: those that ask the server nothing: others, and what stands over them, are not for parallel queries.
        parts: the folder of the extension's.
    """
    unplaced = {path.stem for path in parts.glob("*.sql")} ^ {*ORDER, *OF_EXTENSIONS}
    if unplaced:
        raise ValueError(f"say in ORDER where these parts stand: {', '.join(sorted(unplaced))}")
    written = [HEAD]
    absent: set[str] = set()
    asking: set[str] = set()
    files = [*sorted(TABLES.glob("*.sql")), *(parts / f"{name}.sql" for name in ORDER)]
    for path in files:
        for statement in statements(path.read_text(encoding="utf-8")):
            bare = without_comments(statement)
            if "pg_extension_config_dump" in bare or "@extowner@" in bare:
                continue
            defined = _DEFINED.match(bare)
            native = _NATIVE.search(bare)
            if _mentions(bare, absent) or (native and native[1] not in known):
                if defined:
                    absent.add(defined[1])
                continue
            if "COMMENT ON FUNCTION" in bare:
                statement = statement.replace('"any", anycompatible', "double precision[], double precision[]")
            function = defined if bare.startswith("CREATE FUNCTION") else None
            if function and (native[1] not in pure if native else _mentions(bare[function.end() :], asking)):
                asking.add(function[1])
                statement = statement.replace(" PARALLEL SAFE", "", 1)
            written.append(in_plpython(statement, native[1]) if native else statement)
    written.append(TAIL)
    text = "\n".join(each.rstrip("\n") + "\n" for each in written)
    for char, plain in _PLAIN.items():
        text = text.replace(char, plain)
    text.encode("ascii")  # so that it goes into a database of any encoding
    return text


def main() -> int:
    """Writes it, or compares."""
    from tiny_dancer.sql.plpython import FUNCTIONS, PURE

    found = script(frozenset(FUNCTIONS), PURE)
    if "--check" in sys.argv:
        if SCRIPT.read_text(encoding="utf-8") == found:
            return 0
        print(f"{SCRIPT.relative_to(ROOT)} is not what tools/plpython_script.py makes: run it")
        return 1
    SCRIPT.write_text(found, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
