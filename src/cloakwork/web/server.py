"""The program behind the page: listens at one address of this machine until it is stopped."""

from __future__ import annotations

import socket
import webbrowser
from collections.abc import Callable
from typing import Any

from cloakwork.errors import UserError
from cloakwork.web.hosts import Keys, check_host, hosts, in_url

PORT = 8765

QUIET: dict[str, Any] = {
    "log_level": "warning",
    "access_log": False,
    "server_header": False,
    "ws": "none",
    "proxy_headers": False,
    # a photo that is on its way is not waited for
    "timeout_graceful_shutdown": 2,
}
"""How uvicorn is run: it writes down nothing of who asked for what."""


def serve(
    host: str = "127.0.0.1",
    port: int | None = None,
    *,
    browser: bool = True,
    say: Callable[[str], None] = print,
) -> None:
    """Show the page until the program is stopped; what was uploaded is deleted then.

    Args:
        host: an address of this machine that others cannot reach.
        port: None: 8765, or any other one where that is taken.
        browser: open a browser.
        say: called with the page's address.

    Raises:
        UserError: others could reach the address, the port is taken, or the extra is not installed.
    """
    check_host(host)
    try:
        import uvicorn

        from cloakwork.web.app import create_app
        from cloakwork.web.pages import private_folder
    except ImportError as error:
        raise UserError(
            f"The page needs the extra `web` ({error}); run: pip install 'cloakwork[web]'"
        ) from None
    with listening(host, port) as taken, private_folder() as root:
        number, keys = taken.getsockname()[1], Keys()
        app = create_app(
            root,
            hosts(number),
            keys,
            cookie=f"cloakwork-{number}",
            ending=lambda: server.should_exit,
        )
        server = uvicorn.Server(uvicorn.Config(app, **QUIET))
        address = f"http://{in_url(host)}:{number}/?key="
        say(
            f"The page is at {address}{keys.lasting}\n"
            "Only this machine reaches it, and only with this key. Ctrl-C ends it and deletes "
            "what was uploaded."
        )
        if browser:
            webbrowser.open(f"{address}{keys.ticket()}")
        server.run(sockets=[taken])


def listening(host: str, port: int | None, usual: int = PORT) -> socket.socket:
    """Return a socket that listens.

    Args:
        host: at which address.
        port: None: the usual one, or any other where that is taken.
        usual: that port.

    Raises:
        UserError: the port is taken, or not allowed.
    """
    kind = socket.AF_INET6 if ":" in host else socket.AF_INET
    wanted = (usual, 0) if port is None else (port,)
    for number in wanted:
        found = socket.socket(kind, socket.SOCK_STREAM)
        try:
            found.bind((host, number))
            found.listen(128)
            return found
        except (OSError, OverflowError) as error:
            found.close()
            reason = getattr(error, "strerror", None) or error
    raise UserError(f"The port {wanted[-1]} of {host} cannot be had ({reason}); choose another.")
