"""Settings: the environment, then `.env`, then `holystone.toml`, then the defaults.

A mistake neither stops Holystone nor makes it delete more than was meant: an invalid value is set aside
with a warning, and the next source (in the end the default) is used instead. But for one: no other Redis is
used in place of one whose URL can't be read (worker/redis_url.py).
"""

import functools
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, SecretStr, TypeAdapter
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from worker.fleet import HostSettings, LeftOut, build_fleet
from worker.policies import POLICIES
from worker.secret_files import read_secret_files
from worker.setting_types import Age, Ladder, Names, Number, Percent, RedisUrl, Seconds, Secrets
from worker.sources import (
    PREFIX,
    TOML_FILE,
    Unusable,
    Validate,
    flatten,
    read_dotenv,
    read_environment,
    read_toml,
    shown_instead,
    validate_each,
)

_DAY_S = 86_400
TABLES = (*POLICIES, "ssh")


class Settings(BaseSettings):
    """One field per variable: HOLYSTONE_PRUNE_INTERVAL_S is `interval_s` below `[prune]` in the file."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
    )

    redis_url: RedisUrl = Field(
        SecretStr("redis://127.0.0.1:6379/0"), description="Redis: broker, results and memory."
    )
    redis_password_file: Path | None = Field(
        None, repr=False, description="File that holds Redis's password, where the URL has none."
    )
    hosts: Names = Field(
        (), repr=False, description="`ssh://[user@]host[:port]` or `local`, by commas or spaces."
    )
    prune_enabled: bool = Field(True, description="The kill switch: false stops every prune.")
    prune_interval_s: Seconds = Field(
        21_600, ge=1, le=366 * _DAY_S, description="Seconds between two scheduled prunes of a host."
    )
    prune_until: Age = Field("24h", description="Cache not used for this long goes; 30m, 24h, 7d, 1w.")
    prune_all: bool = Field(False, description="Also internal, frontend and shared cache of that age.")
    prune_timeout_s: Seconds = Field(
        120,
        ge=1,
        le=7 * _DAY_S,
        description="Soft limit of one run in seconds; the hard one is 30 s later.",
    )
    prune_notify_min_gb: Number = Field(
        0,
        ge=0,
        description="Tell NOTIFY_URLS of a prune that reclaims this much (GB = 1024^3 bytes); 0: never.",
    )
    disk_enabled: bool = Field(True, description="Whether disks are watched between prunes.")
    disk_interval_s: Seconds = Field(
        300, ge=10, le=366 * _DAY_S, description="Seconds between two looks at a host's disk."
    )
    disk_alert_percent: Percent = Field(85, description="Tell NOTIFY_URLS when a disk is this full.")
    disk_prune_percent: Percent | None = Field(
        None, description="Prune early when a disk is this full; empty: never."
    )
    disk_ladder: Ladder = Field(
        ("24h", "6h", "1h"), description="Ages for an early prune, one after another until there is room."
    )
    notify_urls: Secrets = Field((), description="Apprise URLs, by commas or spaces.")
    notify_urls_file: Path | None = Field(
        None, repr=False, description="File that holds more of them, also one per line."
    )
    notify_join_s: Seconds = Field(
        60, ge=1, le=3600, description="Seconds that an alert waits for others, to be one message with them."
    )
    ssh_config: Path | None = Field(None, description="ssh_config file in place of OpenSSH's own.")
    ssh_known_hosts: Path | None = Field(None, description="known_hosts file in place of OpenSSH's own.")
    ssh_identity: Path | None = Field(None, description="Private key file in place of OpenSSH's own.")
    ssh_connect_timeout_s: Number = Field(
        10, gt=0, le=600, description="Seconds for connecting and logging in."
    )
    log_format: Literal["plain", "json"] = Field("plain", description="Form of the log's lines.")

    # Found while loading; no variable sets these.
    fleet: dict[str, HostSettings] = Field(default_factory=dict, exclude=True)
    left_out: tuple[LeftOut, ...] = Field((), exclude=True)
    warnings: tuple[str, ...] = Field((), exclude=True)

    @property
    def longest_timeout_s(self) -> int:
        """The longest soft limit of any host in seconds; the default where no host is configured."""
        return max((host.prune.timeout_s for host in self.fleet.values()), default=self.prune_timeout_s)

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)  # load_settings reads the other sources, leniently


_FOUND = ("fleet", "left_out", "warnings")
VARIABLES = {PREFIX + field.upper(): field for field in Settings.model_fields if field not in _FOUND}
TYPES: dict[str, TypeAdapter[Any]] = {
    field: TypeAdapter(Annotated[(info.annotation, *info.metadata, None)])  # type: ignore[arg-type]
    for field, info in Settings.model_fields.items()
    if field not in _FOUND
}
# In doubt nothing is deleted, and never more than was meant.
_IF_UNREADABLE = {
    "prune_enabled": False,
    "prune_all": False,
    "disk_enabled": False,
    "disk_prune_percent": None,
    "disk_ladder": (),
}
_validate: Validate = functools.partial(validate_each, TYPES, _IF_UNREADABLE)


@functools.cache
def get_settings() -> Settings:
    """The settings of this process, read once from the working folder."""
    return load_settings(Path.cwd())


def load_settings(folder: Path) -> Settings:
    """Reads all sources; `folder` holds `.env` and `holystone.toml`. Never fails for what they hold."""
    tables, broken_toml = read_toml(folder / TOML_FILE)
    dotenv, others, broken_dotenv = read_dotenv(folder / ".env")
    in_file = flatten(tables, TABLES)
    per_host = in_file.pop("hosts", {})
    if isinstance(per_host, (str, list)):
        in_file["hosts"], per_host = per_host, {}
    merged, from_environment, unusable, warnings = _merge(in_file, dotenv, read_environment())
    warnings += [
        f"{name} in .env is not read: did you mean {PREFIX}{name.upper()}?"
        for name in others
        if PREFIX + name.upper() in VARIABLES
    ]
    for broken in filter(None, (broken_toml, broken_dotenv)):
        # The part that can't be read may have said "off", or an age longer than the default.
        merged["prune_enabled"] = False
        warnings.append(f"{broken}: pruning is off until it can be read")
    settings = Settings(**merged)
    from_files, trouble = read_secret_files(dict(settings))
    settings = settings.model_copy(update=from_files)
    warnings += trouble
    warnings += [
        bad.warning(
            f"{PREFIX}{bad.field.upper()} ({bad.where})",
            shown_instead(bad.field, getattr(settings, bad.field), bad.field not in merged),
        )
        for bad in unusable
    ]
    for_all = {field: getattr(settings, field) for field in TYPES}
    fleet, left_out, fleet_warnings = build_fleet(
        settings.hosts, per_host, for_all, from_environment, _validate
    )
    return settings.model_copy(
        update={"fleet": fleet, "left_out": left_out, "warnings": (*warnings, *fleet_warnings)}
    )


def _merge(
    in_file: dict[str, Any], dotenv: dict[str, str], environment: dict[str, str]
) -> tuple[dict[str, Any], set[str], list[Unusable], list[str]]:
    """(the valid values by field, those fields that the environment or `.env` set, what was set aside, and
    warnings of what no setting is); of several sources the last wins."""
    layers = [
        (TOML_FILE, in_file),
        (".env", {VARIABLES.get(name, name): value for name, value in dotenv.items()}),
        ("the environment", {VARIABLES.get(name, name): value for name, value in environment.items()}),
    ]
    merged: dict[str, Any] = {}
    from_environment: set[str] = set()
    unusable: list[Unusable] = []
    warnings: list[str] = []
    for where, values in layers:
        warnings += [f"{where}: unknown setting {name}, ignored" for name in values if name not in TYPES]
        valid, bad = _validate({field: value for field, value in values.items() if field in TYPES}, where)
        merged |= valid
        unusable += bad
        if where != TOML_FILE:
            from_environment |= valid.keys()
    return merged, from_environment, unusable, warnings
