"""`matches()`: RE2 regular expressions.

CEL's patterns are RE2's, searched in linear time. Python's `re` differs in meaning (`\\d`, `$`, `\\w` over
Unicode) and can take exponential time, which a rule must never be able to. So the patterns whose meaning is the
same in both and whose time is linear run on `re`, and all others run on RE2 itself, through Google's evaluator.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from cel_expr_python import cel

from rules.cel.semantics import no_overload
from rules.cel.values import EvaluationError, Value

_ENVIRONMENT = cel.NewEnv(variables={"text": cel.Type.STRING, "pattern": cel.Type.STRING})
_EXPRESSION = _ENVIRONMENT.compile("text.matches(pattern)")

# Letters of any script, spaces and a few marks mean themselves in both. Without repetition every search is linear.
_ATOM = r"(?:[^\W_]|[ _,;:@#%&=<>!\"'/~-]|\\[.\\+*?()|\[\]{}^$]|\[(?:[^\W_]|-(?=[^\W_]))+\]|\.)"
_PLAIN = re.compile(rf"\^?{_ATOM}*\$?|\^?{_ATOM}+(?:\|\^?{_ATOM}+)*")
_ENDING = re.compile(r"(?<!\\)(?:\\\\)*\$\Z")  # a `$` that no backslash takes for a character
_LONGEST_PLAIN = 1000


def matches(text: Value, pattern: Value) -> bool:
    """`text.matches(pattern)`: whether the pattern occurs in the text. An invalid pattern is an error."""
    if not isinstance(text, str) or not isinstance(pattern, str):
        raise no_overload("matches", text, pattern)
    search = _python_search(pattern)
    return search(text) if search is not None else _re2(text, pattern)


@lru_cache(maxsize=10_000)
def _python_search(pattern: str) -> Callable[[str], bool] | None:
    if len(pattern) > _LONGEST_PLAIN or not _PLAIN.fullmatch(pattern):
        return None
    # RE2's `$` is the very end; Python's also stands before a last newline.
    try:
        compiled = re.compile(pattern[:-1] + r"\Z" if _ENDING.search(pattern) else pattern)
    except (re.error, OverflowError):
        return None
    return lambda text: compiled.search(text) is not None


def fault_of(pattern: Value) -> str:
    """What is wrong with a constant pattern; empty if nothing."""
    if not isinstance(pattern, str):
        return "it is not a text"
    try:
        matches("", pattern)
    except EvaluationError as error:
        return str(error)
    return ""


def searcher(pattern: str) -> Callable[[str], bool]:
    """A function that searches texts for one valid pattern."""
    search = _python_search(pattern)
    return search if search is not None else lambda text: _re2(text, pattern)


def _re2(text: str, pattern: str) -> bool:
    try:
        found = _EXPRESSION.eval(data={"text": text, "pattern": pattern}).value()
    except (RuntimeError, ValueError, TypeError) as error:
        # A lone surrogate cannot be handed over.
        raise EvaluationError(f"the text cannot be searched: {error}") from error
    if isinstance(found, bool):
        return found
    raise EvaluationError(f"{pattern!r} is not a regular expression of RE2: {found}")
