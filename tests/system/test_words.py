"""One word for one thing (ARCHITECTURE.md, "Words"): what is public has none of the former ones."""

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from maxmemd.ledger.schema import METADATA
from maxmemd.policy.kinds import DECISION, EntryKind, PushKind
from maxmemd.policy.states import BuildPhase, PushState
from maxmemd.wire import daemon_replies, history_replies, replies, requests

ROOT = Path(__file__).resolve().parents[2]
KINDS = {*EntryKind, *PushKind}
DOCUMENTS = [
    *ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("docs/*.json"),
    *(path for path in ROOT.glob("deploy/**/*") if path.suffix not in ("", ".so", ".pyc", ".o")),
]  # fmt: skip
SOURCES = list(ROOT.glob("maxmemd/**/*.py"))
MODELS = [
    model
    for model in {
        **vars(requests),
        **vars(replies),
        **vars(history_replies),
        **vars(daemon_replies),
    }.values()
    if isinstance(model, type) and issubclass(model, BaseModel)
]

FORMER = {
    r"operator/limit": "operator/max-mem",
    r"operator's limit": "max-mem",
    r"(?<!maxmemd_)\bover_limit\b": "over-limit",
    r"\"what\": ?\"": "an event's kind",
    r"\"what\\\":": "an event's kind",
    r"(FROM|INTO|TABLE|UPDATE) journal\b": "history",
    r"\bjournal (line|row|entr)|\bledger's journal\b|\bjournal is append-only": "history",
    r"\b[Ll]ines? of (the )?history\b|\bhistory lines?\b": "entries of the history",
    r"-X PUT [^\n]*\{\\?\"limit_kib": "max_mem_kib",
    r"PUT /v1/domains/[^/ ]+/limit`?,? `?\{\"limit_kib": "max_mem_kib",
    r"\{\\\"limit_kib\\\"": "max_mem_kib",
}
"""Words that are no longer used, as a pattern, and their replacement."""

FORMER_IN_DOCUMENTS = FORMER | {
    r"`drifted`|\bdrifted\s+web\b|\"drifted\"": "mismatched, or drift",
    r"`decided`|\bdecided\s+web\b|\"decided\"|kind=decided": "the entry's kind, or decision",
    r"`pushed`|\bpushed\s+web\b|\"pushed\"": "push-applied",
}
"""These are names of the program's own in its sources."""


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_document_has_a_former_word(path: Path) -> None:
    """In prose, examples, rules, dashboard and C: the words of today."""
    text = path.read_text(encoding="utf-8")
    for pattern, instead in FORMER_IN_DOCUMENTS.items():
        found = re.search(pattern, text)
        assert found is None, f"{found.group()!r}: say {instead}"


def strings_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield every string of a source file with its line: messages, keys, docstrings."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_string_has_a_former_word(path: Path) -> None:
    """Nor has any string of the program, and only what speaks of journald says journal."""
    whole = {"drifted", "decided", "pushed", "over_limit", "parts_kib", "what", "began", "ended"}
    whole |= {"built", "increase-component", "component"}
    of_journald = {"systemd.py", "refusal_log.py", "migrate.py", "schema.py"}
    for line, text in strings_of(path):
        for pattern, instead in FORMER.items():
            found = re.search(pattern, text)
            assert found is None, f"{path}:{line}: {found.group()!r}: say {instead}"
        assert text not in whole, f"{path}:{line}"
        if path.name not in of_journald:
            assert not re.search(r"\bjournal\b", text), f"{path}:{line}: the history, or journald"
        if "ledger" in path.parts:
            assert not re.search(r"\b(line|lines|(?<!-)tail|witness)\b", text), f"{path}:{line}"


