"""What HOLYSTONE_REDIS_URL may hold: what redis-py, kombu, Celery's results and RedBeat read alike (pure).

They differ in what else they take: where one fails with a Python error, another uses database 0 instead.
"""

import re
from urllib.parse import parse_qsl, unquote, urlsplit

_SCHEMES = ("redis://", "rediss://")
_CERTIFICATE = "ssl_cert_reqs"
_TLS = (_CERTIFICATE, "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_check_hostname")
_PLACE = "[[user]:password@]host[:port][/db]"
_UNREADABLE = "HOLYSTONE_REDIS_URL can't be read; it is written"
_FORM = f"{_UNREADABLE} redis://{_PLACE}"
_ENCODED = f"{_FORM}, with / ? # @ ; [ ] and % in the password encoded, such as %2F"
_DATABASE = f"{_FORM}, where db is a number"
_NO_OPTIONS = f"{_FORM}, without options (?...)"
_TLS_OPTIONS = (
    f"{_UNREADABLE} rediss://{_PLACE}?{_CERTIFICATE}=required (or optional, or none), with no other options "
    f"than {', '.join(_TLS[1:])}"
)


class UnusableUrl(ValueError):
    """One line that names the setting and the remedy; nothing of the URL is in it."""


def check_url(url: str) -> None:
    """Raises UnusableUrl where `url` is not what all of them read alike."""
    try:
        parts = urlsplit(url)
        host = unquote(parts.hostname or "")
        host.encode("idna")  # as it is looked up; raises UnicodeError, which is a ValueError
        reads = parts.port != 0 and (url + host).isprintable()  # else it is cut, or not sent
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
    except ValueError:
        raise UnusableUrl(_ENCODED) from None  # its text may show a part of the password
    if not (url.startswith(_SCHEMES) and reads) or parts.fragment or ";" in url:
        raise UnusableUrl(_ENCODED)  # kombu takes ; for the end of one URL and the start of another
    if "@" in parts.path + parts.query:  # what looks like the host may be a part of the password
        raise UnusableUrl(_ENCODED)
    if not re.fullmatch("(/[0-9]{0,9})?", unquote(parts.path)):
        raise UnusableUrl(_DATABASE)
    if parts.scheme == "redis" and options:
        raise UnusableUrl(_NO_OPTIONS)
    if parts.scheme == "rediss" and not _are_readable(options):
        raise UnusableUrl(_TLS_OPTIONS)


def _are_readable(options: dict[str, str]) -> bool:
    return options.keys() <= set(_TLS) and options.get(_CERTIFICATE) in ("required", "optional", "none")


def shown_url(url: str) -> str:
    """A URL that `check_url` takes, as it may be shown: scheme, host, port and database."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}{port}{parts.path}"
