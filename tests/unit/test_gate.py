"""holystone-gate's text lists exactly the commands that the jobs send; and what the worker reads of it."""

from __future__ import annotations

import hashlib
import itertools
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tasks.cli import main
from tasks.command_set import AGE, ID, JOBS, PATH, SECONDS, TIME, Template, templates_of
from tasks.gate_file import GATE_FILE, INSTALLED_AS, authorized_keys_line, render_arm, render_gate
from tests.support.gate import MIN_AGE_S, commands, is_let_in, matching
from tests.support.requirements import require
from tests.support.ssh_keys import make_key, public_key
from worker.errors import GateDenied
from worker.gate import COMMAND_SET_VERSION, Gate, parse_denial, parse_gate_version
from worker.policies import PRUNE_JOB, WATCH_JOB
from worker.settings import Settings, get_settings

# Of what decides: the checks, and the arms of all jobs. Where this fails: raise COMMAND_SET_VERSION in
# worker/gate.py, unless that version was never released, and put the new digest here.
DIGESTS = {1: "ea1a231252f336dd"}
FACTS = f"{COMMAND_SET_VERSION} jobs=prune_build_cache,watch_disk min_age_s=3600 all=no"

# The command set


def test_each_command_of_the_jobs_has_one_template_and_each_template_a_command() -> None:
    used = [matching(shlex.join(argv)) for argv in commands(allow_all=True)]
    assert all(len(templates) == 1 for templates in used)
    assert {template for (template,) in used} == set(templates_of(JOBS))


def test_every_command_of_the_jobs_is_let_in() -> None:
    for allow_all in (True, False):
        assert all(is_let_in(shlex.join(argv), allow_all) for argv in commands(allow_all))


def deciding_lines(text: str) -> str:
    """A gate's text from its first check on, without comments: what decides on a command."""
    _, start, rest = text.partition("\nbetween() {\n")
    assert start
    return "\n".join(line for line in rest.splitlines() if not line.lstrip().startswith("#"))


def test_a_changed_command_or_check_needs_a_new_version() -> None:
    file = GATE_FILE.read_text()
    gates = [deciding_lines(render_gate(file, 60, JOBS, allow_all)) for allow_all in (False, True)]
    digest = hashlib.sha256("\n".join(gates).encode()).hexdigest()[:16]
    assert DIGESTS[COMMAND_SET_VERSION] == digest, f"what it lets in changed: see DIGESTS ({digest})"
    assert max(DIGESTS) == COMMAND_SET_VERSION


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("hole=${hole%", "hole=${hole%%"),
        ("3162240000", "9162240000"),
        ('"$min_age_s" ]', '"0" ]'),
        ('"${#1}" -eq 64', '"${#1}" -ge 64'),
        ("-le 512 ]", "-le 9999 ]"),
        ("builder du", "builder df"),
        ("deny 'all not", "echo 'all not"),
    ],
)
def test_the_digest_is_of_the_checks_and_of_the_arms(old: str, new: str) -> None:
    text = GATE_FILE.read_text()
    assert old in text
    assert deciding_lines(text) != deciding_lines(text.replace(old, new))


def test_the_longest_limit_of_the_settings_is_one_that_the_gate_takes() -> None:
    (most,) = [meta.le for meta in Settings.model_fields["prune_timeout_s"].metadata if hasattr(meta, "le")]
    assert f'[ "$1" -le {most} ]' in GATE_FILE.read_text()


# The text


def test_the_file_is_what_the_command_prints_for_all_jobs() -> None:
    text = GATE_FILE.read_text()
    assert text == render_gate(text, MIN_AGE_S, JOBS, allow_all=False), "print it anew: holystone gate"
    assert GATE_FILE.stat().st_mode & 0o777 == 0o755


def test_a_prune_with_all_is_in_a_gate_only_where_it_is_asked_for() -> None:
    without, with_all = (
        render_gate(GATE_FILE.read_text(), 60, JOBS, allow_all) for allow_all in (False, True)
    )
    arm = '  "docker builder prune --force --filter until="*" --all")\n'
    assert f"{arm}    deny 'all not allowed' ;;\n" in without
    assert f'{arm}    between "docker builder prune --force --filter until=" " --all"\n' in with_all
    assert [("--all ;;" in text, "\nall=yes\n" in text) for text in (without, with_all)] == [
        (False, False), (True, True)
    ]  # fmt: skip
    assert "\nall=no\n" in without
    assert "\nall=no\n" in render_gate(without, 60, [WATCH_JOB], allow_all=True)


