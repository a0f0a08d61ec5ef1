"""Storage in one SQLite file, with sqlite-vec: the embedded default."""

from tiny_dancer.extras import needed

with needed():
    from tiny_dancer.storage.sqlite.storage import SqliteStorage, restore_file

__all__ = ["SqliteStorage", "restore_file"]
