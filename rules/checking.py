"""From a document to a rule: shape, names and condition are checked, and every fault is found in one go.

It must not know folders or other rules; `ruleset.py` does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import PurePath
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from jianguan.errors import SourceError
from jianguan.full_width import hint_in
from rules import model, model_base
from rules.calendar import calendar_of
from rules.cel.environment import Checked, Environment
from rules.cel.matching import compile_one
from rules.cel.tree import Call, Constant, Identifier, walk
from rules.fields import ALERT_GROUPS, ALERT_TYPES, FIELDS
from rules.judging import Extras, extra_conditions, judging_of, triggers
from rules.keys import Value
from rules.loader import Document, Place, nearest
from rules.model import LEVELLED_FIELDS, CaseSpec, JointTable, LeadTable, RuleFile
from rules.model_base import CELLS, milliseconds, working_days
from rules.model_pattern import Pattern, Step
from rules.model_trigger import Measure, Percentile, Rate, Ratio, Score
from rules.pattern_plan import PERSONAL, REFERABLE, parts
from rules.reference import Reference, spelled
from rules.rule import Rule, build

_MODELS: Final[dict[Place, type[BaseModel]]] = {
    (): RuleFile,
    ("title",): model.Title,
    ("runbook",): model.Runbook,
    ("window",): model.Window,
    ("trigger",): model.Trigger,
    ("trigger", "count"): model.Count,
    ("trigger", "distinct"): model.Distinct,
    ("trigger", "sum"): model.Sum,
    **dict.fromkeys([("trigger", name) for name in ("avg", "min", "max", "median")], Measure),
    ("trigger", "percentile"): Percentile,
    ("trigger", "ratio"): Ratio,
    ("trigger", "rate"): Rate,
    ("trigger", "score"): Score,
    ("trigger", "not"): model.Trigger,
    ("pattern",): Pattern,
    ("case",): CaseSpec,
    ("lead",): LeadTable,
    ("joint",): JointTable,
    ("limits",): model.Limits,
    ("in_force",): model.InForce,
}
_LATENESS: Final = "say in lateness how long after it happened an event may still come in, for example 1d"
_MESSAGES: Final = {
    "string_type": "must be a text",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "string_too_short": "must not be empty",
}
_SEVERAL: Final = {"string_type", "list_type", "dict_type", "model_type", "model_attributes_type", "literal_error"}
_ONE_WORD: Final = {"int_type", "bool_type", "duration", "day"}  # what has no place for Chinese


class Checker:
    """Checks documents against the tables of one installation."""

    def __init__(self, reference: Reference) -> None:
        self._reference = reference
        self._environment: Environment = reference.environment()
        self._levels = {
            "region": sorted({reference.regions.level(code) for code in reference.regions.codes()}),
            "industry": sorted({reference.industries.level(code) for code in reference.industries.codes()}),
        }

    def rule(self, document: Document) -> tuple[Rule | None, list[SourceError]]:
        """The rule in a document, or the faults that it has; never both."""
        file, errors = shape(document)
        if file is None:
            return None, errors
        extras, faults = self._extras(document, file)
        errors.extend(faults)
        checked, faults = self._condition(document, file, whole=not faults)
        errors.extend(faults)
        errors.extend(self._names(document, file))
        errors.extend(_windows(document, file))
        stem = PurePath(document.path).stem
        if document.path and file.id != stem:
            errors.append(document.error(("id",), f"the id {file.id!r} is not the file's name", f"write {stem}"))
        if errors or checked is None:
            return None, errors
        return build(file, document.path, checked, extras, self._calendar), []

    @cached_property
    def _alerts(self) -> Environment:
        return self._reference.environment(ALERT_TYPES)

    def _environment_of(self, document: Document) -> Environment:
        """The checker for conditions over what a rule looks at: alerts or events."""
        return self._alerts if document.value.get("rules") is not None else self._environment

    @cached_property
    def _calendar(self) -> tuple[int, ...]:
        return calendar_of(self._reference.working_days)

    def _condition(self, document: Document, file: RuleFile, whole: bool) -> tuple[Checked | None, list[SourceError]]:
        """The checked condition, with the kinds of `on` as a part of it; `whole`: the other conditions are right."""
        alone, faults = self._checked(document, ("condition",), file.condition)
        environment = self._alerts if file.rules is not None else self._environment
        return environment.check(with_kinds(file)) if alone is not None and whole else None, faults

    def _extras(self, document: Document, file: RuleFile) -> tuple[Extras, list[SourceError]]:
        """The conditions beside the rule's own, and the fields that they ask facts to carry."""
        conditions: list[Checked] = []
        errors: list[SourceError] = []
        for place, text in extra_conditions(file):
            checked, faults = self._checked(document, place, text)
            errors.extend(faults)
            conditions += [checked] if checked is not None else []
        related: dict[str, Callable[[Mapping[str, Value]], bool]] = {}
        fields: set[str] = set()
        earlier: list[str] = []
        for place, part in parts(file.pattern) if file.pattern is not None else ():
            if part.related is not None:
                environment = self._reference.environment(referable(earlier))
                checked, faults = self._checked(document, (*place, "related"), part.related, environment)
                errors.extend(faults)
                if checked is not None:
                    related[part.name] = compile_one(checked)
                    named = {node.name for node in walk(checked.tree.root) if isinstance(node, Identifier)}
                    named |= set(checked.tree.names.values())
                    fields |= {name.rpartition(".")[2] for name in named & set(environment.fields)}
            earlier.append(part.name)
        within = self._reference.within() if file.decision_table else {}
        return Extras(tuple(conditions), related, tuple(sorted(fields)), within), errors

    def _checked(
        self, document: Document, place: Place, text: str, environment: Environment | None = None
    ) -> tuple[Checked | None, list[SourceError]]:
        """A condition that stands somewhere in the file."""
        line, column = document.text_position(place)
        try:
            alone = (environment or self._environment_of(document)).check(
                text, path=document.path, line=line, column=column
            )
        except SourceError as error:
            return None, [error]
        return alone, list(self._codes(document, alone, line, column))

    def _codes(self, document: Document, checked: Checked, line: int, column: int) -> Iterator[SourceError]:
        """Codes in the condition that no list has."""
        trees = {"region_within": self._reference.regions, "industry_within": self._reference.industries}
        for node in walk(checked.tree.root):
            if not isinstance(node, Call) or node.function not in trees:
                continue
            ancestor = node.arguments[-1]
            if not isinstance(ancestor, Constant) or not isinstance(ancestor.value, str):
                continue
            tree = trees[node.function]
            if spelled(tree, ancestor.value) is None:
                at = checked.position(ancestor, line, column)
                message = f"{ancestor.value!r} is no known {tree.kind}"
                yield SourceError(message, document.path, *at, nearest(ancestor.value, tree.codes()))

    def _names(self, document: Document, file: RuleFile) -> Iterator[SourceError]:
        for place, department in _departments(file):
            if department not in self._reference.departments:
                hint = nearest(department, self._reference.departments.ids())
                yield document.error(place, f"there is no department {department}", hint)
        if file.clock is not None and file.clock not in self._reference.clocks.ids():
            hint = nearest(file.clock, self._reference.clocks.ids())
            yield document.error(("clock",), f"there is no statutory clock {file.clock}", hint)
        yield from self._fields(document, file)
        yield from _groups(document, file)
        yield from self._decisions(document, file)
        yield from self._table_codes(document, file)

    def _fields(self, document: Document, file: RuleFile) -> Iterator[SourceError]:
        named: list[tuple[Place, str]] = [
            (("group_by",) if isinstance(file.group_by, str) else ("group_by", number), field)
            for number, field in enumerate(file.groups)
        ]
        named += [
            ((*place, "distinct", "of"), trigger.distinct.of)
            for place, trigger in triggers(file)
            if trigger.distinct is not None
        ]
        for place, field in named:
            tree, dot, level = field.partition(".")
            if file.rules is not None and tree not in ALERT_GROUPS:
                yield document.error(place, f"an alert has no {field}", nearest(field, ALERT_GROUPS))
            if file.rules is None and tree in model_base.ALERT_FIELDS:
                yield document.error(place, f"only an alert has a {field}", nearest(field, model.PLAIN_FIELDS))
            if dot and tree in self._levels and level not in self._levels[tree]:
                yield document.error(place, f"{tree} has no level {level}", nearest(level, self._levels[tree]))

    def _decisions(self, document: Document, file: RuleFile) -> Iterator[SourceError]:
        """Rows of a decision table that name something which is not there, or can never be tried."""
        seen: dict[str, int] = {}
        for number, row in enumerate(file.decision_table):
            place: Place = ("decision_table", number)
            same = json.dumps(row.model_dump()["when"], sort_keys=True)
            if same in seen:
                message = f"row {seen[same] + 1} fits the same groups: this one is never tried"
                yield document.error(place, message, "take one of them out")
            seen.setdefault(same, number)
            for field, wanted in row.when.items():
                if field not in file.groups:
                    message = f"{field} is not in group_by"
                    yield document.error(
                        (*place, "when", field), message, f"group_by has {', '.join(file.groups)}", True
                    )
                tree = {"region": self._reference.regions, "industry": self._reference.industries}.get(
                    field.partition(".")[0]
                )
                for code in [wanted] if isinstance(wanted, str) else wanted:
                    if tree is not None and spelled(tree, code) is None:
                        message = f"{code!r} is no known {tree.kind}"
                        yield document.error((*place, "when", field), message, nearest(code, tree.codes()))

    def _table_codes(self, document: Document, file: RuleFile) -> Iterator[SourceError]:
        for name, table in (("lead", file.lead), ("joint", file.joint)):
            if not isinstance(table, LeadTable | JointTable) or table.by.partition(".")[0] not in LEVELLED_FIELDS:
                continue
            tree = self._reference.regions if table.by.startswith("region") else self._reference.industries
            for code in table.table:
                if not tree.known(code):
                    hint = f"write {spelled(tree, code)}" if spelled(tree, code) else nearest(code, tree.codes())
                    yield document.error((name, "table", code), f"{code!r} is no known {tree.kind}", hint, key=True)


