"""mem-max and mem-set: what xl prints, what we add, and what is asked of the daemon."""

# ruff: noqa: ISC004 - rows of a table, not lists of lines
import json

import pytest

from tests.support.bodies import ABOVE, BELOW, BUSY, UNKNOWN, UUID, decision, domain, problem, push
from tests.support.stub import Stub

from .conftest import Ctl

LIMIT, TARGET, WEB = (
    "PUT /v1/domains/web/limit",
    "PUT /v1/domains/web/target",
    "GET /v1/domains/web",
)
TRY = "maxmemctl: lower the target first with maxmemctl mem-set web, or use --force\n"
NOT_FORCED = (
    "maxmemctl: the limit of web is recorded as revision 8, 513 MiB, but not in force: no EPERM\n"
    "maxmemctl: maxmemd keeps trying: maxmemctl show web\n"
)
DRY = "web (domain 3): the limit would be 513 MiB (131328 pages), revision 8; nothing was changed\n"
GONE = problem(410, "domain-gone", "cannot do it: the domain is gone", domid=3, uuid=UUID)
TWO = problem(409, "ambiguous-domain", "cannot choose: two domains are called web", ref="web")
SIZES = "512 and 512m are MiB, 524288k is KiB, 2g is GiB"
IN_FORCE = (
    "maxmemctl: the limit of web is in force as revision 8, 513 MiB; static-max could not be"
    " written:"
)
GONE_PUSH = (202, decision(push=push("gone", error="cannot change it: it is being destroyed")))


def effect(name: str, state: str, error: str) -> list[dict[str, object]]:
    """Return one effect of a push that was not written."""
    return [{"effect": name, "state": state, "amount_kib": 524288, "errno": 2, "error": error}]


NODE_FAILED = (
    202,
    decision(
        push=push(
            "applied", effects=effect("static-max", "failed", "cannot write xenstore nodes: EIO")
        )
    ),
)
NO_HOME = "cannot write it: xenstore has no /local/domain/3"
NODE_DROPPED = (
    200,
    decision(push=push("applied", effects=effect("static-max", "dropped", NO_HOME))),
)
TARGET_DROPPED = (200, decision(push=push("applied", effects=effect("target", "dropped", NO_HOME))))
FAILED = (202, decision(push=push("failed", errno=1, error="no EPERM")))

