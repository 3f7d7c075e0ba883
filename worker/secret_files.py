"""Secrets in files of their own, as container secrets are: one way for every setting that has such a file."""

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import SecretStr

from worker.hosts import split_list
from worker.sources import PREFIX

# What hardly any path is: lines, PEM in one line, base64 without it.
_KEY = re.compile(r"[\r\n]|-----BEGIN |\A(?=.*[A-Z])(?=.*[a-z])(?=.*[0-9])[A-Za-z0-9+][A-Za-z0-9+/=]{59,}\Z")


@dataclass(frozen=True)
class SecretFile:
    """`field` names a file, and `add(value, text)` puts what it holds into the value of the setting `into`;
    None where the text holds nothing. `without` is what comes of a file that is no use."""

    field: str
    into: str
    add: Callable[[Any, str], Any]
    without: str


def with_password(url: str, password: str) -> str:
    """`url` with `password`, where it has none of its own."""
    scheme, _, rest = url.partition("://")
    end = next((at for at, char in enumerate(rest) if char in "/?#"), len(rest))
    user, _, place = rest[:end].rpartition("@")
    if ":" in user:
        return url
    return f"{scheme}://{user}:{quote(password, safe='')}@{place}{rest[end:]}"


def _add_password(url: SecretStr, text: str) -> SecretStr | None:
    password = text.split("\n", 1)[0]  # as sed in docker-compose.yml
    return SecretStr(with_password(url.get_secret_value(), password)) if password else None


def _add_urls(urls: tuple[SecretStr, ...], text: str) -> tuple[SecretStr, ...] | None:
    lines = text.replace("\ufeff", "").splitlines()  # some editors begin a file with it
    listed = " ".join(line for line in lines if not line.lstrip().startswith("#"))
    more = [SecretStr(url) for url in split_list(listed)]
    return tuple(dict.fromkeys((*urls, *more))) if more else None


SECRET_FILES = (
    SecretFile("redis_password_file", "redis_url", _add_password, "Redis is asked without a password"),
    SecretFile("notify_urls_file", "notify_urls", _add_urls, "no message goes to the URLs in it"),
)


def read_secret_files(values: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """(new values, warnings of a line each), where `values` are the settings by field. Never raises."""
    changed: dict[str, Any] = {}
    warnings = []
    for file in SECRET_FILES:
        if path := values[file.field]:
            text, trouble = _read(path)
            value = None if trouble else file.add(values[file.into], text)
            if value is None:
                warnings.append(
                    f"{PREFIX}{file.field.upper()}: {_shown(path)} {trouble or 'is empty'}; {file.without}"
                )
            else:
                changed[file.into] = value
    if holds_key(str(values["ssh_identity"])):
        changed["ssh_identity"] = None
        warnings.append(
            f"{PREFIX}SSH_IDENTITY holds (not shown: it may be the key itself), but takes the path of a file "
            "with the key; used instead: OpenSSH's own keys"
        )
    return changed, warnings


def holds_key(text: str) -> bool:
    """Whether it may be a private key itself, where its file should be named (pure)."""
    return _KEY.search(text.strip(" \t'\"")) is not None


def _read(path: Path) -> tuple[str, str | None]:
    """The file's text, and what is wrong with the file."""
    try:
        return path.expanduser().read_bytes().decode(), None
    except UnicodeDecodeError:  # whose own text shows some of the secret
        return "", "is no UTF-8 text"
    except (OSError, RuntimeError, ValueError) as error:  # no home for "~"; a NUL in the path
        return "", f"can't be read ({getattr(error, 'strerror', None) or 'it is no path'})"


def _shown(path: Path) -> str:
    """The path, unless it may be the secret itself in its file's place: no folder is called like that."""
    with suppress(OSError, RuntimeError, ValueError, IndexError):
        if path.expanduser().parents[-2].is_dir():
            return repr(str(path))
    return "the file (its name is not shown: it may be the secret itself)"
