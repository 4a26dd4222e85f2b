"""Which domain is meant: the whole sentence of each refusal, and its numbers."""

import pytest

from maxmemd.policy import which_domain
from maxmemd.policy.roles import Bond
from tests.policy.values import UUID, Refuses, each_of

OTHER = UUID[:-1] + "2"
REFUSES = [
    Refuses(
        lambda: which_domain.own_domain(Bond(7, UUID), 8, UUID, None),
        "not-your-domain",
        "cannot let the device model of domain 7 touch this: domain 8 is not the one that it had"
        " when it connected",
        {"domid": 8, "own_domid": 7},
    ),
    Refuses(
        lambda: which_domain.own_domain(Bond(7, UUID), 7, OTHER, None),
        "not-your-domain",
        "cannot let the device model of domain 7 touch this: domain 7 is not the one that it had"
        " when it connected",
        {"domid": 7, "own_domid": 7},
    ),
    Refuses(
        which_domain.absent,
        "domain-gone",
        "cannot decide for a domain that does not live here",
        {},
    ),
    Refuses(
        lambda: which_domain.unknown_domain("web"),
        "unknown-domain",
        "cannot find a domain 'web': no domid, UUID or name of a domain here is that",
        {"ref": "web"},
    ),
    Refuses(
        lambda: which_domain.unknown_domain("77", [3, 7]),
        "unknown-domain",
        "cannot find a domain '77': a number is a domid, and no domain has that one"
        " (it is the name of domain 3 and domain 7: use a domid or UUID)",
        {"ref": "77"},
    ),
    Refuses(
        lambda: which_domain.ambiguous_record("web", ["b", "a"]),
        "ambiguous-domain",
        "cannot tell which 'web' is meant: none is here, and a, b had that name last"
        " (use the UUID)",
        {"ref": "web", "uuids": "a, b"},
    ),
    Refuses(
        lambda: which_domain.dying(7),
        "domain-gone",
        "cannot use domain 7: domain 7 is dying (once it is gone, its next start can be decided)",
        {},
    ),
    Refuses(
        lambda: which_domain.ambiguous("web", [3, 7]),
        "ambiguous-domain",
        "cannot tell which 'web' is meant: domains 3, 7 carry that name (use the domid)",
        {"ref": "web", "domids": "3, 7"},
    ),
    Refuses(
        lambda: which_domain.without_uuid(7),
        "unknown-domain",
        "cannot decide for domain 7: it has no UUID, so nothing is recorded of it",
        {"ref": "7"},
    ),
    Refuses(
        lambda: which_domain.nothing_recorded("web"),
        "unknown-domain",
        "cannot tell: web has no UUID, so nothing is recorded of it",
        {"ref": "web"},
    ),
    Refuses(
        lambda: which_domain.domain_gone("web", 7),
        "domain-gone",
        "cannot decide for web: domain 7 is gone or dying",
        {},
    ),
    Refuses(
        lambda: which_domain.not_here(UUID),
        "domain-gone",
        f"cannot do that to {UUID}: it does not live here now"
        " (its max-mem and components can be decided for its next start)",
        {},
    ),
    Refuses(
        lambda: which_domain.no_own_domain(7),
        "not-your-domain",
        "cannot let the device model of domain 7 do that: there was no such domain when it"
        " connected (connect again once there is)",
        {"own_domid": 7},
    ),
]
"""Each refusal, as clients see it."""


def test_the_device_model_of_this_very_domain_passes() -> None:
    """Its domid and its UUID are those that it had when it connected."""
    assert which_domain.own_domain(Bond(7, UUID), 7, UUID, None) is None


@pytest.mark.parametrize(
    ("pinned", "now", "is_refused"),
    [(5, 5, False), (5, 6, True), (None, 6, False), (5, None, False), (None, None, False)],
)
def test_a_successor_with_its_domid_and_uuid_is_refused_to_a_device_model(
    pinned: int | None, now: int | None, is_refused: bool
) -> None:
    """Xen's unique ID tells the two apart; one that is not known refuses nothing (A11)."""
    refusal = which_domain.own_domain(Bond(7, UUID, pinned), 7, UUID, now)
    assert (refusal is not None) == is_refused


@each_of(REFUSES)
def test_refuses(case: Refuses) -> None:
    """A clause refuses with its code, its sentence and its numbers."""
    case.check()
