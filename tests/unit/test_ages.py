"""Ages: what people write, what engines take."""

import time

import pytest

from worker.ages import age_seconds, to_until


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("30m", 1800),
        ("24h", 86_400),
        ("1h30m", 5400),
        ("1h 30m 5s", 5405),
        ("7d", 604_800),
        ("30days", 2_592_000),
        ("7 days", 604_800),
        ("1w", 604_800),
        ("2 weeks", 1_209_600),
        ("1W", 604_800),
        ("3600", 3600),
        (" 3600 ", 3600),
        ("90sec", 90),
        ("5 mins", 300),
        ("2hrs", 7200),
        ("1s", 1),
        ("0h1s", 1),
        ("36600d", 36_600 * 86_400),
    ],
)
def test_age_seconds_reads_what_people_write(written: str, seconds: int) -> None:
    assert age_seconds(written) == seconds


@pytest.mark.parametrize(
    "nonsense",
    [
        "", " ", "garbage", "h", "d7", "7x", "7 d x", "24hh", "24h!", "1.5h", "1,5h", "1e3", "-1h", "+1h",
        "- 5",
        "24h until", "24h\x00", "\u0663h", "\uff13h", "1\uff48",
        "true", "None", "nan", "inf", "0x10", "$(id)", "1h;id",
    ],
)  # fmt: skip
def test_age_seconds_refuses_nonsense(nonsense: str) -> None:
    with pytest.raises(ValueError, match="is not an age"):
        age_seconds(nonsense)


@pytest.mark.parametrize("out_of_range", ["0", "0s", "0h0m", "000", "36601d", "9" * 90, "9" * 90 + "h"])
def test_age_seconds_refuses_zero_and_beyond_a_century(out_of_range: str) -> None:
    with pytest.raises(ValueError, match="out of range"):
        age_seconds(out_of_range)


@pytest.mark.parametrize("start", ["9", "9 ", "1h", " ", "a", "9a"])
def test_age_seconds_refuses_a_long_text_at_once_and_does_not_repeat_it(start: str) -> None:
    begin = time.process_time()
    with pytest.raises(ValueError, match="is not an age") as caught:
        age_seconds(start * 200_000 + "!")
    assert time.process_time() - begin < 1
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("7d", "168h"),
        ("1w", "168h"),
        ("24h", "24h"),
        ("30m", "30m"),
        ("60m", "1h"),
        ("1h30m", "90m"),
        ("90s", "90s"),
        ("120s", "2m"),
        ("3600", "1h"),
        (3600, "1h"),
        (1, "1s"),
        ("30days", "720h"),
    ],
)
def test_to_until_sends_whole_hours_minutes_or_seconds_with_a_unit(written: str | int, sent: str) -> None:
    assert to_until(written) == sent


@pytest.mark.parametrize("written", [0, -1, True, pytest.param(10**5000, id="huge"), "0"])
def test_to_until_refuses_what_is_not_an_age(written: str | int) -> None:
    with pytest.raises(ValueError):
        to_until(written)


def test_to_until_gives_back_what_it_gave() -> None:
    for seconds in (1, 59, 60, 3599, 3600, 5400, 86_400, 86_401):
        assert age_seconds(to_until(seconds)) == seconds
        assert to_until(to_until(seconds)) == to_until(seconds)
