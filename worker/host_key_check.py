"""Checks a host's key when a connection is made, as OpenSSH does, and says why it is not accepted."""

from typing import Any

import asyncssh

from worker.known_hosts import algorithms_for, keys_known_as, match, name_for, name_of

_CERTIFICATES = [f"{algorithm}-cert-v01@openssh.com" for algorithm in algorithms_for([])]


async def connect_checked(
    wanted: dict[str, Any],
    options: asyncssh.SSHClientConnectionOptions,
    known_hosts: asyncssh.SSHKnownHosts,
    through: asyncssh.SSHClientConnection | None,
) -> asyncssh.SSHClientConnection:
    """A connection with asyncssh's arguments `wanted`, which make `options`, if `known_hosts` know the host.

    Raises what asyncssh does.
    """

    def match_host(name: str, _address: str, port: int | None) -> Any:
        # As OpenSSH does: a key that is known for the address is not thereby known for the name.
        return match(known_hosts, name_for(name, None if options.host_key_alias else port))

    known, authorities, _, *x509 = match(known_hosts, name_of(options))
    plain = algorithms_for(known)
    offer = {"server_host_key_algs": _CERTIFICATES * bool(authorities) + plain}
    if options.config.get("HostKeyAlgorithms") or any(x509):
        offer = {}  # as it says; asyncssh's own
    arguments = {**wanted, "known_hosts": match_host, "tunnel": through}
    try:
        return await asyncssh.connect(**arguments, **offer)
    except asyncssh.HostKeyNotVerifiable as error:
        if not (offer and known and _is_bad_certificate(error)):
            raise
        # As in OpenSSH, a host with a bad certificate is still known by its key.
        return await asyncssh.connect(**arguments, server_host_key_algs=plain)


def explain(
    known_hosts: asyncssh.SSHKnownHosts,
    options: asyncssh.SSHClientConnectionOptions,
    error: asyncssh.HostKeyNotVerifiable,
) -> str:
    """Whether the host's key is revoked, unknown or another than the known one, and what to do."""
    if "revoked" in _reason(error):
        return "the host key is revoked in known_hosts; give the host another"
    if _is_bad_certificate(error):
        return "the host's certificate is not accepted; renew it, or add the host's key after checking it"
    if keys_known_as(known_hosts, name_of(options)):
        return (
            "the host key differs from the one in known_hosts. If the host was not reinstalled this may be "
            "an attack; else replace its line with a key that you have checked"
        )
    return "the host key is not in known_hosts; add it after checking its fingerprint on the host"


def _is_bad_certificate(error: asyncssh.HostKeyNotVerifiable) -> bool:
    reason = _reason(error)
    return "revoked" not in reason and not reason.startswith("Host key ")


def _reason(error: asyncssh.HostKeyNotVerifiable) -> str:
    """asyncssh's own words, without the host's name, which could hold any of them."""
    return error.reason.partition(" for host ")[0]
