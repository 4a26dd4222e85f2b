"""Format amounts, columns, actors and times for people."""

from maxmemd.rest.reply import Body
from maxmemd.rest.text import plain


def amount(kib: int | None, unlimited: bool = False) -> str:
    """Return an amount in MiB if it is a whole number of them, else in KiB."""
    if kib is None:
        return "-"
    if unlimited:
        return "unlimited"
    return f"{kib} KiB" if kib % 1024 else f"{kib // 1024} MiB"


def aligned(rows: list[list[str]], right: frozenset[int] = frozenset(), indent: str = "") -> str:
    """Return rows as lines of columns; those in `right` are right-aligned."""
    if not rows:
        return ""
    cells = [[plain(cell) for cell in row] for row in rows]
    widths = [max(len(row[at]) for row in cells) for at in range(len(cells[0]))]
    lines = []
    for row in cells:
        padded = [
            cell.rjust(widths[at]) if at in right else cell.ljust(widths[at])
            for at, cell in enumerate(row)
        ]
        lines.append(indent + "  ".join(padded).rstrip() + "\n")
    return "".join(lines)


def who(actor: Body | None) -> str:
    """Return an actor's name and uid."""
    if actor is None:
        return "-"
    return str(actor["name"]) if actor["uid"] is None else f"{actor['name']} (uid {actor['uid']})"


def when(at: str | None) -> str:
    """Return an RFC 3339 time in UTC to the second."""
    return "-" if at is None else at[:19].replace("T", " ") + "Z"


_SPELLED = {"max_mem_kib": "max-mem", "static_max_kib": "static-max", "static_max": "static-max"}


def format_words(wish: Body) -> str:
    """Return a request as text, without empty fields."""
    words = [f"{wish['owner']}/{wish['name']}"] if {"owner", "name"} <= wish.keys() else []
    for name, value in wish.items():
        called = _SPELLED.get(name) or name.removesuffix("_kib").replace("_", " ")
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
