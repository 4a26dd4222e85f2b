"""A real Xen, booted under QEMU's software emulation, and the tests that run on it.

`python -m pytest tests/dom0 -m xen -s` boots it once for all tests (conftest.py has the fixtures);
`python -m tests.dom0 shell` boots it for a person. image.py builds the disk (recipe.py says of
what), machine.py boots it, agent.py serves in its dom0; rig.py, guests.py and daemon.py are what a
test sees. No KVM, no network, no root except for building the disk.
"""
