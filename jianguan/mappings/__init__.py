"""Mappings: how a row of someone else's CSV file becomes an event of ours, written in YAML.

`loader` reads a mapping and says where it is wrong, `model` is its shape, `apply` turns rows into records, `rows`
reads the CSV text. Pure but for two small functions that read files. It knows the wire contract and nothing of
servers, streams or commands.
"""

from __future__ import annotations

from jianguan.mappings.apply import BoundMapping, Mapped, Problem, bind
from jianguan.mappings.loader import library_names, load_mapping, parse_mapping
from jianguan.mappings.model import Mapping
from jianguan.mappings.rows import BadRow, read_rows

__all__ = [
    "BadRow",
    "BoundMapping",
    "Mapped",
    "Mapping",
    "Problem",
    "bind",
    "library_names",
    "load_mapping",
    "parse_mapping",
    "read_rows",
]
