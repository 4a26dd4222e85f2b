"""Which role a peer has by uid, group, range and certificate, and in which order these count."""

import pytest

from maxmemd.policy.roles import ADMIN, DEVICE_MODEL, NOBODY, OBSERVER, TOOLSTACK, Role, Roles

OWN, BASE = 500, 300_000
ROLES = Roles(
    {1000: TOOLSTACK, 1001: OBSERVER, 500: OBSERVER, 0: OBSERVER, 65534: ADMIN},
    {20: OBSERVER, 21: TOOLSTACK, 22: ADMIN},
    {"CN=xapi": TOOLSTACK},
    BASE,
    NOBODY,
)


@pytest.mark.parametrize(
    ("uid", "groups", "role"),
    [
        (0, (), Role(ADMIN)),
        (OWN, (20,), Role(ADMIN)),
        (1000, (22,), Role(TOOLSTACK)),
        (1001, (22,), Role(OBSERVER)),
        (1002, (20,), Role(OBSERVER)),
        (1002, (20, 21), Role(TOOLSTACK)),
        (1002, (21, 20, 22), Role(ADMIN)),
        (1002, (23,), Role(NOBODY)),
        (1002, (), Role(NOBODY)),
        (65534, (22,), Role(NOBODY)),
        (BASE - 1, (), Role(NOBODY)),
        (BASE, (22,), Role(NOBODY)),
        (BASE + 1, (22,), Role(DEVICE_MODEL, 1)),
        (BASE + 0x7FEF, (), Role(DEVICE_MODEL, 0x7FEF)),
        (BASE + 0x7FF0, (), Role(NOBODY)),
    ],
)
def test_of_process(uid: int, groups: tuple[int, ...], role: Role) -> None:
    """A uid says more than the range, the range more than groups, groups more than being there."""
    assert ROLES.of_process(5, uid, groups, OWN) == role


@pytest.mark.parametrize("pid", [0, -1])
def test_a_peer_without_a_pid_has_no_role(pid: int) -> None:
    """The kernel could not say who it is (another pid namespace): not even root is root."""
    assert ROLES.of_process(pid, 0, (), OWN) == Role(NOBODY)


@pytest.mark.parametrize(
    ("pid", "uid", "role"),
    [
        (5, 0, Role(NOBODY)),
        (5, OWN, Role(NOBODY)),
        (5, 1000, Role(NOBODY)),
        (5, 1001, Role(NOBODY)),
        (5, BASE, Role(NOBODY)),
        (5, BASE + 1, Role(DEVICE_MODEL, 1)),
        (0, BASE + 1, Role(NOBODY)),
        (5, BASE + 0x7FEF, Role(DEVICE_MODEL, 0x7FEF)),
        (5, BASE + 0x7FF0, Role(NOBODY)),
    ],
)
def test_of_device_model(pid: int, uid: int, role: Role) -> None:
    """Over the device models' own socket there is no other role, not for root or who is listed."""
    assert ROLES.of_device_model(pid, uid) == role
    assert Roles().of_device_model(pid, uid) == Role(NOBODY)


def test_the_first_process_is_one_like_any() -> None:
    """Only pid 0 and below are no process: in a container a toolstack may have pid 1."""
    assert ROLES.of_process(1, 1000, (), OWN) == Role(TOOLSTACK)
    assert ROLES.of_device_model(1, BASE + 1) == Role(DEVICE_MODEL, 1)


def test_a_range_that_begins_at_0() -> None:
    """The domid is the distance from the base, and 0 is a base too."""
    assert Roles(base=0).of_device_model(5, 7) == Role(DEVICE_MODEL, 7)


def test_nothing_configured() -> None:
    """Then every client that can connect may read, and no uid is a device model's."""
    assert Roles().of_process(5, BASE + 1, (), OWN) == Role(OBSERVER)
    assert not Roles().is_device_model(BASE + 1)


def test_of_subject() -> None:
    """A certificate has the role that the configuration gives its subject, and else none."""
    assert ROLES.of_subject("CN=xapi") == Role(TOOLSTACK)
    assert ROLES.of_subject("CN=xapi2") == Role(NOBODY)
