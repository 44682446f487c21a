"""Signals: of every app, of a class, of one; and what an app tells by them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import faustc
from faustc.exceptions import ImproperlyConfigured
from faustc.signals import Signal, SyncSignal
from faustc.types import TP

MakeApp = Callable[..., faustc.App]


class Sender:
    happened = Signal("Something happened.")
    noted = SyncSignal("Something was noted.")


class Narrow(Sender):
    pass


@pytest.fixture(autouse=True)
def _nobody_listens() -> Any:
    yield
    for cls in (Sender, Narrow):
        cls.happened._receivers.clear()
        cls.noted._receivers.clear()


async def test_signals_of_a_class_and_of_one_instance() -> None:
    one, two = Sender(), Sender()
    heard: list[Any] = []

    @Sender.happened.connect
    def everybody(sender: Any, value: int, **kwargs: Any) -> None:
        heard.append(("class", sender, value))

    @one.happened.connect()
    async def only_one(sender: Any, value: int, **kwargs: Any) -> None:
        heard.append(("one", sender, value))

    await one.happened.send(1)
    await two.happened.send(2)
    assert heard == [("class", one, 1), ("one", one, 1), ("class", two, 2)]
    one.happened.disconnect(only_one)
    heard.clear()
    await one.happened(3)
    assert heard == [("class", one, 3)]


def test_a_subclass_is_heard_by_its_own_receivers_and_those_above() -> None:
    heard: list[str] = []
    Sender.noted.connect(lambda sender, **kw: heard.append("wide"))
    Narrow.noted.connect(lambda sender, **kw: heard.append("narrow"))
    Sender().noted.send()
    assert heard == ["wide"]
    heard.clear()
    Narrow().noted.send()
    assert heard == ["wide", "narrow"]


def test_a_class_sends_for_whom_it_names() -> None:
    heard: list[Any] = []
    Sender.noted.connect(lambda sender, value, **kw: heard.append((sender, value, kw["more"])))
    Sender.noted.send("me", 1, more=2)
    assert heard == [("me", 1, 2)]
    with pytest.raises(TypeError, match="takes the sender first"):
        Sender.noted.send()


def test_a_receiver_may_ask_for_one_sender_only() -> None:
    one, two = Sender(), Sender()
    heard: list[Any] = []

    def note(sender: Any, **kwargs: Any) -> None:
        heard.append(sender)

    Sender.noted.connect(note, sender=one)
    one.noted.send()
    two.noted.send()
    assert heard == [one]
    Sender.noted.disconnect(note, sender=two)
    one.noted.send()
    assert heard == [one, one]
    Sender.noted.disconnect(note, sender=one)
    one.noted.send()
    assert heard == [one, one]


def test_a_weak_receiver_goes_with_its_owner() -> None:
    class Listener:
        heard = 0

        def handle(self, sender: Any, **kwargs: Any) -> None:
            Listener.heard += 1

    sender, listener = Sender(), Listener()
    sender.noted.connect(listener.handle, weak=True)
    sender.noted.send()
    del listener
    sender.noted.send()
    assert Listener.heard == 1


def test_what_cannot_be_called_cannot_be_connected() -> None:
    with pytest.raises(ImproperlyConfigured, match=r"noted\.connect: 3 cannot be called"):
        Sender.noted.connect(3)  # type: ignore[arg-type]


def test_an_app_tells_of_its_configuration_in_order() -> None:
    app = faustc.App("x", version=2)
    told: list[str] = []

    @app.on_before_configured.connect
    def before(sender: faustc.App, **kwargs: Any) -> None:
        told.append(f"before, configured={sender.configured}")

    @app.on_configured.connect
    def during(sender: faustc.App, conf: faustc.Settings, **kwargs: Any) -> None:
        told.append(f"on {conf.id}")
        conf.commit_interval = 0.5

    @app.on_after_configured.connect
    def after(sender: faustc.App, **kwargs: Any) -> None:
        told.append(f"after, configured={sender.configured}, {sender.conf.commit_interval}")

    assert told == []
    assert app.conf.commit_interval == 0.5
    assert app.conf is app.conf
    assert told == [
        "before, configured=False",
        "on x-v2",
        "after, configured=True, 0.5",
    ]


def test_an_app_may_get_other_settings_while_it_is_configured() -> None:
    app = faustc.App("x")

    @app.on_configured.connect
    def during(sender: faustc.App, conf: faustc.Settings, **kwargs: Any) -> None:
        assert sender.conf is conf

    app.conf = other = faustc.Settings("other", commit_interval=1)
    assert app.conf is other
    assert app.label == "App other"


async def test_an_app_tells_of_partitions_and_of_its_end(make_app: MakeApp) -> None:
    app = make_app()
    told: list[Any] = []

    @app.agent(app.topic("orders", partitions=2))
    async def read(stream: Any) -> None:
        async for _ in stream:
            pass

    @app.on_partitions_assigned.connect
    async def came(sender: Any, assigned: Any, **kwargs: Any) -> None:
        told.append(("assigned", sender, assigned))

    @app.on_partitions_revoked.connect
    async def went(sender: Any, revoked: Any, **kwargs: Any) -> None:
        told.append(("revoked", sender, revoked))

    @app.on_rebalance_complete.connect
    async def complete(sender: Any, **kwargs: Any) -> None:
        told.append("complete")

    @app.on_before_shutdown.connect
    async def ending(sender: Any, **kwargs: Any) -> None:
        told.append(("ending", sender.state))

    async with app.test_context():
        both = {TP("orders", 0), TP("orders", 1)}
        assert told == [("assigned", app, both), "complete"]
        told.clear()
    assert told == [("ending", "stopping"), ("revoked", app, both)]


async def test_headers_may_be_added_to_what_is_sent(make_app: MakeApp) -> None:
    app = make_app()
    topic = app.topic("orders", value_type=int)
    told: list[Any] = []

    @app.on_produce_message.connect
    def trace(
        sender: faustc.App,
        key: bytes,
        value: bytes,
        partition: int | None,
        timestamp: float | None,
        headers: list[tuple[str, bytes]],
        **kwargs: Any,
    ) -> None:
        told.append((key, value, partition, timestamp))
        headers.append(("trace", b"1"))

    async with app.test_context() as t:
        await topic.send(key="k", value=1, partition=0, timestamp=5.0, headers={"h": b"x"})
        await topic.send_many([2])
        await app.send("orders", value=3, callback=lambda fut: None)
        await t.settled()
        assert [m.headers for m in t.broker.messages("orders")] in (
            [(("h", b"x"), ("trace", b"1")), (("trace", b"1"),), (("trace", b"1"),)],
        )
    assert told == [(b'"k"', b"1", 0, 5.0), (None, b"2", None, None), (None, b"3", None, None)]
