"""Storage over PostgreSQL: ``from tiny_dancer.postgres import PostgresStorage``. Needs the extra ``postgres``."""

from tiny_dancer.storage.postgres import PostgresStorage

__all__ = ["PostgresStorage"]
