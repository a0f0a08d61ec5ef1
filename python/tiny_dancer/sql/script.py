"""The script that declares PostgreSQL's functions in plpython."""

from __future__ import annotations

from pathlib import Path


def plpython_script() -> str:
    """SQL that gives a database the functions of the PostgreSQL extension, and its tables, without the extension.

    Run it as a superuser, where plpython3u may be created and the server's Python finds this package.
    """
    return (Path(__file__).parent / "plpython.sql").read_text(encoding="utf-8")
