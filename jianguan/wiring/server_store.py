"""The store of a cluster, as the settings name it. Nothing is asked of it here."""

from __future__ import annotations

from jianguan.errors import ConfigurationError
from jianguan.settings import Settings
from sinks.server import ServerStore
from sinks.server_pool import Limits


def server_store(settings: Settings, limits: Limits | None = None) -> ServerStore:
    """The ClickHouse server of JIANGUAN_STORE, with the password that is in its file. ConfigurationError."""
    assert settings.store is not None
    return ServerStore(settings.store, password=_password(settings), limits=limits)


def _password(settings: Settings) -> str:
    path = settings.store_password_file
    if path is None:
        return ""
    try:
        password = path.read_text("utf-8").strip()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ConfigurationError(
            f"the store's password cannot be read from {path} ({reason}): JIANGUAN_STORE_PASSWORD_FILE must name a file"
            " that this user may read"
        ) from None
    except ValueError:
        raise ConfigurationError(f"{path}, the file of the store's password, is not text in UTF-8") from None
    if not password:
        raise ConfigurationError(
            f"{path}, the file of the store's password, is empty: put the password into it, or set no"
            " JIANGUAN_STORE_PASSWORD_FILE for a user without one"
        )
    return password
