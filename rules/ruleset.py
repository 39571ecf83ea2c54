"""All rules of an installation, loaded together: either every file is good, or all that is wrong is listed.

It must not know events, windows or stages.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final

from jianguan.errors import JianguanError, SourceError
from rules.checking import Checker
from rules.loader import load
from rules.reference import Reference
from rules.rule import Rule

MAX_FILES: Final = 2_000
TEST_SUFFIX: Final = ".test.yaml"


class RuleErrors(JianguanError):  # noqa: N818 - it is all of them, not one
    """Everything that is wrong with a set of rules, a line each."""

    exit_code = 4

    def __init__(self, errors: Sequence[SourceError]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(map(str, self.errors)))


class RuleSet:
    """Rules by id, in order of id. Never changes after it is made."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules: tuple[Rule, ...] = tuple(sorted(rules, key=lambda rule: rule.id))
        self._by_id = {rule.id: rule for rule in self.rules}
        self.running: tuple[Rule, ...] = tuple(rule for rule in self.rules if rule.status != "retired")
        text = "\n".join(f"{rule.id} {rule.version} {rule.content_hash}" for rule in self.rules)
        self.digest: str = blake2b(text.encode(), digest_size=16).hexdigest()

    @staticmethod
    def library_path() -> Path:
        """The folder of the rules that ship with the package."""
        return Path(__file__).parent / "library"

    @classmethod
    def load(cls, folders: Sequence[Path], reference: Reference) -> RuleSet:
        """All rules in `folders`, however deep. RuleErrors lists every fault in every file."""
        ruleset, errors = cls.read(folders, reference)
        if errors:
            raise RuleErrors(errors)
        return ruleset

    @classmethod
    def read(cls, folders: Sequence[Path], reference: Reference) -> tuple[RuleSet, list[SourceError]]:
        """The rules in `folders` that are good, and the faults of the others. RuleErrors when a folder is not there."""
        checker = Checker(reference)
        rules: list[Rule] = []
        errors: list[SourceError] = []
        seen: dict[str, str] = {}
        for path in rule_files(folders):
            try:
                document = load(path)
            except SourceError as error:
                errors.append(error)
                continue
            rule, faults = checker.rule(document)
            errors.extend(faults)
            if rule is None:
                continue
            if rule.id in seen:
                errors.append(document.error(("id",), f"the rule {rule.id} is there twice", f"also in {seen[rule.id]}"))
                continue
            seen[rule.id] = str(path)
            rules.append(rule)
        return cls(rules), errors

    def by_id(self, identifier: str) -> Rule | None:
        """The rule of that id, running or retired."""
        return self._by_id.get(identifier)

    def __iter__(self) -> Iterator[Rule]:
        return iter(self.rules)

    def __len__(self) -> int:
        return len(self.rules)


def rule_files(folders: Sequence[Path]) -> list[Path]:
    """Rule files in folders (or files given one by one), sorted, each once. RuleErrors for a folder that is not there
    or that holds too many."""
    found: dict[Path, Path] = {}
    errors: list[SourceError] = []
    for folder in folders:
        if folder.is_file():
            files = [folder]
        elif folder.is_dir():
            files = sorted(each for each in folder.rglob("*.yaml") if not each.name.endswith(TEST_SUFFIX))
        else:
            errors.append(SourceError("there is no such folder of rules", str(folder)))
            continue
        for path in files:
            found.setdefault(path.resolve(), path)
    if len(found) > MAX_FILES:
        errors.append(SourceError(f"more than {MAX_FILES} rule files"))
    if errors:
        raise RuleErrors(errors)
    return list(found.values())
