"""Finds the secrets that this process knows, and hides them in log lines: the last line of defence."""

import base64
import ipaddress
import json
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote

from worker.secret_files import holds_key
from worker.settings import Settings
from worker.sources import PREFIX

HIDDEN = "***"
_SHORTEST = 4  # hiding shorter ones would blank parts of ordinary words
_SHORTEST_PART = 8  # of a message URL, whose every part may be a token
_SHORTEST_WORD = 16  # of a private key: not those of its header
_FLOWER = ("FLOWER_BASIC_AUTH", "FLOWER_COOKIE_SECRET", "FLOWER_OAUTH2_SECRET")


def find_secrets(settings: Settings, environment: Mapping[str, str]) -> set[str]:
    """The passwords of Redis and Flower, the parts of the message URLs, as written and decoded, and a private
    key that stands where its file should be named."""
    redis_url = settings.redis_url.get_secret_value()
    found = {_password(redis_url.partition("://")[2])}
    for url in settings.notify_urls:
        found |= _url_parts(url.get_secret_value())
    for name in _FLOWER:
        found |= _flower_users(environment.get(name, "").split(","))
    if path := environment.get("FLOWER_BASIC_AUTH_FILE"):
        with suppress(OSError, UnicodeDecodeError):  # Flower itself says what is wrong with it
            found |= _flower_users(Path(path).read_text("utf-8").splitlines())
    for name, value in environment.items():
        if name.upper() == f"{PREFIX}SSH_IDENTITY" and holds_key(value):
            found |= _key_parts(value)
    found |= {unquote(secret) for secret in found}
    return {secret for secret in found if len(secret) >= _SHORTEST}


def make_redactor(secrets: Iterable[str]) -> Callable[[str], str]:
    """A function that puts HIDDEN in place of the secrets, also URL-encoded and in base64 (pure)."""
    forms = {form for secret in secrets for form in _forms(secret)}
    if not forms:
        return lambda text: text
    longest_first = sorted(forms, key=len, reverse=True)  # one may begin with another
    pattern = re.compile("|".join(map(re.escape, longest_first)))
    return lambda text: pattern.sub(HIDDEN, text)


def _forms(secret: str) -> set[str]:
    plain = {secret, quote(secret), quote(secret, safe=""), quote_plus(secret)}
    encoded = base64.b64encode(secret.encode()).decode()
    escaped = {repr(secret)[1:-1], ascii(secret)[1:-1], json.dumps(secret)[1:-1]}
    in_json = {form.replace('"', '\\"') for form in escaped}
    return plain | {encoded, encoded.rstrip("=")} | escaped | in_json


def _password(rest: str) -> str:
    """The password: up to the last @, so also one with characters that a URL must not hold."""
    return rest.rpartition("@")[0].partition(":")[2]


def _flower_users(users: Iterable[str]) -> set[str]:
    return {secret for user in users if user for secret in (user, user.partition(":")[2])}


def _url_parts(url: str) -> set[str]:
    rest = url.partition("://")[2]
    parts = {part for part in re.split(r"[/:@?&=,\s]+", rest) if len(part) >= _SHORTEST_PART}
    return {url, rest} | {part for part in parts if not _is_machine(part)}


def _key_parts(key: str) -> set[str]:
    return {key, *(word for word in re.split(r"\s+|\\[nr]", key) if len(word) >= _SHORTEST_WORD)}


def _is_machine(part: str) -> bool:
    """Whether it is an address, not a token: hiding it would make lines useless."""
    with suppress(ValueError):
        ipaddress.ip_address(part)
        return True
    return part == "localhost"
