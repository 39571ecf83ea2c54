"""The JSON Schema (draft-07) of rule files and of their tests, generated from the models.

    python -m rules.schema            write rules/schema.json and rules/test-schema.json
    python -m rules.schema --check    exit 1 if the committed files differ from what would be written

Editors that speak YAML use them through the first line of each file. It must not know more than the models.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from rules.model import RuleFile
from rules.testfile import TestFile

DRAFT: Final = "http://json-schema.org/draft-07/schema#"
_FOLDER: Final = Path(__file__).parent
FILES: Final[dict[Path, tuple[type[BaseModel], str]]] = {
    _FOLDER / "schema.json": (RuleFile, "A rule of jianguan"),
    _FOLDER / "test-schema.json": (TestFile, "The tests of a rule of jianguan"),
}


def generate(model: type[BaseModel], title: str) -> dict[str, Any]:
    """The schema of `model`, in draft-07's words."""
    text = json.dumps(model.model_json_schema(), ensure_ascii=False).replace("#/$defs/", "#/definitions/")
    schema: dict[str, Any] = json.loads(text)
    definitions = schema.pop("$defs", {})
    return {"$schema": DRAFT, **schema, "title": title, "definitions": definitions}


def render(model: type[BaseModel], title: str) -> str:
    """The text of the committed file."""
    return json.dumps(generate(model, title), ensure_ascii=False, indent=2) + "\n"


def stale() -> list[Path]:
    """Committed schemas that differ from the models."""
    return [
        path
        for path, (model, title) in FILES.items()
        if not path.exists() or path.read_text(encoding="utf-8") != render(model, title)
    ]


def main(arguments: list[str]) -> int:
    """Write the files, or with `--check` compare them."""
    if arguments not in ([], ["--check"]):
        sys.stderr.write("usage: python -m rules.schema [--check]\n")
        return 2
    if arguments:
        different = stale()
        for path in different:
            sys.stderr.write(f"{path} is not what the models say: run python -m rules.schema\n")
        return 1 if different else 0
    for path, (model, title) in FILES.items():
        path.write_text(render(model, title), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
