"""`python -m tests.api.openapi` writes docs/openapi.json as the code has it now."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from maxmemd.api.behind import make_app
from maxmemd.api.handlers.service import Service
from maxmemd.api.openapi import described_by

COMMITTED = Path(__file__).resolve().parents[2] / "docs" / "openapi.json"


def document() -> dict[str, Any]:
    """Return the document without starting a daemon."""
    app = make_app(cast(Service, SimpleNamespace(gate=None, refusals=None)))
    described: dict[str, Any] = json.loads(json.dumps(described_by(app).openapi()))
    return described


def as_text(found: object) -> str:
    """Return it as it is committed: sorted, so that a diff shows what changed."""
    return json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    COMMITTED.write_text(as_text(document()), encoding="utf-8")
    print(f"wrote {COMMITTED}")
