"""A plugin of conftest: the fixtures of modules whose tests share one real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.helpers.processes import StreamServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StreamServer]:
    """`stream-server serve`; a module may have a fixture of its own by this name."""
    with StreamServer(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="module")
def viewer(server: StreamServer) -> str:
    """A token that may read."""
    return server.create_token("viewer")
