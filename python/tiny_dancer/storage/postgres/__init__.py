"""Storage in PostgreSQL, by psycopg. Reached through :class:`tiny_dancer.postgres.PostgresStorage`."""

from tiny_dancer.extras import needed

with needed("postgres"):
    from tiny_dancer.storage.postgres.storage import PostgresStorage

__all__ = ["PostgresStorage"]
