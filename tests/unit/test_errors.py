"""Errors: each says what is needed, and comes back from Celery's result backend as itself."""

from __future__ import annotations

import inspect
import json
import pickle
from typing import Any

import pytest
from celery import Celery
from celery.backends.base import Backend

from worker import errors
from worker.errors import (
    AuthenticationFailed,
    CommandFailed,
    CommandTimedOut,
    GateDenied,
    GivenUp,
    HolystoneError,
    HostKeyRejected,
    HostUnreachable,
    InvalidArgument,
    TransportError,
    UnknownHost,
    UnsupportedEngine,
)

EXAMPLES: list[HolystoneError] = [
    HolystoneError("something"),
    InvalidArgument("until: 'x' is not an age"),
    UnknownHost("build-99", ["build-01", "local"]),
    TransportError("lost"),
    HostUnreachable("build-01: no ssh login within 10 s"),
    HostKeyRejected("build-01: the host key is not in known_hosts"),
    AuthenticationFailed("build-01: none of the worker's keys was accepted"),
    UnsupportedEngine("`docker` is not Docker's CLI"),
    CommandFailed("docker builder prune", 1, "permission denied\nsecond line \ufffd \u2028"),
    CommandFailed("docker builder prune", None, ""),
    CommandTimedOut("build-01", 120.0, 2, 49_210_000, True),
    CommandTimedOut("build-01", 0.5, 0, None, False),
    GateDenied("build-01", "docker builder prune --filter until=30m", "age below the minimum", 3600, 1, 1),
    GateDenied("build-01", "docker info", "not in the command set", None, 1, 2),
    GivenUp("build-01: delivered 3 times"),
]


@pytest.fixture(scope="module")
def backend() -> Backend:
    app = Celery("errors", set_as_current=False)
    app.conf.update(result_serializer="json", accept_content=["json"])
    return Backend(app, serializer="json")


def test_every_error_has_an_example_here() -> None:
    defined = {
        kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, HolystoneError)
    }
    assert {type(example) for example in EXAMPLES} == defined


@pytest.mark.parametrize("error", EXAMPLES, ids=repr)
def test_an_error_comes_back_from_the_json_backend_as_itself(backend: Backend, error: HolystoneError) -> None:
    stored = json.loads(backend.encode(backend.prepare_exception(error)))
    back = backend.exception_to_python(stored)
    assert type(back) is type(error)
    assert back.args == error.args
    assert (str(back), repr(back)) == (str(error), repr(error))


@pytest.mark.parametrize("error", EXAMPLES, ids=repr)
def test_an_error_comes_back_from_a_workers_child_as_itself(error: HolystoneError) -> None:
    back = pickle.loads(pickle.dumps(error))
    assert type(back) is type(error)
    assert back.args == error.args


@pytest.mark.parametrize("error", EXAMPLES, ids=repr)
def test_an_errors_repr_is_its_type_and_sentence(error: HolystoneError) -> None:
    """Flower shows the repr."""
    assert repr(error) == f"{type(error).__name__}: {error}"
    assert str(error)


def test_unknown_host_lists_the_known() -> None:
    assert str(UnknownHost("build-99", ["build-01", "local"])) == (
        "'build-99' is not a configured host; known: build-01, local"
    )


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (CommandFailed("docker info", 1, "denied"), "`docker info` exited with status 1: denied"),
        (CommandFailed("docker info", 127, ""), "`docker info` exited with status 127: (nothing on stderr)"),
        (CommandFailed("docker info", None, "x"), "`docker info` was killed by a signal: x"),
    ],
)
def test_command_failed_says_status_and_stderr(error: CommandFailed, sentence: str) -> None:
    assert str(error) == sentence


@pytest.mark.parametrize(
    ("args", "parts"),
    [
        (
            ("build-01", 120.0, 2, 49_210_000, True),
            ["build-01", "120 s", "2 passes", "49210000 bytes", "may_still_run=true", "not ended there"],
        ),
        (
            ("build-01", 0.5, 0, None, False),
            ["0.5 s", "0 passes", "an unknown amount", "may_still_run=false", "no prune was left"],
        ),
    ],
)
def test_command_timed_out_says_how_far_it_came_and_what_to_raise(args: Any, parts: list[str]) -> None:
    text = str(CommandTimedOut(*args))
    for part in [*parts, "raise HOLYSTONE_PRUNE_TIMEOUT_S", "prune.timeout_s"]:
        assert part in text


def test_only_what_the_way_to_the_host_does_is_worth_another_try() -> None:
    assert {type(error) for error in EXAMPLES if isinstance(error, TransportError)} == {
        TransportError,
        HostUnreachable,
    }
