"""The whole server as one ASGI application: `App`, and `ROUTES`, the table of everything that it answers."""

from watchword.app.application import App, check_files
from watchword.app.routes import ROUTES

__all__ = ["ROUTES", "App", "check_files"]
