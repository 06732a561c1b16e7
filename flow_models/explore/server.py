"""A server of the page, on loopback alone: it answers no other host, no page of another origin, and
its pages load nothing from elsewhere."""

from __future__ import annotations

import contextlib
import socket
import sys
import webbrowser
from pathlib import Path
from typing import Any

from flow_models.core.errors import UserError

PAGE = Path(__file__).with_name("page.py")
HOST = "127.0.0.1"
NAMES = (HOST, "localhost")
OPTIONS = {
    "browser.gatherUsageStats": False,
    "browser.serverAddress": HOST,
    "client.toolbarMode": "minimal",
    "client.showErrorDetails": "none",
    "server.address": HOST,
    "server.fileWatcherType": "none",
    "server.headless": True,
    "server.showEmailPrompt": False,
    "theme.base": "light",
}
# what Streamlit's own page needs; nothing from other hosts, and no frame around it
POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:;"
    " style-src 'self' 'unsafe-inline'; connect-src 'self' ws: blob: data:;"
    " frame-ancestors 'none'; form-action 'none'"
)


class SameOrigin:
    """ASGI middleware: 403 for requests to another host or from a page of another origin, so that
    no web page can reach the model through the browser of its user."""

    def __init__(self, app, port: int):
        self.app = app
        self.hosts = {f"{name}:{port}" for name in NAMES}
        self.origins = {f"http://{host}" for host in self.hosts}

    def allows(self, scope) -> bool:
        headers = {key: value.decode("latin-1") for key, value in scope["headers"]}
        origin, stream = headers.get(b"origin"), scope["type"] == "websocket"
        known = origin in self.origins or (origin is None and not stream)
        return headers.get(b"host") in self.hosts and known

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if self.allows(scope):
            return await self.app(scope, receive, _guarded(send))
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008})
        await send({"type": "http.response.start", "status": 403, "headers": []})
        await send({"type": "http.response.body", "body": b"this page is for its own machine\n"})


def _guarded(send):
    """Adds POLICY to answers."""

    async def sent(message) -> None:
        if message["type"] == "http.response.start":
            policy = (b"content-security-policy", POLICY.encode())
            message = {**message, "headers": [*message.get("headers", ()), policy]}
        await send(message)

    return sent


def bound(port: int) -> socket.socket:
    """A socket on loopback; a free port for 0.

    Raises:
      UserError: the port is taken, or not for this user.
    """
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((HOST, port))
        found.listen()  # whoever comes before the server is ready waits
    except (OSError, OverflowError) as error:
        found.close()
        raise UserError(f"port {port} cannot be used ({error}): leave out --port") from None
    return found


def application(place: str, port: int) -> Any:
    """The page on the model of `place` as an ASGI application."""
    from streamlit import config
    from streamlit.starlette import App

    for name, value in OPTIONS.items():
        config.set_option(name, value)
    sys.argv = [str(PAGE), place]  # as the page reads it
    return SameOrigin(App(PAGE), port)


def serve(place: str, port: int = 0, browser: bool = True) -> None:
    """Serves the page until Ctrl-C.

    Args:
      place: of a run or a model.
      port: 0 for a free one.
      browser: opens it in the user's browser.
    """
    import uvicorn

    with contextlib.closing(bound(port)) as listening:
        number = listening.getsockname()[1]
        url = f"http://{HOST}:{number}"
        options: dict[str, Any] = {"log_level": "warning", "ws": "websockets-sansio"}
        server = uvicorn.Server(uvicorn.Config(application(place, number), **options))
        print(f"exploring {place} at {url} (Ctrl-C ends it)", flush=True)
        if browser:
            webbrowser.open(url)
        with contextlib.suppress(KeyboardInterrupt):  # the way to end it
            server.run(sockets=[listening])
