"""When a condition is true, as plain Python tests: the form that makes many conditions fast.

A condition is true, false, or without a value. "Is true" and "is false" of `a && b`, `a || b`, `!a` and
`a ? b : c` follow from the same two questions about the parts, exactly as CEL absorbs errors: `a && b` is true
when both are, and false when either is. So a condition becomes a formula of `AllOf` and `AnyOf` over atoms,
tests that never raise for a missing field. An atom is written in Python for the common shapes (a field compared
with a constant); any other part is computed by the general evaluator and asked for its value.

In the tests' source, `«name»` stands for a field of the event, and `‹g1›` for what the function g1 computes from it:
whether they are read once or kept is the matcher's decision. `⟨w1⟩` stands for a test for words, of which there are
two forms; `word_tests` says for which.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from rules.cel.environment import Checked
from rules.cel.functions import CodesWithin
from rules.cel.patterns import searcher
from rules.cel.python_code import ValueWriter, attribute, flattened
from rules.cel.tree import Call, Constant, Identifier, ListOf, Node, Tree, walk
from rules.cel.values import Value

MAX_INDEXED = 64
"""A test against more constants than this is not used to look conditions up."""


@dataclass(frozen=True, slots=True)
class Atom:
    """One test. `source` identifies it: equal sources are the same test. `cost` is in units of a comparison.

    `equals` says that it is true only when the field has one of the constants; `words` that it is true only when one
    of the words is in the field's text.
    """

    source: str
    cost: int = 1
    equals: tuple[str, tuple[Value, ...]] | None = field(default=None, compare=False)
    words: tuple[str, frozenset[str]] | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class WordTest:
    """Whether a field's text holds one of the words, or, unless `wanted`, surely holds none."""

    field: str
    words: frozenset[str]
    wanted: bool


