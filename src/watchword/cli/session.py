"""The parts that all commands share: options, opening the server's data, output for people and programs, exit codes."""

import asyncio
import contextlib
import io
import json
import re
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import msgspec
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from watchword import settings as settings_module
from watchword.flows.databases import schema_state, start
from watchword.flows.runtime import Runtime
from watchword.oauth.errors import OAuthError
from watchword.settings import Settings, SettingsError
from watchword.store.database import StorageUnavailable

T = TypeVar("T")

Database = Annotated[str | None, typer.Option(help="SQLite file or postgresql:// address.")]
Config = Annotated[
    str | None, typer.Option(help="Configuration file (default: watchword.toml if there is one).")
]
SignIn = Annotated[
    str | None, typer.Argument(help="Name of the sign-in, or its issuer (default: the latest).")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document and nothing else.")]

ACTOR = "command line"
DEV_DATABASE = "watchword-dev.db"
UNFOLDED = 1000  # columns, so that a file or another program gets each row as one line
LONGEST_LOOK = 86_400  # seconds for a statement that reads a whole table; `database_timeout` is for requests
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}

# C0 and C1 without tab and line feed, the separators of lines, and what turns the direction of text (Unicode UAX #9)
_STEERING = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)


def plain(text: str, *, one_line: bool = False) -> str:
    """Escape what would control a terminal: much that is printed was written by strangers."""
    safe = _STEERING.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    return safe.replace("\t", "\\t").replace("\n", "\\n") if one_line else safe


class _Terminal(Console):
    """A console that nothing steers but its own styles."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Return text as it is printed."""
        return super().render_str(plain(text), **options)


# Without emoji: the middle of a scope such as orders:key:read would be shown as one.
out = _Terminal(highlight=False, soft_wrap=True, emoji=False)
err = _Terminal(stderr=True, highlight=False, soft_wrap=True, emoji=False)


def complain(word: str, message: str) -> None:
    """Print what went wrong on standard error; nothing in the message is taken as markup."""
    err.print(Text.assemble((f"{word}:", "red"), f" {plain(message)}"))


class WrongUsage(SystemExit):
    """The call is wrong: the process exits with 2; `message` is None where it was printed already."""

    def __init__(self, message: str | None) -> None:
        super().__init__(2)
        self.message = message


def usage(message: str) -> NoReturn:
    """Print what is wrong with the call and exit with 2."""
    complain("error", message)
    raise WrongUsage(message)


def pairs(
    given: Sequence[str] | None, option: str, form: str, *, may_be_empty: bool = False
) -> dict[str, str]:
    """Return the pairs of a repeatable option such as NAME=VALUE; exit with 2 for another form, or a repeated name."""
    said: dict[str, str] = {}
    for text in given or ():
        name, equals, value = text.partition("=")
        if not name or not equals or not (value or may_be_empty):
            usage(f"{option} takes {form}, not {text!r}")
        if name in said:
            usage(f"{option} gives {name} twice")
        said[name] = value
    return said


def one_page(search: str, after: str) -> None:
    """Exit with 2 for a search that continues after an identifier: it is ordered by name."""
    if search and after:
        usage("--after does not work with --search: give more of the name, or raise --limit")


def follows(after: str, kind: str) -> None:
    """Exit with 2 unless `after` is an identifier of the kind that is listed: otherwise the page would lack entries, or be empty."""
    if after and not has_form(after, kind):
        usage(f"--after takes the last identifier of the page before, such as {kind}_…, not {after!r}")


def has_form(after: str, kind: str) -> bool:
    """Whether a text has the form of the identifiers that are made for a kind."""
    return re.fullmatch(rf"{kind}_[0-9a-z]{{26,32}}", after) is not None


def page(found: Sequence[T], limit: int, name: Callable[[T], str]) -> tuple[Sequence[T], str | None]:
    """Return a page of a list that was read with one entry more, and the identifier after which it continues, if it does."""
    return found[:limit], name(found[limit - 1]) if len(found) > limit else None


def print_more(following: str | None, search: str = "") -> None:
    """Print how to see the rest of a list, if there is more; the rest of a search has no identifier to continue after."""
    if following and search:
        out.print("[dim]more: give more of the name, or raise --limit[/]")
    elif following:
        out.print(f"[dim]more: --after {following}[/]")


def refuse(code: str, message: str, as_json: bool, field: str | None = None) -> NoReturn:
    """Print why the command was refused and exit with 1."""
    if as_json:
        print_json({"error": code, "error_description": message, **({"field": field} if field else {})})
    else:
        complain("refused", f"{message} ({code})")
    raise typer.Exit(1)


def load(config: str | None, **overrides: object) -> Settings:
    """Return the settings, or exit with 2 and the reason."""
    try:
        return settings_module.load(overrides, config=config)
    except SettingsError as error:
        usage(str(error))


def development_database(config: str | None) -> str | None:
    """Return the database file of `watchword dev` if it is the only one in this folder and no option names another.

    If both exist, say which is used, so that nobody wonders about missing data.
    """
    settings = load(config)
    if "database" in settings_module.stated(config=config) or not Path(DEV_DATABASE).exists():
        return None
    if Path(settings.database).exists():
        other = f"`--database {DEV_DATABASE}` names that of `watchword dev`"
        err.print(f"[dim]using {settings.database}; {other}[/]")
        return None
    err.print(f"[dim]using {DEV_DATABASE}, the database of `watchword dev`; --database names another[/]")
    return DEV_DATABASE


def load_for(database: str | None, config: str | None) -> Settings:
    """Return the settings with the database that was named, else with that of `watchword dev` if it is the only one."""
    return load(config, database=development_database(config) if database is None else database)


