"""Who may ask: this machine's own pages alone, of browsers that have a key.

A page from anywhere in the web can send requests to addresses of this machine, under its own Origin
or under a Host of its own that it lets point here. Both are refused before anything else is looked
at. Other users of the machine reach its addresses too: they lack the key.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Mapping

from cloakwork.errors import UserError

READING = ("GET", "HEAD")


def refused(
    method: str, headers: Mapping[str, str], hosts: frozenset[str], *, programs: bool = False
) -> str:
    """Return why a request is refused; "" where it is not.

    Args:
        method, headers: of the request.
        hosts: what this machine may be called.
        programs: whether other programs than browsers may ask too, which tell no Origin.

    >>> ours = frozenset({"127.0.0.1:80"})
    >>> refused("GET", {"host": "evil.example"}, ours)
    'This page is at 127.0.0.1:80 alone.'
    >>> refused("POST", {"host": "127.0.0.1:80"}, ours)
    'Only the page itself may ask for this.'
    >>> refused("POST", {"host": "127.0.0.1:80", "origin": "http://127.0.0.1:80"}, ours)
    ''
    """
    host, origin = headers.get("host", ""), headers.get("origin")
    if host not in hosts:
        return f"This page is at {' or '.join(sorted(hosts))} alone."
    told = origin is not None or not (programs or method in READING)
    if told and origin != f"http://{host}":
        return "Only the page itself may ask for this."
    # a link to the page may be followed from anywhere: it leads to no photo
    followed = method in READING and headers.get("sec-fetch-mode") == "navigate"
    if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not followed:
        return "Only the page itself may ask for this."
    return ""


def hosts(port: int) -> frozenset[str]:
    """Return what a browser may call this machine in its Host header.

    >>> sorted(hosts(8765))
    ['127.0.0.1:8765', '[::1]:8765', 'localhost:8765']
    """
    return frozenset(f"{name}:{port}" for name in ("127.0.0.1", "localhost", "[::1]"))


def in_url(host: str) -> str:
    """Write an address to listen at as URLs have it.

    >>> in_url("::1"), in_url("127.0.0.1")
    ('[::1]', '127.0.0.1')
    """
    return f"[{host}]" if ":" in host else host


def is_alone(host: str) -> bool:
    """Return whether an address to listen at cannot be reached from other machines.

    >>> is_alone("::1"), is_alone("0.0.0.0")
    (True, False)
    """
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_host(host: str) -> None:
    """Check that an address to listen at cannot be reached from other machines.

    Raises:
        UserError: it can.

    >>> check_host("127.0.0.1")
    """
    if not is_alone(host):
        raise UserError(
            f"The host is '{host}'; allowed are 127.0.0.1, ::1 and localhost: the page is for this "
            "machine alone. From another one reach it through a tunnel, as in "
            "ssh -L 8765:127.0.0.1:8765 THIS-MACHINE."
        )


class Keys:
    """What lets a browser in: other users of the machine reach its addresses too.

    The lasting key is shown to whoever started the program. A ticket is for the browser that is
    opened at once, whose command line others can read: it holds for one time.
    """

    def __init__(self) -> None:
        self.lasting = secrets.token_urlsafe(24)
        self._tickets: set[str] = set()

    def ticket(self) -> str:
        """Return a key that is taken once."""
        made = secrets.token_urlsafe(24)
        self._tickets.add(made)
        return made

    def take(self, given: str) -> bool:
        """Return whether a key is right; a ticket is used up."""
        known = [k for k in self._tickets if secrets.compare_digest(k.encode(), given.encode())]
        self._tickets.difference_update(known)
        return bool(known) or secrets.compare_digest(self.lasting.encode(), given.encode())
