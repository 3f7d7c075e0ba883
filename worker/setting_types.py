"""The types of the settings: what each accepts. A value that is not accepted raises ValueError without words;
the warning says what would be."""

import math
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, WithJsonSchema
from pydantic_settings import NoDecode

from worker.ages import age_seconds, to_until
from worker.hosts import split_list


def _as_list(value: object) -> object:
    if isinstance(value, list):
        return [str(item) for item in value]  # texts, so that an item of another type spoils only itself
    return split_list(value) if isinstance(value, str) else value


def _no_bool(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError
    return value


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError
    return value


def _redis_url(value: object) -> object:
    """Never set aside, for the default may be another Redis than was meant: what is no such URL becomes a
    text that worker.redis_url refuses, in each process that would use it."""
    if isinstance(value, SecretStr):
        return value
    if isinstance(value, str) and value.startswith(("redis://", "rediss://")) and value.isprintable():
        return value
    return "(no URL of Redis)"


def _longest_first(ages: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted(ages, key=age_seconds, reverse=True))


def _accepts(words: str) -> WithJsonSchema:
    """What a warning says that the setting accepts, where its type does not tell."""
    return WithJsonSchema({"description": words})


Age = Annotated[
    str,
    BeforeValidator(str),
    AfterValidator(to_until),
    _accepts("an age above zero, such as 30m, 24h, 7d, 1w or 3600 (seconds)"),
]
Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_as_list)]
Secrets = Annotated[tuple[SecretStr, ...], NoDecode, BeforeValidator(_as_list)]
Seconds = Annotated[int, BeforeValidator(_no_bool)]
Percent = Annotated[int, BeforeValidator(_no_bool), Field(ge=1, le=100)]
Ladder = Annotated[
    tuple[Age, ...],
    NoDecode,
    BeforeValidator(_as_list),
    AfterValidator(_longest_first),
    Field(max_length=10),
    _accepts("at most 10 ages, such as 24h,6h,1h"),
]
RedisUrl = Annotated[SecretStr, BeforeValidator(_redis_url)]
Number = Annotated[float, BeforeValidator(_no_bool), AfterValidator(_finite)]
