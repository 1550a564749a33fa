"""Every option of the server: typed, defaulted, checked once at start; unknown keys fail."""

from watchword.settings.checks import check, check_exposure, is_resource, with_issuer
from watchword.settings.loading import PREFIX, load, stated
from watchword.settings.options import (
    DAY,
    DetailText,
    ScopeText,
    Seconds,
    Settings,
    SettingsError,
    Upstream,
    is_postgres,
    plain_address,
)

__all__ = [
    "DAY",
    "PREFIX",
    "DetailText",
    "ScopeText",
    "Seconds",
    "Settings",
    "SettingsError",
    "Upstream",
    "check",
    "check_exposure",
    "is_postgres",
    "is_resource",
    "load",
    "plain_address",
    "stated",
    "with_issuer",
]
