"""The list of receivers: what it may say, and errors that a person can act on."""

from __future__ import annotations

from pathlib import Path

import pytest

from jianguan.errors import SourceError
from sinks.webhooks.receivers import load_receivers
from sinks.webhooks.signing import Secret

ONE = Secret(b"1" * 24)
TWO = Secret(b"2" * 32)


def write(folder: Path, text: str) -> Path:
    path = folder / "receivers.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def entry(extra: str = "", url: str = "https://hooks.example.gov.cn/x") -> str:
    return f"receivers:\n  - id: market\n    department: 市场监管局\n    url: {url}\n{extra}"


def fault(folder: Path, text: str) -> SourceError:
    with pytest.raises(SourceError) as caught:
        load_receivers(write(folder, text), {"EMPTY": "  "})
    return caught.value


def test_a_receiver_is_read_with_its_defaults(tmp_path: Path) -> None:
    (receiver,) = load_receivers(write(tmp_path, entry(f"    secret: {ONE.reveal()}\n")), {})
    assert (receiver.id, receiver.department) == ("market", "市场监管局")
    assert receiver.url == "https://hooks.example.gov.cn/x"
    assert receiver.secrets == (ONE,)
    assert (receiver.allow_private, receiver.allow_http, receiver.disabled) == (False, False, False)


def test_secrets_come_from_files_and_the_environment_newest_first(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"{TWO.reveal()}\n\n{ONE.reveal()}\n", encoding="ascii")
    (one,) = load_receivers(write(tmp_path, entry("    secret_file: keys\n")), {})
    assert one.secrets == (TWO, ONE)
    (two,) = load_receivers(write(tmp_path, entry("    secret_env: HOOK\n")), {"HOOK": ONE.reveal()})
    assert two.secrets == (ONE,)
    listed = "    secrets:\n      - secret_env: HOOK\n      - secret_file: keys\n"
    (three,) = load_receivers(write(tmp_path, entry(listed)), {"HOOK": ONE.reveal()})
    assert three.secrets == (ONE, TWO)


def test_flags_open_what_they_name(tmp_path: Path) -> None:
    flags = f"    secret: {ONE.reveal()}\n    allow_private: true\n    allow_http: true\n    disabled: true\n"
    (receiver,) = load_receivers(write(tmp_path, entry(flags, "http://127.0.0.1:9/x")), {})
    assert (receiver.allow_private, receiver.allow_http, receiver.disabled) == (True, True, True)
    assert receiver.policy.allow_http


def test_several_receivers_keep_their_order(tmp_path: Path) -> None:
    text = "receivers:\n" + "".join(
        f"  - {{id: r{n}, department: d, url: 'https://a.cn/', secret: {ONE.reveal()}}}\n" for n in (3, 1, 2)
    )
    assert [receiver.id for receiver in load_receivers(write(tmp_path, text), {})] == ["r3", "r1", "r2"]


def test_an_empty_list_is_no_receivers(tmp_path: Path) -> None:
    assert load_receivers(write(tmp_path, "receivers: []\n"), {}) == ()


def test_a_receiver_never_shows_its_secret_or_its_url(tmp_path: Path) -> None:
    text = entry(f"    secret: {ONE.reveal()}\n", "https://a.cn/hook?key=geheim")
    (receiver,) = load_receivers(write(tmp_path, text), {})
    assert ONE.reveal() not in repr(receiver)
    assert "geheim" not in repr(receiver)
    assert "Secret" not in repr(receiver)


GOOD = f"    secret: {ONE.reveal()}\n"


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("", 0, 0, "empty"),
        ("receivers: {}\n", 1, 12, "is a list"),
        ("recievers: []\n", 1, 1, "not known"),
        ("- a\n", 1, 1, "a mapping"),
        ("receivers:\n  - id: [\n", 3, 1, "not YAML"),
        ("receivers:\n  - text\n", 2, 5, "a mapping"),
        ("receivers:\n  - id: market\n", 2, 5, "`department` is missing"),
        (entry(GOOD + "    colour: red\n"), 6, 5, "not known"),
        (entry(GOOD + "    id: other\n"), 6, 5, "twice"),
        (entry(GOOD + "    disabled: perhaps\n"), 6, 15, "true or false"),
        (entry(GOOD).replace("market", "市场"), 2, 9, "small letters"),
        (entry(GOOD).replace("id: market", "id: 7"), 2, 9, "is a text"),
        (entry(GOOD, "http://a.cn/"), 4, 10, "not encrypted"),
        (entry(GOOD, "https://10.0.0.1/"), 4, 10, "allow_private"),
        (entry(GOOD, "https://u:p@a.cn/"), 4, 10, "no user or password"),
        (entry(), 2, 5, "exactly one of"),
        (entry(GOOD + "    secret_env: X\n"), 2, 5, "exactly one of"),
        (entry("    secret: hunter2-hunter2\n"), 5, 13, "starts with whsec_"),
        (entry("    secret_env: MISSING\n"), 5, 17, "MISSING is not set"),
        (entry("    secret_env: EMPTY\n"), 5, 17, "EMPTY is not set"),
        (entry("    secret_env: 'a b'\n"), 5, 17, "the name of an environment variable"),
        (entry("    secret_file: nowhere\n"), 5, 18, "cannot be read"),
        (entry("    secrets: []\n"), 5, 14, "1 to 8"),
        (entry("    secrets: whsec_x\n"), 5, 14, "is a list"),
        (entry("    secrets:\n      - {}\n"), 6, 9, "each secret is one of"),
        (entry(GOOD) + entry(GOOD).removeprefix("receivers:\n"), 6, 5, "already in line 2"),
    ],
)
def test_a_fault_is_named_with_its_place(tmp_path: Path, text: str, line: int, column: int, message: str) -> None:
    error = fault(tmp_path, text)
    assert (error.line, error.column) == (line, column)
    assert message in str(error)
    assert error.path.endswith("receivers.yaml")


@pytest.mark.parametrize(
    "text",
    [
        entry("    secret: whsec_geheimgeheim\n"),
        entry("    secrets:\n      whsec_geheimgeheim: x\n"),
        entry("    whsec_geheimgeheim: x\n"),
        entry("    secret: whsec_geheim\tgeheim: [\n"),
        entry("    secret: whsec_geheim\x07\n"),
        entry("    secret: !geheim whsec_geheim\n"),
        entry("    secret_file: key\n"),
    ],
)
def test_no_error_repeats_a_secret(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text("whsec_geheim", encoding="ascii")
    error: BaseException | None = fault(tmp_path, text)
    while error is not None:
        assert "geheim" not in str(error)
        error = error.__cause__


def test_a_file_that_is_missing_or_too_large_or_not_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        load_receivers(tmp_path / "nowhere.yaml", {})
    assert "larger" in str(fault(tmp_path, "#" * (1024 * 1024 + 1)))
    (tmp_path / "receivers.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SourceError, match="UTF-8"):
        load_receivers(tmp_path / "receivers.yaml", {})
    assert "deeply" in str(fault(tmp_path, "[" * 20_000))
    (tmp_path / "empty").write_text("\n", encoding="ascii")
    assert "secret file is empty" in str(fault(tmp_path, entry("    secret_file: empty\n")))
    (tmp_path / "empty").write_bytes(b"\xff")
    assert "ASCII" in str(fault(tmp_path, entry("    secret_file: empty\n")))
