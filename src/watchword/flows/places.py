"""The rough location of an IP address, from the operator's MaxMind DB file; shown in lists and notifications, never used in decisions."""

import ipaddress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from watchword.flows.runtime import Runtime
from watchword.settings import Settings, SettingsError

if TYPE_CHECKING:
    from maxminddb import Reader


def check(settings: Settings) -> None:
    """Refuse to start with a database of places that cannot be read; raise SettingsError."""
    if settings.place_database is not None:
        _open(settings.place_database)


@lru_cache(maxsize=4)
def _open(path: str) -> "Reader":
    import maxminddb  # only where places are shown

    if not Path(path).is_file():
        raise SettingsError(f"place_database: there is no file {path}")
    try:
        return maxminddb.open_database(path)
    except (OSError, maxminddb.InvalidDatabaseError):
        raise SettingsError(f"place_database: {path} is not a readable MaxMind DB file") from None


def place_of(runtime: Runtime, address: str, language: str) -> str | None:
    """Return the town and country of an address, in a language where the database has it; None when nobody knows."""
    if runtime.settings.place_database is None:
        return None
    try:
        ipaddress.ip_address(address)
        found = _open(runtime.settings.place_database).get(address)
    except (ValueError, OSError, SettingsError):
        return None
    if not isinstance(found, dict):
        return None
    parts = [_name(found.get(level), language) for level in ("city", "country")]
    return ", ".join(part for part in parts if part) or None


def _name(entry: Any, language: str) -> str | None:
    names = entry.get("names") if isinstance(entry, dict) else None
    if not isinstance(names, dict):
        return None
    name = names.get(language) or names.get("en")
    return name[:100] if isinstance(name, str) else None
