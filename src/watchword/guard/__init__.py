"""The guard: what an API needs to accept API tokens, OAuth access tokens and sessions, and nothing of the server.

`Guard` verifies. Each framework has a module of its own here that fits the guard to it: asgi, wsgi, starlette, fastapi,
litestar, flask, django, drf, ninja, falcon, aiohttp, grpc, mcp_sdk, fastmcp. None of them is imported unless it is used.
"""

from watchword.guard.guard import Guard
from watchword.guard.policy import Policy, Refused
from watchword.guard.presented import Presented
from watchword.guard.principal import Principal
from watchword.guard.trusted import Trusted

__all__ = ["Guard", "Policy", "Presented", "Principal", "Refused", "Trusted"]
