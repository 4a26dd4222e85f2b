"""One invocation of maxmemctl: its arguments, its requests, and its messages about replies."""

import json

from maxmemd.cli.format import amount
from maxmemd.cli.options import Command, Stop
from maxmemd.rest.connection import DaemonConnection
from maxmemd.rest.reply import Answer, Body
from maxmemd.rest.text import plain, print_error
from maxmemd.units import UNLIMITED, Memory, TooLarge

_SAFE = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_~")

HINTS = {
    "limit-below-target": "lower the target first with maxmemctl mem-set {ref}, or use --force",
    "limit-below-held": "see why nothing says how far it shrinks with maxmemctl explain {ref}",
    "videoram-unknown": "see what is in xenstore with maxmemctl explain {ref}",
    "target-above-static-max": "raise max-mem first with maxmemctl mem-max {ref}",
    "static-max-unknown": "set max-mem first with maxmemctl mem-max {ref}",
    "stale-revision": "see what changed with maxmemctl history {ref}",
    "unknown-revision": "see which there are with maxmemctl history {ref}",
    "unknown-component": "see which there are with maxmemctl components {ref}",
    "component-below-zero": "see what there is with maxmemctl components {ref}",
    "too-many-records": "see which there are with maxmemctl list -v",
    "unknown-domain": "see which there are with maxmemctl list -v",
    "ambiguous-domain": "give its domid or UUID: maxmemctl list -v",
    "arbiter-busy": "see whether it was done with maxmemctl history {ref}",
    "event-id-foreign": "leave --since out for new events only; --since 0 is everything",
    "event-id-beyond": "leave --since out for new events only; --since 0 is everything",
    "event-id-pruned": "leave --since out for new events only; --since 0 is all that is kept",
    "revision-pruned": "see which there are with maxmemctl history {ref}",
    "event-id-invalid": "ids are in the output of maxmemctl watch --json; 0 is the beginning",
    "not-allowed": "run it as root, or have an administrator grant you the role",
}
"""What to do next, by problem code."""


class Invocation:
    """A verb with its options and arguments, and the daemon."""

    def __init__(
        self, verb: Command, options: dict[str, str], args: list[str], server: DaemonConnection
    ) -> None:
        self.verb, self.options, self.args, self.server = verb, options, args, server

    @property
    def wants_json(self) -> bool:
        """Whether to print the API's JSON."""
        return "json" in self.options

    @property
    def is_dry(self) -> bool:
        """Whether to change nothing."""
        return "dry-run" in self.options

    def read(self, path: str) -> Answer:
        """Return the reply to GET /v1/path."""
        return self.server.ask("GET", f"/v1/{path}")

    def write(self, method: str, path: str, body: Body | None = None) -> Answer:
        """Return the reply to a change, sent with --reason, --dry-run and --if-match."""
        headers = {}
        if "if-match" in self.options:
            revision = number(self.options["if-match"], "a revision")
            headers["If-Match"] = f'"{revision}"'
        if body is not None and self.options.get("reason"):
            body = {**body, "reason": self.options["reason"]}
        query = "?dry_run=true" if self.is_dry else ""
        return self.server.ask(method, f"/v1/{path}{query}", body, headers)

    def print_json(self, body: object) -> None:
        """Print a body as JSON."""
        print(json.dumps(body, indent=2))


def print_refused(call: Invocation, answer: Answer, what: str, ref: str) -> None:
    """Print what could not be done, why, and what to do next.

    The detail of a refusal begins with the request in the server's words. `what` says it in the
    user's, so that beginning is left out; the detail of a failure is kept whole. `ref` is the
    domain, "" for none.
    """
    body = answer.body
    why = str(body.get("detail") or body.get("title") or f"HTTP {answer.status}")
    if answer.status < 500 and why.startswith("cannot ") and ": " in why:
        why = why.partition(": ")[2]
    for error in body.get("errors") or ():
        told = f"{error.get('field')}: {error.get('message')}"
        why += "" if told in why else f"; {told}"
    if call.wants_json:
        call.print_json(body)
    print_error(f"cannot {what}: {why}")
    if ref and answer.code in HINTS:
        print_error(HINTS[answer.code].format(ref=ref))


