"""The agent proves and never tells: no request returns a secret, and others are not served."""

import json
import os
import socket
import stat
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from watchword.credentials.zkproof import ZeroError
from watchword.zero import agent, derivation, proof
from watchword.zero.identity import identity_id
from watchword.zero.records import Proof, Secret, encode_base64url, to_json


def make(holder: Any, **changes: Any) -> agent.Agent:
    arguments = {
        "clock": lambda: holder.now,
        "randomness": os.urandom,
        "deadline": holder.now + 100,
        "verifiers": (),
        **changes,
    }
    return agent.Agent(arguments.pop("secrets", [holder.secret]), **arguments)


@pytest.fixture
def running(holder: Any, tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / "agent")
    with agent.listen(path) as listener:
        thread = threading.Thread(target=make(holder).serve, args=(listener,))
        thread.start()
        yield path
        agent.ask(path, {"op": "stop"})
        thread.join(5)
        assert not thread.is_alive()


def verified(holder: Any, answer: Proof, public: bytes) -> proof.Verified:
    return proof.verify_proof(
        answer,
        identity_public=public,
        verifier="https://api.example",
        purpose="login",
        challenge=b"c" * 32,
        channel=b"jkt:x",
        now=holder.now,
        leeway=0,
        commitments=holder.identity.commitments,
    )


def test_an_agent_answers_a_challenge_over_its_socket(holder: Any, running: str) -> None:
    assert stat.S_IMODE(os.stat(running).st_mode) == 0o600
    assert agent.ask(running, {"op": "list"}) == {"identities": [identity_id(holder.identity.public)]}
    answer = agent.ask_proof(running, agent.Order(holder.challenge, b"jkt:x", ("age",)))
    assert verified(holder, answer, holder.identity.public).attributes == {"age": 33}


def test_an_agent_proves_with_a_derived_identity(holder: Any, running: str) -> None:
    answer = agent.ask_proof(running, agent.Order(holder.challenge, b"jkt:x", derive_for="login"))
    child = derivation.derive(holder.secret, "https://api.example", "login")
    assert verified(holder, answer, derivation.public_of(child.seed))


def test_who_asks_is_told_why_the_agent_refuses(holder: Any, running: str) -> None:
    assert agent.ask_proof(running, agent.Order(holder.challenge)).channel == b""
    for order, identity, reason in (
        (agent.Order(holder.challenge), "zid_x", "identity"),
        (agent.Order(holder.challenge, None, ("salary",)), None, "attribute"),
    ):
        with pytest.raises(ZeroError, match=r"^agent: .+") as error:
            agent.ask_proof(running, order, identity)
        assert error.value.reason == reason


def test_what_is_no_agent_proves_nothing(holder: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "other")
    for reply, reason in (
        (b"[]\n", "agent"),
        (b"{}\n", "malformed"),
        (b"no", "agent"),
        (b"no\n", "malformed"),
    ):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path)
            listener.listen()
            thread = threading.Thread(target=_reply, args=(listener, reply))
            thread.start()
            with pytest.raises(ZeroError) as error:
                agent.ask_proof(path, agent.Order(holder.challenge))
            thread.join(5)
        os.unlink(path)
        assert error.value.reason == reason


def _reply(listener: socket.socket, reply: bytes) -> None:
    connection, _ = listener.accept()
    with connection:
        connection.makefile("rb").readline()
        connection.sendall(reply)


def test_a_second_agent_does_not_take_the_socket(running: str) -> None:
    with pytest.raises(ZeroError, match="already there"):
        agent.listen(running)


def test_a_socket_left_behind_is_replaced(tmp_path: Path) -> None:
    path = str(tmp_path / "agent")
    agent.listen(path).close()
    agent.listen(path).close()


def test_an_agent_that_ends_removes_its_own_socket_and_no_successors(tmp_path: Path) -> None:
    path = str(tmp_path / "agent")
    with agent.listening(path):
        pass
    assert not os.path.lexists(path)
    with agent.listening(path):
        os.unlink(path)
        successor = agent.listen(path)
    with successor:
        assert os.path.lexists(path)


def test_a_file_that_is_no_socket_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(ZeroError):
        agent.listen(str(path))
    assert path.read_text() == "data"


def test_nobody_there(tmp_path: Path) -> None:
    for path in (str(tmp_path / "none"), "x" * 500, "a\x00b"):
        with pytest.raises(ZeroError) as error:
            agent.ask(path, {"op": "list"})
        assert error.value.reason == "agent"


def test_rubbish_on_the_socket_does_not_stop_it(holder: Any, running: str) -> None:
    for rubbish in (b"\n", b"[" * 60_000 + b"\n", b"\xff\x00\n", b"", b"x" * 200_000):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(running)
            try:
                connection.sendall(rubbish)
                connection.shutdown(socket.SHUT_WR)
                connection.recv(10)
            except OSError:
                continue
    assert agent.ask(running, {"op": "list"})


REFUSED: dict[str, tuple[object, str]] = {
    "not an object": ([], "malformed"),
    "nothing": (None, "malformed"),
    "an unknown operation": ({"op": "export"}, "malformed"),
    "no challenge": ({"op": "prove"}, "malformed"),
    "a challenge that is a text": ({"op": "prove", "challenge": "x"}, "malformed"),
    "an unknown identity": ({"op": "prove", "id": "zid_x"}, "identity"),
    "an identity that is no text": ({"op": "prove", "id": ["x"]}, "identity"),
    "an unknown attribute": ({"op": "prove", "disclose": ["salary"]}, "attribute"),
    "a list that is none": ({"op": "prove", "disclose": "age"}, "malformed"),
    "a channel that is no base64url": ({"op": "prove", "channel": "="}, "malformed"),
    "a purpose that is no text": ({"op": "prove", "derive_for": 5}, "malformed"),
}


@pytest.mark.parametrize(("request_", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_refusals(holder: Any, request_: Any, reason: str) -> None:
    if isinstance(request_, dict) and len(request_) > 1 and "challenge" not in request_:
        request_ = {**request_, "challenge": to_json(holder.challenge)}
    answer = make(holder).answer(request_)
    assert answer["error"] == reason
    assert encode_base64url(holder.secret.seed) not in json.dumps(answer)


def test_an_agent_for_one_verifier_does_not_sign_in_elsewhere(holder: Any) -> None:
    request = {"op": "prove", "challenge": to_json(holder.challenge)}
    assert "proof" in make(holder, verifiers=["https://api.example"]).answer(request)
    assert make(holder, verifiers=["https://bank.example"]).answer(request)["error"] == "verifier"


def test_among_several_identities_one_must_be_named(holder: Any) -> None:
    several = make(holder, secrets=[holder.secret, Secret(b"o" * 32, ())])
    request = {"op": "prove", "challenge": to_json(holder.challenge)}
    assert several.answer(request)["error"] == "identity"
    assert "proof" in several.answer({**request, "id": identity_id(holder.identity.public)})


def test_an_agent_ends_at_its_deadline_and_forgets(holder: Any, tmp_path: Path) -> None:
    ended = make(holder, deadline=holder.now)
    with agent.listen(str(tmp_path / "agent")) as listener:
        ended.serve(listener)
    assert ended.answer({"op": "list"}) == {"identities": []}
