"""Sizes, as docker prints them."""

import time

import pytest

from worker.sizes import format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0B", 0),
        ("201B", 201),
        ("4.1kB", 4100),
        ("49.21MB", 49_210_000),
        ("1.024GB", 1_024_000_000),
        ("2TB", 2 * 10**12),
        ("1.5PB", 15 * 10**14),
        ("1KiB", 1024),
        ("1.5MiB", 1_572_864),
        ("2GiB", 2 * 1024**3),
        ("1TiB", 1024**4),
        ("3PiB", 3 * 1024**5),
        ("1KB", 1000),  # docker writes kB; others don't
        ("5mb", 5_000_000),
        ("5 MB", 5_000_000),
        ("  5MB\t", 5_000_000),
        ("1e+04kB", 10_000_000),  # what %.4g makes of 9999.6
        ("9.999PB", 9999 * 10**12),
    ],
)
def test_parse_size_reads_every_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "garbage",
    [
        "", " ", "B", "MB", "12", "12X", "12MBs", "1 2MB", "1.MB", ".5MB", "1..5MB", "-1MB", "+1MB",
        "NaNMB", "nan", "infB", "0x1B", "1iB", "1,5MB", "\u0663MB", "\uff13MB", "1\uff2dB",
        "1eMB", "1e999MB", "12EB", "10PB", "49.21MB*", "5MB 3MB", "unknown", "1_000B", "\x00", "5\nMB5",
    ],
)  # fmt: skip
def test_parse_size_does_not_guess(garbage: str) -> None:
    assert parse_size(garbage) is None


@pytest.mark.parametrize("absurd", ["1e99PB", "9" * 400 + "B", "9" * 400 + "PB", "9.3e18B", "9224PB"])
def test_parse_size_takes_what_no_engine_can_count_for_unreadable(absurd: str) -> None:
    assert parse_size(absurd) is None


@pytest.mark.parametrize("part", ["9", " ", "9.", "9 ", "B", "1e"])
def test_parse_size_is_quick_on_megabytes(part: str) -> None:
    begin = time.process_time()
    assert parse_size("1" + part * 2_000_000 + "!") is None
    assert time.process_time() - begin < 2


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0B"),
        (201, "201B"),
        (999, "999B"),
        (1000, "1kB"),
        (4100, "4.1kB"),
        (49_210_000, "49.21MB"),
        (36_263_201, "36.26MB"),
        (20_971_520, "20.97MB"),
        (1_048_576, "1.049MB"),
        (10**9, "1GB"),
        (1_234_567_890_123, "1.235TB"),
        (15 * 10**14, "1.5PB"),
        (5 * 10**18, "5000PB"),
        (-4100, "-4.1kB"),
    ],
)
def test_format_size_writes_four_digits_as_docker_does(size: int, text: str) -> None:
    assert format_size(size) == text


def test_format_size_is_read_back_to_four_digits() -> None:
    for power in range(14):
        size = 1234 * 10**power // 100
        read = parse_size(format_size(size))
        assert read is not None
        assert abs(read - size) <= max(size // 2000, 1)
