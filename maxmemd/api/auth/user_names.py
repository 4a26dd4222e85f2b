"""The names of users, for the history: asked of the name service outside the event loop."""

import pwd
from collections.abc import Callable

from maxmemd.api.aside import Aside

MOST_KNOWN = 256
"""Names that are kept; one more drops the oldest."""
MOST_AT_ONCE, WITHIN_S = 4, 2.0
"""A name that is not found in time is no reason to wait: the history has the uid."""


def name_of(uid: int) -> str:
    """Return a user's name, or "uid N" for one without. It may block: the name service is asked."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return unnamed(uid)


class UserNames:
    """Names by uid. Belongs to the event loop's thread, but for the look-ups."""

    def __init__(self, look_up: Callable[[int], str] = name_of) -> None:
        self._look_up = look_up
        self._aside = Aside(MOST_AT_ONCE, WITHIN_S)
        self._known: dict[int, str] = {}

    def known(self, uid: int) -> str | None:
        """Return a name that was found before; None if it has to be looked up."""
        return self._known.get(uid)

    async def find(self, uid: int) -> str:
        """Return a user's name, or "uid N" for one without, or that is not found in time."""
        if uid not in self._known:
            try:
                await self._aside.call(lambda: self._find(uid))
            except TimeoutError:
                return unnamed(uid)
        return self._known.get(uid, unnamed(uid))

    def _find(self, uid: int) -> None:
        """Look a name up, and keep it, though it may come too late for who asked."""
        self.keep(uid, self._look_up(uid))

    def keep(self, uid: int, name: str) -> None:
        """Know a name from now on. Any thread may call."""
        while len(self._known) >= MOST_KNOWN:
            self._known.pop(next(iter(self._known)), None)
        self._known[uid] = name


def unnamed(uid: int) -> str:
    """Return what stands for the name of a user without one."""
    return f"uid {uid}"


USER_NAMES = UserNames()
