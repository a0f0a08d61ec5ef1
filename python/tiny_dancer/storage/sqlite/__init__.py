"""Storage in one SQLite file, with sqlite-vec: the embedded default."""

from tiny_dancer.storage.sqlite.storage import SqliteStorage

__all__ = ["SqliteStorage"]
