"""Executable scripts that may be running while they are replaced."""

from __future__ import annotations

from pathlib import Path


def put_script(path: Path, text: str) -> Path:
    """Make `path` the script `text`, which names its interpreter; who starts it finds the old or the new.

    To remove it is no safe way back: a shell opens its script only after it shows among the processes.
    """
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text)
    beside.chmod(0o755)
    return beside.rename(path)
