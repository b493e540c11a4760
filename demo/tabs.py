"""Which pages are open, whose they are and from where; uploads and videos are taken for these alone."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from demo.pool import Busy


@dataclass
class _OpenTab:
    address: str
    lines: int = 0


class Tabs:
    """Open pages, and for a moment those whose line has just gone: they may come back.

    `tab in tabs` and `len(tabs)` speak of those with a line; changed in the server's loop alone.
    """

    def __init__(self, most_per_address: int = 32) -> None:
        """
        Args:
            most_per_address: lines from one address.
        """
        self._most_per_address = most_per_address
        # By tab and visitor: a name that somebody else learnt is still not their page.
        self._tabs: dict[tuple[str, str], _OpenTab] = {}

    def open(self, tab: str, visitor: str, address: str) -> None:
        """A page has got a line.

        Raises:
            Busy: too many from that address.
        """
        lines = sum(other.lines for other in self._tabs.values() if other.address == address)
        if lines >= self._most_per_address:
            raise Busy("too many pages are open from your address; close some")
        known = self._tabs.setdefault((tab, visitor), _OpenTab(address))
        known.lines, known.address = known.lines + 1, address

    def hang_up(self, tab: str, visitor: str) -> None:
        """One of a page's lines has gone; the page is remembered until `forget`."""
        self._tabs[tab, visitor].lines -= 1

    def forget(self, tab: str, visitor: str) -> bool:
        """Let go of a page without a line; False where it has one again."""
        known = self._tabs.get((tab, visitor))
        if known is not None and known.lines:
            return False
        self._tabs.pop((tab, visitor), None)
        return True

    def is_open(self, tab: str, visitor: str) -> bool:
        """Whether that visitor has that page open, or had a moment ago."""
        return (tab, visitor) in self._tabs

    def has_page(self, visitor: str) -> bool:
        """Whether that visitor has any page open, or had a moment ago."""
        return bool(visitor) and any(owner == visitor for _, owner in list(self._tabs))

    def address(self, tab: str, visitor: str) -> str:
        """Where a page is open; "" where that is not known."""
        known = self._tabs.get((tab, visitor))
        return known.address if known else ""

    def __contains__(self, tab: object) -> bool:
        return any(name == tab and known.lines for (name, _), known in list(self._tabs.items()))

    def __len__(self) -> int:
        return sum(known.lines > 0 for known in list(self._tabs.values()))


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
