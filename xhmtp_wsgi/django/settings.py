"""From settings.py to Settings: ``XHMTP``, and where it says so, the database that Django has."""

import os
from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import URL

from xhmtp_wsgi.errors import SettingsError
from xhmtp_wsgi.settings import Settings

DJANGO = "django"
SCHEMA = "xhmtp"
"""Where our tables are in a PostgreSQL that is Django's: apart from its own."""

_DRIVERS = {
    "django.db.backends.sqlite3": "sqlite",
    "django.db.backends.postgresql": "postgresql+psycopg",
}


def settings_of(django_settings: Any) -> Settings:
    """The settings. ``django_settings``: django.conf.settings. Raises SettingsError."""
    given = getattr(django_settings, "XHMTP", None)
    if given is None:
        raise SettingsError("XHMTP", "is not in settings.py")
    base = getattr(django_settings, "BASE_DIR", "")
    if not isinstance(given, Mapping):
        return Settings.load(os.path.join(base, given), os.environ)  # noqa: PTH118 - either may be str
    source = dict(given)
    database = source.get("database")
    if isinstance(database, str) and database.partition(":")[0] == DJANGO:
        alias = database.partition(":")[2] or "default"
        url = _url_of(alias, django_settings.DATABASES)
        source["database"] = url.render_as_string(hide_password=False)
        if url.get_backend_name() == "postgresql":
            source.setdefault("database_schema", SCHEMA)
    return Settings.load(source, os.environ, directory=base)


def _url_of(alias: str, databases: Mapping[str, Mapping[str, Any]]) -> URL:
    """One of Django's databases as SQLAlchemy names it."""
    found = databases.get(alias)
    if found is None:
        raise SettingsError("XHMTP['database']", f"Django has no database {alias!r}")
    driver = _DRIVERS.get(found.get("ENGINE", ""))
    if driver is None:
        raise SettingsError(
            "XHMTP['database']",
            f"Django's database {alias!r} is neither SQLite nor PostgreSQL; name one of our own",
        )
    options = {
        name: str(value)
        for name, value in found.get("OPTIONS", {}).items()
        if driver != "sqlite" and name.startswith("ssl")
    }
    return URL.create(
        driver,
        username=found.get("USER") or None,
        password=found.get("PASSWORD") or None,
        host=found.get("HOST") or None,
        port=int(found["PORT"]) if found.get("PORT") else None,
        database=str(found["NAME"]),
        query=options,
    )
