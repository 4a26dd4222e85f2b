"""drift: show or set what becomes of a maximum that another program writes for one domain."""

from maxmemd.cli.format import when, who
from maxmemd.cli.invocation import Invocation, print_refused, quoted, title
from maxmemd.cli.options import Stop
from maxmemd.cli.xl_domain import required_reference
from maxmemd.rest.reply import Body
from maxmemd.rest.text import plain

MODES, DEFAULT = ("restore", "adopt", "alert"), "default"
UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def drift(call: Invocation) -> int:
    """Print the mode of a domain, or set one, or take it back."""
    ref = required_reference(call)
    path = f"domains/{quoted(ref)}/drift"
    asked = call.args[1] if len(call.args) == 2 else None
    for_s = None if "for" not in call.options else seconds_of(call.options["for"])
    if for_s is not None and asked not in MODES:
        raise _wrong("cannot use --for: it goes with a mode: restore, adopt or alert")
    if asked is None:
        answer, what = call.read(path), f"show the drift mode of {ref}"
    elif asked == DEFAULT:
        answer, what = call.write("DELETE", path), f"take the drift mode of {ref} back"
    elif asked in MODES:
        body = {"mode": asked} | ({} if for_s is None else {"for_s": for_s})
        answer, what = call.write("PUT", path, body), f"set the drift mode of {ref} to {asked}"
    else:
        raise _wrong(f"cannot read {asked!r} as a mode: restore, adopt, alert or default")
    if answer.status != 200:
        print_refused(call, answer, what, ref)
        return 1
    if call.wants_json:
        call.print_json(answer.body)
        return 0
    print(f"{title(answer.body)}: {mode_of(answer.body)}" + ("; not changed" * call.is_dry))
    return 0


def mode_of(found: Body) -> str:
    """Return the mode in force, where it comes from, until when, and what comes after."""
    host = "the default of this host"
    configured = host if found["configured_key"] is None else f'"{found["configured_key"]}"'
    if found["source"] != "set":
        said = f"{found['mode']}, {configured}"
    else:
        until = f"until {when(found['until'])}" if found["until"] else "until it is taken back"
        why = f' "{found["reason"]}"' if found["reason"] else ""
        said = f"{found['mode']} {until}, set by {who(found['by'])}{why}"
        said += f"; then {found['configured_mode']}, {configured}"
    if found["fight"] is not None:
        said += f"; another program fights it since {when(found['fight']['since'])}"
    return plain(said)


def seconds_of(text: str) -> int:
    """Parse a time like 90s, 30m, 1h, 2d or 1h30m. Raises Stop."""
    total, digits = 0, ""
    for letter in text:
        if letter.isascii() and letter.isdigit() and len(digits) < 10:
            digits += letter
        elif digits and letter in UNITS_S:
            total, digits = total + int(digits) * UNITS_S[letter], ""
        else:
            total = 0
            break
    if not total or digits:
        raise _wrong(f"cannot read {text!r} as a time: write it like 90s, 30m, 1h or 2d")
    return total


def _wrong(why: str) -> Stop:
    return Stop(2, err=f"maxmemctl: {why}\n")


HANDLERS = {"drift": drift}
