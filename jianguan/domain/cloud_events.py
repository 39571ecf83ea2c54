"""CloudEvents from binary mode to structured mode: one value that holds attributes and data, so that none can be lost.

Pure; it must not know what the events are about.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pydantic_core import from_json, to_json

MEDIA_TYPE: Final = "application/cloudevents+json"
_PREFIX: Final = "ce_"
_DATA: Final = frozenset({"data", "data_base64"})  # members of the envelope that no attribute may claim


def structured(value: bytes, headers: Sequence[tuple[str, bytes | None]]) -> bytes | None:
    """The event as one JSON object, its data byte for byte as sent.

    `headers` are those of the Kafka binding (`ce_*`). None when they are not those of a CloudEvent, or when the data is
    no JSON and so has no place in such an object.
    """
    attributes: dict[str, str] = {}
    try:
        for name, content in headers:
            lower = name.lower()
            if lower.startswith(_PREFIX) and lower.removeprefix(_PREFIX) not in _DATA:
                attributes[lower.removeprefix(_PREFIX)] = (content or b"").decode("utf-8")
        if "specversion" not in attributes:
            return None
        from_json(value)
    except ValueError:
        return None
    return to_json(attributes)[:-1] + b',"data":' + value + b"}"
