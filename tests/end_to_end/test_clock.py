"""Time alone decides: what does not come raises an alert, once, also when nobody was there to see it pass."""

from __future__ import annotations

import json
from pathlib import Path

from jianguan.clock import SystemClock
from rules.loader import parse
from tests.end_to_end.conftest import Make
from tests.end_to_end.support import complaint, eventually, rule

SETTLED = 30.0  # seconds: three to wait, two of lateness, five on the way between the stages, and the writing


def unanswered(identifier: str = "test-unanswered") -> str:
    """A rule for complaints that nobody answers within three seconds."""
    file = parse(rule(identifier, "prepaid-card", at_least=2)).value
    del file["window"], file["trigger"]
    file["pattern"] = {
        "steps": [
            {"name": "filed", "where": "amount_fen > 0"},
            {"name": "answered", "where": "amount_fen == 0", "absent": True},
        ],
        "within": "3s",
        "lateness": "2s",
        "every": True,
        "after_match": "skip-to-next",
    }
    return json.dumps(file, ensure_ascii=False)


def score(identifier: str = "test-score") -> str:
    """A rule on the alerts of that one."""
    file = parse(rule(identifier, "prepaid-card", at_least=2)).value
    file.update(on=["alert"], rules={"test-unanswered": 50}, condition="true", trigger={"score": {"at_least": 100}})
    return json.dumps(file, ensure_ascii=False)


def now() -> str:
    return SystemClock().now().isoformat()


def test_an_absence_is_raised_by_the_clock_and_its_alert_is_an_event_for_other_rules(make: Make, rules: Path) -> None:
    (rules / "test-unanswered.yaml").write_text(unanswered(), "utf-8")
    (rules / "test-score.yaml").write_text(score(), "utf-8")
    system = make(JIANGUAN_RULES=str(rules)).start()
    system.send([complaint(1, now(), amount_fen=5), complaint(2, now(), enterprise=2, amount_fen=5)], "filed")
    system.send([complaint(3, now(), enterprise=2, amount_fen=0)], "answered")
    (first,) = eventually(lambda: system.alerts(rule="test-unanswered"), SETTLED, "the alert of what did not come")
    assert system.get(f"/v1/alerts/{first}")["event_count"] == 1
    assert system.alerts(rule="test-score") == set()

    # While the clock passes nobody is there: the alert is raised at the start, and not once more at the next.
    system.send([complaint(4, now(), amount_fen=5)], "more")
    system.settled("more", 1)
    system.kill()
    system.start()
    found = eventually(
        lambda: len(system.alerts(rule="test-unanswered")) == 2 and system.alerts(rule="test-unanswered"),
        SETTLED,
        "the alert of the time between",
    )
    scored = eventually(lambda: system.alerts(rule="test-score"), SETTLED, "the score of both alerts")
    (about,) = scored
    assert set(system.get(f"/v1/alerts/{about}")["events"]) == found
    system.quiet()
    assert system.stop() == 0
    system.start()
    system.quiet()
    assert system.alerts(rule="test-unanswered") == found
    assert system.alerts(rule="test-score") == scored
    assert system.stop() == 0
