"""Domain references on the command line, and xl's messages for unknown ones."""

from maxmemd.cli.invocation import Invocation, print_refused, quoted
from maxmemd.cli.options import Stop
from maxmemd.rest.reply import Answer
from maxmemd.rest.text import plain, print_error

ERROR_INVAL = -6
"""libxl's error for an unknown name."""
END_DOMID = 2**32
"""Domids are uint32_t in libxl."""


def reference(text: str) -> str:
    """Return a domid, UUID or name. Numbers that xl would truncate to a domid are refused."""
    if text.isascii() and text.isdigit():
        if int(text[:40]) < END_DOMID:
            return str(int(text))
        print_error(f"cannot find domain {text}: domids are below {END_DOMID}")
    elif text:
        return text
    else:
        print_error("cannot find a domain without a name")
    raise Stop(1, err=invalid(text))


def invalid(ref: str) -> str:
    """Return xl's message for an unknown domain."""
    return f"{plain(ref)} is an invalid domain identifier (rc={ERROR_INVAL})\n"


def domid_of(call: Invocation, ref: str, answer: Answer | None = None) -> int:
    """Return the domid for xl's message, or stop as xl does if there is none."""
    if ref.isdigit():
        return int(ref)
    lost = answer is not None and answer.code in ("unknown-domain", "ambiguous-domain")
    if answer is None or (answer.body.get("domid") is None and not lost):
        answer = call.read(f"domains/{quoted(ref)}")
        if answer.status != 200:
            print_refused(call, answer, f"find the domain {ref}", ref)
    domid = answer.body.get("domid")
    if domid is None:
        raise Stop(1, err=invalid(ref))
    return int(domid)


def required_reference(call: Invocation) -> str:
    """Return the domain argument of one of our own verbs. Raises Stop if it is empty."""
    if not call.args[0]:
        raise Stop(2, err="maxmemctl: cannot find a domain without a name\n")
    return call.args[0]
