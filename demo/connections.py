"""Connections to the server: how many one address may hold, and how long one may wait without asking anything.

Pages that are open are left out of the count: whoever floods the server from an address locks out neither them nor,
as long as idle connections can go instead, new ones from there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from demo.gate import visitor_of

PATIENCE_S = 15.0
# A browser opens six to a host; two or three pages of a visitor are plenty.
MOST_OF_VISITOR = 18


class Connection(Protocol):
    """What is looked at; tests bring their own."""

    @property
    def address(self) -> str:
        """Whom it counts for."""
        ...

    @property
    def gone(self) -> bool:
        """Closed, or about to be."""
        ...

    @property
    def request(self) -> Any:
        """ASGI scope of the request that is being answered; None where nothing was asked."""
        ...


class Crowd:
    """The connections of all addresses."""

    def __init__(self, most_per_address: int, has_page: Callable[[str], bool]) -> None:
        """
        Args:
            most_per_address: connections beside those of open pages.
            has_page: whether a visitor has a page open.
        """
        self._most, self._has_page = most_per_address, has_page
        self._open: dict[str, list[Any]] = {}

    def join(self, connection: Connection) -> Connection | None:
        """Count one more; gives the connection that has to go for it, which may be itself."""
        address = connection.address
        others = [other for other in self._open.get(address, ()) if not other.gone]
        self._open[address] = [*others, connection]
        counted = self._counted(others)
        if len(counted) < self._most:
            return None
        idle = next((other for other in counted if other.request is None), connection)
        self._open[address].remove(idle)
        return idle

    def leave(self, connection: Connection) -> None:
        """It has ended."""
        rest = [other for other in self._open.get(connection.address, ()) if other is not connection]
        if rest:
            self._open[connection.address] = rest
        else:
            self._open.pop(connection.address, None)

    def __len__(self) -> int:
        return sum(map(len, self._open.values()))

    def _counted(self, connections: Iterable[Any]) -> list[Any]:
        """Those that belong to no open page, the oldest first."""
        counted, of_visitor = [], Counter[str]()
        for connection in connections:
            visitor = visitor_of(connection.request) if connection.request is not None else ""
            of_visitor[visitor] += 1
            if not self._has_page(visitor) or of_visitor[visitor] > MOST_OF_VISITOR:
                counted.append(connection)
        return counted


def http_protocol(crowd: Crowd, patience_s: float = PATIENCE_S) -> Any:
    """uvicorn's HTTP, with connections counted and those that ask nothing hung up.

    Args:
        crowd: joined by each connection; lines (WebSockets) leave it, `demo.tabs` counts those.
        patience_s: for a whole request head to come.

    Returns:
        A class for `uvicorn.Config(http=…)`.
    """
    from uvicorn.protocols.http.h11_impl import H11Protocol

    from demo.tabs import address_of

    class CountedProtocol(H11Protocol):  # type: ignore[misc, unused-ignore]
        address, _last_cycle, _check = "", None, None

        @property
        def gone(self) -> bool:
            return self.transport.is_closing()

        @property
        def request(self) -> Any:
            asked = self.cycle is not None and not self.cycle.response_complete
            return self.cycle.scope if asked else None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.address = address_of(self.client)
            leaving = crowd.join(self)
            if leaving is not None:
                leaving.transport.abort()  # type: ignore[attr-defined]
            self._check = self.loop.call_later(patience_s, self._look)

        def connection_lost(self, exc: Exception | None) -> None:
            self._forget()
            super().connection_lost(exc)

        def handle_websocket_upgrade(self, event: Any) -> None:
            self._forget()
            super().handle_websocket_upgrade(event)

        def _forget(self) -> None:
            crowd.leave(self)
            if self._check is not None:
                self._check.cancel()

        def _look(self) -> None:
            # Drops of a request head keep uvicorn's own timer from running out.
            if self.request is None and self.cycle is self._last_cycle:
                self.transport.abort()
                return
            self._last_cycle = self.cycle
            self._check = self.loop.call_later(patience_s, self._look)

    return CountedProtocol
