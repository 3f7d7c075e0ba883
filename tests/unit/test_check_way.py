"""What `holystone check` makes of the way to a host: up to the step that failed, and no further."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.check_findings import Check
from tasks.check_way import judge_way
from worker.errors import AuthenticationFailed, HostKeyRejected, HostUnreachable
from worker.host_key import HostKey, parse_fingerprint
from worker.known_hosts import KeyStatus
from worker.way import Way

KEY = HostKey(
    "[build-01]:2222", "ed25519", "SHA256:abc", KeyStatus.NEW, "line\n", Path("/home/ci/.ssh/known_hosts")
)
ARRIVED = Way(
    "build-01", "build-01:2222", "ci.bot", addresses=["10.0.0.5"], answer="OpenSSH_9.2", key_accepted=True
)


def brief(way: Way) -> list[tuple[str, str]]:
    checks = judge_way(way)
    assert [check for check in checks if check.status != "ok" and not check.remedy] == []
    return [(check.name, check.status) for check in checks]


def test_a_login_is_four_lines() -> None:
    assert judge_way(ARRIVED) == [
        Check("name", "ok", "build-01:2222 is 10.0.0.5"),
        Check("port", "ok", "OpenSSH_9.2 answers"),
        Check("host_key", "ok", "known"),
        Check("login", "ok", "as ci.bot"),
    ]


def test_an_address_is_not_said_twice() -> None:
    assert judge_way(replace(ARRIVED, target="10.0.0.5:22"))[0].text == "10.0.0.5:22"


def test_behind_a_jump_host_neither_name_nor_port_is_judged_from_here() -> None:
    way = replace(ARRIVED, behind="jump-01", addresses=None, answer=None)
    assert brief(way) == [("name", "ok"), ("host_key", "ok"), ("login", "ok")]
    assert judge_way(way)[0].text == "build-01:2222, behind jump-01: resolved there"


def test_a_name_that_does_not_resolve_ends_the_list() -> None:
    error = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    way = Way("build-01", "build-01:22", "", addresses=error, failure=HostUnreachable("build-01: x"))
    assert brief(way) == [("name", "error")]
    assert judge_way(way)[0].text == "build-01:22 does not resolve: Name or service not known"
    assert "no answer in time" in judge_way(replace(way, addresses=TimeoutError()))[0].text


def test_a_port_that_does_not_answer_ends_the_list() -> None:
    refused = ConnectionRefusedError(111, "Connect call failed ('10.0.0.5', 22)")
    way = replace(ARRIVED, answer=refused, failure=HostUnreachable("build-01: x"), key_accepted=False)
    assert brief(way) == [("name", "ok"), ("port", "error")]
    assert judge_way(way)[1].text == "build-01:2222 does not answer: Connection refused"


def rejected(status: KeyStatus, reason: str = "the host key differs") -> Check:
    failure = HostKeyRejected(f"build-01: {reason}")
    way = replace(ARRIVED, failure=failure, key=replace(KEY, status=status), key_accepted=False)
    assert brief(way) == [("name", "ok"), ("port", "ok"), ("host_key", "error")]
    return judge_way(way)[-1]


def test_an_unknown_host_key_is_shown_with_how_to_compare_and_trust_it() -> None:
    check = rejected(KeyStatus.NEW, "the host key is not in known_hosts; add it after checking (not trusted)")
    assert check.text == "not in known_hosts; it shows ED25519 SHA256:abc"
    assert check.remedy == (
        "compare that with `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` on the host, "
        "then: holystone trust build-01"
    )


def test_a_changed_host_key_keeps_its_warning_and_is_not_simply_to_be_trusted() -> None:
    check = rejected(KeyStatus.CHANGED)
    assert check.text == "the host key differs; it shows ED25519 SHA256:abc"
    assert str(check.remedy).startswith("find out why it changed")
    assert "ssh-keygen -f /home/ci/.ssh/known_hosts -R '[build-01]:2222'" in str(check.remedy)


def test_a_revoked_host_key_has_no_remedy_but_another_key() -> None:
    assert "trust" not in str(rejected(KeyStatus.REVOKED).remedy)


def test_a_jump_host_s_unknown_key_names_the_jump_host() -> None:
    text = "jump-01:2222: the host key is not in known_hosts; add it after checking"
    way = replace(
        ARRIVED, behind="jump-01:2222", answer=None, failure=HostKeyRejected(text), key_accepted=False
    )
    check = judge_way(way)[-1]
    assert check.text == text
    assert check.remedy == "holystone trust jump-01:2222"


def test_the_text_of_a_host_s_own_key_is_not_taken_for_a_jump_host_s_name() -> None:
    text = "build-01: the host key is not in known_hosts; add it after checking its fingerprint (x: y)"
    way = replace(ARRIVED, behind="jump-01", answer=None, failure=HostKeyRejected(text), key_accepted=False)
    assert judge_way(way)[-1].remedy == "holystone trust build-01"


def test_a_jump_host_s_revoked_key_is_not_to_be_trusted() -> None:
    text = "jump-01: the host key is revoked in known_hosts; give the host another"
    way = replace(ARRIVED, behind="jump-01", answer=None, failure=HostKeyRejected(text), key_accepted=False)
    assert "trust" not in str(judge_way(way)[-1].remedy)


def test_a_known_key_is_not_said_to_have_changed() -> None:
    check = rejected(KeyStatus.KNOWN, "the host's certificate is not accepted (Certificate expired)")
    assert "Certificate expired" in check.text
    assert "changed" not in str(check.remedy)
    assert "trust" not in str(check.remedy)


PEER_SAYS = (
    "the host key is not in known_hosts; ",
    "the host's certificate is not accepted; ",
    "the host key is revoked in known_hosts; ",
    "no common ssh algorithm",
)


@pytest.mark.parametrize("words", PEER_SAYS)
def test_a_peer_s_words_do_not_choose_the_remedy(words: str) -> None:
    allow = "allow one that both know: in ssh_config on this machine, or in sshd_config there"
    failure = HostKeyRejected(f"build-01: no common ssh algorithm ({words})")
    way = replace(ARRIVED, failure=failure, key_accepted=False)
    assert judge_way(way)[-1].remedy == allow
    assert judge_way(replace(way, key=KEY))[-1].remedy == allow


@pytest.mark.parametrize("words", PEER_SAYS)
def test_a_peer_s_words_do_not_hide_that_its_key_is_unknown(words: str) -> None:
    way = replace(ARRIVED, failure=HostUnreachable(f"build-01: {words}"), key=KEY, key_accepted=False)
    check = judge_way(way)[-1]
    assert check.text == "not in known_hosts; it shows ED25519 SHA256:abc"
    assert str(check.remedy).endswith("holystone trust build-01")


@pytest.mark.parametrize("status", KeyStatus)
def test_where_there_is_no_common_algorithm_trust_does_not_help(status: KeyStatus) -> None:
    check = rejected(status, "no common ssh algorithm (sent <None>)")
    assert check.text.startswith("no common ssh algorithm (sent <None>)")
    assert "trust" not in str(check.remedy)


def test_a_new_key_behind_a_bad_certificate_keeps_the_reason() -> None:
    check = rejected(KeyStatus.NEW, "the host's certificate is not accepted; renew it (Certificate expired)")
    assert "Certificate expired" in check.text
    assert str(check.remedy).endswith("holystone trust build-01")


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (KeyStatus.NEW, "not in known_hosts; "),
        (KeyStatus.CHANGED, "the host key differs"),
        (KeyStatus.REVOKED, "revoked"),
    ],
)
def test_a_connection_that_was_lost_over_its_key_says_so(status: KeyStatus, text: str) -> None:
    failure = HostUnreachable("build-01: Connection lost")
    way = replace(ARRIVED, failure=failure, key=replace(KEY, status=status), key_accepted=False)
    assert brief(way) == [("name", "ok"), ("port", "ok"), ("host_key", "error")]
    assert judge_way(way)[-1].text.startswith(text)


def test_the_command_to_forget_names_the_file_that_knows_the_old_key() -> None:
    key = replace(KEY, known_in=Path("/etc/ssh/ssh_known_hosts"))
    assert key.forget_command == "ssh-keygen -f /etc/ssh/ssh_known_hosts -R '[build-01]:2222'"
    assert replace(KEY, file=None).forget_command == "ssh-keygen -R '[build-01]:2222'"


def test_a_refused_login_says_whether_the_host_key_was_accepted_before() -> None:
    remedy = "add its public key to authorized_keys there, or set HOLYSTONE_SSH_IDENTITY"
    failure = AuthenticationFailed(f"build-01: none of the worker's keys was accepted; {remedy}")
    way = replace(ARRIVED, failure=failure)
    assert brief(way)[2:] == [("host_key", "ok"), ("login", "error")]
    assert judge_way(way)[-1] == Check("login", "error", "none of the worker's keys was accepted", remedy)
    assert brief(replace(way, key_accepted=False))[2:] == [("login", "error")]


def test_settings_that_lead_nowhere_are_one_line() -> None:
    failure = AuthenticationFailed("build-01: an ssh key or setting can't be used: no such file")
    assert brief(Way("build-01", "ssh://build-01", "", failure=failure)) == [("login", "error")]


@pytest.mark.parametrize("padding", ["", "=", "\n", " "])
def test_a_fingerprint_is_read_with_or_without_padding(padding: str) -> None:
    assert parse_fingerprint(f"SHA256:{'aB3+/' * 8}abc{padding}") == f"SHA256:{'aB3+/' * 8}abc"


@pytest.mark.parametrize(
    "text",
    ["", "abc", "SHA256:", "SHA256:abc", "MD5:" + "a" * 43, "SHA256:" + "a" * 44, "SHA256:" + "ä" * 43],
)
def test_anything_else_is_no_fingerprint(text: str) -> None:
    with pytest.raises(ValueError, match="ssh-keygen -lf"):
        parse_fingerprint(text)
