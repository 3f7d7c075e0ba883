"""Commands that no job sends: mutants of real ones, and what an attacker would try by hand."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

_BLANKS = " \t\n\v\f\r\u00a0\u2003\u2028\u3000\u200b"
_SPECIAL = "'\"`$;&|<>(){}[]*?!~#\\%^=-/.,:"
_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_ALPHABET = _BLANKS + _SPECIAL * 2 + _LETTERS + "\u0661\uff11\u0435"  # digits and an e of other scripts
_WORDS = (
    "--all", "-a", "-f", "--force", "--filter", "until=1s", "--filter until=24h", "--volumes", "; id",
    "&& id", "| sh", "& id", "> /etc/passwd", "< /dev/null", "$(id)", "`id`", "${IFS}id", "--",
    "-H tcp://evil:2375", "--config /tmp/x", "--context evil", "--builder evil", "system", "image", "prune",
    "rm", "run", "exec", "--privileged", "-v /:/host", "*", "#", "''", '""', "\\", "2>&1", "/bin/sh",
)  # fmt: skip


def mutants(commands: Sequence[str], count: int, seed: str) -> Iterator[str]:
    """`count` commands, each one to three changes away from one of `commands`; the same for the same seed.

    Some are commands that a job could send: the caller asks an oracle.
    """
    rng = random.Random(seed)
    for _ in range(count):
        text = rng.choice(commands)
        for _ in range(rng.choice((1, 1, 1, 2, 3))):
            text = rng.choice(_CHANGES)(rng, text, commands)
        yield text


def _delete(rng: random.Random, text: str, _: Sequence[str]) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + text[at + rng.randint(1, 4) :]


def _insert(rng: random.Random, text: str, _: Sequence[str]) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice(_ALPHABET) * rng.choice((1, 1, 1, 2, 30)) + text[at:]


def _replace(rng: random.Random, text: str, _: Sequence[str]) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + rng.choice(_ALPHABET) + text[at + 1 :]


def _swap(rng: random.Random, text: str, _: Sequence[str]) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + text[at : at + 2][::-1] + text[at + 2 :]


def _swap_words(rng: random.Random, text: str, _: Sequence[str]) -> str:
    words = text.split(" ")
    one, other = rng.randrange(len(words)), rng.randrange(len(words))
    words[one], words[other] = words[other], words[one]
    return " ".join(words)


def _change_case(rng: random.Random, text: str, _: Sequence[str]) -> str:
    at = rng.randrange(len(text) + 1)
    return text[:at] + text[at : at + 3].swapcase() + text[at + 3 :]


def _double_blanks(rng: random.Random, text: str, _: Sequence[str]) -> str:
    return text.replace(" ", rng.choice(("  ", "\t", " \n", "\u00a0")), rng.randint(1, 3))


def _add_word(rng: random.Random, text: str, _: Sequence[str]) -> str:
    words = text.split(" ")
    words.insert(rng.randrange(len(words) + 1), rng.choice(_WORDS))
    return " ".join(words)


def _wrap(rng: random.Random, text: str, _: Sequence[str]) -> str:
    start, end = rng.choice(
        (("'", "'"), ('"', '"'), ("sh -c '", "'"), (" ", ""), ("", "\n"), ("\\", ""), ("(", ")"))
    )
    return start + text + end


def _splice(rng: random.Random, text: str, commands: Sequence[str]) -> str:
    other = rng.choice(commands)
    return text[: rng.randrange(len(text) + 1)] + other[rng.randrange(len(other) + 1) :]


_Change = Callable[[random.Random, str, Sequence[str]], str]
_CHANGES: tuple[_Change, ...] = (
    _delete, _insert, _replace, _swap, _swap_words, _change_case, _double_blanks, _add_word, _wrap, _splice,
)  # fmt: skip

_PRUNE = "docker builder prune --force --filter until=24h"
_DF = "timeout -s KILL 60 df -Pk -- /"
WITH_ALL = _PRUNE + " --all"  # an attack where the gate was made without it
ATTACKS: tuple[str, ...] = (
    "",
    " ",
    "id",
    "sh",
    "/bin/sh -i",
    "docker",
    "docker ps",
    "docker run --privileged -v /:/host busybox chroot /host",
    "docker system prune --all --force --volumes",
    "docker image prune --all --force",
    "docker volume rm data",
    "docker builder prune --force",
    "docker builder prune --force --all",
    "docker builder prune --force --filter until=",
    "docker builder prune --force --filter until=0s",
    "docker builder prune --force --filter until=0h",
    "docker builder prune --force --filter until=-24h",
    "docker builder prune --force --filter until=+24h",
    "docker builder prune --force --filter until=24",
    "docker builder prune --force --filter until=h",
    "docker builder prune --force --filter until=1d",
    "docker builder prune --force --filter until=1h30m",
    "docker builder prune --force --filter until=24H",
    "docker builder prune --force --filter until=024h",
    "docker builder prune --force --filter until=0x24h",
    "docker builder prune --force --filter until=24.5h",
    "docker builder prune --force --filter until=2e9h",
    "docker builder prune --force --filter until=1s",
    "docker builder prune --force --filter until=3599s",
    "docker builder prune --force --filter until=59m",
    "docker builder prune --force --filter until=59m --all",
    "docker builder prune --force --filter until=878401h",  # beyond 100 years
    "docker builder prune --force --filter until=99999999999999999999h",
    "docker builder prune --force --filter until=18446744073709551617h",  # 2^64 + 1
    "docker builder prune --force --filter until=5124095576030432h",  # 2^64 / 3600
    "docker builder prune --force --filter until=min_age_s",
    "docker builder prune --force --filter until=$min_age_s",
    "docker builder prune --force --filter until=24h --filter until=1s",
    "docker builder prune --force --filter until=24h,until=1s",
    WITH_ALL,
    "docker builder prune --force --filter until=24h --all --all",
    "docker builder prune --force --filter until=24h  --all",
    "docker builder prune --force --filter until=24h --all ",
    "docker builder prune --force --filter --all until=24h",
    "docker builder prune --all --force --filter until=24h",
    "docker builder prune --force --filter 'until=24h'",
    "docker builder prune --force --filter until='24h'",
    'docker builder prune --force --filter "until=24h"',
    "docker builder prune --force --filter until=24h -a",
    "docker builder prune --force --filter until=24h --keep-storage 0",
    "docker builder prune --force --filter until=24h --builder other",
    "docker --host tcp://evil:2375 builder prune --force --filter until=24h",
    "docker buildx prune --force --filter until=24h",
    "DOCKER_HOST=tcp://evil " + _PRUNE,
    "env " + _PRUNE,
    "sudo " + _PRUNE,
    "/usr/bin/" + _PRUNE,
    "./" + _PRUNE,
    _PRUNE.upper(),
    " " + _PRUNE,
    _PRUNE + " ",
    _PRUNE + "\n",
    _PRUNE + "\r\n",
    _PRUNE + "\t",
    _PRUNE + ";id",
    _PRUNE + "; id",
    _PRUNE + " && id",
    _PRUNE + " || id",
    _PRUNE + " | sh",
    _PRUNE + " & id",
    _PRUNE + "\nid",
    "id\n" + _PRUNE,
    _PRUNE + "\x00; id",
    _PRUNE + "$(id)",
    _PRUNE + "`id`",
    _PRUNE + " $(id)",
    _PRUNE + " > /tmp/x",
    _PRUNE + " # --all",
    _PRUNE + "*",
    _PRUNE + "\\",
    _PRUNE + "\u00a0--all",
    _PRUNE + "\u2003--all",
    _PRUNE.replace(" ", "\u00a0"),
    _PRUNE.replace(" ", "\t"),
    _PRUNE.replace("24h", "\u0662\u0664h"),  # 24 in Arabic digits
    _PRUNE.replace("24h", "\uff12\uff14h"),
    _PRUNE.replace("until", "unt\u0456l"),
    _PRUNE.replace("24h", "24h\u200b"),
    "\ufeff" + _PRUNE,
    _DF + "etc/passwd; id",
    _DF + "$(id)",
    _DF + "`id`",
    _DF + " /etc",
    _DF + "../\n/etc",
    _DF + "*",
    _DF + "~root",
    _DF + "'a b'",
    _DF + "\u00e9",
    "timeout -s KILL 60 df -Pk -- 'a b'",
    "timeout -s KILL 60 df -Pk -- --help",
    "timeout -s KILL 60 df -Pk -- relative",
    "timeout -s KILL 60 df -Pk -- ",
    "timeout -s KILL 60 df -Pk --output=file /",
    "timeout -s KILL 61 docker --version",
    "timeout -s KILL 0 docker system df -v --format '{{json .}}'",
    "timeout -s KILL 604801 docker system df -v --format '{{json .}}'",
    "timeout -s KILL 60 sh -c id docker system df -v --format '{{json .}}'",
    "timeout -s KILL 60s docker system df -v --format '{{json .}}'",
    "timeout -s KILL 60 docker system df -v --format '{{json .}}' docker system df -v --format '{{json .}}'",
    "timeout -s KILL 60 docker info --format '{{json .}}{{println}}'",
    "timeout -s KILL 60 docker info --format {{json .}}",
    'timeout -s KILL 60 docker info --format "{{json .}}"',
    "timeout -s KILL 60 docker info --format '{{json .}}' ",
    "timeout -s KILL 60 docker info",
    "timeout -k 1 60 docker --version",
    "timeout -s KILL 20 docker events --since 1 --until 2",
    "timeout -s KILL 20 docker events --since 1h --until 2 --filter type=builder --format '{{json .}}'",
    "timeout -s KILL 20 docker events --since 1 --until  --filter type=builder --format '{{json .}}'",
    "timeout -s KILL 20 docker events --since 1 --filter type=builder --format '{{json .}}'",
    "timeout -s KILL 20 pgrep -f .",
    "holystone-gate",
    "holystone-gate  version",
    "holystone-gate version ",
    "holystone-gate version; id",
    "/usr/local/bin/holystone-gate version",
    "scp -f /etc/shadow",
    "scp -t /root/.ssh/authorized_keys",
    "/usr/lib/openssh/sftp-server",
    "internal-sftp",
    "rsync --server --sender -logDtpr . /etc/",
    "git-upload-pack '/x'",
    "() { :; }; id",
    "-c id",
    "--help",
    "*",
    "?",
    "[a-z]*",
    "!!",
    "${SSH_ORIGINAL_COMMAND}",
    "\x1b]0;x\x07",
    "\u202e" + _PRUNE,
    "x" * 10_000,
    _PRUNE + " " * 10_000,
    _DF + "a" * 300,
    _DF + "a" * 10_000,
    (_PRUNE + ";") * 200,
)
