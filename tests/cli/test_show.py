"""show, components, explain, history and health: for eyes, and as JSON."""

# ruff: noqa: ISC004 - rows of a table, not lists of lines
import json
from typing import Any

import pytest

from maxmemd.wire import history_replies, replies
from tests.support.bodies import UNKNOWN, UUID, domain, push, xen
from tests.support.stub import Stub

from .conftest import Ctl

WEB = "GET /v1/domains/web"
ROOT = replies.Actor(name="root", uid=0, gid=0, pid=42)
AT = "2026-11-22T21:06:47.123+00:00"
EXPLAIN = history_replies.ExplainReply(
    uuid=UUID, domid=3, name="web", revision=8, max_mem_kib=524289, limit_kib=525313,
    max_pages=131328, unlimited=False, recorded_static_max_kib=524288, static_max_kib=524288,
    target_kib=102400,
    push=push("failed", seen_pages=100, error="EPERM (Operation not permitted)"), tot_pages=25600,
    text="Because.",
    components=[
        history_replies.ExplainedComponent(
            owner="operator", name="max-mem", amount_kib=524289, revision=8, at=AT, by=ROOT,
            kind="mem-max", reason="load test"),
        history_replies.ExplainedComponent(
            owner="toolstack", name="slack", amount_kib=1024, revision=1, at=None, by=None,
            kind=None, reason=""),
    ],
).model_dump(mode="json")  # fmt: skip
SHOWN = f"""\
web (domain 3)
  uuid                 {UUID}
  revision             8
  max-mem              512 MiB
  limit                513 MiB (131328 pages)
  in force             yes (Xen holds 131328 pages)
  recorded static-max  512 MiB
  static-max           512 MiB
  target               100 MiB
  video RAM            0 MiB
  in use               100 MiB (25600 pages)
  state                blocked
  components
    operator/max-mem  512 MiB  revision 8
    toolstack/slack     1 MiB  revision 1
"""
EXPLAINED = """\
web (domain 3)
  operator/max-mem  524289 KiB  mem-max by root (uid 0)  revision 8  2026-11-22 21:06:47Z  "load test"
  toolstack/slack        1 MiB  recorded by -            revision 1  -
  = limit           525313 KiB  131328 pages             revision 8

  in force            no: EPERM (Operation not permitted) (Xen holds 100 pages)
  target              100 MiB
  static-max          512 MiB
  recorded static-max 512 MiB

Because.
"""  # noqa: E501 - a table as it is printed