def test_tables_and_columns() -> None:
    """The ledger's tables and columns are called what they are."""
    found = {table.name: set(table.columns.keys()) for table in METADATA.tables.values()}
    assert set(found) == {
        "history",
        "record",
        "instance",
        "push",
        "drift_mode",
        "former",
        "last_push",
        "pruned",
        "kept",
    }
    assert found["record"] == {"uuid", "head", "newest", "observed", "name", "incarnation"}
    assert {"push_state", "build", "drift_pages"} <= found["instance"]
    assert not {"state", "birth", "tracking"} & found["instance"]
    assert {index.name for table in METADATA.tables.values() for index in table.indexes} == {
        "history_by_key",
        "kept_by_slot",
        "history_milestones",
        "history_milestone_revisions",
        "history_beginnings",
        "history_ends",
        "push_milestones",
    }


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_fields_of_what_travels(model: type[BaseModel]) -> None:
    """No field has a former name, and max-mem stands beside every limit."""
    fields = set(model.model_fields)
    assert not fields & {"what", "lines", "line", "share", "journal", "birth", "tail"}
    assert "parts" not in fields or model is daemon_replies.Health
    if "limit_kib" in fields:
        assert "max_mem_kib" in fields
    assert not re.search("Line|Journal|Part(?!s)", model.__name__)


def test_limit_takes_max_mem() -> None:
    """What the operator says is max-mem; the limit is what comes of it."""
    assert "max_mem_kib" in requests.LimitRequest.model_fields
    assert "limit_kib" not in requests.LimitRequest.model_fields


def test_words_that_are_listed_have_hyphens() -> None:
    """Kinds, push states and build phases are spelled alike, wherever they are listed."""
    document = json.loads((ROOT / "docs" / "openapi.json").read_text(encoding="utf-8"))
    listed = set(enums_of(document))
    assert {*KINDS, *PushState} <= listed
    assert not [word for word in listed if "_" in word]
    for word in (*KINDS, *PushState, *BuildPhase, DECISION):
        assert re.fullmatch("[a-z]+(-[a-z]+)*", word)
    assert replies.Push.model_fields["state"].annotation is PushState


def enums_of(node: object) -> Iterator[str]:
    """Yield every word of every enumeration in a JSON schema."""
    if isinstance(node, dict):
        values = node.get("enum", [])
        yield from (word for word in values if isinstance(word, str))
        for value in node.values():
            yield from enums_of(value)
    elif isinstance(node, list):
        for value in node:
            yield from enums_of(value)


def test_kinds_that_documents_name_exist() -> None:
    """What a command filters by, and the kinds in journald, are kinds."""
    for path in DOCUMENTS:
        if path.suffix not in {".md", ".yml", ".json"}:
            continue
        text = path.read_text(encoding="utf-8")
        for words in re.findall(r"--kind ([a-z,_-]+)", text) + re.findall(
            r"[?&]kind=([a-z,_-]+)", text
        ):
            assert set(words.split(",")) <= {*KINDS, DECISION}, (path.name, words)
        for word in re.findall(r"MAXMEM_KIND=([a-z_-]+)", text):
            assert word in KINDS, (path.name, word)
    service = (ROOT / "docs" / "service.md").read_text(encoding="utf-8")
    row = next(line for line in service.splitlines() if "`MAXMEM_KIND`" in line)
    asked_for = {kind for kind in EntryKind if kind.is_decision} - {
        EntryKind.ADOPTED, EntryKind.BUILD_FOLLOWED, EntryKind.RECORD_REPLACED,
        EntryKind.LIMITS_TAKEN,
    }  # fmt: skip
    asked_for |= {EntryKind.DRIFT_MODE_SET, EntryKind.DRIFT_MODE_CLEARED}
    said = set(re.findall(r"`([a-z-]+)`", row.split("|")[1]))
    assert said == KINDS - asked_for - {EntryKind.REFUSED, EntryKind.UNCHANGED, PushKind.APPLIED}


def test_the_glossary_has_every_word() -> None:
    """ARCHITECTURE.md defines each word once, with the push states and build phases there are."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    table = text.partition("## Words")[2].partition("\n## ")[0]
    words = re.findall(r"^\| \*\*([a-z -]+)\*\*", table, re.MULTILINE)
    assert len(words) == len(set(words))
    assert {"component", "max-mem", "limit", "history", "kind", "push state", "ledger"} <= set(
        words
    )
    assert all(f"`{word}`" in table for word in (*PushState, *BuildPhase))
