"""The database behind the store: its address, its tables, its migrations. The one door to SQLAlchemy and Alembic."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import platformdirs

from detector.errors import UserError

INSTALL = "pip install 'slowfast-live[events]'"
FILE = "events.db"
BUSY_S = 15


class StoreAway(Exception):
    """The database does not answer now, or its disk is full; the text is one line without credentials."""


def data_dir() -> Path:
    """Folder of events and films: the SLOWFAST_DATA variable, else the user's data folder. May not exist yet."""
    chosen = os.environ.get("SLOWFAST_DATA")
    return Path(chosen).expanduser() if chosen else platformdirs.user_data_path("slowfast-live")


def default_url() -> str:
    """SQLite in the data folder."""
    return f"sqlite:///{data_dir() / FILE}"


@cache
def sqlalchemy() -> Any:
    """The package.

    Raises:
        UserError: it is not installed.
    """
    try:
        import sqlalchemy as sa
    except ImportError:
        raise UserError(f"events: SQLAlchemy is not installed, expected it; run: {INSTALL}") from None
    return sa


@cache
def tables() -> SimpleNamespace:
    """`events`, `changes` and `outbox`, as the newest migration leaves them."""
    sa = sqlalchemy()
    meta = sa.MetaData()
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

    def table(name: str, **columns: Any) -> Any:
        keys = {"events": sa.String(64)}
        first = sa.Column("id", keys.get(name, number), primary_key=True)
        return sa.Table(name, meta, first, *(sa.Column(key, kind) for key, kind in columns.items()))

    text, real, flag, whole = sa.Text, sa.Float, sa.Boolean, sa.Integer
    return SimpleNamespace(
        events=table("events", camera=text, rule=text, kind=text, action=text, zone=text, moment=real, ended=flag,
                     mark=text, writer=text, body=text),
        changes=table("changes", key=text, event_id=text, kind=text, stored=real, body=text),
        outbox=table("outbox", target=text, change_id=number, attempts=whole, dead=flag, error=text),
    )


def connect(url: str = "") -> Any:
    """An SQLAlchemy engine whose tables are those of the newest migration.

    Args:
        url: `sqlite:///FILE`, a file's path, or `postgresql://...`; "" for the data folder.

    Raises:
        UserError: no such database, no driver, no permission; one line without credentials.
    """
    sa = sqlalchemy()
    try:
        address = sa.make_url(_completed(url))
    except sa.exc.ArgumentError:
        raise UserError("store: got an address that is none, expected sqlite:///FILE or postgresql://...") from None
    name = shown(address)
    backend = address.get_backend_name()
    if backend not in ("sqlite", "postgresql"):
        raise UserError(f"store {name}: got {backend}, expected sqlite:///FILE or postgresql://USER@HOST/NAME")
    try:
        if backend == "sqlite":
            engine = _sqlite(sa, address)
        else:
            engine = sa.create_engine(address, pool_pre_ping=True, connect_args={"connect_timeout": 5})
        _migrate(engine)
    except ImportError:
        raise UserError(f"store {name}: psycopg is not installed; run: pip install 'psycopg[binary]'") from None
    except (sa.exc.SQLAlchemyError, OSError) as error:
        raise UserError(f"store {name}: cannot be opened ({reason(error)}); is the address right?") from None
    return engine


def shown(address: Any) -> str:
    """A database's address for people: no password, no query."""
    if address.get_backend_name() == "sqlite":
        return address.database or "sqlite"
    return f"{address.get_backend_name()}://{address.host or 'local'}/{address.database or ''}"


def reason(error: BaseException) -> str:
    """The first line of what went wrong, without address, statement and values."""
    cause = getattr(error, "orig", None) or error
    text = (str(cause).strip().splitlines() or [type(cause).__name__])[0]
    return getattr(cause, "strerror", None) or text.split(": ", 1)[-1][:200]


def _completed(url: str) -> str:
    if not url:
        return default_url()
    if "://" not in url:
        return f"sqlite:///{url}"
    for short in ("postgres://", "postgresql://"):
        if url.startswith(short):
            return f"postgresql+psycopg://{url[len(short):]}"
    return url


def _sqlite(sa: Any, address: Any) -> Any:
    if not address.database or address.database == ":memory:":
        raise UserError("store sqlite://: got a database in memory, expected a file: sqlite:///events.db")
    path = Path(address.database).expanduser()
    path.parent.mkdir(parents=True, exist_ok=True)
    address = address.set(database=str(path))
    engine = sa.create_engine(address, connect_args={"timeout": BUSY_S, "check_same_thread": False})

    @sa.event.listens_for(engine, "connect")
    def _settle(connection: Any, _: Any) -> None:
        # The driver's own transactions begin too late; see `_begin`.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode=WAL")
        # What was acknowledged outlives a power cut too.
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        # A transaction that reads first and writes later would be refused where another one wrote between.
        reading = connection.get_execution_options().get("reading")
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    return engine


def _migrate(engine: Any) -> None:
    """Bring the tables up to date; several processes may try at once."""
    try:
        from alembic import command
        from alembic.config import Config
        from alembic.script import ScriptDirectory
    except ImportError:
        raise UserError(f"events: Alembic is not installed, expected it; run: {INSTALL}") from None
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    script = ScriptDirectory.from_config(config)
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(7283301)")
        here = _revision(connection)
        if here is not None and here not in {r.revision for r in script.walk_revisions()}:
            raise UserError(
                f"store {shown(engine.url)}: was written by a newer version (revision {here}); "
                "run: pip install -U slowfast-live"
            )
        if here != script.get_current_head():
            config.attributes["connection"] = connection
            command.upgrade(config, "head")


def _revision(connection: Any) -> str | None:
    if not sqlalchemy().inspect(connection).has_table("alembic_version"):
        return None
    row = connection.exec_driver_sql("SELECT version_num FROM alembic_version").first()
    return None if row is None else row[0]
