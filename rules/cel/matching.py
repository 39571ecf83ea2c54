"""All active conditions as one generated Python function from an event to the conditions that are true.

Three things keep it fast however many conditions there are:

- conditions that need a field to equal a constant are looked up by the field's value, so that rules for other
  categories cost nothing; many conditions that look for words are looked up by the words found;
- a test that several conditions share is made once, and guards them all;
- a value that takes work (arithmetic, patterns, distances) is computed at most once an event.

An event that breaks the types of its fields makes a condition not true. It never raises.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeAlias

from rules.cel.environment import Checked
from rules.cel.evaluation import Fields, compile_value
from rules.cel.formula import ALWAYS, AllOf, Atom, Formula, FormulaWriter
from rules.cel.functions import WordFinder
from rules.cel.python_code import ValueWriter, attribute
from rules.cel.values import EvaluationError, Value

Matcher: TypeAlias = Callable[[Any], list[int]]
"""From an event to the positions of the true conditions, ascending."""

OnError: TypeAlias = Callable[[str, Exception], None]
"""Told the name of a rule and what Python raised for it: the event broke the types of its fields."""

_FEWEST_TO_LOOK_UP = 4
_FEWEST_TO_LOOK_UP_BY_WORD = 8
_DEEPEST = 12
_CHEAP = 3
_FIELD = re.compile("«([^»]+)»")
_COMPUTED = re.compile("‹([^›]+)›")
_WORDS = re.compile("⟨([^⟩]+)⟩")
_FEW_WORDS = 8
"""Up to so many words in one function are looked for one after another: faster than the shared pass."""


def compile_one(checked: Checked) -> Callable[[Any], bool]:
    """A function from an event (fields as attributes, or a mapping) to whether the condition is true of it."""
    match = compile_many([("", checked)])
    return lambda event: bool(match(Fields(event) if isinstance(event, Mapping) else event))


def compile_many(conditions: Sequence[tuple[str, Checked]], on_error: OnError | None = None) -> Matcher:
    """One function for all conditions, given with their rules' names. They must be of one environment.

    The function takes an event with the fields as attributes, None for missing, and never raises. `on_error` is told
    of conditions that could not be evaluated because the event broke the types of its fields.
    """
    if not conditions:
        return lambda _event: []
    first = conditions[0][1]
    values = ValueWriter(first.types, first.extensions)
    formulas = FormulaWriter(values)
    rows = [_Row(place, _parts(formulas.write(checked))) for place, (_, checked) in enumerate(conditions)]
    source = _MatcherWriter(values, formulas).write(rows)
    names = dict(values.names)
    for field, finder in formulas.finders.items():
        names[finder] = WordFinder(formulas.finder_words[field])
    names["one_by_one"] = _one_by_one(conditions, on_error)
    exec(compile(source, "<conditions>", "exec"), names)  # noqa: S102 - our own source; texts enter it only by repr
    matcher: Matcher = names["match"]
    return matcher


def _one_by_one(conditions: Sequence[tuple[str, Checked]], on_error: OnError | None) -> Matcher:
    """The slow way, for an event on which the generated function raised: what one condition does harms no other."""

    @lru_cache(maxsize=len(conditions))
    def evaluator(place: int) -> Callable[[Any], Value]:
        return compile_value(conditions[place][1])

    def match(event: Any) -> list[int]:
        true = []
        for place, (name, _) in enumerate(conditions):
            try:
                if evaluator(place)(event) is True:
                    true.append(place)
            except EvaluationError as error:
                if error.__cause__ is not None and isinstance(error.__cause__, Exception) and on_error:
                    on_error(name, error.__cause__)
            except Exception as error:  # noqa: BLE001 - a rule must not stop the stream; the reason goes to on_error
                if on_error:
                    on_error(name, error)
        return true

    return match


@dataclass(frozen=True, slots=True)
class _Row:
    """A condition that is left to decide: true when all its parts are."""

    place: int
    parts: tuple[Formula, ...]

    def without(self, part: Formula) -> _Row:
        return _Row(self.place, tuple(each for each in self.parts if each != part))


def _parts(formula: Formula) -> tuple[Formula, ...]:
    return formula.parts if isinstance(formula, AllOf) else (formula,)


def _cost(formula: Formula) -> int:
    return formula.cost if isinstance(formula, Atom) else sum(map(_cost, formula.parts))


def _source(formula: Formula) -> str:
    if isinstance(formula, Atom):
        return formula.source
    parts = [_source(each) for each in sorted(formula.parts, key=_cost)]
    if isinstance(formula, AllOf):
        return " and ".join(parts) if parts else "True"
    return f"({' or '.join(f'({each})' for each in parts)})" if parts else "False"


class _MatcherWriter:
    """Writes the source of `match` and of the functions and tables that it needs."""

    def __init__(self, values: ValueWriter, formulas: FormulaWriter) -> None:
        self._values = values
        self._formulas = formulas
        self._functions: list[tuple[str, list[str]]] = []
        self._tables: list[str] = []

    def write(self, rows: list[_Row]) -> str:
        root = self._with_words(self._block(rows, 0))
        self._functions = [(name, self._with_words(lines)) for name, lines in self._functions]
        used = Counter(
            name for _, lines in [*self._functions, ("", root)] for name in _COMPUTED.findall("\n".join(lines))
        )
        shared = {name for name, times in used.items() if times > 1}
        parts = list(self._values.lines)
        parts += [_remembering(name) for name in sorted(shared)]
        parts += [_function(f"def {name}(e, out, memo):", lines, shared) for name, lines in self._functions]
        parts += self._tables
        parts.append(_root(root, shared))
        return "\n".join(parts)

    def _with_words(self, lines: list[str]) -> list[str]:
        """The lines with their tests for words written out."""
        tests = self._formulas.word_tests
        sought: defaultdict[str, set[str]] = defaultdict(set)
        for key in _WORDS.findall("\n".join(lines)):
            sought[tests[key].field] |= tests[key].words

        def source(found: re.Match[str]) -> str:
            test = tests[found[1]]
            return self._formulas.words_source(test, len(sought[test.field]) <= _FEW_WORDS)

        return [_WORDS.sub(source, line) for line in lines]

    def _block(self, rows: list[_Row], depth: int) -> list[str]:
        """Lines that append to `out` the places of those rows that are true."""
        lines: list[str] = []
        while depth < _DEEPEST:
            rows, more = self._looked_up(rows, depth)
            if not more:
                break
            lines += more
        if depth < _DEEPEST:
            rows, more = self._looked_up_by_word(rows, depth)
            lines += more
        for guard, group in _grouped(rows):
            if guard is not None and len(group) > 1 and depth < _DEEPEST:
                inner = self._block([row.without(guard) for row in group], depth + 1)
                lines += [f"if {_source(guard)}:", *("    " + line for line in inner)]
                continue
            for row in group:
                lines += _single(row)
        return lines

    def _looked_up(self, rows: list[_Row], depth: int) -> tuple[list[_Row], list[str]]:
        """Takes out the rows that need one field to equal a constant; the field that decides most of them."""
        constants: defaultdict[str, set[Value]] = defaultdict(set)
        needing: Counter[str] = Counter()
        for row in rows:
            for name, atom in _equalities(row).items():
                constants[name].update(atom.equals[1] if atom.equals else ())
                needing[name] += 1
        worthy = [name for name in constants if needing[name] >= _FEWEST_TO_LOOK_UP and len(constants[name]) > 1]
        if not worthy:
            return rows, []
        field = max(worthy, key=lambda name: (len(constants[name]), needing[name], name))
        buckets: defaultdict[Value, list[_Row]] = defaultdict(list)
        left = []
        for row in rows:
            found = _equalities(row).get(field)
            if found is None or found.equals is None:
                left.append(row)
                continue
            for value in found.equals[1]:
                buckets[value].append(row.without(found))
        table = self._table("by", {value: self._bucket(bucket, depth) for value, bucket in buckets.items()})
        chosen = self._values.fresh("f")
        return left, [f"{chosen} = {table}.get(«{field}»)", f"if {chosen} is not None:", f"    {chosen}(e, out, memo)"]

    def _looked_up_by_word(self, rows: list[_Row], depth: int) -> tuple[list[_Row], list[str]]:
        """Takes out the rows that need a word in a text, when they are many."""
        needing = Counter(name for row in rows for name in _wordings(row))
        if not needing or needing.most_common(1)[0][1] < _FEWEST_TO_LOOK_UP_BY_WORD:
            return rows, []
        field = needing.most_common(1)[0][0]
        left: list[_Row] = []
        alike: defaultdict[frozenset[str], list[_Row]] = defaultdict(list)
        for row in rows:
            found = _wordings(row).get(field)
            if found is None or found.words is None:
                left.append(row)
            else:
                alike[found.words[1]].append(row.without(found))
        by_word: defaultdict[str, list[str]] = defaultdict(list)
        for words, group in alike.items():
            function = self._bucket(group, depth)
            for word in words:
                by_word[word].append(function)
        table = self._table("holding", {word: f"({', '.join(names)},)" for word, names in by_word.items()})
        found_words = f"{self._formulas.finders[field]}(«{field}»)"
        return left, [
            f"for f in {{f for word in {found_words} for f in {table}.get(word, ())}}:",
            "    f(e, out, memo)",
        ]

    def _bucket(self, rows: list[_Row], depth: int) -> str:
        name = self._values.fresh("bucket")
        self._functions.append((name, self._block(rows, depth + 1)))
        return name

    def _table(self, prefix: str, entries: Mapping[Value, str]) -> str:
        name = self._values.fresh(prefix)
        inside = ", ".join(f"{self._values.constant(key)}: {function}" for key, function in entries.items())
        self._tables.append(f"{name} = {{{inside}}}")
        return name


def _equalities(row: _Row) -> dict[str, Atom]:
    return {each.equals[0]: each for each in row.parts if isinstance(each, Atom) and each.equals}


def _wordings(row: _Row) -> dict[str, Atom]:
    return {each.words[0]: each for each in row.parts if isinstance(each, Atom) and each.words}


def _grouped(rows: list[_Row]) -> list[tuple[Formula | None, list[_Row]]]:
    """The rows, each under the cheap test that it shares with most others; None for those that share none."""
    shared = Counter(part for row in rows for part in set(row.parts) if _cost(part) <= _CHEAP and part != ALWAYS)
    groups: dict[Formula | None, list[_Row]] = {}
    for row in rows:
        candidates = [part for part in row.parts if shared[part] > 1]
        guard = max(candidates, key=lambda part: (shared[part], _source(part))) if candidates else None
        groups.setdefault(guard, []).append(row)
    return list(groups.items())


def _single(row: _Row) -> list[str]:
    if not row.parts:
        return [f"out.append({row.place})"]
    test = " and ".join(_source(part) for part in sorted(row.parts, key=_cost))
    return [f"if {test}:", f"    out.append({row.place})"]


def _remembering(name: str) -> str:
    return (
        f"def kept_{name}(e, memo):\n"
        f"    if {name!r} in memo:\n        return memo[{name!r}]\n"
        f"    memo[{name!r}] = value = {name}(e)\n    return value"
    )


def _function(head: str, lines: list[str], shared: set[str], indent: str = "    ") -> str:
    """A function whose body has its fields filled in: read where they stand, or once if they are needed twice."""
    body = "\n".join(indent + line for line in lines or ["pass"])
    reads: list[str] = []
    for name, times in Counter(_FIELD.findall(body)).items():
        local = f"v{len(reads)}"
        if times > 1:
            reads.append(f"{indent}{local} = {attribute(name)}")
        body = body.replace(f"«{name}»", local if times > 1 else attribute(name))
    body = _COMPUTED.sub(lambda found: f"kept_{found[1]}(e, memo)" if found[1] in shared else f"{found[1]}(e)", body)
    return "\n".join([head, *reads, body])


def _root(lines: list[str], shared: set[str]) -> str:
    inner = _function("    try:", lines, shared, indent="        ")
    return "\n".join(
        [
            "def match(e):",
            "    out = []",
            f"    memo = {'{}' if shared else 'None'}",
            inner,
            "    except Exception:",
            "        return one_by_one(e)",
            "    if len(out) > 1:",
            "        out.sort()",
            "    return out",
        ]
    )
