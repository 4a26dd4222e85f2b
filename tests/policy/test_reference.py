"""How a client names a domain: digits, a UUID's form, and everything else."""

import pytest

from maxmemd.policy.reference import Domid, Name, Reference, Uuid, parse_reference

UUID = "51a70000-0000-4000-8000-00000000000a"


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("0", Domid(0)),
        ("007", Domid(7)),
        ("9" * 9, Domid(999_999_999)),
        ("9" * 10, Domid(None)),
        ("9" * 5000, Domid(None)),
        (UUID, Uuid(UUID)),
        (UUID.upper(), Uuid(UUID)),
        (UUID[:-1], Name(UUID[:-1])),
        (UUID + "0", Name(UUID + "0")),
        (UUID[:-1] + "\n", Name(UUID[:-1] + "\n")),
        ("web", Name("web")),
        ("-1", Name("-1")),
        ("\N{SUPERSCRIPT TWO}", Name("\N{SUPERSCRIPT TWO}")),
        ("", Name("")),
    ],
)
def test_every_text_is_a_domid_a_uuid_or_a_name(text: str, reference: Reference) -> None:
    """Every text a client sends is exactly one of the three; no length of digits is an error."""
    assert parse_reference(text) == reference
    assert type(parse_reference(text)) is type(reference)
