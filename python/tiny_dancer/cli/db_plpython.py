"""`tiny-dancer db plpython`."""

from __future__ import annotations

from tiny_dancer.sql import plpython_script

HELP = """Print the SQL that gives a PostgreSQL database the extension's functions without the extension.

They call this package by plpython3u. Run the script as a superuser; set PYTHONPATH for the server, so that its
Python finds the package.

Example: tiny-dancer db plpython | psql app"""


def plpython() -> None:
    print(plpython_script(), end="")
