"""What an alert or a case is about: the values that its rule groups by, as people read them. Must not ask the store."""

from __future__ import annotations

from collections.abc import Callable

from dashboards import wording
from dashboards.dependencies import RulesInfo
from dashboards.naming import Namer
from dashboards.texts import Words
from jianguan.domain.alert import Alert
from jianguan.domain.case import Case
from jianguan.domain.ids import SEPARATOR
from jianguan.domain.masking import without_hashes

Values = list[tuple[str, str]]  # (field, value); the field is "" when nobody knows it any more


class Groups:
    """Reads the keys of alerts and cases. `rules` is asked only about alerts whose case does not tell their fields."""

    def __init__(self, rules: Callable[[], RulesInfo], namer: Namer) -> None:
        self._rules = rules
        self._namer = namer

    def values(self, thing: Alert | Case) -> Values:
        """What the group of an alert, or what the alerts of a case, have in common."""
        told = _of_case_key(thing.case_key or "")
        if isinstance(thing, Case):
            return told
        values = thing.key.split(SEPARATOR)
        if [value for _, value in told] == values:
            return told
        fields = next(
            (rule.group_by for rule in self._rules().rules if (rule.id, rule.version) == (thing.rule, thing.version)),
            (),
        )
        return list(zip(fields if len(fields) == len(values) else [""] * len(values), values, strict=True))

    def told(self, thing: Alert | Case, words: Words) -> Values:
        """(label, value) of each, in the reader's language. Enterprises by their names; a reporter is not told."""
        return [
            (
                wording.capital(words.or_else(f"of.{field}", field)),
                (thing.enterprise_name or value) if field == "enterprise" else self.value(field, value, words),
            )
            for field, value in self.values(thing)
        ]

    def brief(self, thing: Alert | Case, words: Words) -> str:
        """What a row says where it names no enterprise. The region has a place of its own."""
        values = [
            self.value(field, value, words)
            for field, value in self.values(thing)
            if field != "enterprise" and _stem(field) != "region"
        ]
        return " · ".join(values)

    def elsewhere(self, thing: Alert | Case) -> bool:
        """Whether the group may lie in many regions, so that the one it is stored with is only that of one event."""
        fields = {_stem(field) for field, _ in self.values(thing)}
        return bool(fields) and not fields & {"region", "enterprise", "address", ""}

    def value(self, field: str, value: str, words: Words) -> str:
        """One value, in the reader's language. An enterprise as it is: its name is known to the alert or case alone."""
        match _stem(field):
            case "region":
                return self._namer.region(value, words.language)
            case "industry":
                return self._namer.industry(value, words.language)
            case "category":
                return wording.category(value, words)
            case "reporter":
                return words("group.reporter")
        return without_hashes(value)


def _stem(field: str) -> str:
    return field.partition(".")[0]


def _of_case_key(case_key: str) -> Values:
    """The fields and values in `lead|field+field|values`; nothing when it is not of that form."""
    _, _, rest = case_key.partition("|")
    kind, _, value = rest.partition("|")
    fields, values = kind.split("+"), value.split(SEPARATOR)
    return list(zip(fields, values, strict=True)) if value and len(fields) == len(values) else []
