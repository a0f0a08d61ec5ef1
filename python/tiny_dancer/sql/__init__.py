"""What SQL functions answer with, whatever the database: DuckDB, SQLite, or PostgreSQL without the extension."""

from tiny_dancer.sql.functions import Functions
from tiny_dancer.sql.script import plpython_script

__all__ = ["Functions", "plpython_script"]
