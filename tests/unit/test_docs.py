"""The pages say what is so: settings and defaults, failures, and the commands that readers copy."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import click
import pytest
from celery.exceptions import TimeLimitExceeded, WorkerLostError

from tasks.cli import VERBS, main
from tests.support.pages import OPERATIONS, README, read_page, section, table_rows
from tests.support.paths import CHECKOUT
from worker import errors
from worker.settings import TYPES, VARIABLES, Settings

PAGES = (README, OPERATIONS, "CHANGELOG.md", "docs/alerts.yml")
# Where a command begins: a line, a code span, or behind what starts it.
_COMMAND = re.compile(r"(?:^\s*|`|\.venv/bin/|worker |=false )holystone +([a-z-][^`|>#;\n]*)", re.MULTILINE)
# In the settings' table, where nothing is the default.
_NOTHING = ("", "empty", "empty (never)", "OpenSSH's own")


def documented_settings() -> dict[str, str]:
    """Variable to default, both as the README's table has them."""
    rows = table_rows(section(README, "Settings"))
    return {name.strip("`"): default for name, default, _ in rows if name.startswith("`")}


def test_the_readme_lists_every_setting_in_order() -> None:
    assert list(documented_settings()) == list(VARIABLES)


@pytest.mark.parametrize("variable", VARIABLES)
def test_the_readme_has_the_default_of_each_setting(variable: str) -> None:
    field, shown = VARIABLES[variable], documented_settings()[variable]
    default = getattr(Settings(), field)
    if shown in _NOTHING:
        assert default in (None, ())
    else:
        assert TYPES[field].validate_python(shown.split("`")[1]) == default


def test_every_setting_that_a_page_names_exists() -> None:
    for page in (*PAGES, ".env.example", "docker-compose.yml"):
        assert set(re.findall(r"\bHOLYSTONE_[A-Z_]*[A-Z]\b", read_page(page))) <= set(VARIABLES), page


def leaves(cls: type[Exception]) -> Iterator[type[Exception]]:
    """The subclasses that have none: what is raised."""
    children = cls.__subclasses__()
    for child in children:
        yield from leaves(child)
    if not children:
        yield cls


def test_the_failures_in_the_docs_are_those_that_a_run_can_have() -> None:
    own = {error.__name__ for error in leaves(errors.HolystoneError) if error.__module__ == errors.__name__}
    rows = table_rows(section(OPERATIONS, "When something fails"))
    listed = [name for first, *_ in rows for name in re.findall(r"`(\w+)`", first)]

    # Celery's own, at the hard limit and where a slot was killed. At the soft limit it is CommandTimedOut.
    assert sorted(listed) == sorted({*own, TimeLimitExceeded.__name__, WorkerLostError.__name__})


def test_each_failure_in_the_docs_has_a_meaning_and_a_remedy() -> None:
    for row in table_rows(section(OPERATIONS, "When something fails"))[1:]:
        assert len(row) == 3
        assert all(cell.endswith(".") for cell in row[1:]), row


def documented_commands(page: str) -> list[list[str]]:
    """The words behind `holystone` of each command on a page; `[HOST…] [--for 2h]` loses its brackets."""
    found = _COMMAND.findall(re.sub(r"[\[\]…]", "", read_page(page)))
    return [shlex.split(words) for words in found]


def options_of(command: click.Command) -> set[str]:
    own = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return {*own, "--help"}


@pytest.mark.parametrize("page", PAGES)
def test_every_command_in_the_docs_exists_with_its_options(page: str) -> None:
    context = click.Context(main)
    for verb, *words in documented_commands(page):
        if verb.startswith("-"):
            assert verb in options_of(main)
            continue
        command = main.get_command(context, verb)
        assert command is not None, f"holystone {verb}"
        for option in (word.partition("=")[0] for word in words if word.startswith("-")):
            assert option in options_of(command), f"holystone {verb} {option}"


def test_every_verb_is_in_the_docs() -> None:
    named = {verb for page in (README, OPERATIONS) for verb, *_ in documented_commands(page)}

    assert set(VERBS) - named == {"demo"}  # which is `make demo`


def test_every_make_target_in_the_docs_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", read_page("Makefile"), re.MULTILINE))

    named = re.findall(r"(?:^|`)make ([a-z-]+)", read_page(README), re.MULTILINE)
    assert named
    assert set(named) <= targets


def test_links_lead_to_files_and_headings() -> None:
    for page in (README, OPERATIONS):
        folder = (CHECKOUT / page).parent
        for target in re.findall(r"\]\((?!https?:)([^)]+)\)", read_page(page)):
            path, _, anchor = target.partition("#")
            file = folder / path if path else CHECKOUT / page
            assert file.is_file(), target
            headings = re.findall(r"^#+ (.+)$", file.read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert not anchor or anchor in anchors, target


def test_both_pages_have_the_same_line_for_trust_with_docker_compose() -> None:
    line = re.compile(r"^ *(docker compose run .* holystone trust build-01)$", re.MULTILINE)

    assert len(line.findall(read_page(README))) == 1
    assert line.findall(read_page(README)) == line.findall(read_page(OPERATIONS))