def referable(steps: Sequence[str]) -> dict[str, str]:
    """Fields, with their types, that a relation may speak of: those of the event, and those of earlier steps."""
    fields = {name: kind for name, kind in FIELDS.items() if kind in REFERABLE and name not in PERSONAL}
    return fields | {f"{step}.{name}": kind for step in steps for name, kind in fields.items()}


def with_kinds(file: RuleFile) -> str:
    """The condition with the kinds of `on`, and what else an event must have, in front of it."""
    if file.rules is not None:
        return file.condition
    kinds = sorted(set(file.on))
    tests = [f"({file.condition}\n)"]
    if file.pattern is not None and not any(step.next for step in file.pattern.steps):
        # What no step looks for need not become a fact, unless it could lie between two steps that must be neighbours.
        steps = [f"({part.where}\n)" for _, part in parts(file.pattern)]
        tests.append(f"({' || '.join(steps)})")
    if file.in_force is not None:
        first, end = (f"timestamp({json.dumps(_moment(day))})" for day in (file.in_force.from_, file.in_force.until))
        tests[:0] = [f"occurred_at >= {first}"] if file.in_force.from_ else []
        tests[:0] = [f"occurred_at < {end}"] if file.in_force.until else []
    if file.window is not None and file.window.within_m is not None:
        tests.insert(0, "present(latitude) && present(longitude)")
    if len(kinds) < len(model.KINDS):
        tests.insert(0, f'kind == "{kinds[0]}"' if len(kinds) == 1 else f"kind in {json.dumps(kinds)}")
    return file.condition if len(tests) == 1 else " && ".join(tests)


