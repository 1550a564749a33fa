"""Uses of tokens, counted by many threads at once."""

import threading
import time

from watchword.flows.usage import Usage

TIMES, THREADS = 200, 4


class Yielding(str):
    """An identifier with which every look-up lets other threads go on."""

    def __hash__(self) -> int:
        """Return what the text has."""
        time.sleep(0)
        return super().__hash__()


def test_no_use_is_lost_between_threads() -> None:
    usage, token = Usage(), Yielding("token")

    def use() -> None:
        for _ in range(TIMES):
            usage.count("secret", token, "active", 1, "127.0.0.1")

    threads = [threading.Thread(target=use) for _ in range(THREADS)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert usage.total(token, 0) == TIMES * THREADS


def test_a_window_is_there_while_another_thread_notes_it_again() -> None:
    usage, token = Usage(), Yielding("token")
    usage.note_window(token, (1, 5))

    def use() -> None:
        for _ in range(TIMES):
            usage.note_window(token, (1, 5))

    thread = threading.Thread(target=use)
    thread.start()
    found = {usage.window(token) for _ in range(TIMES)}
    thread.join()
    assert found == {(1, 5)}, "or the token might be used as often again"
