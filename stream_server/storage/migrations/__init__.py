"""The histories of both schemas, run by Alembic from inside the package at every start."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from alembic import command, context
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, MetaData
from sqlalchemy.exc import DBAPIError

from stream_server.errors import StartError
from stream_server.storage import recording_schema, server_schema
from stream_server.storage.database import open_engine

_SCRIPTS: Final = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class History:
    """The schema of one file, and how it came about: the folder `name` here has the changes."""

    name: str
    metadata: MetaData

    def config(self) -> Config:
        """Where Alembic finds the changes."""
        config = Config()
        config.set_main_option("script_location", str(_SCRIPTS / self.name).replace("%", "%%"))
        config.attributes["metadata"] = self.metadata
        return config


SERVER: Final = History("server", server_schema.metadata)
RECORDING: Final = History("recording", recording_schema.metadata)
LAST_OF_ONE_FILE: Final = "0003"
"""Until this change of the recording everything was in its file."""


def upgrade(path: Path, history: History) -> bool:
    """Bring the file at `path` to this version's schema, making it where it is missing.

    Returns whether it was empty. Raises StartError when it is not ours, damaged or of a newer version.
    """
    engine = open_engine(path, foreign_keys=False)
    try:
        with engine.begin() as connection:
            return upgrade_on(connection, history)
    except CommandError as error:
        raise StartError(
            f"{path} was written by a newer stream-server ({error}); install that version"
        ) from error
    except DBAPIError as error:
        raise _not_opened(path, error) from error
    finally:
        engine.dispose()


def upgrade_on(connection: Connection, history: History, to: str = "head") -> bool:
    """`upgrade` within a transaction, on a connection that does not enforce foreign keys. CommandError."""
    config = history.config()
    current = revision(connection)
    if current != ScriptDirectory.from_config(config).get_current_head():
        config.attributes["connection"] = connection
        command.upgrade(config, to)
    return current is None


def is_current(path: Path, history: History) -> bool:
    """Whether there is nothing to migrate. StartError as `upgrade`."""
    engine = open_engine(path, readers=1)
    try:
        with engine.begin() as connection:
            return revision(connection) == ScriptDirectory.from_config(history.config()).get_current_head()
    except DBAPIError as error:
        raise _not_opened(path, error) from error
    finally:
        engine.dispose()


def revision(connection: Connection) -> str | None:
    """Which change the file has seen last, None for an empty one."""
    return MigrationContext.configure(connection).get_current_revision()


def in_transaction() -> None:
    """What Alembic's env.py does: migrate on the connection that `upgrade` hands over."""
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=context.config.attributes["metadata"],
        transactional_ddl=True,
        render_as_batch=True,
    )
    context.run_migrations()


def _not_opened(path: Path, error: DBAPIError) -> StartError:
    remedy = "where it is damaged, `stream-server run` on its directory says what can be done"
    return StartError(f"cannot open the database {path}: {error.orig}; {remedy}")