def _moment(day: str | None) -> str:
    return f"{day}T00:00:00+08:00"


def shape(document: Document) -> tuple[RuleFile | None, list[SourceError]]:
    """The document as a rule file, with nothing but its shape checked."""
    if not isinstance(document.value, dict):
        return None, [document.error((), "a rule is a mapping of keys to values")]
    try:
        return RuleFile.model_validate_json(json.dumps(document.value)), []
    except ValidationError as error:
        return None, explain(document, error)


def _departments(file: RuleFile) -> Iterator[tuple[Place, str]]:
    yield ("owner",), file.owner
    for row, decision in enumerate(file.decision_table):
        yield ("decision_table", row, "lead"), decision.lead
        for number, department in enumerate(decision.joint):
            yield ("decision_table", row, "joint", number), department
    if isinstance(file.lead, LeadTable):
        yield ("lead", "default"), file.lead.default
        for key, department in file.lead.table.items():
            yield ("lead", "table", key), department
    elif file.lead is not None:
        yield ("lead",), file.lead
    if isinstance(file.joint, JointTable):
        for number, department in enumerate(file.joint.default):
            yield ("joint", "default", number), department
        for key, departments in file.joint.table.items():
            for number, department in enumerate(departments):
                yield ("joint", "table", key, number), department
    else:
        for number, department in enumerate(file.joint):
            yield ("joint", number), department


def _groups(document: Document, file: RuleFile) -> Iterator[SourceError]:
    """What a case and its departments depend on must be the same for every fact of a group: only then do cases and
    tasks not depend on which fact came first."""
    groups = ", ".join(file.groups)
    if len(set(file.groups)) != len(file.groups):
        yield document.error(("group_by",), "a field is there twice")
    for name, table in (("lead", file.lead), ("joint", file.joint)):
        if isinstance(table, LeadTable | JointTable) and table.by not in file.groups:
            yield document.error((name, "by"), f"{table.by} is not in group_by", f"group_by has {groups}")
    if isinstance(file.case, CaseSpec):
        if file.case.key not in ("group", *file.groups):
            yield document.error(("case", "key"), f"{file.case.key} is not in group_by", f"use group, or {groups}")
        if file.lead is None:
            yield document.error(("case",), "a case needs a lead department", "add lead", key=True)
    elif file.decision_table:
        yield document.error(
            ("decision_table",), "it says who leads a case, and this rule opens none", "add case", True
        )
    elif file.clock is not None:
        yield document.error(("clock",), "a clock runs for a case, and this rule opens none", "add case", key=True)


