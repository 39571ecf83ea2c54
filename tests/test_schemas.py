"""The published descriptions of events and topics: current, valid, and of the same opinion as the code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from jianguan import schemas
from jianguan.domain.contract import MODELS, TOPIC_OF_KIND, CloudEvent
from streams import headers, topics

DOCUMENT = schemas.asyncapi()


def _validator(schema: dict[str, Any]) -> Draft202012Validator:
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER)


def _references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for each in value.values():
            yield from _references(each)
    elif isinstance(value, list):
        for each in value:
            yield from _references(each)


def _resolve(document: Any, reference: str) -> Any:
    assert reference.startswith("#/"), reference
    for part in reference[2:].split("/"):
        document = document[part.replace("~1", "/").replace("~0", "~")]
    return document


EVENT = {"id": "1", "source": "s", "occurred_at": "2026-03-02T09:30:00+08:00", "category": "food-safety"}


def test_the_committed_files_are_what_the_code_says() -> None:
    assert [path.name for path in schemas.stale()] == []


def test_a_stale_and_an_unknown_file_are_noticed(tmp_path: Path) -> None:
    for name, text in schemas.documents().items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    assert schemas.stale(tmp_path) == []
    (tmp_path / "complaint.json").write_text("{}", encoding="utf-8")
    (tmp_path / "old.json").write_text("{}", encoding="utf-8")
    assert [path.name for path in schemas.stale(tmp_path)] == ["complaint.json", "old.json"]


@pytest.mark.parametrize("kind", MODELS)
def test_the_schema_of_an_event_takes_what_the_model_takes(kind: str) -> None:
    validator = _validator(schemas.event_schema(kind))
    event = {**EVENT, "kind": kind, **({"result": "fail"} if kind == "violation" else {})}
    assert validator.is_valid(event)
    MODELS[kind].model_validate_json(json.dumps(event))
    for wrong in (
        {name: value for name, value in event.items() if name != "category"},
        {**event, "kind": "other"},
        {**event, "surprise": 1},
        {**event, "amount_fen": 1.5},
        {**event, "enterprise": {"scheme": "uscc"}},
    ):
        assert not validator.is_valid(wrong), wrong


def test_personal_fields_are_marked() -> None:
    schema = schemas.event_schema("complaint")
    reporter = schema["$defs"]["Reporter"]
    assert reporter["x-personal"] is True
    marked = {name for name, field in reporter["properties"].items() if '"x-personal": true' in json.dumps(field)}
    assert marked == set(reporter["properties"])
    assert schema["properties"]["text"]["x-personal"] is True
    assert "x-personal" not in json.dumps(schema["properties"]["enterprise"])


@pytest.mark.parametrize("type_", CloudEvent.TYPES)
def test_the_schema_of_the_envelope_knows_what_belongs_into_it(type_: str) -> None:
    validator = _validator(schemas.cloud_event_schema())
    kind = CloudEvent.TYPES[type_]
    data = {"category": "price", **({"result": "pass"} if kind == "violation" else {})}
    envelope = {"specversion": "1.0", "type": type_, "id": "1", "source": "s", "time": EVENT["occurred_at"]}
    assert validator.is_valid({**envelope, "data": data})
    assert not validator.is_valid({**envelope, "data": {**data, "surprise": 1}})
    assert not validator.is_valid({**envelope, "type": "cn.jianguan.other.v1", "data": data})
    assert not validator.is_valid({**envelope, "specversion": "0.3", "data": data})
    assert not validator.is_valid(envelope)


def test_every_reference_in_the_topic_description_leads_somewhere() -> None:
    for reference in set(_references(DOCUMENT)):
        assert _resolve(DOCUMENT, reference), reference


def test_the_topic_description_has_the_parts_that_asyncapi_3_asks_for() -> None:
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= DOCUMENT["info"].keys()
    for channel in DOCUMENT["channels"].values():
        assert channel.keys() <= {"address", "description", "messages", "x-internal"}
        assert channel["messages"]
    for operation in DOCUMENT["operations"].values():
        assert operation["action"] in ("send", "receive")
        channel = _resolve(DOCUMENT, operation["channel"]["$ref"])
        own = {id(_resolve(channel, f"#/messages/{name}")) for name in channel["messages"]}
        assert {id(_resolve(DOCUMENT, each["$ref"])) for each in operation["messages"]} <= own
    for message in DOCUMENT["components"]["messages"].values():
        assert {"title", "payload"} <= message.keys()


def test_every_topic_is_described_and_only_internal_ones_are_marked_so() -> None:
    assert DOCUMENT["channels"].keys() == {topic.value for topic in topics.TopicName}
    internal = {name for name, channel in DOCUMENT["channels"].items() if channel.get("x-internal")}
    assert internal == DOCUMENT["channels"].keys() - set(TOPIC_OF_KIND.values()) - {"quarantine"}


def test_the_headers_are_those_of_the_code() -> None:
    ours = {headers.RECEIPT, headers.RECEIVED, headers.SUBMISSION, headers.CONTENT_TYPE}
    assert schemas.EVENT_HEADERS.keys() == ours
    assert {name.removeprefix("ce_") for name in schemas.CLOUD_EVENT_HEADERS} <= CloudEvent.model_fields.keys()
    source = Path(topics.__file__).with_name("topology.py").read_text(encoding="utf-8")
    assert [name for name in schemas.QUARANTINE_HEADERS if f'"{name}"' not in source] == []


def test_the_command_says_when_it_is_called_wrongly(capsys: pytest.CaptureFixture[str]) -> None:
    assert schemas.main(["--chek"]) == 2
    assert "usage" in capsys.readouterr().err
    assert schemas.main(["--check"]) == 0
