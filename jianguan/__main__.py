"""`python -m jianguan` is the command `jianguan`."""

from __future__ import annotations

from jianguan.cli import main

if __name__ == "__main__":
    main()