def test_a_command_without_holes_is_compared_as_a_whole() -> None:
    assert render_arm(("docker", "info", "--format", "{{json .}}")) == (
        "  \"docker info --format '{{json .}}'\")\n    run docker info --format '{{json .}}' ;;\n"
    )


def test_a_hole_is_cut_out_and_checked() -> None:
    assert render_arm(("docker", "prune", f"until={AGE}", "--all")).splitlines() == [
        '  "docker prune until="*" --all")',
        '    between "docker prune until=" " --all"',
        '    check_age "$hole"',
        '    run docker prune until="$hole" --all ;;',
    ]
    assert render_arm(("df", "--", PATH)).splitlines() == [
        '  "df -- "*)',
        '    between "df -- "',
        '    check_path "$hole"',
        '    run df -- "$hole" ;;',
    ]


def test_several_holes_are_cut_out_in_their_order() -> None:
    assert render_arm(("events", "--since", TIME, "--until", TIME, "--id", ID)).splitlines() == [
        '  "events --since "*" --until "*" --id "*)',
        '    between "events --since "',
        '    hole_1=${hole%%" --until "*}',
        '    hole=${hole#*" --until "}',
        '    hole_2=${hole%%" --id "*}',
        '    hole=${hole#*" --id "}',
        '    check_time "$hole_1"',
        '    check_time "$hole_2"',
        '    check_id "$hole"',
        '    run events --since "$hole_1" --until "$hole_2" --id "$hole" ;;',
    ]


@pytest.mark.parametrize("word", ['a"b', "a$b", "a`b", "a\\b", "a\nb"])
def test_a_word_that_sh_would_read_between_double_quotes_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="double quotes"):
        render_arm(("docker", word))


EVENTS: Template = (
    "timeout",
    SECONDS,
    "docker",
    "events",
    "--since",
    TIME,
    "--until",
    TIME,
    "--id",
    ID,
    "-f",
    "{{.}}",
)


@pytest.fixture
def other_job(monkeypatch: pytest.MonkeyPatch) -> str:
    """A second job, with a command that the first one does not send, and one that both do."""
    jobs = {"look_back": (EVENTS, JOBS[PRUNE_JOB][0]), PRUNE_JOB: JOBS[PRUNE_JOB]}
    for module in ("tasks.command_set", "tasks.gate_file"):
        monkeypatch.setattr(f"{module}.JOBS", jobs)
    return "look_back"


def test_only_the_chosen_jobs_are_let_in(other_job: str) -> None:
    text = GATE_FILE.read_text()
    one, other, both = (
        render_gate(text, 60, jobs, allow_all=False)
        for jobs in ([PRUNE_JOB], [other_job], [PRUNE_JOB, other_job])
    )
    assert "builder prune" in one
    assert " --id " not in one
    assert " --id " in other
    assert "builder prune" not in other
    assert f"\njobs={other_job},{PRUNE_JOB}\nmin_age_s=60\n" in both
    assert both.count('"timeout -s KILL 60 docker --version")') == 1


def test_shellcheck_finds_nothing_in_any_gate(other_job: str) -> None:
    require("shellcheck (Debian: shellcheck)", shutil.which("shellcheck"))
    choices = ([PRUNE_JOB], [other_job], [PRUNE_JOB, other_job])
    for jobs, allow_all in itertools.product(choices, (False, True)):
        text = render_gate(GATE_FILE.read_text(), 60, jobs, allow_all)
        done = subprocess.run(["shellcheck", "-"], input=text, capture_output=True, text=True, check=False)
        assert done.stdout == ""


@pytest.mark.parametrize(
    "shell", [["dash"], ["busybox", "sh"], ["bash", "--posix"]], ids=lambda shell: shell[0]
)
def test_a_command_of_several_holes_is_let_in_with_each_checked(
    other_job: str, shell: list[str], tmp_path: Path
) -> None:
    require(f"{shell[0]} (Debian: {shell[0]})", shutil.which(shell[0]))
    gate = tmp_path / "gate"
    # Prints instead of running.
    gate.write_text(
        render_gate(GATE_FILE.read_text(), 60, [other_job], allow_all=False).replace(
            "run() { exec env", "run() { echo env"
        )
    )
    id = "0123456789abcdef" * 4

    def ask(*values: str) -> int:
        words = iter(values)
        command = shlex.join(next(words) if word.startswith("@") else word for word in EVENTS)
        env = {"SSH_ORIGINAL_COMMAND": command, "PATH": "/usr/bin:/bin"}
        done = subprocess.run([*shell, str(gate)], env=env, capture_output=True, text=True, check=False)
        assert (done.returncode == 0) is (" ".join(shlex.split(command)) in done.stdout)
        return done.returncode

    assert ask("604800", "1789000000", "1789000300", id) == 0
    for bad in (
        ("604801", "1", "2", id), ("0", "1", "2", id), ("60", "01", "2", id), ("60", "1", "", id),
        ("60", "1 --until 2", "3", id), ("60", "1", "2 --id x", id), ("60", "x", "2", id),
        ("60", "1", "12345678901", id), ("60", "1", "2", id[1:]), ("60", "1", "2", id + "0"),
        ("60", "1", "-2", id), ("60", "1", "2", id.upper()), ("60", "1", "2", f"{id} -f"),
    ):  # fmt: skip
        assert ask(*bad) == 77, bad


