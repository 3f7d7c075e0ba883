"""Hosts: `ssh://[user@]host[:port]` or `local`, parsed and validated before anything is contacted."""

import ipaddress
import re
from dataclasses import dataclass

DEFAULT_PORT = 22

# A leading dash would be read as an option by ssh, and shell characters have no place in either.
_ADDRESS = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}", re.ASCII)
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9._-]{0,63}", re.ASCII)
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_HOST_AND_PORT = re.compile(r"(\[[^\]]*\]|[^:]*)(?::(.*))?", re.DOTALL)


@dataclass(frozen=True)
class Host:
    """One machine with a Docker engine. `address` is None for the machine that the worker runs on."""

    name: str
    address: str | None = None
    user: str | None = None
    port: int | None = None

    @property
    def is_local(self) -> bool:
        return self.address is None

    @property
    def url(self) -> str:
        if self.address is None:
            return "local"
        address = f"[{self.address}]" if ":" in self.address else self.address
        return f"ssh://{self.user + '@' if self.user else ''}{address}{f':{self.port}' if self.port else ''}"


def parse_host(text: str, name: str | None = None) -> Host:
    """The host that `text` names, called `name` or else by its address (and port, where not 22).

    Raises ValueError with a sentence that names the remedy and never repeats a password.
    """
    if text == "local":
        return Host(name or "local")
    shown = redact(text)
    if not text.startswith("ssh://"):
        raise ValueError(f"{shown!r}: a host is written ssh://[user@]host[:port], or local")
    userinfo, at, rest = text.removeprefix("ssh://").removesuffix("/").rpartition("@")
    if ":" in userinfo:
        raise ValueError(f"{shown!r}: no passwords here; use an ssh key or agent")
    if at and not _USER.fullmatch(userinfo):
        raise ValueError(f"{shown!r}: the user may hold letters, digits, '.', '_' and '-'")
    match = _HOST_AND_PORT.fullmatch(rest)
    address, port = match.groups() if match else (rest, None)
    if not (_ADDRESS.fullmatch(address) or _is_ipv6(address)):
        raise ValueError(f"{shown!r}: the host may hold letters, digits, '.', '_' and '-', or be [IPv6]")
    if port is not None and not (_PORT.fullmatch(port) and 1 <= int(port) <= 65535):
        raise ValueError(f"{shown!r}: the port is a number from 1 to 65535")
    number = int(port) if port else None
    own_name = address if number in (None, DEFAULT_PORT) else f"{address}:{number}"
    return Host(name or own_name, address.strip("[]"), userinfo or None, number)


def check_name(name: str) -> None:
    """Raises ValueError unless `name`, which goes into keys and arguments, could be the name of a host."""
    match = _HOST_AND_PORT.fullmatch(name)
    address, port = match.groups() if match else (name, None)
    fits = _ADDRESS.fullmatch(address) or _is_ipv6(address)
    if not fits or (port is not None and not _PORT.fullmatch(port)):
        raise ValueError(f"{redact(name)!r}: a host's name may hold letters, digits, '.', '_' and '-'")


def _is_ipv6(address: str) -> bool:
    if not (address.startswith("[") and address.endswith("]")):
        return False
    try:
        ipaddress.IPv6Address(address[1:-1])
    except ValueError:
        return False
    return "%" not in address or _ADDRESS.fullmatch(address[1:-1].partition("%")[2]) is not None


def redact(text: str) -> str:
    """`text` as it may be shown: whatever could be a password is replaced by `***`."""
    scheme = "ssh://" if text.startswith("ssh://") else ""
    userinfo, at, rest = text.removeprefix(scheme).rpartition("@")
    if at:
        user, colon, _ = userinfo.partition(":")
        user = user if _USER.fullmatch(user) else "***" * bool(user)
        userinfo = "***" if not scheme else user + (":***" if colon else "")
    elif not rest.startswith("["):
        # `ssh://user:secret` cut off before its @ looks like a host with a strange port.
        address, colon, port = rest.partition(":")
        rest = address + (f":{port if _PORT.fullmatch(port) else '***'}" if colon else "")
    return f"{scheme}{userinfo}{at}{rest}"


def split_list(text: str) -> list[str]:
    """The items of a list separated by commas or white space."""
    return [item for item in re.split(r"[,\s]+", text) if item]
