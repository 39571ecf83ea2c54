"""The conditions of rules: Common Expression Language, checked by Google's cel-cpp, run as generated Python.

    environment = Environment({"kind": CelType.STRING, "amount_fen": CelType.INT})
    checked = environment.check('kind == "complaint" && amount_fen > 500000', path="a.yaml", line=7, column=14)
    matcher = compile_many([("big-complaints", checked)])
    matcher(event)      # → [0] if the condition is true of event.kind and event.amount_fen, else []

A field that is None is missing: a condition that needs it is not true, and `present(field)` asks for it.
A field of type timestamp holds an aware datetime or whole milliseconds since 1970 UTC.
"""

from rules.cel.environment import CelType, Checked, Environment
from rules.cel.evaluation import compile_value, evaluate
from rules.cel.matching import Matcher, compile_many, compile_one
from rules.cel.values import Duration, EvaluationError, Timestamp, Uint

__all__ = [
    "CelType",
    "Checked",
    "Duration",
    "Environment",
    "EvaluationError",
    "Matcher",
    "Timestamp",
    "Uint",
    "compile_many",
    "compile_one",
    "compile_value",
    "evaluate",
]
