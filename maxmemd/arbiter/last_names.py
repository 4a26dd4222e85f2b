"""The last name of each domain, found by UUID and by name without a walk over all of them."""

from collections.abc import Mapping

from maxmemd.policy.reference import printable


class LastNames:
    """Names as they are shown: nothing unprintable is in them. "" stands for one taken over."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self._of: dict[str, str] = {}
        self._called: dict[str, dict[str, None]] = {}
        self.update(names)

    def __contains__(self, uuid: str) -> bool:
        return uuid in self._of

    def __getitem__(self, uuid: str) -> str:
        return self._of[uuid]

    def get(self, uuid: str) -> str | None:
        """Return a domain's name, None where none is known."""
        return self._of.get(uuid)

    def called(self, text: str) -> list[str]:
        """Return the UUIDs of the domains that a reference's text means, written or shown."""
        return list(self._called.get(printable(text), ())) if text else []

    def update(self, names: Mapping[str, str]) -> None:
        """Let domains have these names from now on."""
        for uuid, name in names.items():
            self.forget(uuid)
            shown = self._of[uuid] = printable(name)
            self._called.setdefault(shown, {})[uuid] = None

    def forget(self, uuid: str) -> None:
        """Forget a domain's name, if there is one."""
        name = self._of.pop(uuid, None)
        if name is None:
            return
        del self._called[name][uuid]
        if not self._called[name]:
            del self._called[name]
