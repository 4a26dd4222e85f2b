"""What is asked: request bodies. Amounts are integers named *_kib.

Numbers are strict (no bools, no strings; 4.0 is the integer 4, as JSON Schema has it) and below
2**52; unknown fields are refused. Times are RFC 3339 in UTC.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, model_validator

from maxmemd.policy.reference import UUID_PATTERN
from maxmemd.units import DOMID_FIRST_RESERVED, END_KIB

NAME = r"^[a-z0-9][a-z0-9._-]{0,63}$"
"""Grammar of owners and component names."""

UUID = f"^{UUID_PATTERN}$"

REF = r"^[^\x00-\x1f\x7f]{1,4096}$"
"""Grammar of references to domains: a name is at most what one message of xenstore carries."""

FORMS = {
    NAME: "write 1 to 64 of a-z, 0-9 and . _ -, with a letter or a digit first",
    UUID: "write a UUID in lower case, like 51a70000-0000-4000-8000-000000000001",
    REF: "write a domid, a UUID or a name: 1 to 4096 characters, no control characters",
}
"""The same grammars in words, for whom a value does not match."""


def _integral(value: object) -> object:
    return int(value) if isinstance(value, float) and value.is_integer() else value


AmountKib = Annotated[int, Field(strict=True, ge=0, lt=END_KIB), BeforeValidator(_integral)]
DeltaKib = Annotated[int, Field(strict=True, gt=-END_KIB, lt=END_KIB), BeforeValidator(_integral)]
RevisionNumber = Annotated[int, Field(strict=True, ge=0, lt=END_KIB), BeforeValidator(_integral)]
Pages = Annotated[int, Field(strict=True, ge=1, lt=2**32), BeforeValidator(_integral)]
Days = Annotated[int, Field(strict=True, ge=1, le=3650), BeforeValidator(_integral)]
Seconds = Annotated[int, Field(strict=True, ge=1, le=10 * 366 * 86400), BeforeValidator(_integral)]
Reason = Annotated[str, Field(strict=True, max_length=200, description="kept in the history")]
Flag = Annotated[bool, Field(strict=True)]


class Request(BaseModel):
    """A request body: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: Reason = ""


class LimitRequest(Request):
    """xl mem-max: what the guest may use at most. The limit is this and the other components."""

    max_mem_kib: AmountKib
    force: Flag = Field(default=False, description="allow a max-mem below the balloon target")
    static_max: Flag = Field(default=True, description="write memory/static-max too, as xl does")


def _given(name: str) -> dict[str, JsonValue]:
    return {"required": [name], "properties": {name: {"type": "integer"}}}


class TargetRequest(Request):
    """xl mem-set: what the balloon aims at, absolute or by a difference."""

    target_kib: AmountKib | None = Field(default=None, description="including video RAM, as in xl")
    by_kib: DeltaKib | None = None
    enforce: Flag = Field(default=True, description="make it the max-mem as well")

    model_config = ConfigDict(json_schema_extra={"oneOf": [_given("target_kib"), _given("by_kib")]})

    @model_validator(mode="after")
    def _one_of_two(self) -> "TargetRequest":
        if (self.target_kib is None) == (self.by_kib is None):
            raise ValueError("give exactly one of target_kib and by_kib")
        return self


class AmountRequest(Request):
    """What one component is from now on."""

    amount_kib: AmountKib


class IncreaseRequest(Request):
    """What is added to one component; a negative number takes away, never below 0."""

    by_kib: DeltaKib


class BuildRequest(Request):
    """A toolstack is about to populate a new instance; until then its maximum is 0."""

    target_kib: AmountKib = Field(description="what it is built with, including video RAM")
    life: Literal["created", "restored", "migrated-in", "unknown"]
    static_max_kib: AmountKib | None = None


class HeadroomRequest(Request):
    """A device model is about to populate this many pages of 4 KiB."""

    pages: Pages


class RelayedHeadroomRequest(HeadroomRequest):
    """The same for a device model in a stub domain, which asks by way of xenstore.

    `uuid` is the domain that the stub domain serves: refused where the domid is another by now.
    """

    uuid: Annotated[str, Field(strict=True, pattern=UUID)]
    stub_domid: Annotated[
        int, Field(strict=True, ge=1, lt=DOMID_FIRST_RESERVED), BeforeValidator(_integral)
    ]


class RollbackRequest(Request):
    """Which revision's components, static-max and target shall be in force again."""

    revision: RevisionNumber
    force: Flag = Field(default=False, description="allow a max-mem below the balloon target")


class ComponentBody(BaseModel):
    """One named amount that one owner asks for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    owner: Annotated[str, Field(pattern=NAME, strict=True)]
    name: Annotated[str, Field(pattern=NAME, strict=True)]
    amount_kib: AmountKib


class RecordBody(Request):
    """A record as it travels with its domain: GET domains/{ref}/record, PUT records/{uuid}."""

    format: Literal["maxmemd-record-1"] = "maxmemd-record-1"
    components: Annotated[list[ComponentBody], Field(min_length=1, max_length=64)]
    static_max_kib: AmountKib | None = None
    target_kib: AmountKib | None = Field(
        default=None, description="the target that was decided, without video RAM"
    )
    uuid: Annotated[str, Field(strict=True, pattern=UUID)] | None = Field(
        default=None, description="whose record it is: refused where the path names another"
    )
    revision: RevisionNumber | None = Field(
        default=None, description="of the record that this is a copy of; without effect here"
    )


class ImportRequest(RecordBody):
    """A record that replaces another one whole."""

    force: Flag = Field(default=False, description="allow a max-mem below the balloon target")


class DriftRequest(Request):
    """What becomes of a maximum that another program writes for this domain."""

    mode: Literal["restore", "adopt", "alert"]
    for_s: Seconds | None = Field(
        default=None, description="for so many seconds; null: until it is taken back"
    )


class TokenRequest(BaseModel):
    """A bearer token for a client over TCP, refused after so many days if there are any."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, Field(pattern=NAME, strict=True)]
    role: Literal["admin", "toolstack", "observer"]
    days: Days | None = None
