"""Which pages are open, whose they are and from where; uploads and videos are taken for these alone."""

from __future__ import annotations

import ipaddress
from collections import Counter
from dataclasses import dataclass

from demo.pool import Busy


@dataclass
class _OpenTab:
    visitor: str
    address: str
    lines: int = 1


class Tabs:
    """Open pages, and for a moment those whose line has just gone: they may come back.

    `tab in tabs` and `len(tabs)` speak of those with a line; used in the server's loop alone.
    """

    def __init__(self, most_per_address: int = 32) -> None:
        """
        Args:
            most_per_address: lines from one address.
        """
        self._most_per_address = most_per_address
        self._tabs: dict[str, _OpenTab] = {}

    def open(self, tab: str, visitor: str, address: str) -> None:
        """A page has got a line.

        Raises:
            Busy: too many from that address, or it is somebody else's page.
        """
        lines = Counter[str]()
        for other in self._tabs.values():
            lines[other.address] += other.lines
        if lines[address] >= self._most_per_address:
            raise Busy("too many pages are open from your address; close some")
        known = self._tabs.get(tab)
        if known is None:
            self._tabs[tab] = _OpenTab(visitor, address)
            return
        if known.visitor != visitor:
            raise Busy("that page is open elsewhere")
        known.lines, known.address = known.lines + 1, address

    def hang_up(self, tab: str) -> None:
        """One of a page's lines has gone; what it left is kept until `forget`."""
        self._tabs[tab].lines -= 1

    def forget(self, tab: str) -> bool:
        """Let go of a page without a line; False where it has one again."""
        if tab in self:
            return False
        self._tabs.pop(tab, None)
        return True

    def is_open(self, tab: str, visitor: str) -> bool:
        """Whether that visitor has that page open, or had a moment ago."""
        known = self._tabs.get(tab)
        return known is not None and known.visitor == visitor

    def has_page(self, visitor: str) -> bool:
        """Whether that visitor has any page open, or had a moment ago."""
        return bool(visitor) and any(tab.visitor == visitor for tab in self._tabs.values())

    def address(self, tab: str) -> str:
        """Where a page is open; "" where it is not known."""
        known = self._tabs.get(tab)
        return known.address if known else ""

    def __contains__(self, tab: object) -> bool:
        known = self._tabs.get(tab) if isinstance(tab, str) else None
        return known is not None and known.lines > 0

    def __len__(self) -> int:
        return sum(tab.lines > 0 for tab in self._tabs.values())


def address_of(client: object) -> str:
    """Whom a request counts for: its address, of IPv6 the network, in which one machine has as many as it likes."""
    host = str(client[0]) if isinstance(client, tuple | list) and client else ""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    address = getattr(address, "ipv4_mapped", None) or address
    if address.version == 6 and not address.is_loopback:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
