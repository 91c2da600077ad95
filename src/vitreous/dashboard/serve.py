"""Run the server: a free port of this machine, the link, the browser."""

import logging
import signal
import socket
import sys
import webbrowser
from collections.abc import Callable

import uvicorn

from vitreous.dashboard.app import build_app
from vitreous.dashboard.guard import Keys
from vitreous.dashboard.session import Session
from vitreous.errors import InputError

HOST = "127.0.0.1"
_TRIED = 100


def free_socket(port: int) -> socket.socket:
    """Take the first free port of this machine from `port` on.

    **Raises:** `InputError` if a hundred are taken, or `port` is none a user may have.
    """
    if not 0 <= port <= 65535:
        raise InputError(f"--port {port}: a port is a number from 1024 to 65535")
    for number in range(port, min(port + _TRIED, 65536)):
        held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        # So that a dashboard can be started again at once; a listening one still keeps its port.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            held.bind((HOST, number))
            held.listen(128)
            return held
        except PermissionError:
            held.close()
            raise InputError(f"--port {port}: not allowed here; take one above 1023") from None
        except OSError:
            held.close()
    raise InputError(f"--port {port}: it and the {_TRIED} after it are taken; name another")


def serve(session: Session, port: int, browser: bool, tell: Callable[[str], None]) -> None:
    """Show a run until Ctrl-C.

    **Arguments:** `port`: the first one tried; 0 for any. `tell`: prints a line for the user.

    **Raises:** `InputError` if there is no free port.
    """
    held = free_socket(port)
    number = held.getsockname()[1]

    def link(token: str) -> str:
        return f"http://{HOST}:{number}/?token={token}"

    keys = Keys(lambda token: tell(f"opened; for another browser: {link(token)}"))
    app = build_app(session, keys)
    # uvicorn logs the links it serves: they hold the token.
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False)
    if port not in (0, number):
        tell(f"port {port} is taken: using {number}")
    session.start()
    tell(link(keys.token))
    if browser:
        try:
            webbrowser.open(link(keys.token))
        except webbrowser.Error as error:
            logging.getLogger(__name__).info("no browser: %s", error)
    # uvicorn ends by repeating the signal that stopped it: by default the end of the process.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with session:
        uvicorn.Server(config).run(sockets=[held])
