"""All rules of an installation, loaded together: either every file is good, or all that is wrong is listed.

It must not know events, windows or stages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final

from jianguan.errors import JianguanError, SourceError
from rules.checking import Checker
from rules.loader import Document, Place, load, nearest
from rules.reference import Reference
from rules.rule import Rule

MAX_FILES: Final = 20_000
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
        seen: dict[str, Document] = {}
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
                errors.append(
                    document.error(("id",), f"the rule {rule.id} is there twice", f"also in {seen[rule.id].path}")
                )
                continue
            seen[rule.id] = document
            rules.append(rule)
        errors.extend(_listening(rules, seen))
        return cls(rules), errors

    def by_id(self, identifier: str) -> Rule | None:
        """The rule of that id, running or retired."""
        return self._by_id.get(identifier)

    def __iter__(self) -> Iterator[Rule]:
        return iter(self.rules)

    def __len__(self) -> int:
        return len(self.rules)


def _listening(rules: Sequence[Rule], documents: Mapping[str, Document]) -> Iterator[SourceError]:
    """Rules that look at alerts of rules that are not there, or, in the end, at their own."""
    listens = {rule.id: rule.listens_to for rule in rules}
    for rule in rules:
        document = documents[rule.id]
        for heard in sorted(rule.listens_to):
            numbers = [number for number, each in enumerate(rule.inhibited_by) if each == heard]
            place: Place = ("inhibited_by", numbers[0]) if numbers else ("rules", heard)
            if heard not in listens:
                yield document.error(place, f"there is no rule {heard}", nearest(heard, listens), key=not numbers)
            elif (way := _way(listens, heard, rule.id)) is not None:
                circle = " → ".join((rule.id, *way))
                message = f"alerts would go round in a circle: {circle}"
                yield document.error(place, message, "take one of them out", key=not numbers)


def _way(listens: Mapping[str, frozenset[str]], start: str, goal: str) -> list[str] | None:
    """The rules from `start` to `goal`, each listening to the next; None when there is no way."""
    before: dict[str, str] = {start: ""}
    waiting = [start]
    while waiting:
        here = waiting.pop(0)
        if here == goal:
            way = [here]
            while before[way[0]]:
                way.insert(0, before[way[0]])
            return way
        for heard in sorted(listens.get(here, frozenset()) - before.keys()):
            before[heard] = here
            waiting.append(heard)
    return None


def unread(folders: Sequence[Path]) -> list[SourceError]:
    """What in folders looks as if it were read and is not: files with another ending, tests without a rule, and a
    folder without any rule."""
    found: list[SourceError] = []
    for folder in folders:
        if not folder.is_dir():
            continue
        others = sorted(each for each in folder.rglob("*.yml") if each.is_file())
        for path in others:
            found.append(
                SourceError("a file that ends in .yml is not read", str(path), 1, 1, f"name it {path.stem}.yaml")
            )
        for path in sorted(folder.rglob(f"*{TEST_SUFFIX}")):
            rule = path.name.removesuffix(TEST_SUFFIX) + ".yaml"
            if not path.with_name(rule).is_file():
                found.append(SourceError("no rule has these tests", str(path), 1, 1, f"there is no {rule} beside it"))
        if not rule_files([folder]):
            found.append(SourceError("there is no rule in this folder", str(folder), hint="rules end in .yaml"))
    return found


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
