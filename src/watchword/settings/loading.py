"""Where options come from: the command line, then `WATCHWORD_*` variables, then `watchword.toml`; the first that names one wins.

Nothing else in the package reads the environment or a configuration file.
"""

import difflib
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import msgspec
from msgspec import inspect

from watchword import validation_paths
from watchword.settings.checks import check
from watchword.settings.options import Settings, SettingsError

PREFIX = "WATCHWORD_"
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+]+:")  # at least two characters: one letter is a drive
_DEFAULT = Settings()
# Options that are paths, which may have bytes that are not UTF-8.
_FILES = frozenset(
    {
        "database", "key_file", "template_directory", "logo", "logo_dark", "tls_cert", "tls_key",
        "tls_client_ca", "breach_list", "place_database",
    }
)  # fmt: skip
# How to write what was given as a text.
_WRITTEN = {
    "Expected `int`, got `str`": ": write a number; durations are in seconds",
    "Expected `array`, got `str`": ': write a list, such as ["one", "two"]',
}
# Variables of the same prefix that belong to the guard, the client, the tests or the command line itself.
FOREIGN = frozenset(
    {
        "CONFIG", "URL", "CLIENT_ID", "CLIENT_SECRET", "TOKEN", "AUDIENCE", "VECTORS", "REQUIRE", "FAULT",
        "WORKERS_FOLDER", "DRILLS", "MASTER_KEY", "ZERO_PASSPHRASE", "ZERO_AGENT",
    }
)  # fmt: skip


def load(
    overrides: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    config: str | None = None,
) -> Settings:
    """Merge file, environment and overrides (None means "not given") into checked settings; raise SettingsError."""
    merged = stated(environ, config)
    merged |= {name: _checked(name, value) for name, value in (overrides or {}).items() if value is not None}
    database = merged.get("database")
    if isinstance(database, str):  # in the form that `watchword move` names both kinds in, too
        merged["database"] = _checked("database", database.removeprefix("sqlite:///"))
    settings = check(_convert(merged))
    _look_for_files(settings)
    return settings


def stated(environ: Mapping[str, str] | None = None, config: str | None = None) -> dict[str, object]:
    """Return what file and environment say, unchecked and without any default; raise SettingsError."""
    environ = os.environ if environ is None else environ
    config = config or environ.get(PREFIX + "CONFIG")
    told = _from_file(Path(config) if config else Path("watchword.toml"), required=config is not None)
    return told | _from_environment(environ)


def _look_for_files(settings: Settings) -> None:
    """Raise SettingsError if it cannot be determined whether a file exists, or if a folder has its name."""
    files = {"key_file": settings.key_file, "database": None if settings.is_postgres else settings.database}
    for option, path in files.items():
        try:
            is_folder = path is not None and stat.S_ISDIR(os.stat(path).st_mode)
        except FileNotFoundError:
            if option == "database":
                _refuse_mistyped(path or "")
            continue
        except (OSError, ValueError) as error:  # ValueError: a NUL in the name
            reason = error.strerror if isinstance(error, OSError) else error
            raise SettingsError(f"{option}: cannot look for {path}: {reason}") from None
        if is_folder:
            raise SettingsError(f"{option}: {path} is a folder: name a file in it")


def _refuse_mistyped(name: str) -> None:
    """Raise SettingsError for a new file whose name looks like an address that was not written out: `postgres`, `sqlite:w.db`."""
    if scheme := _SCHEME.match(name):  # the rest is not shown: it may hold a password
        said = f"{scheme[0]}… lacks its //, and no file"
    elif "/" not in name and "." not in name:
        said = f"{name if name.isidentifier() else 'this'} is no address, and no file"
    else:
        return
    raise SettingsError(
        f"database: {said} has this name: PostgreSQL is postgresql://user@host/name, and a new SQLite file needs a name "
        "with a dot or a slash, such as watchword.db or ./data"
    )


def _checked(name: str, value: object) -> object:
    # An empty value comes from an unset variable in a script, which was not meant to select the default.
    if value == "":
        raise SettingsError(f"{name} is empty: give a value, or leave the option out")
    return value


