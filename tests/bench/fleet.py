"""Many hosts on one sshd, for (b) and (c): each name is a host of its own, whose first prune takes 1 s."""

from __future__ import annotations

from tests.support.client import environment
from tests.support.ports import LOOPBACK
from tests.support.sshd import SshServer
from tests.support.waiting import wait_until

# sh's own commands alone (but for sleep), or the stand-in would be what is measured. Each connection finds a
# host, and an engine, of its own: a prune's parent is the sshd that serves the connection. (Its port will not
# do for the prunes: of 200 connections, two often get the same one after another.)
_DOCKER = r"""
case "$1 $2" in
"--version ") echo 'Docker version 26.1.5, build a72d7cd' ;;
"context inspect") echo '"unix:///var/run/docker.sock"' ;;
"builder inspect") printf 'Name: default\nDriver: docker\n' ;;
"info --format")
  set -- $SSH_CONNECTION
  echo '{"ID":"engine-'"$2"'","ServerVersion":"26.1.5","DockerRootDir":"/",'
  echo '"ClientInfo":{"Version":"26.1.5","Context":"default"}}'
  ;;
"builder prune")
  if [ -e "{visits}/$PPID" ]; then printf 'Total:\t0B\n'; exit; fi
  : > "{visits}/$PPID"
  sleep 1
  printf 'ID\tRECLAIMABLE\tSIZE\tLAST ACCESSED\nabc\ttrue\t49.21MB\t2 days ago\nTotal:\t49.21MB\n'
  ;;
*) exit 64 ;;
esac
"""


class Fleet:
    """The hosts `h1` to `h<size>`, reached through `config`, all over curve25519."""

    def __init__(self, server: SshServer, size: int) -> None:
        self._server = server
        self.names = [f"h{number}" for number in range(1, size + 1)]
        self._visits = server.tmp / "visits"
        self._visits.mkdir()
        server.stand_in("docker", _DOCKER.replace("{visits}", str(self._visits)))
        self.config = server.tmp / "ssh_config"
        self.config.write_text(_ssh_config(server))

    def environment(self, redis_url: str) -> dict[str, str]:
        """What makes these hosts a worker's or beat's."""
        hosts = " ".join(f"ssh://{name}" for name in self.names)
        return environment(redis_url, hosts, ssh_config=self.config, ssh_connect_timeout_s=60)

    def expect(self, visits: int) -> None:
        """AssertionError unless that many hosts were pruned; then forget them, once nobody is connected."""
        pruned = list(self._visits.iterdir())
        assert len(pruned) == visits, f"{len(pruned)} of {visits} hosts were pruned"
        wait_until(lambda: not self._server.processes(), 30, "all sessions to end")
        for each in pruned:
            each.unlink()


def _ssh_config(server: SshServer) -> str:
    """For asyncssh and OpenSSH alike."""
    return f"""\
HostName {LOOPBACK}
Port {server.port}
User {server.user}
IdentityFile {server.identity}
IdentitiesOnly yes
UserKnownHostsFile {server.known_hosts}
BatchMode yes
"""
