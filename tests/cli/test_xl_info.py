"""list, claims, info, domid and domname: xl's tables, to the byte."""

# ruff: noqa: ISC004 - rows of a table, not lists of lines
import json
from typing import Any

import pytest

from tests.support.bodies import BUSY, HOST, UNKNOWN, UUID, domain, xen
from tests.support.stub import Stub

from .conftest import Ctl

ALL, WEB = "GET /v1/domains", "GET /v1/domains/web"
HEAD = "Name                                        ID   Mem VCPUs\tState\tTime(s)"
ROW0 = "Domain-0                                     0  4096     4     r-----  123456.8"
ROW3 = "web                                          3   101     2     -b----      12.3"
ROW4 = "(null)                                       4   100     2     ---sc-      12.3"
DOM0 = domain(
    domid=0, name="Domain-0", uuid="00000000-0000-0000-0000-000000000000",
    xen=xen(tot_pages=1048576, blocked=False, running=True, vcpus_online=4,
            cpu_time_ns=123456789012345),
)  # fmt: skip
CLAIMING = domain(xen=xen(outstanding_pages=257))
CRASHED = domain(domid=4, name=None, xen=xen(blocked=False, shutdown=True, shutdown_reason=3))
ELSEWHERE = domain(domid=None, name="away", xen=None, push=None)
DOMAINS = (200, {"domains": [DOM0, CLAIMING, CRASHED, ELSEWHERE]})
INFO = (
    "total_memory           : 8190\nfree_memory            : 4095\n"
    "sharing_freed_memory   : 4\nsharing_used_memory    : 1\noutstanding_claims     : 2\n"
)
NOSUCH = (
    "maxmemctl: cannot list nosuch: no domain is called that\n"
    "maxmemctl: see which there are with maxmemctl list -v\n"
    "nosuch is an invalid domain identifier (rc=-6)\n"
)
NO_LIST = (
    "maxmemctl: cannot list the domains: cannot answer in time: the queue is full\n"
    "libxl_list_domain failed.\n"
)
NO_NAME = "Can't get domain name of domain id '{}', maybe this domain does not exist.\n"
NO_DOMID = "Can't get domid of domain name '{}', maybe this domain does not exist.\n"

