"""The tree of errors: codes, and the numbers that each fact carries."""

import inspect
import re
from errno import EACCES, EIO, EPERM, ESRCH

import pytest

from maxmemd import errors
from maxmemd.errors import (
    DomainGone,
    HypervisorError,
    MaxmemError,
    NotPermitted,
    WrongInterface,
    XenstoreError,
)

CLASSES = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, MaxmemError) and kind is not MaxmemError
]


@pytest.mark.parametrize("kind", CLASSES)
def test_every_error_is_drawn_with_its_code(kind: type[MaxmemError]) -> None:
    """The docstring's tree names every class with its code, below its parent."""
    assert re.search(rf"\b{kind.__name__} +{kind.code} ", errors.__doc__ or "")
    assert "code" in vars(kind)


def test_codes_are_unlike() -> None:
    """No two facts share a code; a full disk is one fact, whichever file could not grow."""
    codes = [kind.code for kind in CLASSES if kind is not errors.TokensFull]
    assert errors.TokensFull.code == errors.LedgerFull.code
    assert len(set(codes)) == len(codes)


@pytest.mark.parametrize(
    ("errno", "kind"),
    [(ESRCH, DomainGone), (EPERM, NotPermitted), (EACCES, WrongInterface), (EIO, HypervisorError)],
)
def test_an_errno_has_its_class(errno: int, kind: type[HypervisorError]) -> None:
    """ESRCH, EPERM and EACCES are facts of their own; any other errno is Xen's answer."""
    error = HypervisorError.of("set max mem", 7, errno)
    assert type(error) is kind
    assert (error.what, error.domid, error.errno) == ("set max mem", 7, errno)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            HypervisorError.of("set max mem", 7, EPERM),
            "cannot set max mem on domain 7: EPERM (Operation not permitted)",
        ),
        (
            HypervisorError.of("list domains", None, EACCES),
            "cannot list domains: EACCES (Permission denied)",
        ),
        (
            HypervisorError.of("list domains", None, 9999),
            "cannot list domains: 9999 (Unknown error 9999)",
        ),
        (XenstoreError("read names", EIO), "cannot read names: Input/output error"),
    ],
)
def test_sentences(error: MaxmemError, sentence: str) -> None:
    """A message starts with "cannot" and ends with what the system said."""
    assert str(error) == sentence


def test_a_xenstore_error_carries_its_errno() -> None:
    """What xenstored said is a field."""
    error = XenstoreError("read names", EIO)
    assert (error.what, error.errno) == ("read names", EIO)
