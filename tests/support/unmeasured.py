"""Let what runs be as it ships: coverage traces neither this process nor those that it starts."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unmeasured() -> Iterator[None]:
    """Measure nothing meanwhile."""
    here, threads = sys.gettrace(), threading.gettrace()
    words = {name: value for name, value in os.environ.items() if name.startswith("COVERAGE")}
    sys.settrace(None)
    threading.settrace(None)  # type: ignore[arg-type]
    for name in words:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(words)
        threading.settrace(threads)  # type: ignore[arg-type]
        sys.settrace(here)