# The line in authorized_keys


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return make_key(tmp_path / "id_ed25519")


def test_the_line_confines_the_key_and_keeps_its_comment(key: Path) -> None:
    assert authorized_keys_line(f"\n{public_key(key)} worker at build \n\n") == (
        f'restrict,command="{INSTALLED_AS}" {public_key(key)} worker at build'
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "garbage",
        "ssh-ed25519",
        "ssh-ed25519 AAAA",
        "ssh-ed25519 " + "A" * 68,
        'from="10.0.0.0/8" {key}',
        'command="id" {key}',
        "{key}\n{key}",
        "{key}\nssh-rsa AAAA",
        "{key} a\rb",
        "{key} a\x1bb",
        "ssh-rsa {data}",
        "---- BEGIN SSH2 PUBLIC KEY ----\n{data}\n---- END SSH2 PUBLIC KEY ----",
    ],
)
def test_what_is_no_public_key_is_refused_without_being_shown(text: str, key: Path) -> None:
    data = public_key(key).split()[1]
    with pytest.raises(ValueError, match="no public key file") as failure:
        authorized_keys_line(text.format(key=public_key(key), data=data))
    assert data not in str(failure.value)


# The command


@pytest.fixture(autouse=True)
def _own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def holystone_gate(*args: str, **env: str) -> Result:
    get_settings.cache_clear()
    return CliRunner().invoke(main, ["gate", *args], env={f"HOLYSTONE_{name}": env[name] for name in env})


def test_gate_prints_the_file_and_says_on_stderr_where_it_goes() -> None:
    result = holystone_gate()
    assert (result.exit_code, result.stdout) == (0, GATE_FILE.read_text())
    assert result.stderr.count("\n") == 1
    assert f"{INSTALLED_AS}, mode 755" in result.stderr


@pytest.mark.parametrize(
    ("env", "jobs"),
    [
        ({"DISK_ENABLED": "false"}, "prune_build_cache"),
        ({"PRUNE_ENABLED": "false", "HOSTS": "ssh://build-01"}, "watch_disk"),
        ({"HOSTS": "ssh://build-01"}, "prune_build_cache,watch_disk"),
    ],
)
def test_gate_lets_in_the_jobs_that_the_settings_enable(env: dict[str, str], jobs: str) -> None:
    result = holystone_gate(**env)
    assert f"\njobs={jobs}\n" in result.stdout
    off = {PRUNE_JOB, WATCH_JOB} - set(jobs.split(","))
    assert [f"does not let in {job}, off in the settings" in result.stderr for job in off] == [True] * len(
        off
    )
    assert ("does not let in" in result.stderr) == bool(off)


def test_gate_with_every_job_off_asks_which() -> None:
    result = holystone_gate(PRUNE_ENABLED="false", DISK_ENABLED="false")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "name those to let in with --job" in result.stderr


def test_gate_takes_a_minimum_age_and_jobs() -> None:
    result = holystone_gate("--min-age", "7d", "--job", PRUNE_JOB)
    assert "\nmin_age_s=604800\n" in result.stdout
    assert f"\njobs={PRUNE_JOB}\n" in result.stdout
    assert "does not let in" not in result.stderr


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--min-age", "0"], "an age is at least one second"),
        (["--min-age", "soon"], "'soon' is not an age; write for example 30m"),
        (["--job", "mine_coins"], "is not one of 'prune_build_cache', 'watch_disk'"),
        (["--authorized-keys", "/nonexistent/key.pub"], "/nonexistent/key.pub: No such file or directory"),
        (["--authorized-keys", "/"], "/: Is a directory"),
        (["--authorized-keys", "~nobodyx/k"], "~nobodyx/k: Could not determine home directory."),
    ],
)
def test_gate_with_a_bad_option_says_which_in_one_line(args: list[str], told: str) -> None:
    result = holystone_gate(*args)
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"Invalid value for '{args[0]}': ")
    assert told in line


