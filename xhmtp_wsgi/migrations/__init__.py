"""Brings a database's tables up to date, by Alembic; versions/ has a file for each change.

Alembic is imported here and nowhere else, and only when tables are made or changed: a worker that
serves requests never needs it.
"""

from sqlalchemy import Connection


def upgrade(connection: Connection) -> None:
    """Runs every migration that is missing, within the connection's transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "xhmtp_wsgi:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
