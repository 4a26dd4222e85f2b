"""The values of a domain's memory nodes in xenstore: amounts, or what stands there instead.

Toolstacks and programs of the administrator write them, so any bytes may be there. Whatever it
is, reading it never fails: it is an amount, or it is named.
"""

import re

from maxmemd.policy.facts import (
    NO_PATH,
    STATIC_MAX,
    TARGET,
    VIDEORAM,
    StoreFacts,
    UnreadableNode,
)
from maxmemd.policy.reference import printable
from maxmemd.units import END_KIB, Memory

SHOWN_BYTES = 32
"""Of a value that is no amount so much is shown."""
_BLANKS = b" \t\r\n\0"
_VM = re.compile(rb"/?vm/([0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})")
_NONE = Memory(kib=0)


def facts_of(
    *,
    has_path: bool,
    name: str | None,
    target: bytes | None,
    static_max: bytes | None,
    videoram: bytes | None,
) -> StoreFacts:
    """Return what the nodes say; None stands for a node that is not there.

    A domain's name is whatever its toolstack takes; nothing unprintable in it goes any further.
    """
    if not has_path:
        return NO_PATH
    # "-1" is how dom0less and libxl write that a domain has no video RAM
    video = None if videoram is None or _is_negative(videoram) else videoram
    values = {TARGET: target, STATIC_MAX: static_max, VIDEORAM: video}
    amounts = {node: amount_of(value) for node, value in values.items()}
    unreadable = [
        UnreadableNode(node, shown(value))
        for node, value in values.items()
        if value is not None and amounts[node] is None
    ]
    found = amounts[VIDEORAM]
    return StoreFacts(
        name=None if name is None else printable(name),
        target=amounts[TARGET],
        static_max=amounts[STATIC_MAX],
        videoram=_NONE if found is None else found,
        unreadable=tuple(unreadable),
    )


def amount_of(value: bytes | None) -> Memory | None:
    """Return a number of KiB as an amount; None for anything else, such as "-1"."""
    text = (value or b"").strip(_BLANKS)
    if not text.isdigit() or len(text) > len(str(END_KIB)):
        return None
    kib = int(text)
    return Memory(kib=kib) if kib < END_KIB else None


def shown(value: bytes) -> str:
    """Return a value as it is shown to people: printable ASCII, and not long."""
    text = value[:SHOWN_BYTES].decode("ascii", "backslashreplace")
    escaped = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
    return escaped if len(value) <= SHOWN_BYTES else f"{escaped}... ({len(value)} bytes)"


def vm_uuid(value: bytes | None) -> str | None:
    """Return the UUID that a domain's `vm` node holds; None where it holds none.

    libxl writes /vm/UUID, dom0less tools vm/UUID, and some toolstacks append to it.
    """
    found = _VM.match(value or b"")
    return None if found is None else found[1].decode().lower()


def _is_negative(value: bytes) -> bool:
    text = value.strip(_BLANKS)
    return text.startswith(b"-") and text[1:].isdigit()
