"""What the server said each dongle's frames are carried for: kept on disk, for starts without a network."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final

import msgspec

from can_stream.private_files import place_for_secret
from can_stream.protocol.control import MAX_DONGLES
from can_stream.protocol.identity import Identifier
from can_stream.protocol.marker import ActivationName

MAX_FILE_BYTES: Final = 64 * 1024
_logger: Final = logging.getLogger(__name__)
_Told = Annotated[dict[Identifier, ActivationName], msgspec.Meta(max_length=MAX_DONGLES)]
_decoder: Final = msgspec.json.Decoder(_Told)


class ToldActivations:
    """By dongle. A file that cannot be read says nothing: then nothing is relayed until the server speaks."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._told = _read(path)
        self._lock = threading.Lock()

    @property
    def activations(self) -> Mapping[str, str]:
        """What is on, as far as this gateway knows."""
        return self._told

    def take(self, dongle_id: str, activation: str | None) -> bool:
        """The server says this of a dongle; whether it is news, which `write` keeps."""
        before = self._told
        rest = {known: name for known, name in before.items() if known != dongle_id}
        self._told = {**rest, dongle_id: activation} if activation else rest
        return self._told != before

    def write(self) -> None:
        """Keeps what is known, through a power cut too; it blocks. Never raises: without it the next start is
        carried for what the file says, which nothing is relayed for, until the server speaks."""
        with self._lock:  # what is written last is the newest
            text = msgspec.json.encode(self._told).decode()
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                with place_for_secret(self._path) as put:
                    put(text)
            except OSError as error:
                _logger.warning("%s cannot be written: %s", self._path, error.strerror)


def _read(path: Path) -> dict[str, str]:
    try:
        with path.open("rb") as file:
            return _decoder.decode(file.read(MAX_FILE_BYTES))
    except FileNotFoundError:
        return {}
    except (OSError, msgspec.DecodeError, UnicodeError) as error:
        _logger.warning("%s cannot be read: %s", path, error)
        return {}
