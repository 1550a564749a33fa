"""The guard: what an API needs to accept API tokens and OAuth access tokens, and nothing of the server.

`Guard` verifies; `watchword.guard.fastapi`, `watchword.guard.starlette` and `watchword.guard.asgi` fit it to a framework.
"""

from watchword.guard.guard import Guard
from watchword.guard.policy import Policy, Refused
from watchword.guard.principal import Principal

__all__ = ["Guard", "Policy", "Principal", "Refused"]
