"""CEL's lists, maps and optional values: literals, lookup, and the fold behind the macros.

As in `semantics`, every function gives a value or raises EvaluationError. Source: cel-spec doc/langdef.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from rules.cel.semantics import KEYS, NUMBERS, Thunk, find, no_overload
from rules.cel.values import NONE, EvaluationError, KeyedMap, Optional, Value, adapt, kind_of


def make_map(*entries: tuple[Value, Value]) -> Mapping[Value, Value]:
    """A map literal. Keys are bool, int, uint or string, each once (1 and 1u are the same key)."""
    plain: dict[Value, Value] = {}
    keyed = False
    for key, value in entries:
        if kind_of(key) not in KEYS:
            raise EvaluationError(f"a {kind_of(key)} cannot be the key of a map")
        keyed = keyed or type(key) is bool
        plain[key] = value
    made: Mapping[Value, Value] = KeyedMap(entries) if keyed else plain
    if len(made) != len(entries):
        raise EvaluationError("a key occurs twice in the map")
    return made


def index(container: Value, key: Value) -> Value:
    """`container[key]`."""
    if isinstance(container, Optional):
        return optional_index(container, key)
    kind = kind_of(container)
    if kind == "map":
        found = find(container, key)
        if found.present:
            return found.value
        raise EvaluationError(f"no such key: {key!r}")
    if kind != "list":
        raise no_overload("[]", container, key)
    if kind_of(key) not in NUMBERS or key != key or (isinstance(key, float) and not key.is_integer()):
        raise no_overload("[]", container, key)
    if not 0 <= key < len(container):
        raise EvaluationError(f"index {key} of a list of {len(container)}")
    return adapt(container[int(key)])


def select(container: Value, name: str) -> Value:
    """`container.name`."""
    if isinstance(container, Optional):
        return optional_index(container, name)
    if kind_of(container) != "map":
        raise no_overload(f".{name}", container)
    try:
        return adapt(container[name])
    except KeyError:
        raise EvaluationError(f"no such key: {name!r}") from None


def has(container: Value, name: str) -> bool:
    """`has(container.name)`."""
    if isinstance(container, Optional):
        return container.present and has(container.value, name)
    if kind_of(container) != "map":
        raise no_overload(f"has .{name}", container)
    return name in container


def optional_index(container: Value, key: Value) -> Optional:
    """`container[?key]` and `container.?key`: an optional, empty where the lookup would fail."""
    if isinstance(container, Optional):
        return optional_index(container.value, key) if container.present else NONE
    kind = kind_of(container)
    if kind == "map":
        return find(container, key)
    if kind == "list" and kind_of(key) in NUMBERS:
        return Optional(True, adapt(container[int(key)])) if 0 <= key < len(container) else NONE
    raise no_overload("[?]", container, key)


def make_list(*parts: Iterable[Value]) -> list[Value]:
    """A list literal with optional elements: each part gives none or one."""
    return [element for part in parts for element in part]


def make_optional_map(*entries: tuple[Value, Value, bool]) -> Mapping[Value, Value]:
    """A map literal in which the entries marked true are left out when their value is an empty optional."""
    kept = []
    for key, value, optional in entries:
        if optional:
            kept += [(key, each) for each in optional_part(value)]
        else:
            kept.append((key, value))
    return make_map(*kept)


def put(mapping: Value, entries: Value) -> Mapping[Value, Value]:
    """The map with the entries added; a key that it has is an error."""
    if kind_of(mapping) != "map" or kind_of(entries) != "map":
        raise no_overload("transformMap", mapping, entries)
    return make_map(*mapping.items(), *entries.items())


def optional_or(value: Value, other: Thunk) -> Value:
    """`value.or(other)`: the first optional that is not empty."""
    if not isinstance(value, Optional):
        raise no_overload("or", value)
    return value if value.present else other()


def optional_or_value(value: Value, other: Thunk) -> Value:
    """`value.orValue(other)`: what the optional holds, or else the other value."""
    if not isinstance(value, Optional):
        raise no_overload("orValue", value)
    return value.value if value.present else other()


def optional_part(value: Value) -> tuple[Value, ...]:
    """What `?value` adds to a list literal."""
    if not isinstance(value, Optional):
        raise no_overload("?", value)
    return (value.value,) if value.present else ()


def fold(
    values: Value,
    start: Thunk,
    proceed: Callable[[Value, Value, Thunk], bool],
    step: Callable[[Value, Value, Thunk], Value],
    result: Callable[[Thunk], Value],
    paired: bool,
) -> Value:
    """A comprehension. The accumulator may hold an error, which is raised when it is read: `all` and `exists`
    go on over an element that has no value. With `paired`, a list gives (index, element), a map (key, value)."""
    kind = kind_of(values)
    if kind not in ("list", "map"):
        raise no_overload("a comprehension", values)
    accumulated = _caught(start)
    for position, each in enumerate(values):
        element = adapt(each)
        first, second = element, None
        if paired:
            first, second = (element, adapt(values[element])) if kind == "map" else (position, element)
        held = _reading(accumulated)
        if not proceed(first, second, held):
            break
        accumulated = _caught(lambda: step(first, second, held))  # noqa: B023 - called at once
    return result(_reading(accumulated))


def _caught(compute: Thunk) -> Value | EvaluationError:
    try:
        return compute()
    except EvaluationError as error:
        return error


def _reading(accumulated: Value | EvaluationError) -> Thunk:
    def read() -> Value:
        if isinstance(accumulated, EvaluationError):
            raise accumulated
        return accumulated

    return read
