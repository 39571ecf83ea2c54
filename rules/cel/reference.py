"""Google's own evaluator as the reference that the compiled conditions are held against. For tests and benches.

cel-cpp cannot be given a missing field as an argument, so `present(field)` is rewritten to a bool of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from cel_expr_python import cel

from rules.cel.binding import cel_type, declaration

_PRESENT = re.compile(r"\bpresent\(\s*([A-Za-z_]\w*)\s*\)")


def reference(environment: Any, text: str) -> Callable[[Mapping[str, Any]], Any]:
    """A function that evaluates a checked text with cel-cpp: fields by name, None for missing.

    It gives the value, or None for an error. `environment` is an `Environment`; times are aware datetimes.
    """
    asked = frozenset(_PRESENT.findall(text))
    types = {name: cel_type(type_) for name, type_ in environment.fields.items()}
    types |= {f"present__{name}": cel.Type.BOOL for name in asked}
    functions = [declaration(each) for each in environment.extensions.values()]
    compiled = cel.NewEnv(variables=types, functions=functions).compile(_PRESENT.sub(r"present__\1", text))

    def evaluate(fields: Mapping[str, Any]) -> Any:
        data = {name: _handed(value) for name, value in fields.items() if value is not None}
        data |= {f"present__{name}": fields.get(name) is not None for name in asked}
        found = compiled.eval(data=data)
        return None if found.type() == cel.Type.ERROR else found.value()

    return evaluate


def _handed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
