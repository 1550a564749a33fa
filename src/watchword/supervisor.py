"""The parent of several workers: starts them, replaces those that ended or hang, and ends them.

It goes on where there is no room for another process, and waits for none without limit. What a worker serves is up to `serving`.
"""

import signal
import time

from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import Process

from watchword.telemetry import log

GRACE = 20  # seconds for the requests under way when a worker is to stop
ENDED = GRACE + 5  # seconds: by then the counters are written as well, and a worker that has not ended hangs
ATTEMPTS = 3  # of a restart at one worker, where those that were to replace it are killed


class Supervisor(Multiprocess):
    """The parent of several workers, which holds the socket that they listen on."""

    def init_processes(self) -> None:
        """Start the workers, all of them or none: those that were started would serve on beside a supervisor that failed."""
        try:
            super().init_processes()
        except OSError as error:
            _note_unstarted(error)
            for process in self.processes:
                process.kill()
            raise SystemExit(1) from None

    def keep_subprocess_alive(self) -> None:
        """Replace the workers that have ended or hang."""
        for process in self.processes:
            # The worker has its own. With this one open, nobody would hear that a worker was killed while it starts, before it can answer:
            # the supervisor would wait for HEALTHCHECK, and replace no other meanwhile.
            process.child_conn.close()
        before = tuple(self.processes)
        try:
            super().keep_subprocess_alive()
        except OSError as error:  # it comes again in half a second
            _note_unstarted(error)
        for old, new in zip(before, self.processes, strict=True):
            if new is not old:  # a negative code is the signal that ended it, such as -9 for lack of memory
                log.warning("worker.replaced", pid=old.pid, exitcode=old.exitcode, by=new.pid)

    def restart_all(self) -> None:
        """Replace one worker after the other, each once another has come into its place; stop where none does."""
        for place, old in enumerate(self.processes):
            new = self._successor()
            if new is None:
                return
            old.terminate()
            _await_end([old])
            self.processes[place] = new

    def _successor(self) -> Process | None:
        """Return a new worker that serves, or None: what is wrong would be so with the next, or the server is to stop.

        One that was killed, by whoever or for lack of memory, is no sign of that: another is tried.
        """
        for _ in range(ATTEMPTS):
            if self._is_to_stop():
                return None
            try:
                new = Process(self.config, self.sockets)
                new.start()
            except OSError as error:
                _note_unstarted(error)
                break
            new.child_conn.close()
            if self._becomes_ready(new):
                return new
            was_killed = not new.process.is_alive() and (new.exitcode or 0) < 0
            new.kill()
            new.join()
            if self._is_to_stop():
                return None
            log.error("worker.not_ready", pid=new.pid, exitcode=new.exitcode)
            if not was_killed:
                break
        log.error("restart.ended", detail="the workers that are yet to be replaced go on serving")
        return None

    def _becomes_ready(self, worker: Process) -> bool:
        deadline = time.monotonic() + self.config.timeout_worker_healthcheck
        while worker.process.is_alive() and time.monotonic() < deadline and not self._is_to_stop():
            if worker.is_ready(timeout=1):
                return True
            time.sleep(0.1)
        return False

    def _is_to_stop(self) -> bool:
        """Whether a signal ends the server, which came before the one that restarts it, or waits behind that."""
        return self.should_exit.is_set() or not {signal.SIGINT, signal.SIGTERM}.isdisjoint(self.signal_queue)

    def terminate_all(self) -> None:
        """End the workers; a client that connects from now on is refused at once, and can go to another node."""
        for listening in self.sockets:
            listening.close()
        super().terminate_all()

    def join_all(self) -> None:
        """Wait until the workers have ended."""
        _await_end(self.processes)

    def handle_ttin(self) -> None:
        """Start one worker more, where there is room for it."""
        try:
            super().handle_ttin()
        except OSError as error:
            self.processes_num -= 1
            _note_unstarted(error)

    def handle_ttou(self) -> None:
        """End one worker unless it is the last."""
        if self.processes_num > 1:
            self.processes_num -= 1
            process = self.processes.pop()
            process.terminate()
            _await_end([process])


def _await_end(processes: list[Process]) -> None:
    """Wait until workers that were told to stop have ended; kill one that hangs, as nobody else would where no service manager does."""
    deadline = time.monotonic() + ENDED
    for one in processes:
        one.process.join(max(0.0, deadline - time.monotonic()))
        if one.exitcode is None:
            log.error(
                "worker.killed",
                pid=one.pid,
                detail=f"it had not ended {ENDED} seconds after it was told to stop",
            )
            one.kill()
            one.join()


def _note_unstarted(error: OSError) -> None:
    """Say that there was no process, file or memory for a new worker, which is no reason to end those that serve."""
    log.error("worker.not_started", reason=error.strerror)
