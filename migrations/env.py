"""Alembic's entry: runs on the connection that maxmemd/ledger/migrate.py hands over.

Migrations never import the application's tables; for `alembic check` the metadata is handed
over the same way.
"""

from alembic import context

attributes = context.config.attributes
context.configure(
    connection=attributes["connection"],
    target_metadata=attributes.get("metadata"),
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
