"""What the history says, in words for eyes: who, when, and what was asked."""

from maxmemd.cli.tables import amount


def who(actor: "Body | None") -> str:
    """Return who asked, as the kernel said it."""
    if actor is None:
        return "-"
    return str(actor["name"]) if actor["uid"] is None else f"{actor['name']} (uid {actor['uid']})"


def when(at: str | None) -> str:
    """Return an RFC 3339 time in UTC to the second."""
    return "-" if at is None else at[:19].replace("T", " ") + "Z"


def format_words(wish: "Body") -> str:
    """Return what was asked for, without the fields that say nothing."""
    words = [f"{wish['owner']}/{wish['name']}"] if {"owner", "name"} <= wish.keys() else []
    for name, value in wish.items():
        called = name.removesuffix("_kib").replace("_", " ")
        if value is True:
            words.append(called)
        elif name in ("owner", "name") or value is None or value is False or value == "":
            continue
        elif name.endswith("_kib"):
            words.append(f"{called} {amount(value)}")
        elif isinstance(value, dict):
            words.append(f"{called} ({format_words(value)})")
        elif isinstance(value, list):
            words.append(f"{len(value)} {called}")
        else:
            words.append(f"{called} {value!r}" if name == "reason" else f"{called} {value}")
    return ", ".join(words)


TYPE_CHECKING = False
if TYPE_CHECKING:
    from maxmemd.rest.connection import Body
