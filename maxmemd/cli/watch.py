"""watch: print events as they happen, one per line."""

import json
import os
import sys
from contextlib import suppress
from time import monotonic

from maxmemd.cli.event_lines import line_of
from maxmemd.cli.invocation import Invocation, print_refused, quoted
from maxmemd.cli.options import Stop
from maxmemd.rest.connection import DaemonConnection
from maxmemd.rest.events import StreamRefused, follow_events
from maxmemd.rest.reply import Unreachable

NAMES_EVERY_S = 1.0
"""Names are requested at most this often; a domain without one is shown by its UUID."""


def watch(call: Invocation) -> int:
    """Print events until interrupted; with --json, one JSON object per line."""
    query = {} if "kind" not in call.options else {"kind": call.options["kind"]}
    if call.args:
        query["domain"] = _uuid(call, call.args[0])
    names = _Names(call)
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    try:
        for event in follow_events(call.server, query, call.options.get("since", "")):
            if call.wants_json:
                print(json.dumps(event, separators=(",", ":")), flush=True)
            else:
                print(line_of(event, names.of(event["uuid"]), coloured=coloured), flush=True)
    except StreamRefused as no:
        print_refused(call, no.answer, "watch", call.args[0] if call.args else "-")
    return 1


class _Names:
    """The names of domains, requested again for an unknown UUID."""

    def __init__(self, call: Invocation) -> None:
        there = call.server
        # No retries: the next event waits, and a UUID can stand in for a name.
        server = DaemonConnection(there.path, there.url, there.files, retry_s=0.0)
        self._call = Invocation(call.verb, call.options, call.args, server)
        self._names: dict[str, str] = {}
        self._asked_s = -NAMES_EVERY_S

    def of(self, uuid: str) -> str:
        """Return a domain's name, or its UUID if it has none now."""
        if uuid not in self._names and monotonic() - self._asked_s >= NAMES_EVERY_S:
            with suppress(Unreachable):  # no daemon: print the UUID
                domains = self._call.read("domains").body.get("domains", ())
                here = {each["uuid"]: each["name"] for each in domains}
                self._names |= {each: name for each, name in here.items() if name}
            self._asked_s = monotonic()
        return self._names.get(uuid, uuid)


def _uuid(call: Invocation, ref: str) -> str:
    """Return a domain's UUID: by the next connection its name and domid may be another's."""
    answer = call.read(f"domains/{quoted(ref)}")
    if answer.status != 200:
        print_refused(call, answer, f"watch {ref}", ref)
        raise Stop(1)
    return str(answer.body["uuid"])


HANDLERS = {"watch": watch}
