"""Passwords that are in files of their own. No message has anything of what is in them."""

from __future__ import annotations

from pathlib import Path

from jianguan.errors import ConfigurationError


def password_in(path: Path, setting: str, whose: str, without: str) -> str:
    """The password in the file that `setting` names, without the spaces and line ends around it.

    `whose` it is and what to do about an empty one, `without` a password, are for the ConfigurationError.
    """
    try:
        password = path.read_text("utf-8").strip()
    except OSError as error:
        raise ConfigurationError(
            f"the {whose}'s password cannot be read from {path} ({reason_of(error)}): {setting} must name a file that"
            " this user may read"
        ) from None
    except ValueError:
        raise ConfigurationError(f"{path}, the file of the {whose}'s password, is not text in UTF-8") from None
    if not password:
        raise ConfigurationError(
            f"{path}, the file of the {whose}'s password, is empty: put the password into it{without}"
        )
    return password


def reason_of(error: OSError) -> str:
    """Why a file or folder cannot be used, without the number and the name."""
    return (error.strerror or str(error)).lower()
