"""docs/zero.md §8: an agent that holds secrets and answers challenges over a UNIX socket, one request a connection.

Theory of operation: a request is one line of JSON, so is the answer; the connection then ends. `list` names the
identities, `prove` answers a challenge, `stop` ends the agent. No request ever returns a secret. Only the user who
started the agent is served (socket mode 0600, peer credentials where the system tells them); the agent ends by
itself at its deadline. It may be restricted to some verifiers, so that no program can have it sign in elsewhere.
"""

import contextlib
import json
import os
import socket
import stat
import struct
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

import msgspec

from watchword.credentials.zkproof import ZeroError
from watchword.zero.derivation import derive, public_of
from watchword.zero.disclosure import select
from watchword.zero.identity import identity_id
from watchword.zero.proof import prove
from watchword.zero.records import (
    MAX_RECORD,
    Challenge,
    Proof,
    Secret,
    decode_base64url,
    encode_base64url,
    from_json,
    parse_json,
    to_json,
)

TIMEOUT = 5.0
_MAX_MESSAGE = 2 * MAX_RECORD


class Order(msgspec.Struct, frozen=True):
    """What a holder is asked to prove, and with which identity; `derive_for` names a derived identity's purpose."""

    challenge: Challenge
    channel: bytes | None = None
    disclose: tuple[str, ...] = ()
    derive_for: str | None = None


def fulfil(secret: Secret, order: Order, now: int, randomness: bytes) -> Proof:
    """Prove with a secret, or with what derives from it for the challenge's verifier; raise ZeroError."""
    return prove(
        acting(secret, order),
        order.challenge,
        channel=order.channel,
        disclose=order.disclose,
        now=now,
        randomness=randomness,
    )


def acting(secret: Secret, order: Order) -> Secret:
    """Return the secret itself, or what derives from it for the challenge's verifier where the order says so."""
    if order.derive_for is None:
        return secret
    kept = select(secret, order.disclose)
    return derive(secret, order.challenge.verifier, order.derive_for, kept)


class Agent:
    """Holds secrets in memory and answers on a listening socket until it is stopped or its deadline passes."""

    def __init__(
        self,
        secrets: Iterable[Secret],
        *,
        clock: Callable[[], int],
        randomness: Callable[[int], bytes],
        deadline: int,
        verifiers: Collection[str] = (),
    ) -> None:
        self._secrets = {identity_id(public_of(secret.seed)): secret for secret in secrets}
        self._clock = clock
        self._randomness = randomness
        self._deadline = deadline
        self._verifiers = frozenset(verifiers)
        self._running = True

    def serve(self, listener: socket.socket) -> None:
        """Answer requests until `stop` or the deadline."""
        listener.settimeout(1.0)
        while self._running and self._clock() < self._deadline:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                with connection:
                    self._converse(connection)
        self._secrets.clear()

    def answer(self, request: object) -> dict[str, object]:
        """Answer one parsed request; a refusal is an answer with `error` and `message`."""
        try:
            return self._dispatch(request)
        except ZeroError as error:
            return {"error": error.reason, "message": str(error)}

    def _converse(self, connection: socket.socket) -> None:
        connection.settimeout(TIMEOUT)
        if not _same_user(connection):
            return
        try:
            request = parse_json(_receive(connection))
        except ZeroError:
            request = None
        connection.sendall(json.dumps(self.answer(request)).encode() + b"\n")

    def _dispatch(self, request: object) -> dict[str, object]:
        if not isinstance(request, dict):
            raise ZeroError("malformed", "a request is a JSON object")
        if request.get("op") == "list":
            return {"identities": sorted(self._secrets)}
        if request.get("op") == "stop":
            self._running = False
            return {"stopped": True}
        if request.get("op") == "prove":
            return {"proof": to_json(self._prove(request))}
        raise ZeroError("malformed", "an unknown request")

    def _prove(self, request: Mapping[str, object]) -> Proof:
        order = _read_order(request)
        if self._verifiers and order.challenge.verifier not in self._verifiers:
            raise ZeroError("verifier", "the agent does not serve this verifier")
        secret = self._secrets.get(str(request.get("id", "")))
        if secret is None and "id" not in request and len(self._secrets) == 1:
            secret = next(iter(self._secrets.values()))
        if secret is None:
            raise ZeroError("identity", "the agent does not hold this identity; name one of those it lists")
        return fulfil(secret, order, self._clock(), self._randomness(32))


