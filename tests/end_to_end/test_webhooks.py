"""Departments get their notices signed, again until they take them, and over a restart with the same ids."""

from __future__ import annotations

import json
from pathlib import Path

from tests.department import Department
from tests.end_to_end.conftest import Make
from tests.end_to_end.support import complaint, eventually

DELIVERED = 10.0
RETRIED = 25.0  # the first pause is five seconds, give or take a fifth


def test_a_department_gets_its_notices_signed(
    make: Make, rules: Path, receivers: Path, department: Department, now: str
) -> None:
    system = make(JIANGUAN_RULES=str(rules), JIANGUAN_RECEIVERS=str(receivers)).start()
    system.send([complaint(number, now, text="电话 13800138000") for number in range(4)], "webhooks")
    eventually(lambda: department.got, DELIVERED, "a webhook")
    (alert,) = eventually(system.alerts, DELIVERED, "the alert")
    assert department.wrong == []
    assert alert in json.dumps(department.got[0].body)
    assert "13800138000" not in json.dumps([each.body for each in department.got])
    taken = eventually(
        lambda: system.items("/v1/deliveries", state="delivered"), DELIVERED, "the delivery in the record"
    )
    assert {each["id"] for each in taken} <= set(department.taken())
    assert len(department.taken()) == len(set(department.taken()))
    assert system.stop() == 0


def test_a_notice_that_was_refused_comes_again_with_the_same_id(
    make: Make, rules: Path, receivers: Path, department: Department, now: str
) -> None:
    department.answers = [500]
    system = make(JIANGUAN_RULES=str(rules), JIANGUAN_RECEIVERS=str(receivers)).start()
    system.send([complaint(number, now) for number in range(4)], "webhooks")
    eventually(lambda: department.got, DELIVERED, "the first try")
    first = department.got[0]
    assert first.status == 500
    eventually(lambda: first.id in department.taken(), RETRIED, "the second try")
    again = [each for each in department.got if each.id == first.id]
    assert [each.status for each in again] == [500, 204]
    assert again[0].body == again[1].body
    assert department.wrong == []

    def attempts() -> int:
        return int(next(each["attempt"] for each in system.items("/v1/deliveries") if each["id"] == first.id))

    eventually(lambda: attempts() == 2, DELIVERED, "two attempts in the record")
    assert system.stop() == 0


def test_a_restart_between_two_tries_loses_no_notice(
    make: Make, rules: Path, receivers: Path, department: Department, now: str
) -> None:
    department.answers = [503] * 20
    system = make(JIANGUAN_RULES=str(rules), JIANGUAN_RECEIVERS=str(receivers)).start()
    system.send([complaint(number, now) for number in range(4)], "webhooks")
    eventually(lambda: department.got, DELIVERED, "the first try")
    eventually(
        lambda: [each for each in system.items("/v1/deliveries") if each["attempt"] == 1], DELIVERED, "the first try"
    )
    expected = {each["id"] for each in system.items("/v1/deliveries")}
    system.kill()
    department.answers = []

    system.start()
    eventually(lambda: expected <= set(department.taken()), RETRIED, "every notice after the restart")
    eventually(lambda: not system.items("/v1/deliveries", state="pending"), DELIVERED, "nothing pending")
    assert {each["id"] for each in system.items("/v1/deliveries", state="delivered")} == set(department.taken())
    assert department.wrong == []
    assert system.stop() == 0


def test_a_department_that_wants_no_more_gets_nothing_after_a_restart_until_the_operator_sends_one_again(
    make: Make, rules: Path, receivers: Path, department: Department, now: str
) -> None:
    department.answers = [410] * 20
    system = make(JIANGUAN_RULES=str(rules), JIANGUAN_RECEIVERS=str(receivers)).start()
    system.send([complaint(number, now) for number in range(4)], "webhooks")
    eventually(lambda: system.items("/v1/deliveries", state="disabled"), DELIVERED, "the receiver disabled")
    eventually(lambda: not system.items("/v1/deliveries", state="pending"), DELIVERED, "all held")
    held = {each["id"] for each in system.items("/v1/deliveries", state="disabled")}
    department.answers = []
    system.kill()

    system.start()
    system.send([complaint(number, now, enterprise=2) for number in range(10, 14)], "more")
    more = eventually(
        lambda: {each["id"] for each in system.items("/v1/deliveries", state="disabled")} - held, DELIVERED, "more held"
    )
    assert department.taken() == []
    answer = system.http.post(f"/v1/deliveries/{min(held)}/redeliver")
    assert answer.status_code in (200, 202), answer.text
    eventually(lambda: held | more <= set(department.taken()), DELIVERED, "everything that was held")
    eventually(lambda: not system.items("/v1/deliveries", state="disabled"), DELIVERED, "nothing held")
    assert system.stop() == 0
