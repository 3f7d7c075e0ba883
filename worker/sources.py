"""Reads the sources of the settings, and sets invalid values aside."""

import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dotenv.parser import parse_stream
from pydantic import TypeAdapter, ValidationError

PREFIX = "HOLYSTONE_"
TOML_FILE = "holystone.toml"
# Of the files some hold the secret itself, where it was put in their names' place.
_SECRET = ("redis_url", "redis_password_file", "notify_urls", "notify_urls_file")
_NOT_SHOWN = (*_SECRET, "ssh_identity")


@dataclass(frozen=True)
class Unusable:
    """One value that was set aside: which setting, where it stood, what it held (as it may be shown), and
    what the setting accepts."""

    field: str
    where: str
    held: str
    accepted: str

    def warning(self, name: str, instead: str) -> str:
        """The warning, where the setting is called `name` and `instead` is used."""
        return f"{name} holds {self.held}, but takes {self.accepted}; used instead: {instead}"


def read_toml(path: Path) -> tuple[dict[str, Any], str | None]:
    """The tables of a TOML file ({} if there is none), and what is wrong with it where it can't be read."""
    try:
        return tomllib.loads(path.read_text("utf-8")), None
    except FileNotFoundError:
        return {}, None
    except (OSError, ValueError, RecursionError) as error:  # ValueError: also of a number too long
        return {}, f"{path.name} can't be read ({error})"


def read_dotenv(path: Path) -> tuple[dict[str, str], list[str], str | None]:
    """The HOLYSTONE_ variables of a `.env` file, the names of the others, both without empty ones, and what
    is wrong if anything."""
    try:
        with path.open(encoding="utf-8") as file:
            lines = list(parse_stream(file))
    except FileNotFoundError:
        return {}, [], None
    except (OSError, UnicodeDecodeError) as error:
        return {}, [], f"{path.name} can't be read ({error})"
    for line in lines:
        if line.error and PREFIX in line.original.string:  # a broken line of another program's is ignored
            return {}, [], f"{path.name} can't be read (line {line.original.line})"
    variables = {line.key: line.value for line in lines if line.key}
    ours = _ours(variables)
    return ours, [name for name, value in variables.items() if value and name.upper() not in ours], None


def read_environment() -> dict[str, str]:
    """The HOLYSTONE_ variables of this process, without empty ones."""
    return _ours(os.environ)


def _ours(variables: Mapping[str, str | None]) -> dict[str, str]:
    # Compose files pass unset variables on as empty ones.
    return {
        name.upper(): value for name, value in variables.items() if name.upper().startswith(PREFIX) and value
    }


def flatten(tables: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """`{"prune": {"until": "7d"}}` -> `{"prune_until": "7d"}` for the tables that `names` lists."""
    flat: dict[str, Any] = {}
    for key, value in tables.items():
        if key in names and isinstance(value, Mapping):
            flat |= {f"{key}_{inner}": content for inner, content in value.items()}
        else:
            flat[key] = value
    return flat


# (values by field, where they stand) -> (the valid ones, the others). An argument of fleet and policies,
# which can't import settings, where the fields' types are.
Validate = Callable[[Mapping[str, Any], str], tuple[dict[str, Any], list[Unusable]]]


def validate_each(
    types: Mapping[str, TypeAdapter[Any]],
    if_unreadable: Mapping[str, Any],
    values: Mapping[str, Any],
    where: str,
) -> tuple[dict[str, Any], list[Unusable]]:
    """The values that validate, and the others. `if_unreadable` replaces a value instead of dropping it."""
    valid: dict[str, Any] = {}
    unusable = []
    for field, value in values.items():
        try:
            valid[field] = types[field].validate_python(value)
        except ValidationError:
            unusable.append(
                Unusable(field, where, shown(field, value), describe_accepted(field, types[field]))
            )
            if field in if_unreadable:
                valid[field] = if_unreadable[field]
    return valid, unusable


def shown(field: str, value: object) -> str:
    """A value as a warning shows it: secrets hidden, long ones cut."""
    if field in _NOT_SHOWN:
        return "(not shown: it may hold a secret)"
    try:
        text = repr(value)
    except ValueError:  # Python prints no number of more than 4,300 digits
        return "(a number too long to show)"
    return text if len(text) <= 80 else f"{text[:77]}..."


def describe_accepted(field: str, type_: TypeAdapter[Any]) -> str:
    """What a setting accepts, in words: `whole seconds from 10 to 3600`."""
    schema = type_.json_schema()
    schema = schema.get("anyOf", [schema])[0]  # the other one is None
    if "description" in schema:
        return str(schema["description"])
    if "enum" in schema:
        return " or ".join(schema["enum"])
    if schema["type"] not in ("integer", "number"):
        return {"boolean": "true or false", "array": "a list of URLs"}.get(schema["type"], "a path")
    unit = "seconds" if field.endswith("_s") else "number"
    words = f"whole {unit}" if schema["type"] == "integer" else unit
    least, most = schema.get("minimum", schema.get("ge")), schema.get("maximum", schema.get("le"))
    bounds = [f"above {schema['exclusiveMinimum']}"] if "exclusiveMinimum" in schema else []
    bounds += [f"from {least}"] if least is not None else []
    bounds += [f"to {most}"] if most is not None else []
    return " ".join([words if unit == "seconds" else f"a {words}", *bounds])


def shown_instead(field: str, value: object, is_default: bool = False) -> str:
    """The value that is used in place of another, in words: no secret, nothing of Python's."""
    if isinstance(value, bool):
        return "on" if value else "off"
    if value is None and field not in _SECRET:
        return "off" if field == "disk_prune_percent" else "the default"
    if value is None or value == ():
        return "none"
    if field in _SECRET:
        return "the default" if is_default else "what is set elsewhere"
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value).removesuffix(".0")
