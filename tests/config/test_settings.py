"""The defaults, and that the shipped file and the documentation have the same."""

import re
import tomllib
from pathlib import Path

import pytest

from maxmemd.config import file
from maxmemd.config.file import load, parse
from maxmemd.config.settings import Config


def test_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a file the defaults hold; the default file is read where it exists."""
    path = tmp_path / "maxmemd.toml"
    monkeypatch.setattr(file, "DEFAULT_FILE", path)
    assert load(None) == Config() == parse({}, "")
    path.write_text('drift = "alert"', encoding="utf-8")
    assert load(None).drift == "alert"


def test_the_shipped_file_says_the_defaults() -> None:
    """Each key that it shows, with the comment sign taken away, is the default."""
    shipped = Path(__file__).resolve().parents[2] / "deploy" / "maxmemd.toml"
    text = re.sub(r"^#(\w+ = )", r"\1", shipped.read_text(encoding="utf-8"), flags=re.MULTILINE)
    found = parse(tomllib.loads(text), "m.toml", text)
    assert found == Config()
    assert set(tomllib.loads(text)) == set(Config.__slots__)


def test_the_page_on_the_configuration_says_the_defaults() -> None:
    """Each row of docs/configuration.md has the default as it is written; none is missing."""
    page = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"
    rows = re.findall(r"(?m)^\| `(\w+)` \| `(.+?)` \|", page.read_text(encoding="utf-8"))
    text = "\n".join(f"{key} = {default}" for key, default in rows)
    assert parse(tomllib.loads(text), "page", text) == Config()
    assert [key for key, _ in rows] == list(Config.__slots__)
