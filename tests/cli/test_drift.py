"""drift: what is asked for each form, what is printed, and what is refused before it is asked."""

from typing import Any

import pytest

from maxmemd.cli.drift import seconds_of
from maxmemd.cli.options import Stop
from tests.cli.conftest import Ctl
from tests.support.stub import Stub

PATH = "/v1/domains/web/drift"
ROOT = {"name": "root", "uid": 0, "gid": 0, "pid": 7}
HOST: dict[str, Any] = {
    "mode": "restore", "source": "host", "configured_mode": "restore", "configured_key": None,
    "until": None, "left_s": None, "set_at": None, "by": None, "reason": "", "fight": None,
    "uuid": "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "domid": 3, "name": "web",
}  # fmt: skip
SET = HOST | {
    "mode": "adopt", "source": "set", "until": "2026-11-28T07:40:00.000+00:00", "left_s": 3600,
    "by": ROOT,
}  # fmt: skip
KEY = {"configured_mode": "alert", "configured_key": "web*"}
FIGHT = {"since": "2026-11-28T07:00:00.000+00:00", "writes": 9}

SHOWN = [
    (HOST, "restore, the default of this host"),
    (HOST | KEY | {"mode": "alert", "source": "domain"}, 'alert, "web*"'),
    (SET, ("adopt until 2026-11-28 07:40:00Z, set by root (uid 0); then restore, the default of"
          " this host")),
    (SET | KEY | {"until": None, "reason": "trial"},
     'adopt until it is taken back, set by root (uid 0) "trial"; then alert, "web*"'),
    (HOST | {"fight": FIGHT}, ("restore, the default of this host; another program fights it since"
                              " 2026-11-28 07:00:00Z")),
]  # fmt: skip


@pytest.mark.parametrize(("body", "said"), SHOWN)
def test_what_is_printed(ctl: Ctl, stub: Stub, body: dict[str, Any], said: str) -> None:
    """The mode in force, where it comes from, until when, and what comes after."""
    stub.replies = {f"GET {PATH}": (200, body)}
    assert ctl("drift", "web") == (0, f"web (domain 3): {said}\n", "")


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("drift web adopt", f'PUT {PATH} {{"mode": "adopt"}}'),
        ("drift web alert --for 1h", f'PUT {PATH} {{"mode": "alert", "for_s": 3600}}'),
        (
            "drift --for=90s web restore --reason why",
            f'PUT {PATH} {{"mode": "restore", "for_s": 90, "reason": "why"}}',
        ),
        ("drift web default", f"DELETE {PATH}"),
        ("-N drift web default", f"DELETE {PATH}?dry_run=true"),
        ("drift web", f"GET {PATH}"),
    ],
)
def test_what_is_asked(ctl: Ctl, stub: Stub, words: str, asked: str) -> None:
    """Each form is one request."""
    request = " ".join(asked.split()[:2])
    stub.replies = {request: (200, SET)}
    status, out, err = ctl(*words.split())
    assert (status, err, stub.seen) == (0, "", [asked])
    assert out.endswith("; not changed\n") == ("-N" in words)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("drift web forbid", "cannot read 'forbid' as a mode: restore, adopt, alert or default"),
        ("drift web default --for 1h", "cannot use --for: it goes with a mode"),
        ("drift web --for 1h", "cannot use --for: it goes with a mode"),
        ("drift web adopt --for soon", "cannot read 'soon' as a time"),
    ],
)
def test_wrong_usage(ctl: Ctl, stub: Stub, words: str, why: str) -> None:
    """It is told with status 2, and the daemon is not asked."""
    status, _, err = ctl(*words.split())
    assert (status, stub.seen) == (2, [])
    assert why in err


def test_a_refusal(ctl: Ctl, stub: Stub) -> None:
    """What the daemon refuses is told in the words of the request."""
    body = {"code": "unknown-domain", "detail": "cannot find it: no domain is called that"}
    stub.replies = {f"PUT {PATH}": (404, body)}
    status, _, err = ctl("drift", "web", "adopt")
    assert status != 0
    assert err.startswith("maxmemctl: cannot set the drift mode of web to adopt: no domain is")


TIMES = {"90s": 90, "30m": 1800, "1h": 3600, "2d": 172800, "1h30m": 5400, "0h5s": 5}


@pytest.mark.parametrize(("text", "seconds"), TIMES.items())
def test_times(text: str, seconds: int) -> None:
    """A number and its unit, once or several times."""
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "1", "h", "0s", "1w", "-1h", "1h ", "1.5h", "1h30", "٣h", "h1"]
)
def test_what_is_no_time(text: str) -> None:
    """A number alone has no unit, and nothing is no time."""
    with pytest.raises(Stop):
        seconds_of(text)
