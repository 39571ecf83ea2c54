"""Rules change while everything goes on; a bad file never takes the rules away that run."""

from __future__ import annotations

from pathlib import Path

from tests.end_to_end.conftest import Make
from tests.end_to_end.support import complaint, eventually, jianguan, rule

RELOADED = 10.0  # seconds: rule folders are looked at every two


def test_a_bad_reload_leaves_the_old_rules_and_a_mended_one_fires(make: Make, rules: Path, now: str) -> None:
    system = make(JIANGUAN_RULES=str(rules)).start()

    def page() -> str:
        return system.http.get("/rules", headers={"accept": "text/html"}).text

    bad = rules / "test-advertising.yaml"
    good = rule("test-advertising", "advertising", at_least=2)
    assert bad.name not in page()

    bad.write_text(good.replace("category ==", "catgory =="), "utf-8")
    eventually(lambda: not system.checks()["ready"], RELOADED, "the error in /readyz")
    checks = system.checks()["checks"]
    assert not checks["rules"]["ok"]
    line = next(number for number, text in enumerate(good.splitlines(), 1) if text.startswith("condition"))
    assert f"{bad}:{line}:" in checks["rules"]["detail"]
    assert [name for name, check in checks.items() if not check["ok"]] == ["rules"]
    assert f"{bad.name}:{line}:" in page()
    assert f"{bad.name}:{line}:" in system.get("/v1/rules")["error"]

    # Meanwhile the old rule goes on.
    system.send([complaint(number, now) for number in range(4)], "meanwhile")
    system.send([complaint(number, now, category="advertising") for number in range(10, 12)], "too-early")
    (first,) = eventually(system.alerts, RELOADED, "an alert of the old rule")
    assert system.get(f"/v1/alerts/{first}")["rule"] == "test-prepaid"

    bad.write_text(good, "utf-8")
    eventually(lambda: system.checks()["ready"], RELOADED, "the mended file")
    assert {each["id"] for each in system.get("/v1/rules")["rules"]} == {"test-prepaid", "test-advertising"}
    system.send([complaint(number, now, category="advertising") for number in range(20, 22)], "mended")
    eventually(lambda: system.alerts(rule="test-advertising"), RELOADED, "an alert of the new rule")

    # A rule that is taken away fires no more.
    bad.unlink()
    eventually(lambda: len(system.get("/v1/rules")["rules"]) == 1, RELOADED, "one rule")
    system.send(
        [complaint(number, now, enterprise=7, category="advertising") for number in range(30, 32)], "taken-away"
    )
    system.settled("taken-away", 2)
    assert len(system.alerts(rule="test-advertising")) == 1
    assert system.stop() == 0


def test_a_bad_rule_at_the_start_refuses_with_its_place(make: Make, rules: Path) -> None:
    text = rule().replace("severity: high", "severity: gigantic")
    file = rules / "test-prepaid.yaml"
    file.write_text(text, "utf-8")
    line = text[: text.index("gigantic")].count("\n") + 1
    system = make(JIANGUAN_RULES=str(rules)).spawn()
    assert system.process.wait(30) == 4
    assert f"{file}:{line}:11: " in system.tail()
    assert "Traceback" not in system.tail()
    assert not (system.data / "server.json").exists()


def test_a_folder_of_rules_that_is_not_there_refuses(make: Make, tmp_path: Path) -> None:
    system = make(JIANGUAN_RULES=str(tmp_path / "nowhere")).spawn()
    assert system.process.wait(30) == 3, "a setting names nothing"
    assert "there is no such folder of rules" in system.tail()


def test_a_wrong_setting_refuses_with_its_name(tmp_path: Path) -> None:
    ended = jianguan("up", "--data", str(tmp_path / "data"), JIANGUAN_MAX_AGE="long")
    assert ended.returncode == 3
    assert "JIANGUAN_MAX_AGE" in ended.stderr
    assert not (tmp_path / "data").exists()
