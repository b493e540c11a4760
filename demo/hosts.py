"""Under which names the page is reached, and whether a request comes from the page itself.

A site whose name is made to point at this machine (DNS rebinding) is, to a browser, one site with this server: only
the Host header tells. So a name is believed where the list has it, and an address where it is this machine's.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from detector.errors import UserError

LOOPBACK_NAMES = frozenset(("localhost", "127.0.0.1", "::1"))
_HOST = re.compile(
    r"(?:\[([0-9a-f:.]{2,45})\]|([a-z0-9_](?:[a-z0-9._-]{0,252}[a-z0-9_])?)\.?)(?::([0-9]{1,5}))?", re.ASCII
)
_ORIGIN = re.compile(r"(https?)://([^/?#@\\\s]+)", re.ASCII | re.IGNORECASE)
DEFAULT_PORTS = {"http": 80, "https": 443}
# Names are looked up when the server starts; a name server that does not answer must not hold it up for long.
LOOK_UP_S = 2.0


@dataclass(frozen=True)
class Hosts:
    """Names and addresses under which the page may be asked for.

    Attributes:
        declared: by the operator; a proxy may give these as `X-Forwarded-Host`.
        own: of this machine.
        network: listening beyond loopback, where the address that a connection came in at is one more.
    """

    declared: frozenset[str] = frozenset()
    own: frozenset[str] = frozenset()
    network: bool = False

    def allows(self, scope: Any) -> bool:
        """Whether a request names a host of ours, and only one."""
        hosts = _values(scope, b"host")
        parts = split_host(hosts[0]) if len(hosts) == 1 else None
        if parts is None:
            return False
        return parts[0] in LOOPBACK_NAMES | self.declared | self.own or self._is_here(parts[0], scope)

    def comes_from_page(self, scope: Any, *, needed: bool) -> bool:
        """Whether a request's Origin is the host that it was sent to; with `needed` there must be one."""
        origins = _values(scope, b"origin")
        if not origins:
            return not needed
        match = _ORIGIN.fullmatch(origins[0]) if len(origins) == 1 else None
        if match is None:
            return False
        scheme = match[1].lower()
        if scope.get("scheme") in ("https", "wss") and scheme != "https":
            return False
        asked = [*_values(scope, b"host"), self.forwarded_host(scope)]
        ends = [_with_port(value, scheme) for value in (match[2], *asked)]
        return ends[0] is not None and ends[0] in ends[1:]

    def forwarded_host(self, scope: Any) -> str:
        """What a proxy says the page was asked for as; "" unless that is a declared name."""
        values = _values(scope, b"x-forwarded-host")
        first = values[0].split(",")[0].strip() if len(values) == 1 else ""
        parts = split_host(first)
        return first if parts is not None and parts[0] in self.declared else ""

    def _is_here(self, name: str, scope: Any) -> bool:
        here = (scope.get("server") or ("",))[0]
        address = _address(str(here))
        return address is not None and name == str(address) and (self.network or address.is_loopback)


def hosts_of(listening_at: str, declared: Iterable[str] = ()) -> Hosts:
    """The list for a server.

    Args:
        listening_at: address of its socket.
        declared: further names, as the operator gave them.

    Raises:
        UserError: one of them is no name.
    """
    names = frozenset(_declared(name) for name in declared)
    address = _address(listening_at)
    if address is not None and address.is_loopback:
        return Hosts(names)
    return Hosts(names, own_names(), network=True)


def own_names() -> frozenset[str]:
    """What this machine is called in its network, and its addresses."""
    name = socket.gethostname().lower()
    short = name.split(".")[0]
    found = {name, short, f"{short}.local"}

    def look_up() -> None:
        full = socket.getfqdn(name).lower()
        # A name server may answer anything; a name that does not begin with ours is not ours.
        found.update([full] if full.split(".")[0] == short else [])
        try:
            found.update(str(_address(str(info[4][0]))) for info in socket.getaddrinfo(name, None))
        except OSError:
            return

    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(LOOK_UP_S)
    return frozenset(n for n in list(found) if split_host(f"[{n}]" if ":" in n else n))


def split_host(value: str) -> tuple[str, int | None] | None:
    """Name (small letters, addresses in their usual form) and port of a Host header; None where it is none."""
    match = _HOST.fullmatch(value.lower())
    if match is None:
        return None
    port = int(match[3]) if match[3] else None
    if port is not None and port > 65535:
        return None
    if match[1]:
        address = _address(match[1])
        return None if address is None else (str(address), port)
    return str(_address(match[2]) or match[2]), port


def _declared(name: str) -> str:
    try:
        plain = name if name.isascii() else name.encode("idna").decode()
    except UnicodeError:
        plain = ""
    parts = split_host(f"[{plain}]" if plain.count(":") > 1 and "[" not in plain else plain)
    if parts is None or parts[1] is not None:
        raise UserError(
            f"--host-name {name}: expected a name or an address as in a browser's address bar, such as demo.example, "
            "without https:// and without a port"
        )
    return parts[0]


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _with_port(value: str, scheme: str) -> tuple[str, int] | None:
    parts = split_host(value)
    return None if parts is None else (parts[0], parts[1] or DEFAULT_PORTS[scheme])


def _values(scope: Any, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope.get("headers", ()) if key.lower() == name]