CASES: dict[str, tuple[str, dict[str, Any], str, str, int]] = {
    "list": ("list", {ALL: DOMAINS}, f"{HEAD}\n{ROW0}\n{ROW3}\n{ROW4}\n", "", 0),
    "xl's global options change nothing": (
        "-vtTf list", {ALL: DOMAINS}, f"{HEAD}\n{ROW0}\n{ROW3}\n{ROW4}\n", "", 0,
    ),
    "list of one": ("list web", {WEB: (200, CLAIMING)}, f"{HEAD}\n{ROW3}\n", "", 0),
    "verbose": (
        "list -v", {ALL: DOMAINS},
        f"{HEAD}   UUID                            Reason-Code\tSecurity Label\n"
        f"{ROW0} 00000000-0000-0000-0000-000000000000        -                -\n"
        f"{ROW3} {UUID}        -                -\n"
        f"{ROW4} {UUID}        3                -\n", "", 0,
    ),
    "claims": (
        "claims", {ALL: DOMAINS},
        f"{HEAD}  Claimed\n{ROW0}     0\n{ROW3}     1\n{ROW4}     0\n", "", 0,
    ),
    "list of nobody": ("list nosuch", {"GET /v1/domains/nosuch": UNKNOWN}, "", NOSUCH, 1),
    "list of no domid": (
        "list 99", {}, "", "maxmemctl: cannot list 99: no such domain\n"
        "maxmemctl: see which there are with maxmemctl list -v\n"
        "Error: Domain '99' does not exist.\n", 1,
    ),
    "list of a domain that is elsewhere": (
        "list away", {"GET /v1/domains/away": (200, ELSEWHERE)}, "",
        "maxmemctl: cannot list away: it has no instance here\n"
        "away is an invalid domain identifier (rc=-6)\n", 1,
    ),
    "list without a daemon's help": ("list", {ALL: BUSY}, "", NO_LIST, 1),
    "what is xl's only": (
        "list -l", {}, "",
        "maxmemctl: cannot print build configurations: xl list -l has them; show and --json print"
        " what maxmemd knows\noption `l' not supported.\n", 2,
    ),
    "info": ("info", {"GET /v1/host": (200, HOST)}, INFO, "", 0),
    "info of one key": ("info free_memory", {"GET /v1/host": (200, HOST)}, "4095\n", "", 0),
    "info of a prefix": ("info sharing", {"GET /v1/host": (200, HOST)}, "4\n1\n", "", 0),
    "info of no key": ("info xen_caps", {"GET /v1/host": (200, HOST)}, "", "", 0),
    "info without Xen": (
        "info", {"GET /v1/host": (503, {"code": "xen-failed", "detail": "cannot read: EPERM"})},
        "", "maxmemctl: cannot read the host's memory: cannot read: EPERM\n"
        "libxl_physinfo failed.\n", 1,
    ),
    "domid": ("domid web", {ALL: DOMAINS}, "3\n", "", 0),
    "a number is a name": ("domid 3", {ALL: DOMAINS}, "", NO_DOMID.format("3"), 1),
    "domid of one that is elsewhere": ("domid away", {ALL: DOMAINS}, "", NO_DOMID.format("away"),
                                       1),
    "domname": ("domname 3", {"GET /v1/domains/3": (200, domain())}, "web\n", "", 0),
    "domname of nobody": ("domname 99", {}, "", NO_NAME.format("99"), 1),
    "domname of one without": ("domname 4", {"GET /v1/domains/4": (200, CRASHED)}, "",
                               NO_NAME.format("4"), 1),
    "domname of no number": (
        "domname 3web", {}, "", "maxmemctl: cannot read '3web' as a domid\nInvalid domain id.\n\n",
        1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_listing(case: str, ctl: Ctl, stub: Stub) -> None:
    """Each call prints and exits as the table says."""
    words, stub.replies, out, err, status = CASES[case]
    assert ctl(*words.split()) == (status, out, err)


@pytest.mark.parametrize(
    ("words", "asked"),
    [("list", ALL), ("list web", WEB), ("claims", ALL), ("info", "GET /v1/host"),
     ("domname 3", "GET /v1/domains/3")],
)  # fmt: skip
def test_json_is_the_apis(words: str, asked: str, ctl: Ctl, stub: Stub) -> None:
    """--json prints what the daemon said, and nothing else."""
    body = {**HOST, **domain(), "domains": [DOM0]}
    stub.replies = {asked: (200, body)}
    status, out, err = ctl(*words.split(), "--json")
    assert (status, json.loads(out), err) == (0, body, "")


def test_json_of_domid_is_the_domain(ctl: Ctl, stub: Stub) -> None:
    """`domid --json` prints the domain that was found."""
    stub.replies = {ALL: DOMAINS}
    assert json.loads(ctl("domid", "web", "--json")[1]) == CLAIMING


def test_two_domains_to_list_print_the_help(ctl: Ctl) -> None:
    """As in xl: help on stdout, exit status 1."""
    status, out, err = ctl("list", "a", "b")
    assert (status, out[:40], err) == (1, "Usage: maxmemctl [-vtT] list [options] [", "")


def test_a_name_is_padded_to_40_bytes(ctl: Ctl, stub: Stub) -> None:
    """As printf does it, bytes are counted and not characters."""
    stub.replies = {ALL: (200, {"domains": [domain(name="wéb")]})}
    row = ctl("list")[1].splitlines()[1]
    assert row.encode().index(b"    3") == 41


DYING = {**domain(name="web"), "push": None}
DYING = {**DYING, "xen": {**DYING["xen"], "dying": True}}
GONE = (
    410,
    {"code": "domain-gone", "detail": "cannot use domain 3: domain 3 is dying", "domid": 3},
)


def test_a_dying_domain_is_listed_as_xl_lists_it(ctl: Ctl, stub: Stub) -> None:
    """Alone, from the table of all: its nodes went first, so it has no name."""
    stub.replies = {"GET /v1/domains/3": GONE, ALL: (200, {"domains": [DYING]})}
    alone, table = ctl("list", "3"), ctl("list")
    assert alone == table
    assert (alone[0], alone[2]) == (0, "")
    row = alone[1].splitlines()[1]
    assert row.startswith("(null)  ")
    assert row.split()[4].endswith("d")
    assert json.loads(ctl("list", "--json", "3")[1])["domid"] == 3


def test_a_dying_domain_has_no_domid_by_name_and_is_not_shown(ctl: Ctl, stub: Stub) -> None:
    """Nothing can be done with it but to list it."""
    stub.replies = {"GET /v1/domains/3": GONE, ALL: (200, {"domains": [DYING]})}
    assert ctl("domid", "web")[0] == 1
    assert ctl("show", "3") == (1, "", "maxmemctl: cannot show 3: domain 3 is dying\n")
