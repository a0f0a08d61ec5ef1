"""Extension of Griffe: docstrings as they are written here, made into what the site's reference shows."""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":[a-z]+:`~?([^`]+)`")


def shown(docstring: str) -> str:
    """Names in code type instead of Sphinx's roles; the section of examples as Griffe knows it."""
    return re.sub(r"^( *)Example:$", r"\1Examples:", ROLE.sub(r"``\1``", docstring), flags=re.MULTILINE)


class Docstrings(griffe.Extension):
    """Changes the docstring of everything that is read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called once for every module, class, function and attribute."""
        if obj.docstring is not None:
            obj.docstring.value = shown(obj.docstring.value)
