"""How Alembic runs the migrations beside this file; `stream.events.schema` starts it with an open connection."""

from __future__ import annotations


def _run() -> None:
    from alembic import context

    connection = context.config.attributes["connection"]
    context.configure(connection=connection, transactional_ddl=True, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()


_run()
