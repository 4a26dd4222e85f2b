"""What is out of order with a domain is said by each verb that a person would ask."""

from typing import Any

import pytest

from maxmemd.cli.show import OUTLOOKS
from maxmemd.policy.drift import DriftMode
from maxmemd.policy.outlook import Outlook
from maxmemd.policy.states import EffectState
from maxmemd.wire import history_replies, replies
from tests.support.bodies import UUID, domain, push, xen
from tests.support.stub import Stub

from .conftest import Ctl

Bodies = dict[str, Any]
BAD_TARGET = [replies.Unreadable(node="memory/target", value="a\x1bc")]
BAD_STATIC_MAX = [replies.Unreadable(node="memory/static-max", value="2" * 20)]
UNWRITTEN = [
    replies.Effect(
        effect="static-max", state=EffectState.FAILED, amount_kib=4, errno=5, error="EIO"
    ),
    replies.Effect(effect="target", state=EffectState.WRITTEN, amount_kib=4),
    replies.Effect(effect="pod-target", state=EffectState.PENDING, amount_kib=4),
]
SET = replies.Drift(
    mode=DriftMode.ADOPT, source="set", configured_mode=DriftMode.RESTORE, configured_key=None,
    until="2026-11-28T08:40:00.000+00:00", reason="trial",
    by=replies.Actor(name="root", uid=0, gid=0, pid=1),
)  # fmt: skip
BY_KEY = replies.Drift(
    mode=DriftMode.ALERT, source="domain", configured_mode=DriftMode.ALERT, configured_key="w*",
    fight=replies.Fight(since="2026-11-28T07:40:00.000+00:00", writes=5),
)  # fmt: skip
OF_HOST = replies.Drift(
    mode=DriftMode.RESTORE, source="host", configured_mode=DriftMode.RESTORE, configured_key=None
)
CONDITION = {
    "uuid": UUID, "domid": 3, "name": "web", "kind": "target-above-limit",
    "detail": "the target is 2 GiB, max-mem is 1 GiB",
}  # fmt: skip
NAMELESS = CONDITION | {"name": None, "kind": "node-unreadable", "detail": "memory/target is 'x'"}


def explained(more: dict[str, Any]) -> Bodies:
    """Return an explanation of web; its text is the daemon's and is tested there."""
    given = {name: value for name, value in domain(**more).items() if name in EXPLAINED}
    return history_replies.ExplainReply(
        **{**given, "components": [], "text": "Because.", "tot_pages": None}
    ).model_dump(mode="json")


EXPLAINED = set(history_replies.ExplainReply.model_fields)