def test_gate_warns_of_hosts_that_prune_by_a_shorter_age() -> None:
    hosts = "ssh://build-01 local"
    assert "warning" not in holystone_gate(HOSTS=hosts, PRUNE_UNTIL="1h").stderr
    told = holystone_gate(HOSTS=hosts, PRUNE_UNTIL="59m").stderr.splitlines()
    assert told[0].startswith("warning: build-01 prunes what was unused for 59m, which this gate denies")
    assert len(told) == 2
    ladder = {"HOSTS": hosts, "DISK_LADDER": "24h,30m"}
    assert "warning" not in holystone_gate(**ladder).stderr  # no early prune is configured
    told = holystone_gate(DISK_PRUNE_PERCENT="90", **ladder).stderr.splitlines()
    assert told[0].startswith("warning: build-01 prunes what was unused for 30m")


@pytest.mark.parametrize(
    ("args", "env", "is_in"),
    [
        ([], {}, False),
        (["--allow-all"], {}, True),
        ([], {"PRUNE_ALL": "true"}, True),
        ([], {"PRUNE_ALL": "true", "HOSTS": "ssh://build-01"}, True),
        ([], {"PRUNE_ALL": "true", "HOSTS": "local"}, False),
        (["--allow-all"], {"HOSTS": "local"}, True),
        (["--allow-all"], {"PRUNE_ALL": "false", "HOSTS": "ssh://build-01"}, True),
        (["--allow-all", "--job", WATCH_JOB], {}, False),
        (
            ["--job", PRUNE_JOB],
            {"PRUNE_ENABLED": "false", "PRUNE_ALL": "true", "HOSTS": "ssh://build-01"},
            False,
        ),
    ],
)
def test_gate_lets_in_all_where_the_settings_send_it_or_the_operator_says_so(
    args: list[str], env: dict[str, str], is_in: bool
) -> None:
    result = holystone_gate(*args, **env)
    assert result.exit_code == 0
    assert ("\nall=yes\n" in result.stdout, " --all ;;" in result.stdout) == (is_in, is_in)
    assert ("\nall=no\n" in result.stdout) is not is_in


def test_gate_says_for_which_hosts_it_lets_in_all(tmp_path: Path) -> None:
    hosts = "".join(
        f'[hosts.b{n}]\nurl = "ssh://b{n}"\nprune.all = {"false" if n == 2 else "true"}\n' for n in range(6)
    )
    (tmp_path / "holystone.toml").write_text(hosts)
    result = holystone_gate()
    assert "\nall=yes\n" in result.stdout
    assert "lets in prunes with --all, as the settings have them for b0, b1, b3 and 2 more" in result.stderr
    assert "--all" not in holystone_gate("--job", WATCH_JOB).stderr
    without = holystone_gate(PRUNE_ALL="false")  # the environment holds for every host
    assert "\nall=no\n" in without.stdout
    assert "--all" not in without.stderr


def test_gate_prints_the_line_of_a_key_alone(key: Path) -> None:
    result = holystone_gate("--authorized-keys", f"{key}.pub")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == f'restrict,command="{INSTALLED_AS}" {public_key(key)}\n'


def test_gate_refuses_a_private_key_without_showing_it(key: Path) -> None:
    result = holystone_gate("--authorized-keys", str(key))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "that is a private key" in result.stderr.splitlines()[-1]
    assert not any(line in result.output for line in key.read_text().splitlines())


def test_gate_refuses_bytes_that_are_no_text(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"\xff\xfe" * 1000)
    result = holystone_gate("--authorized-keys", str(tmp_path / "key"))
    assert (result.exit_code, result.stderr.count("no public key file")) == (2, 1)


# What the worker reads


def test_a_version_is_read_even_behind_what_the_login_s_shell_says() -> None:
    expected = Gate(COMMAND_SET_VERSION, ("prune_build_cache", "watch_disk"), 3600, all=False)
    assert parse_gate_version(f"holystone-gate {FACTS}\n") == expected
    assert parse_gate_version(f"Welcome!\nholystone-gate {FACTS}\n") == expected
    newer = "holystone-gate 12 jobs=a,b_c min_age_s=60 all=yes more=1\n"
    assert parse_gate_version(newer) == Gate(12, ("a", "b_c"), 60, all=True)