def run(
    operation: Callable[[Runtime], Awaitable[T]],
    *,
    database: str | None,
    config: str | None,
    as_json: bool,
    makes: bool = False,
    longest: int | None = None,
) -> T:
    """Open the server's data, run an operation, close; exit with 1 or 2 and the reason when that fails.

    With `makes`, the operation creates something, and a database is created where there is none. Its statements may take `longest`
    seconds where that is not `database_timeout`.
    """
    settings = load_for(database, config)
    is_new = makes and not settings.is_postgres and not Path(settings.database).exists()

    async def on_opened(runtime: Runtime) -> T:
        if is_new:
            err.print(f"{settings.database} did not exist and has been created", style="dim", markup=False)
        return await operation(runtime)

    try:
        return asyncio.run(with_runtime(settings, on_opened, makes=makes, longest=longest))
    except OAuthError as error:
        refuse(error.code, error.description, as_json, error.field)
    except StorageUnavailable as error:
        refuse("temporarily_unavailable", error.reason, as_json)
    except SettingsError as error:
        usage(str(error))


async def with_runtime(
    settings: Settings,
    operation: Callable[[Runtime], Awaitable[T]],
    *,
    makes: bool = False,
    longest: int | None = None,
) -> T:
    """Open the server's data, run an operation, close."""
    if not makes:
        await schema_state.require(settings)
    runtime = await start.open_runtime(settings, longest=longest)
    try:
        return await operation(runtime)
    finally:
        await start.close_runtime(runtime)


async def tell_assumed_issuer(runtime: Runtime, config: str | None) -> None:
    """Say for which address something is made that holds the issuer, where neither an option nor a server has named that yet."""
    if "issuer" not in settings_module.stated(config=config) and not await start.knows_issuer(runtime):
        told = (
            f"no server has used this database yet and no issuer is set: this is for {runtime.settings.issuer}. If your server "
            "will have another address, set it (WATCHWORD_ISSUER, or issuer in watchword.toml) and run this again"
        )
        err.print(told, style="yellow", markup=False)


def print_json(document: object) -> None:
    """Print one JSON document on standard output."""
    try:
        text = msgspec.json.format(msgspec.json.encode(document), indent=2).decode()
    except UnicodeEncodeError:  # a path with undecodable bytes, which `json` escapes
        text = json.dumps(msgspec.to_builtins(document), indent=2)
    print_text(text + "\n")


def print_text(text: str) -> None:
    """Print JSON or TOML on standard output: both are UTF-8 (RFC 8259 §8.1), whatever the terminal's encoding is."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    sys.stdout.write(text)
    sys.stdout.flush()  # the process of `dev` does not end here


@contextlib.contextmanager
def shown_once(whose: str, another: str) -> Iterator[None]:
    """Wrap the printing of a new secret; if it cannot be written completely, say whose it was and which command makes another.

    It is not revoked: the end of the older ones cannot be undone, and a secret that nobody has is harmless.
    """
    try:
        yield
        sys.stdout.flush()
    except (OSError, SystemExit):  # rich raises SystemExit when the reader of a pipe is gone
        lost = f"{whose} has a new secret, which could not be printed completely: if you do not have it, `{another}` makes another."
        complain("error", lost)
        raise


def print_fields(fields: Sequence[tuple[str, object]]) -> None:
    """Print names and values, one pair a line; what is None or empty is left out."""
    shown = [(plain(name, one_line=True), plain(_text(name, value), one_line=True)) for name, value in fields]
    width = max((len(name) for name, text in shown if text), default=0)
    for name, text in shown:
        if text:
            out.print(Text(name.ljust(width), "dim"), end="  ")
            out.print(text, markup=False)


def _text(name: str, value: object) -> str:
    if value is None or value in ("", (), [], {}):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and name.endswith("_at"):
        return when(value)
    if isinstance(value, list | tuple) and all(isinstance(one, str) for one in value):
        return " ".join(value)
    return str(value) if isinstance(value, str | int) else msgspec.json.encode(value).decode()


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table, or say that there is nothing."""
    if not rows:
        out.print("[dim]none[/]")
        return
    table = Table(box=None, pad_edge=False, header_style="dim")
    for position, column in enumerate(columns):
        # The first column is the identifier, which has to be copied whole.
        table.add_column(column, overflow="fold", no_wrap=position == 0)
    for row in rows:
        table.add_row(*(Text("" if value is None else plain(str(value))) for value in row))  # never as markup
    printer = out if out.is_terminal else Console(highlight=False, width=UNFOLDED)
    printer.print(table)


def when(moment: int | None) -> str:
    """Return a moment in Unix seconds as UTC text; None is "never"."""
    if moment is None:
        return "never"
    try:
        return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    except (ValueError, OverflowError, OSError):  # beyond the calendar, as another server may name it
        return str(moment)


def scopes(text: str | None) -> str | None:
    """Return what an option for scopes was given; say so where commas separate them, which may be part of a scope (RFC 6749 §3.3)."""
    if text and "," in text:
        err.print("scopes are separated by spaces: the commas are part of a scope", style="yellow")
    return text


def duration(text: str | None, option: str, *, least: int = 0) -> int | None:
    """Return the seconds of a text such as 90d, 24h, 30m, 45s or 3600; exit with 2 when it is not a duration, or less than `least`."""
    if text is None:
        return None
    number, unit = (text[:-1], text[-1:]) if text[-1:] in UNITS else (text, "s")
    if not number.isascii() or not number.isdigit() or len(number) > 10:
        usage(f"{option} takes a duration such as 90d, 24h, 30m or 3600, not {text!r}")
    seconds = int(number) * UNITS[unit]
    if seconds < least:
        usage(f"{option} takes at least {least}s, not {text!r}")
    return seconds