SAID: dict[str, tuple[dict[str, Any], list[str]]] = {
    "a target above the limit": (
        {"target_above_limit": True, "target_kib": 2097152}, ["2048 MiB, above the limit"],
    ),
    "a target that is no amount": (
        {"unreadable": BAD_TARGET, "target_kib": None}, ["no amount: 'a?c'"],
    ),
    "a static-max that is no amount": (
        {"unreadable": BAD_STATIC_MAX, "static_max_kib": None}, [f"no amount: '{'2' * 20}'"],
    ),
    "what could not be written": (
        {"push": push("applied", effects=UNWRITTEN)},
        ["static-max could not be written: EIO",
         "pod-target could not be written: it is still to be written"],
    ),
    "a mode that was set": (
        {"drift": SET},
        ['adopt until 2026-11-28 08:40:00Z, set by root (uid 0) "trial"; then restore, the'],
    ),
    "a fight": (
        {"drift": BY_KEY}, ['alert, "w*"; another program fights it since 2026-11-28 07:40:00Z'],
    ),
    "an instance that is dying": (
        {"push": None, "xen": xen(dying=True)}, ["no: the domain is dying"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", SAID)
@pytest.mark.parametrize("verb", ["show", "explain"])
def test_show_and_explain_say_it(verb: str, case: str, ctl: Ctl, stub: Stub) -> None:
    """In a line of its own, with nothing of a terminal's control in it."""
    more, said = SAID[case]
    stub.replies = {
        "GET /v1/domains/web": (200, domain(**more)),
        "GET /v1/domains/web/explain": (200, explained(more)),
    }
    status, out, err = ctl(verb, "web")
    assert (status, err) == (0, "")
    for line in said:
        assert line in out
    assert "\x1b" not in out


@pytest.mark.parametrize("outlook", list(Outlook))
@pytest.mark.parametrize("verb", ["show", "explain"])
def test_each_outlook_has_its_words(verb: str, outlook: Outlook, ctl: Ctl, stub: Stub) -> None:
    """Of a guest that holds more than its limit: that it shrinks, or why it does not."""
    more = {"push": push("over-limit"), "outlook": outlook}
    stub.replies = {
        "GET /v1/domains/web": (200, domain(**more)),
        "GET /v1/domains/web/explain": (200, explained(more)),
    }
    out = ctl(verb, "web")[1]
    assert f"yes, and the guest uses more than the limit{OUTLOOKS[outlook]} (Xen holds" in out
    assert ("until it shrinks" in out) is (outlook is Outlook.SHRINKING)


def test_drift_as_the_host_has_it_is_no_news(ctl: Ctl, stub: Stub) -> None:
    """`explain` has a line of it only where the domain's is another."""
    stub.replies = {"GET /v1/domains/web/explain": (200, explained({"drift": OF_HOST}))}
    assert "drift" not in ctl("explain", "web")[1]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"target_above_limit": True},
         "maxmemctl: web has a target above its limit: maxmemctl explain 3\n"),
        ({"target_above_limit": True, "name": None},
         f"maxmemctl: {UUID} has a target above its limit: maxmemctl explain 3\n"),
        ({"unreadable": BAD_TARGET},
         "maxmemctl: web: memory/target in xenstore is 'a?c', no amount\n"),
        ({"unreadable": BAD_TARGET + BAD_STATIC_MAX},
         ("maxmemctl: web: memory/target in xenstore is 'a?c', no amount\n"
         f"maxmemctl: web: memory/static-max in xenstore is '{'2' * 20}', no amount\n")),
        ({}, ""),
    ],
)  # fmt: skip
def test_list_says_it_on_stderr(more: dict[str, Any], said: str, ctl: Ctl, stub: Stub) -> None:
    """Xl's table has no column for it; `claims` and --json have no such line."""
    stub.replies = {"GET /v1/domains": (200, {"domains": [domain(**more)]})}
    status, out, err = ctl("list")
    assert (status, err) == (0, said)
    assert out.count("\n") == 2
    assert ctl("claims")[2] == ctl("list", "--json")[2] == ""


def test_health_and_doctor_say_it(
    ctl: Ctl, stub: Stub, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """Health stays ready; doctor's exit status is 1, as with all that it finds."""
    monkeypatch.setattr("maxmemd.cli.doctor.PROC", tmp_path)
    health = {"live": True, "ready": True, "parts": {"xen": "ok"}}
    stub.replies = {
        "GET /v1/domains": (200, {"domains": []}),
        "GET /v1/health": (200, health | {"conditions": [CONDITION, NAMELESS]}),
    }
    lines = (
        "web: target-above-limit: the target is 2 GiB, max-mem is 1 GiB\n"
        f"{UUID}: node-unreadable: memory/target is 'x'\n"
    )
    assert ctl("health") == (0, f"ready\n  xen  ok\n{lines}", "")
    status, out, _ = ctl("doctor")
    assert status == 1
    assert lines in out
    assert ctl("doctor", "--json")[0] == 1
    stub.replies["GET /v1/health"] = (200, health)
    status, out, _ = ctl("doctor")
    assert (status, "\nNo domain's target or memory nodes are out of order.\n" in out) == (0, True)
