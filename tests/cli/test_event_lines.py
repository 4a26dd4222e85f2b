"""Every kind of event as a line."""

# ruff: noqa: ISC004, E501 - rows of a table, as they are printed

from typing import Any

import pytest

from maxmemd.cli.event_lines import line_of
from maxmemd.policy.kinds import EntryKind, PushKind

from .events import DAEMON, DECIDED, ROOT, event

OTHERS = (
    "mem-set", "component-set", "component-removed", "component-increased", "rollback", "import",
    "build-announced", "headroom", "build-followed", "record-replaced",
    "limits-taken",
)  # fmt: skip
LINES = [
    (DECIDED, "mem-max              web               by root (uid 0): max-mem 512 MiB, reason"
              " 'load test'; the limit is 513 MiB, revision 8"),
    *((event(kind, by=ROOT, wish={"target_kib": 2048}, limit_kib=4096, max_pages=1024),
       f"{kind:<19}  web               by root (uid 0): target 2 MiB; the limit is 4 MiB, revision 8")
      for kind in OTHERS),
    (event("adopted", by=DAEMON, limit_kib=17179869180, max_pages=0xFFFFFFFF),
     "adopted              web               the limit is unlimited, revision 8"),
    (event("refused", by=ROOT, code="target-above-static-max",
           wish={"wish": "mem-set", "target_kib": 4096, "code": "target-above-static-max"}),
     "refused              web               mem-set by root (uid 0): target 4 MiB:"
     " target-above-static-max"),
    (event("refused", by=ROOT, code="limit-below-target",
           wish={"wish": "mem-max", "max_mem_kib": 4096, "code": "limit-below-target",
                 "numbers": {"target_kib": 8192}}),
     "refused              web               mem-max by root (uid 0): max-mem 4 MiB:"
     " limit-below-target (target 8 MiB)"),
    (event("push-applied", max_pages=131328, seen_pages=131328),
     "push-applied         web               Xen holds 513 MiB, revision 8"),
    (event("push-failed", max_pages=0xFFFFFFFF, errno=1),
     "push-failed          web               wrote unlimited, revision 8: Xen said EPERM"),
    (event("push-failed", max_pages=256, errno=9999),
     "push-failed          web               wrote 1 MiB, revision 8: Xen said 9999"),
    (event("push-failed", max_pages=256),
     "push-failed          web               wrote 1 MiB, revision 8: nothing was read back"),
    (event("push-mismatched", max_pages=256, seen_pages=512),
     "push-mismatched      web               wrote 1 MiB, revision 8: Xen holds 2 MiB"),
    (event("over-limit", max_pages=256, wish={"tot_pages": 512}),
     "over-limit           web               the guest holds 2 MiB, the limit is 1 MiB"),
    (event("over-limit", max_pages=256),
     "over-limit           web               the guest holds nothing known, the limit is 1 MiB"),
    (event("recovered", wish={"from": "failed"}),
     "recovered            web               in force again, after failed"),
    (event("confirmed-again", wish={"max_pages": 512, "built_pages": 256, "target_kib": 1024}),
     "confirmed-again      web               limit 2 MiB, built with 1 MiB; target 1 MiB, built with -"),
    (event("confirmed-again", wish={"max_pages": 512, "built_pages": 256,
                                    "static_max_kib": 2048, "built_static_max_kib": 1024}),
     "confirmed-again      web               limit 2 MiB, built with 1 MiB;"
     " static-max 2 MiB, built with 1 MiB"),
    (event("instance-ended", wish={"shutdown_reason": 3}),
     "instance-ended       web               domain 3, crashed"),
    (event("instance-ended", wish={"never_ran": True, "before": {"shutdown_reason": 2}}),
     "instance-ended       web               domain 3, never ran"),
    (event("target-above-limit",
           wish={"target_kib": 4096, "videoram_kib": 0, "max_mem_kib": 2048}),
     "target-above-limit   web               the target is 4 MiB, max-mem is 2 MiB"),
    (event("target-above-limit",
           wish={"target_kib": 4096, "videoram_kib": 8192, "max_mem_kib": 2048}),
     "target-above-limit   web               the target is 4 MiB with 8 MiB of video RAM,"
     " max-mem is 2 MiB"),
    (event("effect-dropped", wish={"effect": "static-max", "amount_kib": 1024,
                                   "error": "cannot write it: xenstore has no /local/domain/3"}),
     "effect-dropped       web               static-max 1 MiB could not be written:"
     " xenstore has no /local/domain/3"),
    (event("node-unreadable", wish={"node": "memory/target", "value": "abc"}),
     "node-unreadable      web               memory/target is 'abc', which is no amount"),
    (event("drift", seen_pages=512, wish={"wanted_pages": 256, "mode": "restore"}),
     "drift                web               another program wrote 2 MiB in place of 1 MiB (restore)"),
    (event("drift-mode-set", by=ROOT, wish={"mode": "adopt", "for_s": 3600, "reason": "test"}),
     "drift-mode-set       web               drift is adopt for 3600 s, by root (uid 0) 'test'"),
    (event("drift-mode-set", by=ROOT, wish={"mode": "alert"}),
     "drift-mode-set       web               drift is alert, by root (uid 0)"),
    (event("drift-mode-cleared", by=ROOT),
     "drift-mode-cleared   web               as configured again, by root (uid 0)"),
    (event("drift-mode-ended", wish={"mode": "adopt"}),
     "drift-mode-ended     web               as configured again, after adopt"),
    (event("fight-began", seen_pages=512, wish={"writes": 5, "within_s": 60.0}),
     "fight-began          web               another program wrote the maximum 5 times within 60 s,"
     " the last 2 MiB: maxmemctl health"),
    (event("fight-ended", wish={"why": "quiet", "writes": 9}),
     "fight-ended          web               nothing was written for long enough, after 9 writes"),
    (event("fight-ended", wish={"why": "mode", "writes": 9}),
     "fight-ended          web               another mode of drift is in force, after 9 writes"),
    (event("fight-ended", wish={"why": "gone", "writes": 9}),
     "fight-ended          web               the domain is gone, after 9 writes"),
    (event("instance-began", wish={"building": True}),
     "instance-began       web               domain 3, being built"),
    (event("instance-began"), "instance-began       web               domain 3"),
    (event("instance-ended", wish={"reboot": True}),
     "instance-ended       web               domain 3, to reboot"),
    (event("instance-ended"), "instance-ended       web               domain 3"),
    (event("forgotten"), "forgotten            web               its record was dropped"),
    (event("unchanged", by=ROOT, wish={"wish": "headroom", "pages": 8}),
     "unchanged            web               headroom by root (uid 0): pages 8: it was so already"),
    (event("limits-given", wish={"to": "UUID"}),
     "limits-given         web               its limits went to UUID, of the same name"),
    (event("namesake-found", wish={"from": "UUID", "advice": "write it"}),
     "namesake-found       web               limits of UUID, of the same name, were not taken:"
     " write it"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "line"), LINES)
def test_a_line_for_eyes(words: dict[str, Any], line: str) -> None:
    """Every kind has its words, aligned, with the time in UTC."""
    assert line_of(words, "web", coloured=False) == f"2026-11-22 21:06:47Z  {line}"


def test_every_kind_has_its_words() -> None:
    """No kind that the daemon sends is without a line."""
    assert {words["kind"] for words, _ in LINES} == {*EntryKind, *PushKind}


def test_control_characters_are_not_printed() -> None:
    """A name or a reason cannot move the cursor."""
    words = event("mem-max", by=ROOT, wish={"reason": "\x1b[2J"}, limit_kib=4)
    assert "\x1b" not in line_of(words, "\x1b]0;x", coloured=False)
