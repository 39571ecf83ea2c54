"""The store of a cluster, as the settings name it. Nothing is asked of it here."""

from __future__ import annotations

from jianguan.settings import Settings
from jianguan.wiring.secret_files import password_in
from sinks.server import ServerStore
from sinks.server_pool import Limits


def server_store(settings: Settings, limits: Limits | None = None) -> ServerStore:
    """The ClickHouse server of JIANGUAN_STORE, with the password that is in its file. ConfigurationError."""
    assert settings.store is not None
    return ServerStore(settings.store, password=_password(settings), limits=limits)


def _password(settings: Settings) -> str:
    if settings.store_password_file is None:
        return ""
    setting = "JIANGUAN_STORE_PASSWORD_FILE"
    return password_in(settings.store_password_file, setting, "store", f", or set no {setting} for a user without one")
