"""Reads Markdown files of this repository: their code blocks, their links and their headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.repository import ROOT, tracked

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[a-z]*)\n(?P<text>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block of code. `where` is file:line, for a person who looks for it."""

    path: Path
    where: str
    language: str
    text: str


def documents() -> list[Path]:
    """Every Markdown file of the repository."""
    return sorted(path for path in tracked() if path.suffix == ".md")


def blocks(path: Path, *languages: str) -> Iterator[Block]:
    """The fenced blocks of a file, of these languages if any are given."""
    text = path.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        if not languages or found["language"] in languages:
            line = text.count("\n", 0, found.start()) + 1
            indent = len(found["indent"])
            lines = [each[indent:] for each in found["text"].splitlines(keepends=True)]
            yield Block(path, f"{path.relative_to(ROOT)}:{line}", found["language"], "".join(lines))


def links(path: Path) -> Iterator[str]:
    """Where the links and images of a file lead, outside of code."""
    text = re.sub(r"`[^`\n]*`", "", _FENCE.sub("", path.read_text(encoding="utf-8")))
    yield from _LINK.findall(text)


def anchors(path: Path) -> set[str]:
    """The anchors that the headings of a file have when it is shown."""
    headings = _HEADING.findall(_FENCE.sub("", path.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