def _convert(merged: dict[str, object]) -> Settings:
    for name in merged:
        if name not in Settings.__struct_fields__:
            raise SettingsError(f"unknown option {name!r}{_suggest(name)}")
    try:
        return msgspec.convert(merged, Settings, strict=False)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at ")
        name = place.rpartition("$.")[2].strip("`") or "an option"  # `key` in `$.…` for that of a table
        instead = _instead(name, what)
        where = validation_paths.named(
            name, merged, str(error), partial(msgspec.convert, type=Settings, strict=False)
        )
        raise SettingsError(f"{where} is not valid: {what}{instead}") from None


def _instead(name: str, what: str) -> str:
    """Return the words that an option accepts, for a message about another one, or how to write another kind of value."""
    if not what.startswith("Invalid enum value"):
        return _WRITTEN.get(what, "")
    kinds: list[inspect.Type] = [inspect.type_info(Settings)]
    for field in re.sub(r"\[[^]]*\]", "", name).split("."):
        members = [one for kind in kinds if isinstance(kind, inspect.StructType) for one in kind.fields]
        kinds = [kind for one in members if one.name == field for kind in _simple_types(one.type)]
    words = {str(value) for kind in kinds if isinstance(kind, inspect.LiteralType) for value in kind.values}
    return f", instead of {' or '.join(sorted(words))}" if words else ""


def _simple_types(kind: inspect.Type) -> list[inspect.Type]:
    """Return the types that a union, list or table is made of; any other type by itself."""
    if isinstance(kind, inspect.UnionType):
        return [one for part in kind.types for one in _simple_types(part)]
    if isinstance(kind, inspect.VarTupleType):
        return _simple_types(kind.item_type)
    if isinstance(kind, inspect.DictType):
        return [*_simple_types(kind.key_type), *_simple_types(kind.value_type)]
    return [kind]


def _suggest(name: str) -> str:
    near = difflib.get_close_matches(name, Settings.__struct_fields__, n=1)
    return f": did you mean {near[0]!r}?" if near else ""


def _from_file(path: Path, *, required: bool) -> dict[str, object]:
    if not required and not path.exists():
        return {}
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"cannot read the configuration file {path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # not TOML, not UTF-8, or a number of thousands of digits
        raise SettingsError(f"the configuration file {path} is not valid TOML: {error}") from None


def _from_environment(environ: Mapping[str, str]) -> dict[str, object]:
    hints = Settings.__annotations__
    lists = {name for name, hint in hints.items() if str(hint).startswith("tuple")}
    optional = {name for name, hint in hints.items() if hint == str | None}
    texts = optional | {name for name, hint in hints.items() if hint is str}  # each may begin as JSON does
    found: dict[str, object] = {}
    for variable, value in environ.items():
        name = variable.removeprefix(PREFIX)
        if name == variable or name in FOREIGN or name.startswith("GUARD_"):
            continue
        key = name.lower()
        if key not in Settings.__struct_fields__:
            raise SettingsError(f"unknown option {key!r} in {variable}{_suggest(key)}")
        # Bytes that are not UTF-8 arrive as surrogates (PEP 383).
        if key not in _FILES and any("\ud800" <= one <= "\udfff" for one in value):
            raise SettingsError(f"{key} is not valid: it is not text")
        value = value.rstrip("\r\n")  # secrets read from files by container engines end with a line feed
        if key in optional and not value:  # env files leave what is not wanted empty
            continue
        # As from an unset variable in a script.
        if key in lists and not value.strip() and getattr(_DEFAULT, key):
            raise SettingsError(f"{variable} is empty: write [] for none, or leave it out for the default")
        if value[:1] in ("[", "{") and key not in texts:  # not a plain list, such as `scopes`
            found[key] = _from_json(variable, value)
        else:
            found[key] = tuple(value.replace(",", " ").split()) if key in lists else value
    return found


def _from_json(variable: str, value: str) -> object:
    try:
        return msgspec.json.decode(value)
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{variable} is not valid JSON: {error}") from None
