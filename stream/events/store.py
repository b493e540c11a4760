"""Where events are kept: every change in one transaction with the note to whom it must be told.

A change is acknowledged when `write` returns. Whatever ends the process after that, it is in the database, and the
outbox still says who has not got it; what was not acknowledged can be written again under the same key, and is there
once.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from stream.events.records import Event, EventChange, event_from_json, event_to_json
from stream.events.schema import StoreAway, connect, reason, shown, sqlalchemy, tables


@dataclass(frozen=True, slots=True)
class Written:
    """A change on its way into the store; `key` makes that writing it twice is writing it once."""

    change: EventChange
    key: str = field(default_factory=lambda: secrets.token_hex(12))


@dataclass(frozen=True, slots=True)
class Due:
    """A change that a target has not got yet."""

    id: int
    change_id: int
    attempts: int
    stored_utc: float
    change: EventChange


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which events to list.

    Attributes:
        since_utc, until_utc: of their beginning; a recording's events count by when they were stored.
        cameras, rules, kinds, actions: any of these; empty for all.
        marked: `right` or `wrong`, with or without what it was; "" for all.
        most: the newest so many; 0 for all.
    """

    since_utc: float | None = None
    until_utc: float | None = None
    cameras: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    marked: str = ""
    most: int = 0


class Store:
    """A database of events; its methods may be called from any thread.

    Raises (every method):
        StoreAway: the database does not answer, or the disk is full.
    """

    def __init__(
        self, url: str = "", *, targets: Sequence[str] = (), writer: str = "",
        utc_clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            url: see `schema.connect`.
            targets: names of whoever must be told of each change written.
            writer: name of this process among several on one database; each tells its own events.
            utc_clock: seconds since 1970.

        Raises:
            UserError: it cannot be opened.
        """
        self._engine = connect(url)
        self._targets, self._writer, self._utc = tuple(targets), writer[:80], utc_clock
        self.name = shown(self._engine.url)

    def write(self, written: Sequence[Written]) -> None:
        """Keep changes, all or none; acknowledged when it returns."""
        with self._transaction() as connection:
            for one in written:
                self._write(connection, one)

    def event(self, event_id: str) -> Event | None:
        """An event by its id, or by the beginning of it that only one has."""
        t = tables().events
        query = sqlalchemy().select(t.c.body).where(t.c.id.startswith(event_id, autoescape=True)).limit(2)
        with self._transaction(reading=True) as connection:
            rows = connection.execute(query).all()
        return event_from_json(json.loads(rows[0][0])) if len(rows) == 1 else None

    def events(self, wanted: Wanted | None = None) -> list[Event]:
        """Events, oldest first."""
        t, w = tables().events, wanted or Wanted()
        query = sqlalchemy().select(t.c.body).order_by(t.c.moment.desc(), t.c.id.desc())
        for column, values in ((t.c.camera, w.cameras), (t.c.rule, w.rules), (t.c.kind, w.kinds),
                               (t.c.action, w.actions)):
            if values:
                query = query.where(column.in_(values))
        if w.marked:
            query = query.where(t.c.mark.startswith(w.marked, autoescape=True))
        if w.since_utc is not None:
            query = query.where(t.c.moment >= w.since_utc)
        if w.until_utc is not None:
            query = query.where(t.c.moment < w.until_utc)
        if w.most:
            query = query.limit(w.most)
        with self._transaction(reading=True) as connection:
            return [event_from_json(json.loads(row[0])) for row in reversed(connection.execute(query).all())]

    def mark(self, event_id: str, mark: str) -> bool:
        """Note that a person found an event `right`, `wrong` or `wrong:ACTION`, which it was; "" takes it back.

        Returns:
            False where there is no such event.
        """
        t = tables().events
        with self._transaction() as connection:
            return connection.execute(t.update().where(t.c.id == event_id).values(mark=mark)).rowcount > 0

    def marks(self) -> dict[str, str]:
        """What persons said of events, by id."""
        t = tables().events
        with self._transaction(reading=True) as connection:
            rows = connection.execute(sqlalchemy().select(t.c.id, t.c.mark).where(t.c.mark != "")).all()
        return {row[0]: row[1] for row in rows}

    def close_open(self, because: str = "process ended") -> int:
        """End the events that an earlier run of this writer left open; gives how many.

        The end is the last moment that the event was told of.
        """
        t = tables().events
        query = sqlalchemy().select(t.c.body).where(t.c.ended.is_(False), t.c.writer == self._writer)
        with self._transaction() as connection:
            rows = connection.execute(query.order_by(t.c.moment)).all()
            for (body,) in rows:
                event = event_from_json(json.loads(body))
                ended = replace(
                    event, end_s=max(event.told_s, event.peak_s), ended_because=because,
                    end_utc=None if event.told_utc is None else max(event.told_utc, event.peak_utc or 0),
                )
                self._write(connection, Written(EventChange("end", ended, event)))
        return len(rows)

    # ---- outbox ------------------------------------------------------------------------------------------------

    def due(self, target: str, most: int = 50) -> list[Due]:
        """What a target has not got of this writer's, oldest first."""
        o, c = tables().outbox, tables().changes
        query = (
            sqlalchemy().select(o.c.id, c.c.id, o.c.attempts, c.c.stored, c.c.kind, c.c.body)
            .join(c, c.c.id == o.c.change_id).where(o.c.target == self._row_target(target), o.c.dead.is_(False))
            .order_by(o.c.id).limit(most)
        )
        with self._transaction(reading=True) as connection:
            return [
                Due(i, change_id, attempts, stored, _change_of(kind, body))
                for i, change_id, attempts, stored, kind, body in connection.execute(query)
            ]

    def delivered(self, due: Sequence[Due]) -> None:
        """A target has got these."""
        o = tables().outbox
        with self._transaction() as connection:
            connection.execute(o.delete().where(o.c.id.in_([d.id for d in due])))

    def failed(self, due: Due, error: str, *, dead: bool = False) -> None:
        """A target did not get this; `dead` when it never will."""
        o = tables().outbox
        with self._transaction() as connection:
            connection.execute(
                o.update().where(o.c.id == due.id).values(attempts=o.c.attempts + 1, error=error[:500], dead=dead)
            )

    def backlog(self) -> dict[str, tuple[int, int]]:
        """(waiting, given up) by target."""
        o, sa = tables().outbox, sqlalchemy()
        query = sa.select(o.c.target, o.c.dead, sa.func.count()).group_by(o.c.target, o.c.dead)
        counts: dict[str, tuple[int, int]] = dict.fromkeys(self._targets, (0, 0))
        with self._transaction(reading=True) as connection:
            for row_target, dead, count in connection.execute(query):
                target = row_target.removeprefix(self._row_target(""))
                if row_target != self._row_target(target):
                    continue
                waiting, lost = counts.get(target, (0, 0))
                counts[target] = (waiting, lost + count) if dead else (waiting + count, lost)
        return counts

    def forget(self, before_utc: float) -> int:
        """Delete events that began before a moment, and what was to be told of them; gives how many."""
        e, c, o, sa = tables().events, tables().changes, tables().outbox, sqlalchemy()
        old = sa.select(e.c.id).where(e.c.moment < before_utc, e.c.ended.is_(True))
        with self._transaction() as connection:
            changes = sa.select(c.c.id).where(c.c.event_id.in_(old))
            connection.execute(o.delete().where(o.c.change_id.in_(changes)))
            connection.execute(c.delete().where(c.c.event_id.in_(old)))
            return connection.execute(e.delete().where(e.c.id.in_(old))).rowcount

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    # ---- inside ------------------------------------------------------------------------------------------------

    def _row_target(self, target: str) -> str:
        return f"{self._writer}: {target}" if self._writer else target

    def _write(self, connection: Any, written: Written) -> None:
        sa, e, c, o = sqlalchemy(), tables().events, tables().changes, tables().outbox
        change, event = written.change, written.change.event
        if connection.execute(sa.select(c.c.id).where(c.c.key == written.key)).first():
            return
        body = json.dumps(event_to_json(event), ensure_ascii=False)
        now = self._utc()
        known = {"ended": event.end_s is not None, "body": body, "action": event.action}
        if not connection.execute(e.update().where(e.c.id == event.id).values(**known)).rowcount:
            connection.execute(e.insert().values(
                id=event.id, camera=event.camera, rule=event.rule, kind=event.kind, zone=event.zone, mark="",
                moment=now if event.start_utc is None else event.start_utc, writer=self._writer, **known,
            ))
        before = None if change.before is None else event_to_json(change.before)
        told = json.dumps({"after": json.loads(body), "before": before}, ensure_ascii=False)
        (change_id,) = connection.execute(c.insert().values(
            key=written.key, event_id=event.id, kind=change.kind, stored=now, body=told
        )).inserted_primary_key
        for target in self._targets:
            connection.execute(o.insert().values(
                target=self._row_target(target), change_id=change_id, attempts=0, dead=False, error=""
            ))

    @contextmanager
    def _transaction(self, reading: bool = False) -> Iterator[Any]:
        sa = sqlalchemy()
        try:
            with self._engine.connect().execution_options(reading=reading) as connection, connection.begin():
                yield connection
        except (sa.exc.SQLAlchemyError, OSError) as error:
            raise StoreAway(f"store {self.name}: {reason(error)}") from None


def _change_of(kind: str, body: str) -> EventChange:
    told = json.loads(body)
    before = None if told["before"] is None else event_from_json(told["before"])
    return EventChange(kind, event_from_json(told["after"]), before)  # type: ignore[arg-type]
