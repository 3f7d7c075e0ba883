"""Checks a host's key when a connection is made, as OpenSSH does, and says why it is not accepted."""

from typing import Any

import asyncssh

from worker.known_hosts import algorithms_for, keys_known_as, match, name_for, name_of

_CERTIFICATES = [f"{algorithm}-cert-v01@openssh.com" for algorithm in algorithms_for([])]


class Client(asyncssh.SSHClient):
    """This side of a connection: what it made of the host's key, and that it hears its peer out.

    What a peer says when it hangs up, asyncssh raises as if it were this side's own verdict, even before the
    peer has shown a key.
    """

    refusal: asyncssh.HostKeyNotVerifiable | None = None  # this side's own
    _connection: asyncssh.SSHClientConnection | None = None

    @property
    def knows_host(self) -> bool:
        """Whether the host has proved to hold a key that is accepted: nothing is encrypted before."""
        return self._connection is not None and bool(self._connection.get_extra_info("send_cipher"))

    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        self._connection, validate = conn, conn.validate_server_host_key

        def note_refusal(key_data: bytes) -> asyncssh.SSHKey:
            try:
                return validate(key_data)
            except asyncssh.HostKeyNotVerifiable as error:
                self.refusal = error
                raise

        conn.validate_server_host_key = note_refusal  # type: ignore[method-assign]
        # asyncssh 2.24 reads a KEXINIT in a task of its own. sshd hangs up right after its own where no
        # algorithm fits, and an end that is read before that task has run would hide why. asyncio then closes
        # the transport by itself, a turn of the loop later.
        conn.eof_received = lambda: None  # type: ignore[method-assign]


async def connect_checked(
    wanted: dict[str, Any],
    options: asyncssh.SSHClientConnectionOptions,
    known_hosts: asyncssh.SSHKnownHosts,
    through: asyncssh.SSHClientConnection | None,
    client: Client,
) -> asyncssh.SSHClientConnection:
    """A connection with asyncssh's arguments `wanted`, which make `options`, if `known_hosts` know the host.

    Raises what asyncssh does; only `client` tells whether that is this side's verdict or the peer's word.
    """

    def match_host(name: str, _address: str, port: int | None) -> Any:
        # As OpenSSH does: a key that is known for the address is not thereby known for the name.
        return match(known_hosts, name_for(name, None if options.host_key_alias else port))

    known, authorities, _, *x509 = match(known_hosts, name_of(options))
    plain = algorithms_for(known)
    offer = {"server_host_key_algs": _CERTIFICATES * bool(authorities) + plain}
    if options.config.get("HostKeyAlgorithms") or any(x509):
        offer = {}  # as it says; asyncssh's own
    arguments = {**wanted, "known_hosts": match_host, "tunnel": through, "client_factory": lambda: client}
    try:
        return await asyncssh.connect(**arguments, **offer)
    except asyncssh.HostKeyNotVerifiable as error:
        if not (error is client.refusal and offer and known and _is_bad_certificate(error)):
            raise
        # As in OpenSSH, a host with a bad certificate is still known by its key.
        return await asyncssh.connect(**arguments, server_host_key_algs=plain)


def explain(
    known_hosts: asyncssh.SSHKnownHosts,
    options: asyncssh.SSHClientConnectionOptions,
    error: asyncssh.HostKeyNotVerifiable,
) -> str:
    """Whether the host's key is revoked, unknown or another than the known one, and what to do; `error` is
    this side's refusal."""
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
