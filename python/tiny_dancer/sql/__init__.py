"""What SQL functions answer with, whatever the database: DuckDB, SQLite, or PostgreSQL without the extension."""

from tiny_dancer.sql.functions import Functions

__all__ = ["Functions"]
