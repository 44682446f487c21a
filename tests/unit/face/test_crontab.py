"""Ticks by cron expressions: when they are due, in which zone, on which worker."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice, pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest

import faustc
from faustc import crontab
from faustc.clock import now_ms
from faustc.exceptions import ImproperlyConfigured


def moments(expression: str, since: datetime, count: int) -> list[str]:
    return [f"{m:%d %H:%M:%S}" for m in islice(crontab._moments(expression, since), count)]


def make_app(**options: Any) -> faustc.App:
    return faustc.App("cron", broker="kafka://127.0.0.1:1", **options)


def now(zone: Any) -> datetime:
    return datetime.fromtimestamp(now_ms() / 1000, zone)


OSLO = ZoneInfo("Europe/Oslo")


@pytest.mark.parametrize(
    ("expression", "since", "expected"),
    [
        ("*/20 * * * *", datetime(2026, 1, 1, 10, 5), ["01 10:20:00", "01 10:40:00"]),
        ("30 4 1,15 * *", datetime(2026, 1, 2), ["15 04:30:00", "01 04:30:00"]),
        ("0 9 * * mon-fri", datetime(2026, 11, 27, 10), ["30 09:00:00", "01 09:00:00"]),
        ("*/10 * * * * *", datetime(2026, 1, 1), ["01 00:00:10", "01 00:00:20"]),
        ("@daily", datetime(2026, 1, 1, 5), ["02 00:00:00", "03 00:00:00"]),
        # the clocks go forward at 2, on the 29th: what is due at 2:30 comes at 3
        ("30 2 * * *", datetime(2026, 3, 28, 12, tzinfo=OSLO), ["29 03:00:00", "30 02:30:00"]),
        # and back at 3, on the 25th: once, not twice
        ("30 2 * * *", datetime(2026, 10, 24, 12, tzinfo=OSLO), ["25 02:30:00", "26 02:30:00"]),
    ],
)
def test_an_expression_says_when(expression: str, since: datetime, expected: list[str]) -> None:
    assert moments(expression, since, 2) == expected


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("* * *", "Wrong number of fields"),
        ("61 * * * *", "Bad minute"),
        ("0 0 31 2 *", "Bad day-of-month"),
        ("often", "Wrong number of fields"),
    ],
)
def test_what_is_no_expression_is_refused_where_it_is_written(expression: str, said: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=said):
        make_app().crontab(expression)


def test_an_unknown_zone_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="no time zone 'Oslo/Europe'"):
        make_app().crontab("* * * * *", tz="Oslo/Europe")


@pytest.mark.parametrize(
    ("options", "settings", "zone"),
    [
        ({}, {}, UTC),
        ({}, {"timezone": timezone(timedelta(hours=5))}, timezone(timedelta(hours=5))),
        ({"tz": "Europe/Oslo"}, {}, OSLO),
        ({"timezone": OSLO}, {}, OSLO),
        ({"tz": ZoneInfo("Asia/Kathmandu")}, {}, ZoneInfo("Asia/Kathmandu")),
    ],
)
async def test_it_runs_at_those_times_in_its_zone(
    options: dict[str, Any], settings: dict[str, Any], zone: Any
) -> None:
    app = make_app(**settings)
    ran: list[datetime] = []

    @app.crontab("0 */6 * * *", **options)
    async def work(app: faustc.App) -> None:
        ran.append(now(zone))

    async with app.test_context() as t:
        await t.advance(24 * 3600)
    assert len(ran) == 4
    assert {moment.hour for moment in ran} == {0, 6, 12, 18}
    assert all(moment.minute == 0 and moment.second < 2 for moment in ran)


async def test_what_is_missed_is_left_out() -> None:
    app = make_app()
    ran: list[datetime] = []

    @app.crontab("* * * * *")
    async def slow() -> None:
        ran.append(now(UTC))
        await asyncio.sleep(150)

    async with app.test_context() as t:
        await t.advance(601)
    gaps = [(b - a).total_seconds() for a, b in pairwise(ran)]
    assert len(ran) == 4
    assert all(179 <= gap <= 181 for gap in gaps)


async def test_only_the_leader_runs_it() -> None:
    app = make_app()
    ran: list[str] = []

    @app.agent(app.topic("any"))
    async def agent(stream: Any) -> None:
        async for _ in stream:
            pass

    @app.crontab("* * * * *", on_leader=True)
    async def leading() -> None:
        ran.append("leader")

    async with app.test_context() as t:
        await t.settled()
        assert app.is_leader()
        await t.advance(180)
    assert len(ran) == 3


async def test_a_service_has_crontabs_too() -> None:
    app = make_app()
    ran: list[int] = []

    @app.service
    class Hourly(faustc.Service):
        @faustc.Service.crontab("0 * * * *", timezone=OSLO)
        async def work(self) -> None:
            ran.append(now(OSLO).minute)

    async with app.test_context() as t:
        await t.advance(3 * 3600)
    assert ran == [0, 0, 0]
