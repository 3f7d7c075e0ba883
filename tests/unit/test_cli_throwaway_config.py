from __future__ import annotations

import tomllib
from pathlib import Path

from tasks.cli.throwaway_config import containerd_config, own_passwd, sshd_config

FOLDER = Path("/x/demo")


def test_containerd_keeps_to_the_folder() -> None:
    config = tomllib.loads(containerd_config(FOLDER))
    places = (config["root"], config["state"], config["grpc"]["address"])
    assert all(place.startswith("/x/demo/") for place in places)
    assert "io.containerd.internal.v1.opt" in config["disabled_plugins"]  # writes to /opt


def test_sshd_listens_on_loopback_for_one_key() -> None:
    lines = sshd_config(FOLDER, 7601, "/usr/bin:/bin", FOLDER / "docker.sock").splitlines()
    assert {
        "Port 7601",
        "ListenAddress 127.0.0.1",
        "HostKey /x/demo/host_key",
        "AuthorizedKeysFile /x/demo/authorized_keys",
        "PasswordAuthentication no",
        "PermitUserRC no",
        'SetEnv PATH="/usr/bin:/bin" DOCKER_HOST="unix:///x/demo/docker.sock"',
    } <= set(lines)


def test_root_gets_a_home_of_its_own_and_others_stay() -> None:
    text = "root:x:0:0:root:/root:/usr/bin/fish\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n"
    assert own_passwd(text, Path("/x/home")).splitlines() == [
        "root:*:0:0:root:/x/home:/bin/sh",
        "sshd:x:100:65534::/run/sshd:/usr/sbin/nologin",
    ]
