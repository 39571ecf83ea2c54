"""Links between the documents lead somewhere."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

import pytest

from tests.docs.markdown import anchors, documents, links
from tests.repository import ROOT

ABROAD = ("http://", "https://", "mailto:")


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_to_a_file_and_a_heading_of_it(path: Path) -> None:
    broken = []
    for link in links(path):
        if link.startswith(ABROAD):
            continue
        name, _, anchor = unquote(link).partition("#")
        target = (path.parent / name).resolve() if name else path
        if not target.exists() or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_every_document_can_be_reached_from_the_readme() -> None:
    seen: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        path = waiting.pop()
        if path in seen or path.suffix != ".md":
            continue
        seen.add(path)
        targets = (link.partition("#")[0] for link in links(path) if not link.startswith(ABROAD))
        waiting += [(path.parent / target).resolve() for target in targets if target]
    lonely = {path.relative_to(ROOT) for path in documents() if "docs" in path.relative_to(ROOT).parts[:1]} - {
        path.relative_to(ROOT) for path in seen
    }
    assert lonely == set()
