"""Running the application under uvicorn with the lean HTTP protocol: workers, TLS, graceful stop.

Worker processes are made by import string, so that each opens the database itself: a handle that crosses a fork is shared, and
that corrupts (SQLite) or mixes answers (PostgreSQL). How they are replaced and ended is up to `supervisor`.
"""

import asyncio
import contextlib
import errno
import gc
import multiprocessing
import os
import signal
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import uvicorn
from uvicorn.config import STARTUP_FAILURE

from watchword import exhaustion
from watchword import settings as settings_module
from watchword.app import App, check_files
from watchword.flows.runtime import Runtime
from watchword.http_server.protocol import LeanProtocol
from watchword.pages import render
from watchword.pages.branding import branding_of
from watchword.settings import PREFIX, Settings, SettingsError
from watchword.store import faults
from watchword.store.database import StorageUnavailable
from watchword.supervisor import GRACE, Supervisor
from watchword.telemetry import log, workers

# Seconds. A worker that is starting does not answer yet: under load that takes longer than uvicorn's five seconds, and a supervisor
# that kills it then never gets a worker (F-01).
HEALTHCHECK = 30
PAUSE = 1.0  # seconds before a worker that could not start is replaced
# Who collects the log reads it line by line, and most of all what is said when something goes wrong.
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"lines": {"class": "watchword.telemetry.logs.Lines"}},
    "loggers": {
        name: {"handlers": ["lines"], "level": "WARNING"} for name in ("uvicorn", "asyncio", "watchword.http")
    },
}


class AddressUnavailable(SettingsError):
    """An address that may be free later: another process has it, or this machine does not have it yet."""


_PASSING = (errno.EADDRINUSE, errno.EADDRNOTAVAIL)
_contexts: list[ssl.SSLContext] = []  # of this process: uvicorn makes it just before the application


def tls_context(_config: uvicorn.Config, make: Callable[[], ssl.SSLContext]) -> ssl.SSLContext:
    """Make the TLS context of one worker, without session tickets: a resumed session does not tell the chain of a client's certificate."""
    try:
        context = make()
    except OSError:  # which `ssl.SSLError` is as well
        if multiprocessing.parent_process() is not None:
            _postpone_for_certificates()
        raise
    if context.verify_mode != ssl.CERT_NONE:
        context.options |= ssl.OP_NO_TICKET
        context.num_tickets = 0
    _contexts[:] = [context]
    return context


class Worker(App):
    """The application in one of several workers, whose start may fail for a while: storage is unavailable, or memory is short.

    The supervisor takes a failed start for a mistake in the configuration, and stops the workers that serve. So the process exits in
    another way, after a pause, and its replacement tries again (F-22). Mistakes in the configuration are found before there are workers.
    """

    async def open(self) -> Runtime:
        """Open the data as the application does; end the process where that is not possible now."""
        try:
            return await super().open()
        except Exception as error:
            if not isinstance(error, StorageUnavailable | SettingsError) and not exhaustion.is_shortage(
                error
            ):
                raise
            _postpone(error)


def create_app() -> App:
    """Make the application of one worker from the environment."""
    settings = settings_module.with_issuer(settings_module.load())
    log.configure(settings.log_format, settings.log_level)
    faults.arm(os.environ.get(PREFIX + "FAULT"))
    app = App(settings) if multiprocessing.parent_process() is None else _worker(settings)
    app.shared = os.environ.get(PREFIX + "WORKERS_FOLDER")
    _end_with_supervisor()
    asyncio.get_running_loop().set_exception_handler(_note_shortage)
    if _contexts and settings.tls_client_self_signed:
        context = _contexts[0]
        app.trust_certificate = lambda der: context.load_verify_locations(cadata=der)
    # What exists by now lives as long as the process: scanning it for garbage again and again would only pause every request.
    gc.collect()
    gc.freeze()
    return app


def _worker(settings: Settings) -> Worker:
    try:
        return Worker(settings)
    # An operator file was broken after the start, and may be mended while other workers serve.
    except SettingsError as error:
        _postpone(error)


def _postpone_for_certificates() -> None:
    """Say which file was broken after the start, as for any other that the operator may mend while other workers serve."""
    settings = settings_module.load()
    log.configure(settings.log_format, settings.log_level)
    try:
        _check_certificates(settings)
    except SettingsError as error:
        _postpone(error)


def _postpone(reason: Exception) -> NoReturn:
    """End a worker that cannot start now, so that its supervisor tries another."""
    log.error("worker.postponed", reason=str(reason), seconds=PAUSE)
    time.sleep(PAUSE)
    os._exit(1)


