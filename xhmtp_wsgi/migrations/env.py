"""What Alembic runs: the migrations, on the connection that it was given."""

from alembic import context

from xhmtp_wsgi.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # The caller has begun the transaction, on SQLite as a writer.
    transactional_ddl=True,
    render_as_batch=True,
)
context.run_migrations()