def print_not_done(answer: Answer, ref: str) -> None:
    """Print which part of a change is recorded but not in force, and which one is."""
    body = answer.body
    push = body.get("push") or {}
    limit = (
        f"the limit of {body.get('name') or ref} is {{}} as revision {body.get('revision')},"
        f" {amount(body.get('limit_kib'), bool(body.get('unlimited')))}"
    )
    if push.get("state") in ("applied", "over-limit"):
        for each in unwritten_effects(body):
            print_error(f"{limit.format('in force')}; {each}")
    else:
        why = push.get("error") or f"it is {push.get('state', 'pending')}"
        print_error(f"{limit.format('recorded')}, but not in force: {why}")
    if push.get("state") != "gone" and answer.status == 202:
        print_error(f"maxmemd keeps trying: maxmemctl show {ref}")


def unwritten_effects(body: Body) -> list[str]:
    """Return what of a push could not be written besides the limit, and why."""
    effects = (body.get("push") or {}).get("effects") or ()
    return [
        f"{each['effect']} could not be written: {_why(each)}"
        for each in effects
        if each["state"] != "written"
    ]


def is_dropped(body: Body, effect: str) -> bool:
    """Whether the domain cannot take this effect of a push."""
    effects = (body.get("push") or {}).get("effects") or ()
    return any(each["effect"] == effect and each["state"] == "dropped" for each in effects)


def _why(effect: Body) -> str:
    error = str(effect.get("error") or "it is still to be written")
    return error.removeprefix("cannot write it: ")


def print_decision(call: Invocation, answer: Answer) -> None:
    """Print the result of a granted change, or with --dry-run what it would be."""
    body = answer.body
    if call.wants_json:
        call.print_json(body)
        return
    limit = amount(body["limit_kib"], body["unlimited"])
    verb = "would be" if call.is_dry else "is"
    end = "; decided for its next start" if body.get("for_next_start") else ""
    end += "; nothing was changed" if call.is_dry else ""
    print(
        f"{title(body)}: the limit {verb} {limit} ({body['max_pages']} pages),"
        f" revision {body['revision']}{end}"
    )
    _print_change(body.get("change"))


def _print_change(change: Body | None) -> None:
    """Print what changes and what does not, where the daemon tells it: dry runs and rollbacks."""
    if change is None:
        return
    for field in ("max_mem_kib", "limit_kib", "static_max_kib", "target_kib"):
        before, after = (_known(change[when][field]) for when in ("before", "after"))
        told = f"{before}, unchanged" if before == after else f"{before} -> {after}"
        print(f"  {field.removesuffix('_kib').replace('_', '-'):<12}{told}")


def _known(kib: int | None) -> str:
    return "not known" if kib is None else amount(kib, kib >= UNLIMITED.kib)


def title(body: Body) -> str:
    """Return a domain's name or UUID, and its domid."""
    where = "not here" if body["domid"] is None else f"domain {body['domid']}"
    return plain(f"{body['name'] or body['uuid']} ({where})")


def quoted(text: str) -> str:
    """Quote text as one path segment. Dots are quoted too, so that none is "..".

    Not by urllib.parse, which takes 2 ms to import.
    """
    octets = text.encode("utf-8", "surrogateescape")
    return "".join(chr(c) if c in _SAFE else f"%{c:02X}" for c in octets)


def size_of(text: str) -> Memory:
    """Parse a size as xl does, but a sign in front is no part of a total. Raises ValueError."""
    if text.startswith("+"):
        raise ValueError(f"cannot read {text!r} as a size: give the new total, without a sign")
    try:
        return Memory.of_xl(text)
    except TooLarge:
        raise
    except ValueError:
        raise ValueError(
            f"cannot read {text!r} as a size: 512 and 512m are MiB, 524288k is KiB, 2g is GiB"
        ) from None


def number(text: str, what: str) -> int:
    """Parse a non-negative number. Raises Stop."""
    if not (text.isascii() and text.isdigit()):
        raise Stop(2, err=f"maxmemctl: cannot read {text!r} as {what}: a number is needed\n")
    digits = text.lstrip("0") or "0"
    if len(digits) < 16:
        return int(digits)
    raise Stop(2, err=f"maxmemctl: cannot take {text!r} as {what}: it is too large\n")
