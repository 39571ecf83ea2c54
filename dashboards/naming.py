"""Names of departments, regions, industries and statutory clocks in both languages. Falls back to the code itself."""

from __future__ import annotations

from dashboards.dependencies import Dependencies
from dashboards.texts import Language


class Namer:
    """Codes to names, as the tables that were injected know them."""

    def __init__(self, deps: Dependencies) -> None:
        self._deps = deps

    def department(self, identifier: str | None, language: Language) -> str:
        """The department's name, or its id when it is not in the table; empty for None."""
        if not identifier:
            return ""
        names = self._deps.departments.get(identifier)
        return names[language == "en"] if names else identifier

    def region(self, code: str | None, language: Language) -> str:
        """The region's name, or its code."""
        if not code:
            return ""
        names = self._deps.region_name(code)
        return names[language == "en"] if names else code

    def clock(self, identifier: str | None, language: Language) -> str:
        """The title of a statutory clock, or its id."""
        if not identifier:
            return ""
        names = self._deps.clock_name(identifier)
        return names[language == "en"] if names else identifier

    def industry(self, code: str | None, language: Language) -> str:
        """The industry's name, or its code."""
        if not code:
            return ""
        names = self._deps.industry_name(code)
        return names[language == "en"] if names else code
