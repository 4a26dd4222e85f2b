"""The verb token: its words, what it prints, and what it says when it is refused."""

import json
import os
from pathlib import Path

import pytest

from maxmemd.cli.format import when
from tests.support.stub import Stub

from .conftest import Ctl

ROW = {"name": "backup", "role": "observer", "created": "2026-11-23T01:02:03.000+00:00",
       "expires": None, "by": {"name": "ro\x1bot", "uid": 0, "gid": 0, "pid": 1}}  # fmt: skip
NO = (403, {"code": "not-allowed", "detail": "cannot allow uid 5 to do that: it is for admin"})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("create a", "unexpected arguments: create a"),
        ("create a observer b", "unexpected arguments: create a observer b"),
        ("list a", "unexpected arguments: list a"),
        ("revoke", "unexpected arguments: revoke"),
        ("revoke a b", "unexpected arguments: revoke a b"),
        ("make a", "unexpected arguments: make a"),
        ("list --days 5", "unexpected arguments: list"),
        ("list --output f", "unexpected arguments: list"),
        ("revoke a --output f", "unexpected arguments: revoke a"),
        ("revoke a --days 5", "unexpected arguments: revoke a"),
        ("create a observer --days 0", "cannot use --days 0: give 1 to 3650"),
        ("create a observer --days 3651", "cannot use --days 3651: give 1 to 3650"),
        ("create a observer --days +5", "cannot use --days +5: give 1 to 3650"),
        ("create a observer --days ٣", "cannot use --days ٣: give 1 to 3650"),
        ("create a observer --days soon", "cannot use --days soon: give 1 to 3650"),
        ("create a root", "cannot give this role: it is admin, toolstack, observer"),
    ],
)
def test_wrong_words(words: str, said: str, ctl: Ctl, stub: Stub) -> None:
    """What is no use of it exits 2, says so, and asks nothing."""
    status, _, err = ctl("token", *words.split())
    assert status == 2
    assert err.startswith(f"maxmemctl: {said}")
    assert stub.seen == []


def test_create(ctl: Ctl, stub: Stub) -> None:
    """The token alone goes to stdout, for a file; --json prints all of it."""
    made = {"name": "a", "role": "observer", "token": "mxm_1"}
    stub.replies["POST /v1/tokens"] = (200, made)
    assert ctl("token", "create", "a", "observer")[1] == "mxm_1\n"
    assert json.loads(ctl("token", "create", "a", "observer", "--json")[1]) == made
    assert json.loads(stub.seen[0].partition("tokens ")[2]) == {"name": "a", "role": "observer"}


def test_create_into_a_file(ctl: Ctl, stub: Stub, tmp_path: Path) -> None:
    """The file is new and its owner's; where it cannot be made, or the token, there is neither."""
    stub.replies["POST /v1/tokens"] = (200, {"name": "a", "role": "observer", "token": "mxm_1"})
    file = tmp_path / "token"
    words = ("token", "create", "a", "observer", "--output")
    before = os.umask(0)
    try:
        assert ctl(*words, str(file)) == (0, "", "")
    finally:
        os.umask(before)
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("mxm_1\n", 0o600)
    seen = len(stub.seen)
    for path, why in ((file, "File exists"), (tmp_path / "no" / "t", "No such file or directory")):
        status, _, err = ctl(*words, str(path))
        assert (status, len(stub.seen)) == (1, seen)
        assert err == f"maxmemctl: cannot create {path}: {why}; no token was created\n"
    stub.replies["POST /v1/tokens"] = NO
    assert ctl(*words, str(tmp_path / "refused"))[0] == 1
    assert [path.name for path in tmp_path.iterdir() if path.name == "refused"] == []


def test_create_for_some_days(ctl: Ctl, stub: Stub) -> None:
    """The days travel as a number; list says when a token expires."""
    stub.replies["POST /v1/tokens"] = (200, {"name": "a", "role": "observer", "token": "mxm_1"})
    assert ctl("token", "create", "a", "observer", "--days", "90") == (0, "mxm_1\n", "")
    assert json.loads(stub.seen[0].partition("tokens ")[2])["days"] == 90
    expires = "2027-02-21T01:02:03.000+00:00"
    stub.replies["GET /v1/tokens"] = (200, {"tokens": [{**ROW, "expires": expires}]})
    assert f" {when(expires)} " in ctl("token", "list")[1]


def test_list_and_revoke(ctl: Ctl, stub: Stub) -> None:
    """A header, and a line a token without control characters; revoke prints nothing."""
    stub.replies["GET /v1/tokens"] = (200, {"tokens": [ROW]})
    stub.replies["DELETE /v1/tokens/a%2Eb"] = (200, {"name": "a.b"})
    header, line = ctl("token", "list")[1].splitlines()
    assert header.split() == ["Name", "Role", "Created", "Expires", "By"]
    assert line.split()[:2] == ["backup", "observer"]
    assert f" {when(str(ROW['created']))} " in line
    assert "\x1b" not in line
    assert json.loads(ctl("--json", "token", "list")[1]) == {"tokens": [ROW]}
    assert ctl("token", "revoke", "a.b") == (0, "", "")
    assert json.loads(ctl("token", "revoke", "a.b", "--json")[1]) == {"name": "a.b"}


@pytest.mark.parametrize("words", ["create a observer", "list", "revoke a"])
def test_refused(words: str, ctl: Ctl, stub: Stub) -> None:
    """A refusal is printed, with exit status 1."""
    for request in ("POST /v1/tokens", "GET /v1/tokens", "DELETE /v1/tokens/a"):
        stub.replies[request] = NO
    status, out, err = ctl("token", *words.split())
    assert (status, out) == (1, "")
    assert "it is for admin" in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--url http://127.0.0.1:9 --token-file /dev/null", "with secrets: give https://"),
        ("--url http://127.0.0.1:9 --cacert /dev/null", "with secrets: give https://"),
        ("--url https://127.0.0.1:9 --token-file /nowhere", "cannot use the token or the cert"),
        ("--url https://127.0.0.1:9 --cert /dev/null", "cannot use the token or the cert"),
        ("--url https://127.0.0.1:99999", "cannot use https://127.0.0.1:99999: give"),
        ("--url ftp://127.0.0.1", "cannot use ftp://127.0.0.1: give"),
    ],
)
def test_what_a_url_needs(words: str, said: str, ctl: Ctl) -> None:
    """A secret is not sent unencrypted, and one that cannot be read is an error."""
    status, _, err = ctl(*words.split(), "list")
    assert status == 1
    assert said in err


def test_a_token_and_the_client(tmp_path: Path) -> None:
    """Nor does the client library send one in the clear, or over the Unix socket."""
    from maxmemd.client import Client

    (tmp_path / "t").write_text("mxm_1")
    for url in (None, "http://127.0.0.1:9"):
        with pytest.raises(ValueError, match="cannot send a token: give a url"):
            Client(url=url, token_file=str(tmp_path / "t"))
