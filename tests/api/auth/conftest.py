"""A daemon that the tests of a file share."""

from collections.abc import Iterator

import pytest

from tests.support.inside import Inside


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Inside]:
    """Give one daemon for all tests of a file."""
    with Inside(tmp_path_factory.mktemp("access")) as inside:
        inside.event_stream.close()  # a stream of events ends where it begins
        yield inside