def _windows(document: Document, file: RuleFile) -> Iterator[SourceError]:
    """Parts of a window that do not go together."""
    if file.pattern is not None and file.rules is not None:
        yield document.error(("pattern",), "a rule on alerts has a window, not a pattern", key=True)
    if file.pattern is not None and not milliseconds(file.pattern.lateness):
        yield document.error(("pattern", "lateness"), "the clock settles this rule, and nothing would count", _LATENESS)
    window = file.window
    if window is None:
        return
    working = working_days(window.size) is not None
    at: Place = ("window",)
    if working and window.kind != "sliding":
        yield document.error((*at, "size"), "only a sliding window counts working days", "write days, as in 7d")
    rates = [place for place, trigger in triggers(file) if trigger.rate is not None]
    if rates and (working or window.kind == "session" or window.within_m is not None):
        hint = "use a sliding or tumbling window of a fixed length"
        yield document.error((*rates[0], "rate"), "a rate needs windows that can be laid one behind another", hint)
    judging = judging_of(file, Extras(), ())
    scores = [place for place, trigger in triggers(file) if trigger.score is not None]
    if scores and file.rules is None:
        yield document.error(
            (*scores[0], "score"), "only alerts have weights", "write `on: [alert]` and rules", key=True
        )
    if file.rules is not None and (judging is None or judging.settled or any(map(_asks_numbers, triggers(file)))):
        message = "a rule on alerts counts them, tells them apart or adds up their weights"
        yield document.error(("trigger",), message, "use count, distinct and score", key=True)
    if judging is not None and judging.settled and not milliseconds(window.lateness):
        message = "the clock settles this rule, and nothing would count: lateness is 0s"
        yield document.error(at, message, _LATENESS, key=True)


def _asks_numbers(found: tuple[Place, model.Trigger]) -> bool:
    return any(getattr(found[1], name) is not None for name in ("sum", "max"))


def explain(document: Document, error: ValidationError) -> list[SourceError]:
    """One fault a place. Where a value may have several shapes, the one that got furthest speaks."""
    best: dict[Place, tuple[tuple[int, bool], Place, Any]] = {}
    for problem in error.errors(include_url=False):
        place: Place = ()
        for part in problem["loc"]:
            if (*place, part) in document.positions.values:
                place = (*place, part)
        top = place if problem["type"] == "extra_forbidden" or len(place) < 1 else place[:1]
        top = (*top, problem["loc"][-1]) if problem["type"] == "missing" else top
        rank = (len(place), problem["type"] not in _SEVERAL)
        if top not in best or rank > best[top][0]:
            best[top] = (rank, place, problem)
    faults = [_fault(document, place, problem) for _, place, problem in best.values()]
    return sorted(faults, key=lambda fault: (fault.line, fault.column))


def _fault(document: Document, place: Place, problem: Any) -> SourceError:
    kind = problem["type"]
    if kind == "missing":
        return document.error(place, f"the key {problem['loc'][-1]} is missing", key=bool(place))
    if kind == "extra_forbidden":
        fields = Step if place[:2] == ("pattern", "steps") else _MODELS.get(place[:-1])
        hint = hint_in(str(place[-1])) or (nearest(str(place[-1]), fields.model_fields) if fields else "")
        return document.error(place, f"there is no key {place[-1]} here", hint, key=True)
    context = problem.get("ctx", {})
    name = ".".join(map(str, place)) or "the rule"
    wide = hint_in(problem["input"]) if isinstance(problem.get("input"), str) else ""
    if kind == "literal_error":
        return document.error(place, f"{name} must be {context['expected']}", wide)
    if kind == "string_pattern_mismatch":
        return document.error(place, f"{name} does not have the right form", wide or _form(context["pattern"], problem))
    text = _MESSAGES.get(kind) or problem["msg"][:1].lower() + problem["msg"][1:]
    return document.error(place, f"{name}: {text}", wide if kind in _ONE_WORD else "")


def _form(pattern: str, problem: Any) -> str:
    if pattern == model.FIELD_PATTERN:
        levels = ["region.province", "region.city", "region.county", "industry.section"]
        known = [*model.PLAIN_FIELDS, *levels, *(f"cell.{side}" for side in CELLS)]
        return nearest(str(problem.get("input", "")), known)
    if "[a-z0-9]+" in pattern:
        return "a-z, 0-9 and single dashes"
    return f"it must match {pattern}"
