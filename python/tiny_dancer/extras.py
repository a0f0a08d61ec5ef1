"""Which extra brings a library that is not always installed, and the one way to say that it is missing."""

from __future__ import annotations

from contextlib import contextmanager
from importlib.util import find_spec
from types import MappingProxyType
from typing import TYPE_CHECKING

from tiny_dancer.errors import MissingExtraError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

EXTRA_OF: Mapping[str, str] = MappingProxyType(
    {
        "joblib": "train",
        "pyarrow": "train",
        "scipy": "train",
        "sklearn": "train",
        "jax": "fastgrnn",
        "optax": "fastgrnn",
        "openpyxl": "xlsx",
        "matplotlib": "report",
        "apsw": "sqlite",
        "sqlite_vec": "sqlite",
        "duckdb": "duckdb",
        "psycopg": "postgres",
        "psycopg_pool": "postgres",
        "brotli": "gateway",
        "httptools": "gateway",
        "uvicorn": "gateway",
        "uvloop": "gateway",
        "zstandard": "gateway",
        "pyqwest": "http2",
        "opentelemetry": "otel",
        "agents": "agents",
        "langchain_core": "langchain",
        "langgraph": "langgraph",
        "mcp": "mcp",
        "model2vec": "model2vec",
        "sentence_transformers": "sentence-transformers",
        "fastembed": "fastembed",
    }
)
"""The extra to install, by the library's name in an import; where several extras bring it, the smallest."""


@contextmanager
def needed(extra: str | None = None, *, instead: str = "") -> Iterator[None]:
    """Around imports of libraries that belong to an extra, or around whatever imports them.

    Args:
        extra: to name for whichever of them is missing; None looks each up in :data:`EXTRA_OF`.
        instead: what does without it, in words that may follow "or".

    Raises:
        MissingExtraError: in place of a ``ModuleNotFoundError`` for one of these libraries; for any other module
            that error stays.

    Example:
        with needed():
            import matplotlib
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = error.name or ""
        library = module.partition(".")[0]
        brought = EXTRA_OF.get(library)
        if brought is None:
            raise
        # A part that a library lacks: it is older than the extra asks for.
        named = module if _installed(library) else library
        raise _missing([named], [extra or brought], instead) from error


def require(*libraries: str, instead: str = "") -> None:
    """Refuses to go on without what will be needed later: before long work rather than after it. Imports nothing.

    Args:
        libraries: of :data:`EXTRA_OF`.
        instead: as in :func:`needed`.

    Raises:
        MissingExtraError: some are not installed; all of them are named, and every extra.
    """
    missing = [each for each in libraries if not _installed(each)]
    if missing:
        raise _missing(missing, list(dict.fromkeys(EXTRA_OF[each] for each in missing)), instead)


def _installed(library: str) -> bool:
    try:
        return find_spec(library) is not None
    except ModuleNotFoundError:
        return False


def _missing(libraries: list[str], extras: list[str], instead: str) -> MissingExtraError:
    remedy = f"pip install 'tiny-dancer[{','.join(extras)}]'" + (f", or {instead}" if instead else "")
    return MissingExtraError(", ".join(libraries), "not installed", remedy)
