"""An MCP server made with the MCP Python SDK that only callers with a token for it can reach.

WATCHWORD_URL=https://auth.example.com MCP_URL=https://api.example.com/mcp uvicorn mcp_server:app --port 8001
"""

import os
from urllib.parse import urlsplit

from mcp.server import MCPServer
from mcp.server.auth.middleware.auth_context import get_access_token

from watchword.guard.mcp_sdk import protected

resource = os.environ.get("MCP_URL", "http://localhost:8001/mcp")
server = MCPServer("weather")


@server.tool()
def forecast(city: str) -> str:
    """Say how the weather will be."""
    caller = get_access_token()
    return f"Sunny in {city}, {caller.subject if caller else 'nobody'}."


app = protected(
    server.streamable_http_app(host=urlsplit(resource).hostname or ""),
    os.environ.get("WATCHWORD_URL", "http://localhost:8000"),
    resource=resource,
    scopes=("weather:read",),
)
