"""What one process answers through our HTTP protocol and through uvicorn's own, with an application that does nothing.

    python -m bench.http_protocol [--seconds 5] [--connections 32]

The server has one core, the load generator another. Requests per CPU second of the server are the figure to
compare: they hold when the machine is shared.
"""

import argparse
import itertools
import os
import subprocess
import sys
import time
from typing import Any

import psutil

from bench import load

REQUEST = (
    b"POST /hot HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nAuthorization: Basic Zm9vOmJhcmJhcmJhcmJhcmJhcmJhcmJhcg==\r\n"
    b"User-Agent: bench\r\nAccept: */*\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 40\r\n\r\n"
    b"grant_type=client_credentials&scope=read"
)
VARIANTS = {
    "ours, hot": ("watchword.http_server.protocol:LeanProtocol", "/hot"),
    "ours, hot, new heads": ("watchword.http_server.protocol:LeanProtocol", "/hot"),
    "ours, in a task": ("watchword.http_server.protocol:LeanProtocol", "/task"),
    "uvicorn httptools": ("httptools", "/hot"),
    "uvicorn, new heads": ("httptools", "/hot"),
}


class Nothing:
    """Reads the request and answers with a short JSON document."""

    hot = frozenset({("POST", "/hot")})

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        await receive()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"15"),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b'{"active":true}'})


def serve(port: int, protocol: str) -> None:
    """Run the server in this process."""
    import uvicorn

    uvicorn.run(
        Nothing(),
        port=port,
        http=protocol,
        ws="none",
        lifespan="off",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
    )


def requests(path: str, fresh: bool) -> load.RequestFactory:
    """Equal requests, as most clients send them, or each with a header of its own, as with a DPoP proof."""
    request = REQUEST.replace(b"/hot", path.encode())
    if not fresh:
        return lambda: request
    start, _, end = request.partition(b"bench\r\n")
    numbers = itertools.count(10**9)
    return lambda: b"%b%d\r\n%b" % (start, next(numbers), end)


def measure(protocol: str, factory: load.RequestFactory, port: int, connections: int, seconds: float) -> str:
    """One row: answers a second, answers per CPU second of the server, latencies, cost of the load itself."""
    server = subprocess.Popen(
        [sys.executable, "-m", "bench.http_protocol", "--serve", protocol, "--port", str(port)]
    )
    try:
        process = psutil.Process(server.pid)
        process.cpu_affinity([0])
        time.sleep(1.5)
        before, own = cpu(process), cpu(psutil.Process())
        result = load.run("127.0.0.1", port, load.always(factory), connections, seconds)
        spent, own = cpu(process) - before, cpu(psutil.Process()) - own
        total = seconds + 0.5
        assert set(result.statuses) == {200}, result.statuses
        assert result.failures == 0
        return (
            f"{result.rate:8.0f}/s  {result.rate * total / spent:8.0f} per CPU second  "
            f"p50 {result.percentile(0.5) * 1e3:.2f} ms  p99 {result.percentile(0.99) * 1e3:.2f} ms  "
            f"server CPU {spent / total:.0%}  load CPU {own / total:.0%}"
        )
    finally:
        server.terminate()
        server.wait()


def cpu(process: psutil.Process) -> float:
    """CPU seconds that a process has used."""
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--serve")
    parser.add_argument("--port", type=int, default=8763)
    options = parser.parse_args()
    if options.serve:
        serve(options.port, options.serve)
        return
    os.sched_setaffinity(0, {(os.cpu_count() or 1) - 1})
    for name, (protocol, path) in VARIANTS.items():
        factory = requests(path, "new heads" in name)
        row = measure(protocol, factory, options.port, options.connections, options.seconds)
        print(f"{name:20} {row}", flush=True)


if __name__ == "__main__":
    main()