def _note_shortage(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Ask for this worker's replacement when its connections fail for lack of memory; other errors of the loop are logged as usual."""
    if (error := context.get("exception")) is not None and exhaustion.is_shortage(error):
        exhaustion.step_down()
    loop.default_exception_handler(context)


def _end_with_supervisor() -> None:
    """Stop when the supervisor of this worker is gone: an orphan would hold the port against the next start, and nobody would stop it."""
    supervisor = multiprocessing.parent_process()
    if supervisor is not None:
        loop = asyncio.get_running_loop()
        loop.add_reader(supervisor.sentinel, _orphaned, loop, supervisor.sentinel)


def _orphaned(loop: asyncio.AbstractEventLoop, sentinel: int) -> None:
    loop.remove_reader(sentinel)
    log.warning("supervisor.gone")
    os.kill(os.getpid(), signal.SIGTERM)


def check_startable(settings: Settings) -> None:
    """Raise SettingsError where a file cannot be used or the address cannot be listened on, before anything is created."""
    check_named_files(settings)
    log.configure(settings.log_format, settings.log_level)
    for said in unknown_texts(settings):
        log.warning("text.unknown", detail=said)
    try:
        places = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)
        for family, kind, _, _, place in places:
            with socket.socket(family, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(place)
    except OSError as error:
        reason = error.strerror or str(error)
        # `dev` is for this machine alone, and takes no host.
        change = (
            "--port names another"
            if settings.mode == "development"
            else "--host and --port name another place"
        )
        refusal = AddressUnavailable if error.errno in _PASSING else SettingsError
        raise refusal(f"cannot listen on {settings.host}, port {settings.port}: {reason}; {change}") from None


def unknown_texts(settings: Settings) -> list[str]:
    """Return what is to be said of texts in the operator's catalogues that nothing shows."""
    return render.unknown_texts(branding_of(settings))


def check_named_files(settings: Settings) -> None:
    """Raise SettingsError where a file that the options name is missing or cannot be used."""
    _check_certificates(settings)
    check_files(settings)


def _check_certificates(settings: Settings) -> None:
    for name in ("tls_cert", "tls_key", "tls_client_ca"):
        if path := getattr(settings, name):
            try:
                Path(path).read_bytes()
            except OSError as error:
                raise SettingsError(f"{name}: cannot read {path}: {error.strerror}") from None
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        if settings.tls_cert:
            # Otherwise OpenSSL prompts for one.
            context.load_cert_chain(settings.tls_cert, settings.tls_key, password="")
        if settings.tls_client_ca:
            context.load_verify_locations(settings.tls_client_ca)
    except ssl.SSLError as error:
        raise SettingsError(
            "tls_cert, tls_key and tls_client_ca are PEM files: a chain, its own key without a passphrase, "
            f"and certificates of authorities ({error.reason or error})"
        ) from None


def configuration(settings: Settings) -> uvicorn.Config:
    """Return uvicorn's configuration for these settings."""
    return uvicorn.Config(
        "watchword.serving:create_app",
        factory=True,
        host=settings.host,
        port=settings.port,
        workers=settings.workers,
        http=LeanProtocol,
        loop="watchword.http_server.event_loop:EventLoop",
        ws="none",
        lifespan="on",
        interface="asgi3",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        log_config=LOGGING,
        log_level="warning",
        timeout_graceful_shutdown=GRACE,
        timeout_worker_healthcheck=HEALTHCHECK,
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        ssl_ca_certs=settings.tls_client_ca,
        ssl_cert_reqs=ssl.CERT_OPTIONAL if settings.asks_for_certificates else ssl.CERT_NONE,
        ssl_context_factory=tls_context if settings.tls_cert else None,
        ssl_ciphers="ECDHE+AESGCM:ECDHE+CHACHA20",
    )


class Alone(uvicorn.Server):
    """The only worker, which finishes what is under way when its terminal is closed, as when it is told to stop."""

    def __init__(self, config: uvicorn.Config, announce: Callable[[], None]) -> None:
        super().__init__(config)
        self.announce = announce
        self.unsaid: Exception | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and announce it; stop again where that fails, as on a full disk: nobody would learn where the server is."""
        await super().startup(sockets)
        if self.started:
            try:
                self.announce()
            except Exception as error:
                self.unsaid, self.should_exit = error, True

    def handle_exit(self, sig: int, _frame: FrameType | None) -> None:
        """Stop, at once when it is interrupted again; told to stop it has done so and succeeds, as several workers do.

        uvicorn ends the process by the signal itself.
        """
        self.force_exit = self.should_exit and sig == signal.SIGINT
        self.should_exit = True

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End gracefully for SIGHUP, too, unless it is ignored, as under `nohup`."""
        with super().capture_signals():
            before = signal.getsignal(signal.SIGHUP)
            if before != signal.SIG_IGN:
                signal.signal(signal.SIGHUP, self.handle_exit)
            try:
                yield
            finally:
                signal.signal(signal.SIGHUP, before)


def run(settings: Settings, announce: Callable[[], None]) -> None:
    """Serve until told to stop; call `announce` as soon as nobody who connects is refused."""
    config = configuration(settings)
    if settings.workers == 1:
        server = Alone(config, announce)
        server.run()
        if server.unsaid is not None:
            raise server.unsaid
        if not server.started:
            raise SystemExit(1)
        return
    with workers.folder() as shared:
        os.environ[PREFIX + "WORKERS_FOLDER"] = shared
        listening = config.bind_socket()
        listening.listen(config.backlog)  # who comes before the first worker is ready waits for it
        announce()
        supervisor = Supervisor(config, sockets=[listening])
        supervisor.run()
        if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
            raise SystemExit(1)
