"""The documents in the package: every link in them leads to one that is installed with them."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from tests.support.outside import ROOT

DEBIAN = ROOT / "deploy" / "debian"


@pytest.fixture(scope="module")
def build() -> ModuleType:
    """Give deploy/debian/build.py, which is a program beside its own modules."""
    sys.path.insert(0, str(DEBIAN))
    try:
        spec = importlib.util.spec_from_file_location("build_deb", DEBIAN / "build.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(DEBIAN))
    return module


def anchors(text: str) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(
        r"^#+ (.*)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE
    )
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


def test_every_link_of_an_installed_document_is_installed(build: ModuleType) -> None:
    """Files and headings that documents link to are there, in the checkout and in the package."""
    installed = {Path(name) for name in build.documents()}
    links = 0
    for document in (each for each in installed if each.suffix == ".md"):
        text = (ROOT / document).read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            if "://" in link:
                continue
            file, _, anchor = link.partition("#")
            target = (ROOT / document.parent / file).resolve() if file else ROOT / document
            assert target.relative_to(ROOT) in installed, (document, link)
            if anchor:
                assert anchor in anchors(target.read_text(encoding="utf-8")), (document, link)
            links += 1
    assert links > 50
