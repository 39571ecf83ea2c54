"""Write the frames of the present format: `python -m tests.streams.golden 2027-01-31`."""

from __future__ import annotations

import sys

from tests.streams.golden import FOLDER, frames

if __name__ == "__main__":
    (folder := FOLDER / sys.argv[1]).mkdir()
    for name, frame in frames().items():
        (folder / f"{name}.frame").write_bytes(frame)
