"""Flower's configuration file (`--conf`): what its list of tasks shows; users from the file of a secret."""

import os
from pathlib import Path

# Flower's own choice leaves out whose host a run is of. The uuid links to the task's page.
tasks_columns = "name,uuid,kwargs,state,received,runtime"

_VARIABLE = "FLOWER_BASIC_AUTH_FILE"


def _read_users(path: str) -> list[str]:
    # SystemExit, whatever is wrong: Flower would start, open to all, without users, and after some errors.
    try:
        lines = [line for line in Path(path).read_text("utf-8").splitlines() if line]
    except (OSError, UnicodeDecodeError) as error:
        raise SystemExit(f"{_VARIABLE}: {path} can't be read ({type(error).__name__})") from None
    users = [line.partition(":") for line in lines]
    if not users or not all(name and password for name, _, password in users):
        raise SystemExit(f"{_VARIABLE}: {path} must hold user:password, one per line")
    return lines


if _VARIABLE in os.environ:
    basic_auth = _read_users(os.environ[_VARIABLE])
