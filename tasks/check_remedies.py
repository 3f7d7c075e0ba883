"""What an operator can do about an error that a host's visit ended with (pure)."""

from worker.errors import (
    AuthenticationFailed,
    GateDenied,
    HolystoneError,
    HostKeyRejected,
    UnsupportedEngine,
)

# How the texts of worker/ssh.py, worker/host_key.py and worker/engine.py begin -> the remedy. First fit.
REMEDIES: tuple[tuple[type[HolystoneError], str, str], ...] = (
    (
        AuthenticationFailed,
        "an ssh ",  # key or setting can't be used
        "correct it on this machine: HOLYSTONE_SSH_CONFIG, HOLYSTONE_SSH_IDENTITY, or what ssh_config says",
    ),
    (
        AuthenticationFailed,
        "more keys",
        "set HOLYSTONE_SSH_IDENTITY, or IdentitiesOnly in ssh_config",
    ),
    (
        AuthenticationFailed,
        "",
        "add its public key to authorized_keys there, or set HOLYSTONE_SSH_IDENTITY",
    ),
    (HostKeyRejected, "known_hosts can't be read", "correct that file on this machine"),
    (
        HostKeyRejected,
        "no common ssh algorithm",
        "allow one that both know: in ssh_config on this machine, or in sshd_config there",
    ),
    (HostKeyRejected, "", "compare the key with the host's own, then: holystone trust --help"),
    (UnsupportedEngine, "`docker` is not Docker's CLI", "install docker-cli"),
    (
        UnsupportedEngine,
        "docker's endpoint",
        "unset DOCKER_HOST and DOCKER_CONTEXT there, or configure the engine's own host",
    ),
    (UnsupportedEngine, "`docker builder inspect`", "run it there as that user"),
    (
        UnsupportedEngine,
        "`docker builder prune`",
        "make the engine's own builder the one in use there: docker buildx ls",
    ),
    (UnsupportedEngine, "", "install Docker's own engine and CLI there, or take the host out"),
    (GateDenied, "", "make the gate there and this worker agree, as said: holystone gate --help"),
)


def remedy_of(error: HolystoneError) -> str:
    """What to do about an error: fixed words, chosen by its type and by how this project's own text begins.

    Never cut out of the text: its end may be a host's words, which would then pass for our advice.
    """
    text = str(error)
    if isinstance(error, (AuthenticationFailed, HostKeyRejected)):  # a host's name stands first
        text = text.partition(": ")[2]
    for kind, start, remedy in REMEDIES:
        if isinstance(error, kind) and text.startswith(start):
            return remedy
    return "check again; look at sshd's log there, and at the network between"


def without_host(host: str, error: HolystoneError) -> str:
    """The error's text as it is, but for the host's name, and its remedy where that is `remedy_of` again."""
    return str(error).removeprefix(f"{host}: ").removesuffix(f"; {remedy_of(error)}")
