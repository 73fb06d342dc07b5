"""The register on which each room defines its tables, and the version that they have."""

from sqlalchemy import MetaData

SCHEMA = "0008"
"""The newest of migrations/versions."""

PARTIAL = "where"
"""The key in an index's ``info`` for the condition of its rows.

It tells readers, and a test; the migrations make the index. The words that SQLAlchemy has for it
load all that it knows of PostgreSQL, 2 MB, at a site that has an SQLite.
"""

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
