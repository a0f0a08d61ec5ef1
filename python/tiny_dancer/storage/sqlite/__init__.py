"""Storage in one SQLite file, with sqlite-vec: the embedded default."""

from tiny_dancer.errors import MissingExtraError

try:
    from tiny_dancer.storage.sqlite.storage import SqliteStorage, restore_file
except ModuleNotFoundError as missing:
    if missing.name not in ("apsw", "sqlite_vec"):
        raise
    raise MissingExtraError(missing.name, "not installed", "pip install 'tiny-dancer[sqlite]'") from missing

__all__ = ["SqliteStorage", "restore_file"]
