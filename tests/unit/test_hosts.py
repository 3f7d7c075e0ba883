"""Hosts: what is accepted, what is left out, and that no password is ever shown."""

from __future__ import annotations

import time

import pytest

from worker.hosts import Host, parse_host, redact, split_list

SECRET = "hunter2"


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("local", Host("local")),
        ("ssh://build-01", Host("build-01", "build-01")),
        ("ssh://build-01/", Host("build-01", "build-01")),
        ("ssh://root@build-01", Host("build-01", "build-01", "root")),
        (
            "ssh://Jenkins@build_01.example.com",
            Host("build_01.example.com", "build_01.example.com", "Jenkins"),
        ),
        ("ssh://ci.bot@10.0.0.7", Host("10.0.0.7", "10.0.0.7", "ci.bot")),
        ("ssh://_svc-1@h", Host("h", "h", "_svc-1")),
        ("ssh://h:22", Host("h", "h", None, 22)),
        ("ssh://127.0.0.1:7601", Host("127.0.0.1:7601", "127.0.0.1", None, 7601)),
        ("ssh://u@h:65535", Host("h:65535", "h", "u", 65535)),
        ("ssh://h:1", Host("h:1", "h", None, 1)),
        ("ssh://[::1]", Host("[::1]", "::1")),
        ("ssh://u@[fe80::1%eth0]:2222", Host("[fe80::1%eth0]:2222", "fe80::1%eth0", "u", 2222)),
        ("ssh://[2001:db8::7]:22", Host("[2001:db8::7]", "2001:db8::7", None, 22)),
    ],
)
def test_parse_host_reads(text: str, host: Host) -> None:
    assert parse_host(text) == host


def test_parse_host_takes_the_name_that_it_is_given() -> None:
    assert parse_host("ssh://root@10.0.0.7:2222", "build-01") == Host("build-01", "10.0.0.7", "root", 2222)
    assert parse_host("local", "here") == Host("here")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is written"),
        ("build-01", "is written"),
        ("Local", "is written"),
        ("local ", "is written"),
        ("SSH://build-01", "is written"),
        ("http://build-01", "is written"),
        ("tcp://10.0.0.7:2375", "is written"),
        ("-oProxyCommand=x", "is written"),
        ("ssh:build-01", "is written"),
        ("ssh://", "the host may hold"),
        ("ssh:///", "the host may hold"),
        ("ssh://-oProxyCommand=x", "the host may hold"),
        ("ssh://-h:22", "the host may hold"),
        ("ssh://h;id", "the host may hold"),
        ("ssh://$(id)", "the host may hold"),
        ("ssh://h`id`", "the host may hold"),
        ("ssh://h|id", "the host may hold"),
        ("ssh://h&", "the host may hold"),
        ("ssh://h'", "the host may hold"),
        ("ssh://h\n", "the host may hold"),
        ("ssh://h\x00", "the host may hold"),
        ("ssh://a b", "the host may hold"),
        ("ssh://h/path", "the host may hold"),
        ("ssh://h?x=1", "the host may hold"),
        ("ssh://hôte", "the host may hold"),
        ("ssh://\uff48", "the host may hold"),
        ("ssh://.hidden", "the host may hold"),
        ("ssh://" + "h" * 254, "the host may hold"),
        ("ssh://[::1", "the host may hold"),
        ("ssh://[::g]", "the host may hold"),
        ("ssh://[:::::]", "the host may hold"),
        ("ssh://[]", "the host may hold"),
        ("ssh://[::1]x", "the host may hold"),
        ("ssh://[-oX]", "the host may hold"),
        ("ssh://[fe80::1%$(id)]", "the host may hold"),
        ("ssh://@h", "the user may hold"),
        ("ssh://-oProxyCommand=x@h", "the user may hold"),
        ("ssh://a b@h", "the user may hold"),
        ("ssh://a;id@h", "the user may hold"),
        ("ssh://1a@h", "the user may hold"),
        ("ssh://a@b@h", "the user may hold"),
        ("ssh://h:0", "the port is"),
        ("ssh://h:70000", "the port is"),
        ("ssh://h:65536", "the port is"),
        ("ssh://h:", "the port is"),
        ("ssh://h:-1", "the port is"),
        ("ssh://h:22x", "the port is"),
        ("ssh://h:\u0662\u0662", "the port is"),
        ("ssh://h:000022", "the port is"),
        ("ssh://h:2:2", "the port is"),
        ("ssh://::1", "the host may hold"),
    ],
)
def test_parse_host_refuses(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_host(text)


@pytest.mark.parametrize(
    "text",
    [
        f"ssh://root:{SECRET}@build-01",
        f"ssh://root:{SECRET}@build-01:22",
        f"ssh://:{SECRET}@build-01",
        f"ssh://root:{SECRET}@",
        f"ssh://root:{SECRET}",  # cut off before its @
        f"ssh://root:x{SECRET}@y@build-01",
        f"ssh://root:y@{SECRET}@build-01",
        f"ssh://root%3A{SECRET}@build-01",
        f"ssh://ro/ot:{SECRET}@build-01",
        f"SSH://root:{SECRET}@build-01",
        f"http://root:{SECRET}@build-01",
        f"root:{SECRET}@build-01",
        f"root:{SECRET}",
        f"ssh//root:{SECRET}@build-01",
    ],
)
def test_no_password_in_a_message(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_host(text)
    assert SECRET not in str(caught.value)
    assert SECRET not in redact(text)
    assert caught.value.__cause__ is None  # nothing else that a log could print


def test_the_message_for_a_password_names_the_remedy_and_the_host() -> None:
    with pytest.raises(ValueError, match=r"root:\*\*\*@build-01.*no passwords here; use an ssh key"):
        parse_host(f"ssh://root:{SECRET}@build-01")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("local", "local"),
        ("ssh://root@build-01:2222", "ssh://root@build-01:2222"),
        ("ssh://[::1]:22", "ssh://[::1]:22"),
        ("ssh://root:pw@build-01", "ssh://root:***@build-01"),
        ("ssh://@build-01", "ssh://@build-01"),
        ("ssh://build-01:secret", "ssh://build-01:***"),
        ("who@build-01", "***@build-01"),
    ],
)
def test_redact_keeps_what_is_no_secret(text: str, shown: str) -> None:
    assert redact(text) == shown


@pytest.mark.parametrize(
    "text", ["local", "ssh://build-01", "ssh://ci.bot@h:2222", "ssh://u@[fe80::1%eth0]:2222"]
)
def test_a_hosts_url_names_the_same_host(text: str) -> None:
    host = parse_host(text)
    assert host.url == text
    assert parse_host(host.url) == host


def test_only_local_is_local() -> None:
    assert parse_host("local").is_local
    assert not parse_host("ssh://local").is_local


@pytest.mark.parametrize("filler", ["@", ":", "[", "a:", "@:", "."])
def test_parse_host_is_quick_on_a_megabyte(filler: str) -> None:
    begin = time.process_time()
    with pytest.raises(ValueError):
        parse_host("ssh://" + filler * 1_000_000)
    assert time.process_time() - begin < 1


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("", []),
        (" , ,\n", []),
        ("local", ["local"]),
        ("ssh://a,ssh://b", ["ssh://a", "ssh://b"]),
        (" ssh://a ,\tssh://b\nlocal ", ["ssh://a", "ssh://b", "local"]),
    ],
)
def test_split_list_takes_commas_and_white_space(text: str, items: list[str]) -> None:
    assert split_list(text) == items
