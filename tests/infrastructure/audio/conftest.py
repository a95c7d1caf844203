from collections.abc import Iterator

import pytest

from thoth_watch.infrastructure.audio import WorkerDecoder


@pytest.fixture(scope="module")
def decoder() -> Iterator[WorkerDecoder]:
    with WorkerDecoder() as shared:
        yield shared