@pytest.mark.parametrize("rest", ["", " more=no", " all=", " all=none"])
def test_a_gate_that_does_not_say_whether_it_lets_in_all_does(rest: str) -> None:
    facts = f"1 jobs=a min_age_s=60{rest}"
    assert parse_gate_version(f"holystone-gate {facts}\n") == Gate(1, ("a",), 60, all=True)
    denial = parse_denial("b", "docker x", 77, f"holystone-gate: denied: age below the minimum ({facts})\n")
    assert denial is not None
    assert denial.args[2:] == ("age below the minimum", 60, 1, COMMAND_SET_VERSION)


@pytest.mark.parametrize(
    "text", ["", "sh: holystone-gate: not found", "holystone-gate", "holystone-gate x jobs= min_age_s=1"]
)
def test_anything_else_is_no_gate_s_version(text: str) -> None:
    assert parse_gate_version(text) is None


def test_a_denied_age_names_the_minimum_and_what_to_raise() -> None:
    denial = parse_denial("b", "docker x", 77, f"holystone-gate: denied: age below the minimum ({FACTS})\n")
    assert isinstance(denial, GateDenied)
    assert str(denial) == (
        "b: holystone-gate there denied `docker x` (age below the minimum); its minimum is 3600 s: raise "
        "until (HOLYSTONE_PRUNE_UNTIL, prune.until; of an early prune HOLYSTONE_DISK_LADDER, disk.ladder), "
        "or install one there that `holystone gate --min-age` printed for less"
    )


@pytest.mark.parametrize("version", [COMMAND_SET_VERSION, 0, 99])
def test_a_denied_all_names_the_setting_and_the_option(version: int) -> None:
    stderr = f"holystone-gate: denied: all not allowed ({version} jobs=a min_age_s=60 all=no)\n"
    assert str(parse_denial("b", "docker x --all", 77, stderr)) == (
        "b: holystone-gate there denied `docker x --all` (all not allowed); it was printed without --all: "
        "switch all off (HOLYSTONE_PRUNE_ALL, prune.all), or install one there that "
        "`holystone gate --allow-all` printed"
    )


def test_a_denied_path_names_docker_s_root_directory() -> None:
    denied = "holystone-gate: denied: not a path that it takes"
    told = str(parse_denial("b", "df -- '/a b'", 77, f"{denied} ({FACTS})\n"))
    assert "none with blanks" in told
    assert "give docker another root directory there (data-root)" in told
    older = str(parse_denial("b", "df -- /a+b", 77, f"{denied} (0 jobs=a min_age_s=60)\n"))
    assert "print it anew" in older


def test_each_reason_with_a_remedy_of_its_own_is_one_that_the_gate_gives() -> None:
    text = GATE_FILE.read_text()
    for reason in (GateDenied.BELOW_MIN_AGE, GateDenied.NO_ALL, GateDenied.BAD_PATH):
        assert f"deny '{reason}'" in text


@pytest.mark.parametrize(
    ("version", "told"),
    [
        (
            COMMAND_SET_VERSION,
            "it has this worker's command set (version 1): change the value that it denies, or",
        ),
        (
            99,
            "its command set is version 99, this worker sends version 1: upgrade this worker",
        ),
        (
            0,
            "its command set is version 0, this worker sends version 1: print it anew with `holystone gate`",
        ),
    ],
)
def test_another_denial_names_the_versions(version: int, told: str) -> None:
    facts = f"{version} jobs=a min_age_s=60"
    denial = parse_denial(
        "b", "docker x", 77, f"motd\nholystone-gate: denied: not in the command set ({facts})\n"
    )
    assert denial is not None
    assert told in str(denial)


def test_a_denial_in_words_of_another_gate_is_one_too() -> None:
    denial = parse_denial("b", "docker x", 77, "holystone-gate: denied, go away\n")
    assert "its command set is version unknown" in str(denial)


@pytest.mark.parametrize(
    ("status", "stderr"),
    [
        (0, f"holystone-gate: denied: not in the command set ({FACTS})"),
        (1, f"holystone-gate: denied: not in the command set ({FACTS})"),
        (None, f"holystone-gate: denied: not in the command set ({FACTS})"),
        (77, ""),
        (77, "docker: holystone-gate: denied"),
        (77, "holystone-gate: deniedly"),
    ],
)
def test_a_command_s_own_failure_is_no_denial(status: int | None, stderr: str) -> None:
    assert parse_denial("b", "docker x", status, stderr) is None
