"""Who may speak to the dashboard: this machine's browser, once it has followed a printed link.

Every link works once and is exchanged for a cookie. Requests under a foreign host name are
refused: a page elsewhere could otherwise have its own name resolve to this machine (DNS
rebinding), and so are writes that another page's script sends.
"""

import hmac
import secrets
from collections.abc import Callable
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
COOKIE = "vitreous-dashboard"
# Nothing is loaded from, or sent to, elsewhere, and no text is ever run as a script.
_POLICY = (
    "default-src 'self'; script-src 'self'; worker-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self' data: blob:; "
    "media-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)
_HEADERS = {
    b"content-security-policy": _POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
}


class Keys:
    """Hold the token of the next link and the secret of the session.

    **Arguments:** `tell`: called with a fresh token each time a link was used, so that another
    browser can be let in.
    """

    def __init__(self, tell: Callable[[str], None] = lambda token: None) -> None:
        self.token = secrets.token_urlsafe(24)
        self.session = secrets.token_urlsafe(32)
        self._tell = tell

    def use(self, token: str) -> bool:
        """Say whether a token opens a session; if it does, it never will again."""
        if not hmac.compare_digest(token.encode(), self.token.encode()):
            return False
        self.token = secrets.token_urlsafe(24)
        self._tell(self.token)
        return True

    def admits(self, headers: Headers) -> bool:
        """Say whether a request carries the cookie of the session, or the token as `X-Token`."""
        # The standard library's parser gives up at what other servers of this machine may leave.
        cookie = cookie_parser(headers.get("cookie", "")).get(cookie_name(headers), "")
        key = headers.get("x-token", "")
        is_session = any(
            hmac.compare_digest(word.encode(), self.session.encode()) for word in (cookie, key)
        )
        return is_session or hmac.compare_digest(key.encode(), self.token.encode())


class Guard:
    """Middleware that lets nothing through but what `Keys` admit."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self._app, self._keys = app, keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            # There are no web sockets here: nobody has business with them.
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                held = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *((k, v) for k, v in _HEADERS.items() if k not in held),
                ]
            await send(message)

        await (refusal or self._app)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if _host(headers.get("host", "")) not in LOCAL_NAMES:
            return _no("this dashboard answers under 127.0.0.1 and localhost only")
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != headers.get("host"):
            return _no("requests of other pages are refused")
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        token = dict(query).get("token")
        if scope["path"] == "/" and token is not None and scope["method"] == "GET":
            is_known = self._keys.admits(headers)
            if not is_known and not self._keys.use(token):
                return _no("this link was used already; the newest one stands in the terminal")
            # Out of the address bar and the history.
            rest = urlencode([(k, v) for k, v in query if k != "token"])
            response = RedirectResponse("/" + (f"?{rest}" if rest else ""), status_code=303)
            if not is_known:
                name = cookie_name(headers)
                response.set_cookie(name, self._keys.session, httponly=True, samesite="strict")
            return response
        if self._keys.admits(headers):
            return None
        return _no("open the link that stands in the terminal: this browser holds no key")


def cookie_name(headers: Headers) -> str:
    """Name the cookie after the port: browsers share cookies between all ports of a machine."""
    port = headers.get("host", "").rpartition(":")[2]
    return f"{COOKIE}-{port}" if port.isdecimal() else COOKIE


def _host(header: str) -> str | None:
    try:
        return urlsplit(f"//{header}").hostname
    except ValueError:
        return None


def _no(why: str) -> JSONResponse:
    return JSONResponse({"error": why}, status_code=403)
