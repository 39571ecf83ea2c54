"""What pages take out of a history: the events behind an alert, events by day, the page that shows it best. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from dashboards import wording
from jianguan.domain.alert import Alert
from jianguan.ports import EventSummary, History


def by_day(events: list[EventSummary], days: int = 60, least: int = 30) -> list[tuple[str, int]]:
    """Events by day in Shanghai up to the newest event, oldest first: at most the last `days` days, and at least
    `least`, since one day alone would fill a chart as if it were much."""
    if not events:
        return []
    counts = Counter(wording.local(each.event.occurred_at).date().toordinal() for each in events)
    newest = max(counts)
    first = min(max(min(counts), newest - days + 1), newest - least + 1)
    day = type(wording.local(0).date()).fromordinal
    return [(day(ordinal).isoformat(), counts.get(ordinal, 0)) for ordinal in range(first, newest + 1)]


def contributing(alert: Alert, history: History) -> tuple[list[EventSummary], int]:
    """The events behind an alert, and how many its episode has by now.

    The history of an alert has those of the other alerts of its case as well.
    """
    ids = set(alert.events)
    ids.update(
        fact.event
        for fact in history.facts
        if (fact.rule, fact.version, fact.key) == (alert.rule, alert.version, alert.key)
        and alert.episode <= fact.time < alert.episode_end
    )
    events = [each for each in history.events if each.event.id in ids]
    return events, max(len(ids), alert.event_count)


def raiser(alert: Alert, behind: Sequence[EventSummary]) -> str | None:
    """The event that brought the alert about: of those that it names, the last that came."""
    named = [each.event for each in behind if each.event.id in alert.events]
    last = max(named, key=lambda event: (event.received_at, event.occurred_at, event.id), default=None)
    return last.id if last is not None else alert.events[-1] if alert.events else None


def page_of_history(history: History) -> str | None:
    """The page that shows this history best, or None when the general one does."""
    match history.kind:
        case "event" if history.events:
            return f"/events/{history.events[0].event.id}"
        case "number" if len(history.events) == 1:
            return f"/events/{history.events[0].event.id}"
        case "alert" if any(alert.id == history.asked for alert in history.alerts):
            return f"/alerts/{history.asked}"
        case "case":
            return f"/cases/{history.asked}"
        case "task":
            task = next((each for each in history.tasks if each.id == history.asked), None)
            return f"/cases/{task.case}#{task.id}" if task else None
        case "enterprise":
            named = next((each.event.enterprise for each in history.events if each.event.enterprise), history.asked)
            return wording.enterprise_href(named)
    return None