def entry(seq: int, kind: str, wish: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return one entry of the history."""
    given = {
        "seq": seq, "at": AT, "revision": seq, "kind": kind, "by": ROOT, "wish": wish,
        "max_mem_kib": None, "limit_kib": 525312, "components": None, "static_max_kib": None,
        "hash": "00", **more,
    }  # fmt: skip
    return history_replies.HistoryEntry(**given).model_dump(mode="json")


ENTRIES = [
    entry(12, "mem-max", {"max_mem_kib": 524288, "force": True, "reason": "load test"}),
    entry(11, "rollback", {"revision": 7, "force": False}),
    entry(10, "import", {"components": [["a", "b", 1]], "static_max_kib": None}, limit_kib=None),
    entry(9, "component-set", {"owner": "device-model", "name": "roms", "amount_kib": 1},
          by=replies.Actor(name="maxmemd")),
    entry(8, "refused", {"wish": "mem-max", "max_mem_kib": 1024, "code": "limit-below-target",
                         "numbers": {"target_kib": 65536, "short_by_kib": 64512}}, limit_kib=None),
]  # fmt: skip
HISTORY = """\
REVISION    LIMIT  WHEN                  WHO           WHAT
      12  513 MiB  2026-11-22 21:06:47Z  root (uid 0)  mem-max max-mem 512 MiB, force, reason 'load test'
      11  513 MiB  2026-11-22 21:06:47Z  root (uid 0)  rollback revision 7
      10        -  2026-11-22 21:06:47Z  root (uid 0)  import 1 components
       9  513 MiB  2026-11-22 21:06:47Z  maxmemd       component-set device-model/roms, amount 1 KiB
       8        -  2026-11-22 21:06:47Z  root (uid 0)  refused wish mem-max, max-mem 1 MiB, code limit-below-target, numbers (target 64 MiB, short by 63 MiB)
"""  # noqa: E501 - a table as it is printed
SICK = {"live": True, "ready": False, "parts": {"xen": "xen-failed", "ledger": "ok"}}

CASES: dict[str, tuple[str, dict[str, Any], str, str, int]] = {
    "show": ("show web", {WEB: (200, domain())}, SHOWN, "", 0),
    "components": (
        "components web", {WEB: (200, domain())},
        "operator/max-mem  512 MiB  revision 8\ntoolstack/slack     1 MiB  revision 1\n", "", 0,
    ),
    "explain": ("explain web", {f"{WEB}/explain": (200, EXPLAIN)}, EXPLAINED, "", 0),
    "history": (
        "history web",
        {f"{WEB}/history?limit=20": (200, {"entries": ENTRIES, "next_before": None})},
        HISTORY, "", 0,
    ),
    "no history": (
        "history web -n 3",
        {f"{WEB}/history?limit=3": (200, {"entries": [], "next_before": None})}, "", "", 0,
    ),
    "nobody": (
        "explain nosuch", {"GET /v1/domains/nosuch/explain": UNKNOWN}, "",
        "maxmemctl: cannot explain nosuch: no domain is called that\n"
        "maxmemctl: see which there are with maxmemctl list -v\n", 1,
    ),
    "no number": (
        "history web -nx", {}, "",
        "maxmemctl: cannot read 'x' as a number of entries: a number is needed\n", 2,
    ),
    "healthy": (
        "health", {"GET /v1/health": (200, {**SICK, "ready": True, "parts": {"xen": "ok"}})},
        "ready\n  xen  ok\n", "", 0,
    ),
    "not healthy": (
        "health", {"GET /v1/health": (503, SICK)},
        "not ready\n  xen     xen-failed\n  ledger  ok\n", "", 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_looks(case: str, ctl: Ctl, stub: Stub) -> None:
    """Each call prints and exits as the table says."""
    words, stub.replies, out, err, status = CASES[case]
    assert ctl(*words.split()) == (status, out, err)


def test_history_reads_on_until_it_has_enough(ctl: Ctl, stub: Stub) -> None:
    """Pages of at most 100 entries are joined; what is left is asked for last."""
    first, second = f"{WEB}/history?limit=100", f"{WEB}/history?limit=4&before=9"
    stub.replies = {
        first: (200, {"entries": ENTRIES[:1] * 100, "next_before": 9}),
        second: (200, {"entries": ENTRIES[1:], "next_before": 5}),
    }
    body = json.loads(ctl("--json", "history", "-n", "104", "web")[1])
    assert stub.seen == [first, second]
    assert (len(body["entries"]), body["next_before"]) == (104, 5)


def test_history_goes_on_after_a_page_that_is_shorter(ctl: Ctl, stub: Stub) -> None:
    """Of large entries a page has fewer than were asked for; a refusal of a later page is one."""
    first, second = f"{WEB}/history?limit=50", f"{WEB}/history?limit=47&before=9"
    stub.replies = {
        first: (200, {"entries": ENTRIES[:1] * 3, "next_before": 9}),
        second: (200, {"entries": ENTRIES[1:], "next_before": None}),
    }
    body = json.loads(ctl("--json", "history", "-n", "50", "web")[1])
    assert stub.seen == [first, second]
    assert (len(body["entries"]), body["next_before"]) == (3 + len(ENTRIES[1:]), None)
    stub.replies[second] = (503, {"code": "read-too-long", "detail": "cannot read it in time"})
    status, out, err = ctl("history", "-n", "50", "web")
    assert (status, out) == (1, "")
    assert "cannot read it in time" in err


@pytest.mark.parametrize(
    ("words", "asked", "body", "printed"),
    [
        ("show web", WEB, domain(), domain()),
        ("components web", WEB, domain(), domain()["components"]),
        ("explain web", f"{WEB}/explain", EXPLAIN, EXPLAIN),
        ("health", "GET /v1/health", {**SICK, "ready": True}, {**SICK, "ready": True}),
    ],
)
def test_json_is_the_apis(  # noqa: PLR0917 - three of them are the row
    words: str, asked: str, body: Any, printed: Any, ctl: Ctl, stub: Stub
) -> None:
    """--json prints what the daemon said, and nothing else."""
    stub.replies = {asked: (200, body)}
    status, out, err = ctl("--json", *words.split())
    assert (status, json.loads(out), err) == (0, printed, "")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"push": None, "domid": None, "xen": None}, "no: no instance here"),
        ({"push": push("over-limit")}, "yes, and the guest uses more"),
        ({"push": push("pending", seen_pages=None)}, "not yet\n"),
        ({"push": push("pending", error="cannot keep 4 pages")}, "no: cannot keep 4 pages"),
        ({"push": push("mismatched", seen_pages=5)}, "number than was written (Xen holds 5"),
        ({"push": push("failed", error=None)}, "no: Xen refused it"),
        ({"push": push("gone")}, "no: the instance is gone"),
        ({"unlimited": True}, "unlimited (131328 pages)"),
        ({"building": True, "xen": xen(blocked=False)}, "state                building"),
        ({"xen": xen(blocked=False)}, "state                idle"),
        ({"managed": False, "revision": None, "limit_kib": None, "max_pages": None}, "no UUID"),
    ],
)
def test_show_says_how_it_is(more: dict[str, Any], said: str, ctl: Ctl, stub: Stub) -> None:
    """Every state of a push and of an instance has words of its own."""
    stub.replies = {WEB: (200, domain(**more))}
    assert said in ctl("show", "web")[1]