@dataclass(frozen=True, slots=True)
class AllOf:
    parts: tuple[Formula, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    parts: tuple[Formula, ...]


Formula: TypeAlias = Atom | AllOf | AnyOf

ALWAYS = AllOf(())
NEVER = AnyOf(())

_SIGNS = {"_<_": "<", "_<=_": "<=", "_>_": ">", "_>=_": ">=", "_==_": "==", "_!=_": "!="}
_MIRRORED = {"<": ">", "<=": ">=", ">": "<", ">=": "<=", "==": "==", "!=": "!="}
_PLAIN = frozenset(("string", "int", "uint", "double", "bytes"))
_SIZED = frozenset(("string", "bytes"))


def all_of(parts: list[Formula]) -> Formula:
    """True when every part is."""
    flat: dict[Formula, None] = {}
    for part in parts:
        flat.update(dict.fromkeys(part.parts if isinstance(part, AllOf) else (part,)))
    if NEVER in flat:
        return NEVER
    return next(iter(flat)) if len(flat) == 1 else AllOf(tuple(flat))


def any_of(parts: list[Formula]) -> Formula:
    """True when some part is."""
    flat: dict[Formula, None] = {}
    for part in parts:
        flat.update(dict.fromkeys(part.parts if isinstance(part, AnyOf) else (part,)))
    if ALWAYS in flat:
        return ALWAYS
    return next(iter(flat)) if len(flat) == 1 else AnyOf(tuple(flat))


class FormulaWriter:
    """Turns checked expressions into formulas that share constants, functions and word finders.

    `finder_words` gathers, for each field, the words that any condition looks for in it; `finders` names the global
    that must be bound to a finder of those words. `general` maps the source of a value to the function computing it.
    """

    def __init__(self, writer: ValueWriter) -> None:
        self.writer = writer
        self.finder_words: dict[str, set[str]] = {}
        self.finders: dict[str, str] = {}
        self.word_tests: dict[str, WordTest] = {}
        self._word_keys: dict[str, str] = {}
        self.general: dict[str, str] = {}
        self._helpers: dict[tuple[str, str], str] = {}
        self._tree = Tree(Constant(0, None))

    def write(self, checked: Checked) -> Formula:
        """When the expression is true."""
        self._tree = checked.tree
        return self._formula(checked.tree.root, True)

    def _formula(self, node: Node, wanted: bool) -> Formula:
        if isinstance(node, Constant):
            return ALWAYS if node.value is wanted else NEVER
        if isinstance(node, Call):
            if node.function in ("_&&_", "_||_"):
                parts = [self._formula(each, wanted) for each in flattened(node, node.function)]
                return all_of(parts) if (node.function == "_&&_") is wanted else any_of(parts)
            if node.function == "!_":
                return self._formula(node.arguments[0], not wanted)
            if node.function == "_?_:_":
                condition, then, otherwise = node.arguments
                if _chooses(condition):
                    # Both questions about both branches, level by level, would double at each.
                    return self._general(node, wanted)
                return any_of(
                    [
                        all_of([self._formula(condition, True), self._formula(then, wanted)]),
                        all_of([self._formula(condition, False), self._formula(otherwise, wanted)]),
                    ]
                )
            plain = self._plain_call(node, wanted)
            if plain is not None:
                return plain
        name = self._field(node)
        if name is not None and self._type(node) == "bool":
            return Atom(f"«{name}» is {wanted}")
        return self._general(node, wanted)

    def _general(self, node: Node, wanted: bool) -> Formula:
        return Atom(f"{self._computed(node)} is {wanted}", cost=20)

    def _computed(self, node: Node) -> str:
        """Source for the value of a node, None for an error: `‹g1›`, which the matcher calls or remembers."""
        return self._function(self.writer.write(self._tree, node))

    def _function(self, value: str) -> str:
        if value not in self.general:
            name = self.writer.fresh("g")
            self.general[value] = name
            self.writer.lines.append(
                f"def {name}(e):\n    try:\n        return {value}\n    except EvaluationError:\n        return None"
            )
        return f"‹{self.general[value]}›"

    def _plain_call(self, node: Call, wanted: bool) -> Formula | None:
        """The test for a call in one of the common shapes; None if it has another."""
        name = node.function
        if name in _SIGNS:
            return self._comparison(node, wanted)
        if name == "@in":
            return self._membership(node, wanted)
        if name == "present":
            field_name = self._field(node.arguments[0])
            return None if field_name is None else Atom(f"«{field_name}» is {'not ' if wanted else ''}None")
        operands = ([] if node.target is None else [node.target]) + list(node.arguments)
        subject = self._field(operands[0]) if operands else None
        if subject is None or self._type(operands[0]) != "string" or len(operands) != 2:
            return None
        shape = _TEXT_CALLS.get(name)
        return shape(self, subject, operands[1], wanted) if shape is not None else None

    def _comparison(self, node: Call, wanted: bool) -> Formula | None:
        left, right = node.arguments
        sign = _SIGNS[node.function]
        if isinstance(left, Constant) and not isinstance(right, Constant):
            left, right, sign = right, left, _MIRRORED[sign]
        if self._type(left) != self._type(right):
            return None
        if sign == "!=":
            sign, wanted = "==", not wanted
        name = self._field(left)
        if name is None:
            return self._size_comparison(left, sign, right, wanted) or self._computed_comparison(
                left, sign, right, wanted
            )
        if self._type(left) == "bool" and isinstance(right, Constant) and sign == "==":
            return Atom(f"«{name}» is {right.value is wanted}")
        if self._type(left) not in _PLAIN:
            return None
        other = self._field(right)
        if other is not None:
            test = _affirmed(f"«{name}» {sign} «{other}»", wanted)
            return Atom(f"«{name}» is not None and «{other}» is not None and {test}", cost=2)
        if not isinstance(right, Constant):
            return None
        test = f"«{name}» {sign} {self.writer.constant(right.value)}"
        if sign == "==" and wanted:
            indexable = self._type(left) in ("string", "int")
            return Atom(test, equals=(name, (right.value,)) if indexable else None)
        return Atom(f"«{name}» is not None and {_affirmed(test, wanted)}")

    def _size_comparison(self, left: Node, sign: str, right: Node, wanted: bool) -> Formula | None:
        if not (isinstance(left, Call) and left.function == "size" and isinstance(right, Constant)):
            return None
        subject = left.target if left.target is not None else left.arguments[0]
        name = self._field(subject)
        if name is None or not self._type(subject).startswith(("string", "bytes", "list", "map")):
            return None
        test = _affirmed(f"len(«{name}») {sign} {self.writer.constant(right.value)}", wanted)
        return Atom(f"«{name}» is not None and {test}", cost=2)

    def _computed_comparison(self, left: Node, sign: str, right: Node, wanted: bool) -> Formula | None:
        if self._type(left) not in _PLAIN or not isinstance(right, Constant):
            return None
        value = self._computed(left)
        test = _affirmed(f"{value} {sign} {self.writer.constant(right.value)}", wanted)
        return Atom(f"{value} is not None and {test}", cost=20)

    def _membership(self, node: Call, wanted: bool) -> Formula | None:
        element, container = node.arguments
        name = self._field(element)
        if name is not None and isinstance(container, ListOf) and not container.optional:
            values = [each.value for each in container.elements if isinstance(each, Constant)]
            same = all(self._type(each) == self._type(element) for each in container.elements)
            if len(values) == len(container.elements) and same and self._type(element) in ("string", "int"):
                return self._one_of(name, tuple(dict.fromkeys(values)), wanted)
        name = self._field(container)
        if name is not None and isinstance(element, Constant) and self._type(element) == "string":
            negation = "" if wanted else "not "
            if self._type(container) == "list(string)":
                constant = self.writer.constant(element.value)
                return Atom(f"«{name}» is not None and {constant} {negation}in «{name}»", cost=2)
        return None

    def _one_of(self, name: str, values: tuple[Value, ...], wanted: bool) -> Formula:
        if not values:
            return NEVER if wanted else Atom(f"«{name}» is not None")
        listed = f"{{{', '.join(map(self.writer.constant, sorted(values)))}}}"
        if not wanted:
            return Atom(f"«{name}» is not None and «{name}» not in {listed}")
        return Atom(f"«{name}» in {listed}", equals=(name, values) if len(values) <= MAX_INDEXED else None)

    def _text_part(self, name: str, function: str, part: Node, wanted: bool) -> Formula | None:
        if not isinstance(part, Constant):
            return None
        constant = self.writer.constant(part.value)
        test = f"«{name}».{function}({constant})" if function else f"{constant} in «{name}»"
        return Atom(f"«{name}» is not None and {_affirmed(test, wanted)}", cost=3)

    def _pattern(self, name: str, pattern: Node, wanted: bool) -> Formula | None:
        if not isinstance(pattern, Constant):
            return None
        text = str(pattern.value)
        search = self._helper("search", text, lambda: searcher(text))
        read = attribute(name)
        value = self._function(f"None if {read} is None else {search}({read})")
        return Atom(f"{value} is {wanted}", cost=30)

    def _words(self, name: str, words: Node, wanted: bool) -> Formula | None:
        if not isinstance(words, ListOf) or words.optional:
            return None
        constants = [each.value for each in words.elements if isinstance(each, Constant) and type(each.value) is str]
        if len(constants) != len(words.elements):
            return None
        texts = frozenset(constants)
        self.finder_words.setdefault(name, set()).update(texts)
        self.finders.setdefault(name, f"find_{len(self.finders)}")
        key = f"{name} {wanted} {' '.join(map(repr, sorted(texts)))}"
        if key not in self._word_keys:
            self._word_keys[key] = f"w{len(self._word_keys)}"
            self.word_tests[self._word_keys[key]] = WordTest(name, texts, wanted)
        sought = (name, texts) if wanted else None
        return Atom(f"⟨{self._word_keys[key]}⟩", cost=10, words=sought)

    def words_source(self, test: WordTest, one_by_one: bool) -> str:
        """Source for a test for words: one after another, or through the pass that all conditions share."""
        name = test.field
        if one_by_one:
            found = " or ".join(f"{self.writer.constant(word)} in «{name}»" for word in sorted(test.words))
            return f"«{name}» is not None and {'' if test.wanted else 'not '}({found})"
        bound = self._helper("words", repr(sorted(test.words)), lambda: test.words)
        absent = f"{self.finders[name]}(«{name}»).isdisjoint({bound})"
        return f"not {absent}" if test.wanted else f"«{name}» is not None and {absent}"

    def _code(self, name: str, function: str, ancestor: Node, wanted: bool) -> Formula | None:
        if not isinstance(ancestor, Constant):
            return None
        ask = self.writer.extensions[function].implementation
        code = str(ancestor.value)
        known = self._helper(function, code, lambda: CodesWithin(ask, code))
        return Atom(f"{known}[«{name}»] is {wanted}", cost=2)

    def _helper(self, kind: str, key: str, make: Callable[[], object]) -> str:
        if (kind, key) not in self._helpers:
            self._helpers[kind, key] = self.writer.bind(kind, make())
        return self._helpers[kind, key]

    def _field(self, node: Node) -> str | None:
        if not isinstance(node, Identifier):
            return None
        name = node.name.removeprefix(".")
        return name if name in self.writer.fields else None

    def _type(self, node: Node) -> str:
        return self._tree.types.get(node.id, "dyn") if self._tree.checked else "dyn"


def _chooses(node: Node) -> bool:
    return any(isinstance(each, Call) and each.function == "_?_:_" for each in walk(node))


def _affirmed(test: str, wanted: bool) -> str:
    # Negated as a whole and not by the opposite sign: every comparison with NaN is false.
    return test if wanted else f"not {test}"


_TEXT_CALLS: dict[str, Callable[[FormulaWriter, str, Node, bool], Formula | None]] = {
    "startsWith": lambda self, name, part, wanted: self._text_part(name, "startswith", part, wanted),
    "endsWith": lambda self, name, part, wanted: self._text_part(name, "endswith", part, wanted),
    "contains": lambda self, name, part, wanted: self._text_part(name, "", part, wanted),
    "matches": lambda self, name, part, wanted: self._pattern(name, part, wanted),
    "contains_any": lambda self, name, part, wanted: self._words(name, part, wanted),
    "region_within": lambda self, name, part, wanted: self._code(name, "region_within", part, wanted),
    "industry_within": lambda self, name, part, wanted: self._code(name, "industry_within", part, wanted),
}
