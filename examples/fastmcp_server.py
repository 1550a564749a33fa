"""An MCP server made with FastMCP that only callers with a token for it can reach.

WATCHWORD_URL=https://auth.example.com MCP_BASE_URL=https://api.example.com uvicorn fastmcp_server:app --port 8001
"""

import os

from fastmcp import FastMCP
from fastmcp.server.dependencies import get_access_token

from watchword.guard.fastmcp import WatchwordAuth

issuer = os.environ.get("WATCHWORD_URL", "http://localhost:8000")
base_url = os.environ.get("MCP_BASE_URL", "http://localhost:8001")
server = FastMCP("weather", auth=WatchwordAuth(issuer, base_url=base_url, scopes=("weather:read",)))


@server.tool
def forecast(city: str) -> str:
    """Say how the weather will be."""
    caller = get_access_token()
    return f"Sunny in {city}, {caller.subject if caller else 'nobody'}."


app = server.http_app()