def listen(path: str) -> socket.socket:
    """Open the agent's socket, mode 0600; replace one that nobody answers; raise ZeroError `agent` otherwise."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        _clear_stale(path)
        listener.bind(path)
        listener.listen(16)
    except (OSError, ValueError) as error:
        listener.close()
        raise ZeroError("agent", f"{path}: {getattr(error, 'strerror', None) or error}") from None
    finally:
        os.umask(mask)
    return listener


@contextlib.contextmanager
def listening(path: str) -> Iterator[socket.socket]:
    """Open the agent's socket as `listen` does, and remove it in the end, unless another agent has replaced it by then."""
    with listen(path) as listener:
        own = os.lstat(path)  # its inode number is not reused while the socket is open
        try:
            yield listener
        finally:
            with contextlib.suppress(FileNotFoundError):  # somebody has removed it already
                if os.path.samestat(os.lstat(path), own):
                    os.unlink(path)


def ask(path: str, request: Mapping[str, object]) -> dict[str, object]:
    """Send one request to the agent at a path and return its answer; raise ZeroError, also for a refusal."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(TIMEOUT)
            connection.connect(path)
            connection.sendall(json.dumps(request).encode() + b"\n")
            reply = parse_json(_receive(connection))
    except (OSError, ValueError) as error:
        if isinstance(error, ZeroError):
            raise
        raise ZeroError("agent", f"{path}: {getattr(error, 'strerror', None) or error}") from None
    if not isinstance(reply, dict) or "error" in reply:
        refusal = reply if isinstance(reply, dict) else {}
        raise ZeroError(str(refusal.get("error", "agent")), f"agent: {refusal.get('message', 'no answer')}")
    return reply


def ask_proof(path: str, order: Order, identity: str | None = None) -> Proof:
    """Have the agent at a path prove; `identity` is the short name when it holds several. Raises ZeroError."""
    request: dict[str, object] = {"op": "prove", "challenge": to_json(order.challenge)}
    request["channel"] = encode_base64url(order.channel or b"")
    request["disclose"] = list(order.disclose)
    request |= {"derive_for": order.derive_for} if order.derive_for is not None else {}
    request |= {"id": identity} if identity is not None else {}
    return from_json(ask(path, request).get("proof"), Proof)


def _read_order(request: Mapping[str, object]) -> Order:
    disclose = request.get("disclose", [])
    derive_for = request.get("derive_for")
    if not isinstance(disclose, list) or not (derive_for is None or isinstance(derive_for, str)):
        raise ZeroError("malformed", "disclose is a list of names, derive_for is a text")
    channel = decode_base64url(request.get("channel", "")) or None
    challenge = from_json(request.get("challenge"), Challenge)
    return Order(challenge, channel, tuple(str(name) for name in disclose), derive_for)


def _receive(connection: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        chunk = connection.recv(65536)
        data += chunk
        if not chunk or len(data) > _MAX_MESSAGE:
            raise ZeroError("agent", "the connection ended early, or the message is too long")
    return data


def _same_user(connection: socket.socket) -> bool:
    if not hasattr(socket, "SO_PEERCRED"):
        return True  # the socket's mode keeps others out
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return bool(uid == os.geteuid())


def _clear_stale(path: str) -> None:
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ZeroError("agent", f"{path}: something else is already there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
    raise ZeroError("agent", f"{path}: an agent is already there")
