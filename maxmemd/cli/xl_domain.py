"""How a domain is called on the command line, and how xl answers to a name that nobody has."""

from maxmemd.cli.invocation import Invocation, quoted, refused
from maxmemd.cli.options import Stop
from maxmemd.rest.reply import Answer
from maxmemd.rest.text import print_error

ERROR_INVAL = -6
"""libxl's answer for a name that nobody has."""
END_DOMID = 2**32
"""Domids are uint32_t in libxl."""


def reference(text: str) -> str:
    """Return a domid, UUID or name. What xl takes by accident for a domid is refused."""
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
    """Return what xl says of a name that nobody has."""
    return f"{ref} is an invalid domain identifier (rc={ERROR_INVAL})\n"


def domid_of(call: Invocation, ref: str, answer: Answer | None = None) -> int:
    """Return the domid that xl's line names, or stop as xl does where there is none."""
    if ref.isdigit():
        return int(ref)
    lost = answer is not None and answer.code in ("unknown-domain", "ambiguous-domain")
    if answer is None or (answer.body.get("domid") is None and not lost):
        answer = call.read(f"domains/{quoted(ref)}")
        if answer.status != 200:
            refused(call, answer, f"find the domain {ref}", ref)
    domid = answer.body.get("domid")
    if domid is None:
        raise Stop(1, err=invalid(ref))
    return int(domid)


def named(call: Invocation) -> str:
    """Return the domain that one of our own verbs is about."""
    if not call.args[0]:
        raise Stop(2, err="maxmemctl: cannot find a domain without a name\n")
    return call.args[0]
