"""What stands before the pages: a request from another site, or under another name of this machine, gets nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS = {
    "content-security-policy": "default-src 'none'; img-src 'self'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-store",  # no copy of an image stays in the browser
}


class Guard:
    """Refuses foreign requests, and gives every response the same headers.

    A page of another site cannot read answers (no CORS headers), cannot send any (POST needs the origin of this page),
    and cannot reach the pages under a name of its own that leads to 127.0.0.1 (DNS rebinding): the Host header must be
    that of the link.

    Args:
        app: that answers.
        port: of the server.
    """

    def __init__(self, app: ASGIApp, port: int) -> None:
        self._app = app
        names = [f"{name}:{port}" for name in ("127.0.0.1", "localhost")]
        self._hosts = {*names, *(("127.0.0.1", "localhost") if port == 80 else ())}  # browsers leave out port 80

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                added = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *added]}
            await send(message)

        refused = self._refusal(scope)
        if refused:
            from starlette.responses import PlainTextResponse

            await PlainTextResponse(refused, 403)(scope, receive, send_with_headers)
        else:
            await self._app(scope, receive, send_with_headers)

    def _refusal(self, scope: Scope) -> str:
        """Why a request is refused; empty where it is not."""
        found: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            found.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
        hosts = found.get("host", [])
        if len(hosts) != 1 or hosts[0].lower() not in self._hosts:
            return "this name does not belong to the study: use the link as medgen wrote it"
        if scope["method"] in ("GET", "HEAD"):
            return ""
        if found.get("origin") != [f"http://{hosts[0]}"] or found.get("sec-fetch-site", ["same-origin"]) != [
            "same-origin"
        ]:
            return "answers are taken from the page of the study only"
        if found.get("content-type", [""])[0].partition(";")[0].strip() != "application/json":
            return "answers are JSON"
        return ""
