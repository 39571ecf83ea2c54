"""The contract as documents for others: JSON Schemas of the events and an AsyncAPI description of the topics.

    python -m jianguan.schemas            write the files in schemas/
    python -m jianguan.schemas --check    exit 1 if the committed files differ from what would be written

Everything comes from `jianguan.domain.contract`; what is said here in words is where records lie on the broker. It
must not know a stage: a test holds the topics and headers named here to those of `streams`.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pydantic.json_schema import models_json_schema

from jianguan import __version__
from jianguan.domain.contract import MODELS, TOPIC_OF_KIND, CloudEvent

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
FOLDER: Final = Path(__file__).parents[1] / "schemas"

# What an envelope gives to the event in it when that has none of its own.
_FILLED: Final = {"id", "source", "occurred_at"}
_NAMES: Final = {kind: model.__name__ for kind, model in MODELS.items()}
_TITLES: Final = {
    "complaint": "Complaint or report (投诉举报)",
    "violation": "Violation (违法违规)",
    "consumer-rights": "Consumer-rights claim (消费维权)",
}

INTERNAL: Final[dict[str, str]] = {
    "facts": "Events that met a rule's condition, keyed by rule and group.",
    "alerts": "Decisions that an alert exists, keyed by case key.",
    "commands": "What departments and operators ask for, keyed by case key.",
    "deliveries": "Notices to departments, keyed by department.",
    "records": "Everything that goes into the store.",
}
QUARANTINE_HEADERS: Final[dict[str, str]] = {
    "jg-code": "Why, as a stable slug, such as unknown-region.",
    "jg-field": "The dotted path of the field at fault; empty when it is the whole record.",
    "jg-message": "Why, as a sentence. It names fields, never values.",
    "jg-receipt": "The receipt that the sender got; empty when the record did not come through the HTTP intake.",
    "jg-topic": "The topic that the record came on.",
}
EVENT_HEADERS: Final[dict[str, str]] = {
    "content-type": "application/json (the default) or application/cloudevents+json.",
    "jg-receipt": "The receipt that was given for the record. Set by the HTTP intake only.",
    "jg-received": "When the intake took the record, in milliseconds since 1970 UTC. As above.",
    "jg-submission": "The upload that the record came with. As above.",
}
CLOUD_EVENT_HEADERS: Final[dict[str, str]] = {
    "ce_specversion": "1.0",
    "ce_type": f"One of {', '.join(CloudEvent.TYPES)}.",
    "ce_source": "Fills `source` of the event.",
    "ce_id": "Fills `id` of the event.",
    "ce_time": "Fills `occurred_at` of the event; RFC 3339 with a zone.",
}


def event_schema(kind: str) -> dict[str, Any]:
    """JSON Schema of one kind of event as it is sent in plain JSON."""
    return {
        "$schema": DRAFT,
        "$id": f"urn:jianguan:schema:{kind}:v1",
        **MODELS[kind].model_json_schema(),
        "title": _TITLES[kind],
    }


def cloud_event_schema() -> dict[str, Any]:
    """JSON Schema of the CloudEvents envelope in structured mode; its `data` depends on its `type`."""
    definitions = _definitions("#/$defs/{model}")
    envelope = CloudEvent.model_json_schema()
    branches = []
    for type_, kind in CloudEvent.TYPES.items():
        data = f"{_NAMES[kind]}Data"
        definitions[data] = _as_data(definitions[_NAMES[kind]])
        branches.append(
            {
                "if": {"properties": {"type": {"const": type_}}, "required": ["type"]},
                "then": {"properties": {"data": {"$ref": f"#/$defs/{data}"}}},
            }
        )
    return {
        "$schema": DRAFT,
        "$id": "urn:jianguan:schema:cloudevent:v1",
        **envelope,
        "title": "CloudEvents 1.0 envelope of an event, structured mode",
        "allOf": branches,
        "$defs": definitions,
    }


def asyncapi() -> dict[str, Any]:
    """The AsyncAPI 3.0 description of every topic, named without the prefix of an installation."""
    schemas = _definitions("#/components/schemas/{model}")
    messages: dict[str, Any] = {}
    channels: dict[str, Any] = {}
    operations: dict[str, Any] = {}
    for kind, topic in TOPIC_OF_KIND.items():
        name = _NAMES[kind]
        schemas[f"{name}Data"] = _as_data(schemas[name])
        found = {
            name: _message(_TITLES[kind], EVENT_HEADERS, {"$ref": f"#/components/schemas/{name}"}),
            f"{name}CloudEvent": {
                **_message(
                    f"{_TITLES[kind]}, CloudEvents structured mode",
                    EVENT_HEADERS,
                    _envelope(kind),
                ),
                "contentType": "application/cloudevents+json",
            },
            f"{name}BinaryCloudEvent": _message(
                f"{_TITLES[kind]}, CloudEvents binary mode",
                {**EVENT_HEADERS, **CLOUD_EVENT_HEADERS},
                {"$ref": f"#/components/schemas/{name}Data"},
                required=("ce_specversion", "ce_type", "ce_source", "ce_id"),
            ),
        }
        messages |= found
        channels[topic] = _channel(
            topic, f"Takes events of kind {kind}. What is not valid goes to `quarantine`.", found
        )
        operations[f"receive-{topic}"] = _operation("receive", topic, found)
    messages["Quarantined"] = _quarantined()
    channels["quarantine"] = _channel(
        "quarantine", "Every record that could not be used, as it came, with the reason.", ["Quarantined"]
    )
    operations["send-quarantine"] = _operation("send", "quarantine", ["Quarantined"])
    messages["Frame"] = _frame()
    for topic, text in INTERNAL.items():
        channels[topic] = {**_channel(topic, f"Internal. {text}", ["Frame"]), "x-internal": True}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "jianguan",
            "version": __version__,
            "description": (
                "The topics of jianguan. Producers send events to complaints, violations and consumer-rights, in "
                "plain JSON or as CloudEvents 1.0. Topics marked x-internal may change with any version. Fields "
                "marked x-personal are personal data. Topic names carry the prefix of JIANGUAN_TOPIC_PREFIX."
            ),
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": channels,
        "operations": operations,
        "components": {"messages": messages, "schemas": schemas},
    }


def documents() -> dict[str, str]:
    """Every file of schemas/ by name, as text."""
    made = {f"{kind}.json": event_schema(kind) for kind in MODELS}
    made |= {"cloudevent.json": cloud_event_schema(), "asyncapi.json": asyncapi()}
    return {name: json.dumps(content, ensure_ascii=False, indent=2) + "\n" for name, content in made.items()}


def stale(folder: Path = FOLDER) -> list[Path]:
    """Files of `folder` that differ from what the code says, also those that it does not know."""
    wanted = documents()
    names = sorted({*wanted, *(path.name for path in folder.glob("*"))})
    return [folder / name for name in names if _text(folder / name) != wanted.get(name)]


def main(arguments: Sequence[str]) -> int:
    """Write the files, or with `--check` compare them."""
    if list(arguments) not in ([], ["--check"]):
        sys.stderr.write("usage: python -m jianguan.schemas [--check]\n")
        return 2
    if arguments:
        different = stale()
        for path in different:
            sys.stderr.write(f"{path.name} is not what the code says: run python -m jianguan.schemas\n")
        return 1 if different else 0
    FOLDER.mkdir(exist_ok=True)
    for name, text in documents().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    return 0


def _text(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _definitions(template: str) -> dict[str, Any]:
    """The events and their parts, referring to each other by `template`."""
    _, made = models_json_schema([(model, "validation") for model in MODELS.values()], ref_template=template)
    definitions: dict[str, Any] = made["$defs"]
    return definitions


def _as_data(schema: dict[str, Any]) -> dict[str, Any]:
    """The event inside an envelope: what the envelope fills may be missing."""
    required = [name for name in schema.get("required", ()) if name not in _FILLED]
    return {**schema, "required": required}


def _envelope(kind: str) -> dict[str, Any]:
    (type_,) = (name for name, of in CloudEvent.TYPES.items() if of == kind)
    schema = CloudEvent.model_json_schema()
    properties = {
        **schema["properties"],
        "type": {"const": type_, "type": "string"},
        "data": {"$ref": f"#/components/schemas/{_NAMES[kind]}Data"},
    }
    return {**schema, "properties": properties}


def _headers(described: dict[str, str], required: Sequence[str] = ()) -> dict[str, Any]:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: {"type": "string", "description": text} for name, text in described.items()},
    }
    return {**schema, "required": list(required)} if required else schema


def _message(
    title: str, headers: dict[str, str], payload: dict[str, Any], required: Sequence[str] = ()
) -> dict[str, Any]:
    return {
        "title": title,
        "headers": _headers(headers, required),
        "payload": payload,
        "bindings": {
            "kafka": {
                "key": {"type": "string", "description": "Any. Records of one key stay in order."},
            }
        },
    }


def _quarantined() -> dict[str, Any]:
    return {
        "title": "A record that could not be used",
        "summary": "The value is the record, byte for byte, and may hold personal data.",
        "contentType": "application/octet-stream",
        "headers": _headers(QUARANTINE_HEADERS, tuple(QUARANTINE_HEADERS)),
        "payload": {"type": "string", "format": "binary", "x-personal": True},
        "bindings": {"kafka": {"key": {"type": "string", "description": "The id of the quarantined record, qu-…"}}},
    }


def _frame() -> dict[str, Any]:
    return {
        "title": "A frame of rows",
        "summary": "One byte of version, then MessagePack: many rows in one record. Not for others to read or write.",
        "contentType": "application/x-msgpack",
        "payload": {"type": "string", "format": "binary", "x-personal": True},
    }


def _channel(topic: str, description: str, messages: Sequence[str] | dict[str, Any]) -> dict[str, Any]:
    return {
        "address": topic,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
    }


def _operation(action: str, topic: str, messages: Sequence[str] | dict[str, Any]) -> dict[str, Any]:
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{topic}"},
        "messages": [{"$ref": f"#/channels/{topic}/messages/{name}"} for name in messages],
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
