"""The base images that docker-compose.yml and Dockerfile name, made from Debian's packages: no registry."""

from __future__ import annotations

import hashlib
import os
import shlex
import subprocess
import sys
from pathlib import Path

from tests.support.docker_host import DockerHost
from tests.support.paths import CACHE, locked

# As in the official images: data in /data, which belongs to the user that Redis runs as.
_DATA_FOLDER = 'chroot "$1" install -d -o redis -g redis /data'

# tag: mmdebstrap's options, and what `docker import` is to add
IMAGES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "debian:trixie-20260316-slim": (("--variant=minbase",), ('CMD ["bash"]',)),
    "redis:8.0.6-bookworm": (
        ("--variant=apt", "--include=redis-server", f"--customize-hook={_DATA_FOLDER}"),
        ("USER redis", "WORKDIR /data", "VOLUME /data", 'CMD ["redis-server"]'),
    ),
}

_PIP_SETTINGS: tuple[str, ...] = ("index-url", "proxy", "trusted-host", "timeout")


def load_images(host: DockerHost) -> None:
    """Give the engine of `host` the images, under the tags that the files name."""
    for tag, (options, changes) in IMAGES.items():
        archive = _archive(tag, options)
        arguments = [argument for change in changes for argument in ("--change", change)]
        host.run("docker", "import", *arguments, "-", tag, stdin=archive.read_bytes())


def _archive(tag: str, options: tuple[str, ...]) -> Path:
    """A tar of the image's files, made once (about 15 s) and kept in .cache."""
    command = ["mmdebstrap", "--quiet", *options, *_trust(), "trixie"]
    recipe = hashlib.sha256("\n".join(command).encode()).hexdigest()[:12]
    name = tag.replace(":", "-")
    archive = CACHE / "images" / f"{name}-{recipe}.tar"
    with locked(CACHE / "images" / f"{name}.lock"):
        if not archive.exists():
            for outdated in archive.parent.glob(f"{name}-*.tar"):
                outdated.unlink()
            building = archive.with_name(f"{name}.building.tar")
            done = subprocess.run([*command, str(building)], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise RuntimeError(f"mmdebstrap failed ({done.returncode}): {done.stderr[-4000:]}")
            building.rename(archive)
    return archive


def _trust() -> list[str]:
    """Hooks that make pip in the image look, and trust, where pip here does: no matter of the Dockerfile."""
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    settings: dict[str, str] = {}
    for line in listing.splitlines():
        name, _, value = line.partition("=")
        settings[name.rpartition(".")[2]] = value.strip("'")
    certificates = settings.get("cert") or os.environ.get("SSL_CERT_FILE")
    kept = {name: settings[name] for name in _PIP_SETTINGS if name in settings}
    hooks = []
    if certificates:
        target = "/usr/local/share/pip-certificates.crt"
        kept["cert"] = target
        content = hashlib.sha256(Path(certificates).read_bytes()).hexdigest()
        hooks.append(f'cp {shlex.quote(certificates)} "$1{target}" # {content}')
    configuration = "\\n".join(("[global]", *(f"{key} = {value}" for key, value in kept.items())))
    hooks.append(f'printf "{configuration}\\n" > "$1/etc/pip.conf"')
    return [f"--customize-hook={hook}" for hook in hooks]
