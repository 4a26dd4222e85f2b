"""Who may have a role: users, groups, and subjects of certificates."""

import grp
import pwd
import re
from dataclasses import dataclass

_WHO = re.compile(r"(user|group|uid|gid) (\S+)|(cert) (.+)")


END_ID = 2**32 - 1


@dataclass(frozen=True, slots=True)
class Identity:
    """An identity that can have a role. `kind` is "uid", "gid", or "cert" with a subject."""

    kind: str
    number: int
    subject: str = ""

    def __str__(self) -> str:
        return f"{self.kind} {self.subject or self.number}"


def parse_identity(value: object) -> Identity:
    """Parse "user NAME" and the like; a ValueError says what to write instead."""
    match = _WHO.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError('write "user NAME", "group NAME", "uid N", "gid N" or "cert CN=..."')
    if match[3]:
        return Identity("cert", 0, match[4])
    kind, name = match[1], match[2]
    try:
        if kind == "user":
            return Identity("uid", pwd.getpwnam(name).pw_uid)
        if kind == "group":
            return Identity("gid", grp.getgrnam(name).gr_gid)
    except KeyError:
        raise ValueError(f"there is no {kind} {name!r}: create it, or remove it here") from None
    if not (name.isascii() and name.isdigit()) or len(name) > 10 or int(name) >= END_ID:
        raise ValueError(f"{name!r} is not a {kind}: write a number below {END_ID}")
    return Identity(kind, int(name))
