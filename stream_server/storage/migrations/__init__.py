"""The history of the schema, run by Alembic from inside the package at every start."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from stream_server.errors import StartError
from stream_server.storage.database import open_engine

_SCRIPTS: Final = Path(__file__).parent


def upgrade(path: Path) -> bool:
    """Bring the database at `path` to this version's schema, making it where it is missing.

    Returns whether it was empty. Raises StartError when it is not ours, damaged or of a newer version.
    """
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    engine = open_engine(path)
    try:
        with engine.begin() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
            if current != ScriptDirectory.from_config(config).get_current_head():
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
            return current is None
    except CommandError as error:
        raise StartError(
            f"{path} was written by a newer stream-server ({error}); install that version"
        ) from error
    except DBAPIError as error:
        raise StartError(f"cannot open the database {path}: {error.orig}") from error
    finally:
        engine.dispose()
