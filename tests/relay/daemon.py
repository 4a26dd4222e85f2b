"""A daemon with scripted answers, for the relay."""

import threading
from typing import Any

GRANTED = (200, {"limit_kib": 4096, "push": {"state": "applied", "error": None}})


def problem(status: int, code: str) -> tuple[int, dict[str, Any]]:
    """Return a reply that is a problem."""
    return status, {"code": code, "detail": f"cannot do it: {code}"}


class Held(list[Any]):
    """A list of replies, each of which is held back until `let` is set."""

    def __init__(self, *replies: Any) -> None:
        super().__init__(replies)
        self.let = threading.Event()

    def pop(self, _: Any = 0) -> Any:
        """Wait, and return the next one."""
        assert self.let.wait(60)
        return super().pop(0)

    def __len__(self) -> int:
        return super().__len__() + 1  # so that the last one is popped too