CASES = {
    "granted": (
        "mem-max web 512", {LIMIT: (200, decision())},
        [LIMIT + ' {"max_mem_kib": 524288}'], "", "", 0,
    ),
    "every unit": (
        "mem-max 3 2G", {"PUT /v1/domains/3/limit": (200, decision())},
        ['PUT /v1/domains/3/limit {"max_mem_kib": 2097152}'], "", "", 0,
    ),
    "a domid without its zeros": (
        "mem-max 003 1048576B", {"PUT /v1/domains/3/limit": (200, decision())},
        ['PUT /v1/domains/3/limit {"max_mem_kib": 1024}'], "", "", 0,
    ),
    "options anywhere": (
        "mem-max web --force 10 --rea why --if-match 7", {LIMIT: (200, decision())},
        [LIMIT + ' {"max_mem_kib": 10240, "force": true, "reason": "why"}'], "", "", 0,
    ),
    "a name is quoted": (
        "mem-max a/.. 1", {"PUT /v1/domains/a%2F%2E%2E/limit": (200, decision())},
        ['PUT /v1/domains/a%2F%2E%2E/limit {"max_mem_kib": 1024}'], "", "", 0,
    ),
    "a cut verb": (
        "mem-s web 512", {TARGET: (200, decision())},
        [TARGET + ' {"target_kib": 524288, "enforce": true}'], "", "", 0,
    ),
    "dry run": (
        "mem-max --dry-run web 512",
        {LIMIT + "?dry_run=true": (200, decision(dry_run=True, push=None))},
        [LIMIT + '?dry_run=true {"max_mem_kib": 524288}'], DRY, "", 0,
    ),
    "xl's dry run": (
        "-vN mem-max web 512",
        {LIMIT + "?dry_run=true": (200, decision(dry_run=True, push=None))},
        [LIMIT + '?dry_run=true {"max_mem_kib": 524288}'], DRY, "", 0,
    ),
    "a domain that is not here": (
        "mem-max web 512", {LIMIT: (200, decision(domid=None, push=None))},
        [LIMIT + ' {"max_mem_kib": 524288}'], "",
        "maxmemctl: web (not here): the limit is decided for its next start\n", 0,
    ),
    "refused": (
        "mem-max web 10", {LIMIT: BELOW}, [LIMIT + ' {"max_mem_kib": 10240}'], "",
        "maxmemctl: cannot set max-mem of web to 10 MiB: the balloon target is 102400 KiB,"
        " 92160 KiB more (lower the target first, or force)\n" + TRY
        + "cannot set domid 3 static max memory to : 10\n", 1,
    ),
    "target refused": (
        "mem-set web 1g", {TARGET: ABOVE},
        [TARGET + ' {"target_kib": 1048576, "enforce": true}'], "",
        "maxmemctl: cannot set the target of web to 1024 MiB: static-max is 524288 KiB, 524288"
        " KiB less (raise it first with mem-max)\nmaxmemctl: raise max-mem first with"
        " maxmemctl mem-max web\ncannot set domid 3 dynamic max memory to : 1g\n", 1,
    ),
    "recorded, not in force": (
        "mem-max web 512", {LIMIT: FAILED}, [LIMIT + ' {"max_mem_kib": 524288}'], "",
        NOT_FORCED + "cannot set domid 3 static max memory to : 512\n", 1,
    ),
    "in force, and its node not yet": (
        "mem-max web 512", {LIMIT: NODE_FAILED}, [LIMIT + ' {"max_mem_kib": 524288}'], "",
        f"{IN_FORCE} cannot write xenstore nodes: EIO\n"
        "maxmemctl: maxmemd keeps trying: maxmemctl show web\n"
        "cannot set domid 3 static max memory to : 512\n", 1,
    ),
    "in force, and its node never": (
        "mem-max web 512", {LIMIT: NODE_DROPPED}, [LIMIT + ' {"max_mem_kib": 524288}'], "",
        f"{IN_FORCE} xenstore has no /local/domain/3\n", 0,
    ),
    "a target that cannot be written": (
        "mem-set web 512", {TARGET: TARGET_DROPPED},
        [TARGET + ' {"target_kib": 524288, "enforce": true}'], "",
        f"{IN_FORCE.replace('static-max', 'target')} xenstore has no /local/domain/3\n"
        "cannot set domid 3 dynamic max memory to : 512\n", 1,
    ),
    "gone while it was pushed": (
        "mem-max web 512", {LIMIT: GONE_PUSH}, [LIMIT + ' {"max_mem_kib": 524288}'], "",
        "maxmemctl: the limit of web is recorded as revision 8, 513 MiB, but not in force:"
        " cannot change it: it is being destroyed\n"
        "cannot set domid 3 static max memory to : 512\n", 1,
    ),
    "no such name": (
        "mem-max nosuch 10", {"PUT /v1/domains/nosuch/limit": UNKNOWN},
        ['PUT /v1/domains/nosuch/limit {"max_mem_kib": 10240}'], "",
        "maxmemctl: cannot set max-mem of nosuch to 10 MiB: no domain is called that\n"
        "maxmemctl: see which there are with maxmemctl list -v\n"
        "nosuch is an invalid domain identifier (rc=-6)\n", 1,
    ),
    "no such domid": (
        "mem-max 99 10", {}, ['PUT /v1/domains/99/limit {"max_mem_kib": 10240}'], "",
        "maxmemctl: cannot set max-mem of 99 to 10 MiB: no such domain\n"
        "maxmemctl: see which there are with maxmemctl list -v\n"
        "cannot set domid 99 static max memory to : 10\n", 1,
    ),
    "gone meanwhile": (
        "mem-set web 10", {TARGET: GONE}, [TARGET + ' {"target_kib": 10240, "enforce": true}'],
        "", "maxmemctl: cannot set the target of web to 10 MiB: the domain is gone\n"
        "cannot set domid 3 dynamic max memory to : 10\n", 1,
    ),
    "two of that name": (
        "mem-max web 10", {LIMIT: TWO}, [LIMIT + ' {"max_mem_kib": 10240}'], "",
        "maxmemctl: cannot set max-mem of web to 10 MiB: two domains are called web\n"
        "maxmemctl: give its domid or UUID: maxmemctl list -v\n"
        "web is an invalid domain identifier (rc=-6)\n", 1,
    ),
    "a failure that names no domain": (
        "mem-max web 10", {LIMIT: BUSY, WEB: (200, domain())},
        [LIMIT + ' {"max_mem_kib": 10240}', WEB], "",
        "maxmemctl: cannot set max-mem of web to 10 MiB: cannot answer in time: the queue is"
        " full\nmaxmemctl: see whether it was done with maxmemctl history web\n"
        "cannot set domid 3 static max memory to : 10\n", 1,
    ),
    "the domain is found before the size is read": (
        "mem-max nosuch abc", {"GET /v1/domains/nosuch": UNKNOWN}, ["GET /v1/domains/nosuch"],
        "", "maxmemctl: cannot find the domain nosuch: no domain is called that\n"
        "maxmemctl: see which there are with maxmemctl list -v\n"
        "nosuch is an invalid domain identifier (rc=-6)\n", 1,
    ),
    "no size, of a name": (
        "mem-max web abc", {WEB: (200, domain())}, [WEB], "",
        f"maxmemctl: cannot read 'abc' as a size: {SIZES}\ninvalid memory size: abc\n", 1,
    ),
    "no size, of a domid": (
        "mem-set 3 1x", {}, [], "",
        f"maxmemctl: cannot read '1x' as a size: {SIZES}\ninvalid memory size: 1x\n", 1,
    ),
    "too large": (
        "mem-max 3 18446744073709551615", {}, [], "",
        "maxmemctl: cannot take '18446744073709551615': it is too large, the most is"
        " 4503599627370495 KiB\ninvalid memory size: 18446744073709551615\n", 1,
    ),
    "too many TiB": (
        "mem-set 3 4194304t", {}, [], "",
        "maxmemctl: cannot take '4194304t': it is too large, the most is"
        " 4503599627370495 KiB\ninvalid memory size: 4194304t\n", 1,
    ),
    "unlimited is said": (
        "mem-max web 16t", {LIMIT: (200, decision(unlimited=True, max_pages=0xFFFFFFFF))},
        [LIMIT + ' {"max_mem_kib": 17179869184}'], "",
        "maxmemctl: the limit of web (domain 3) is unlimited now: Xen has no limit of"
        " 17179869180 KiB (16 TiB less a page) or more\n", 0,
    ),
    "less than nothing": (
        "mem-max 3 -- -1", {}, [], "",
        f"maxmemctl: cannot read '-1' as a size: {SIZES}\ninvalid memory size: -1\n", 1,
    ),
    "a minus is an option": ("mem-max 3 -1", {}, [], "", "option `1' not supported.\n", 2),
    "more than a domid": (
        "mem-max 4294967296 10", {}, [], "",
        "maxmemctl: cannot find domain 4294967296: domids are below 4294967296\n"
        "4294967296 is an invalid domain identifier (rc=-6)\n", 1,
    ),
    "a bad revision": (
        "mem-max 3 10 --if-match x", {}, [], "",
        "maxmemctl: cannot read 'x' as a revision: a number is needed\n", 2,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_setting(case: str, ctl: Ctl, stub: Stub) -> None:
    """Each call asks, prints and exits as the table says."""
    words, replies, seen, out, err, status = CASES[case]
    stub.replies = replies
    assert ctl(*words.split()) == (status, out, err)
    assert stub.seen == seen


@pytest.mark.parametrize("size", ["", "k", "-1k", "9" * 22, "1 0", "1kb", "٣"])
def test_sizes_that_xl_takes_by_accident_are_refused(size: str, ctl: Ctl, stub: Stub) -> None:
    """Nothing is asked of the daemon for a size that is none."""
    status, _, err = ctl("mem-max", "3", "--", size)
    assert (status, err.splitlines()[-1], stub.seen) == (1, f"invalid memory size: {size}", [])


def test_the_empty_name_is_not_dom0(ctl: Ctl, stub: Stub) -> None:
    """The empty string, which xl takes for domid 0, is no domain here."""
    status, _, err = ctl("mem-max", "", "10")
    assert (status, stub.seen) == (1, [])
    assert err == (
        "maxmemctl: cannot find a domain without a name\n is an invalid domain identifier (rc=-6)\n"
    )


def test_a_write_carries_its_key_and_the_revision(ctl: Ctl, stub: Stub) -> None:
    """Idempotency-Key is 128 random bits, If-Match is the revision as an entity tag."""
    stub.replies = {LIMIT: (200, decision())}
    for _ in range(2):
        ctl("mem-max", "web", "512", "--if-match=7")
    keys = [headers["idempotency-key"] for headers in stub.headers]
    assert keys[0] != keys[1]
    assert [len(bytes.fromhex(key)) for key in keys] == [16, 16]
    assert stub.headers[0]["if-match"] == '"7"'


def test_json_of_a_grant_and_of_a_refusal(ctl: Ctl, stub: Stub) -> None:
    """--json prints the API's body on stdout, whichever it is."""
    stub.replies = {LIMIT: [(200, decision()), BELOW]}
    assert json.loads(ctl("--json", "mem-max", "web", "512")[1]) == decision()
    status, out, err = ctl("mem-max", "web", "10", "--json")
    assert (status, json.loads(out)["code"]) == (1, "limit-below-target")
    assert err.endswith("cannot set domid 3 static max memory to : 10\n")


def test_control_characters_do_not_reach_the_terminal(ctl: Ctl, stub: Stub) -> None:
    """A detail with an escape sequence is printed without it."""
    stub.replies = {LIMIT: problem(409, "limit-below-target", "cannot: \x1b[2J", domid=3)}
    assert "\x1b" not in ctl("mem-max", "web", "10")[2]
