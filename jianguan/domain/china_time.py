"""China Standard Time, by which days are counted: eight hours ahead of UTC all year, since 1991.

A fixed offset, so that sums in milliseconds and dates agree, also of earlier years with a summer time, and no machine
needs zone files.
"""

from __future__ import annotations

from datetime import timedelta, timezone
from typing import Final

_AHEAD: Final = timedelta(hours=8)
SHANGHAI: Final = timezone(_AHEAD, "UTC+8")
SHANGHAI_MS: Final = _AHEAD // timedelta(milliseconds=1)  # how far it is ahead of UTC
