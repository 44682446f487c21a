"""The error table against kafka-python's, which was made from Kafka's own."""

from __future__ import annotations

import re
import warnings

from faustc.client import codes
from faustc.exceptions import BrokerError, KafkaError


def test_every_code_has_its_own_name_and_constant():
    for row in codes._TABLE:
        assert getattr(codes, row.name) == row.code
        assert codes.lookup(row.code) is row
    assert [row.code for row in codes._TABLE] == list(range(-1, 134))


def test_names_agree_with_kafka_python():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # kafka-python's, on Python 3.11
        from kafka import errors

    def words(name: str) -> str:
        return re.sub(r"(error|exception|_)", "", name.lower())

    theirs = {
        cls.errno: words(cls.__name__)
        for cls in vars(errors).values()
        if isinstance(cls, type) and isinstance(getattr(cls, "errno", None), int)
    }
    renamed = {  # where kafka-python's class does not bear the constant's name
        2: "corruptrecord",
        4: "invalidfetchrequest",
        6: "notleaderforpartition",
        10: "messagesizetoolarge",
        35: "incompatiblebrokerversion",
        39: "invalidreplicationassignment",
        40: "invalidconfiguration",
    }
    for code, name in theirs.items():
        if code in (-1, 0) or code not in codes._BY_CODE:
            continue
        assert name in (words(codes.lookup(code).name), renamed.get(code)), code
    assert len(theirs) > 80


def test_what_to_refresh_before_a_retry():
    assert codes.lookup(codes.NOT_LEADER_OR_FOLLOWER).refresh == "metadata"
    assert codes.lookup(codes.NOT_COORDINATOR).refresh == "coordinator"
    assert codes.lookup(codes.NOT_CONTROLLER).refresh == "controller"
    for row in codes._TABLE:
        assert row.retriable or not row.refresh, "what is refreshed is tried again"


def test_the_exception_tells_code_name_and_detail():
    error = codes.error_for(codes.TOPIC_AUTHORIZATION_FAILED, "topic 'orders'")

    assert isinstance(error, BrokerError)
    assert isinstance(error, KafkaError)
    assert (error.code, error.name) == (29, "TOPIC_AUTHORIZATION_FAILED")
    assert str(error) == "[29] TOPIC_AUTHORIZATION_FAILED: topic 'orders'"
    assert not error.retriable
    assert codes.error_for(codes.COORDINATOR_LOAD_IN_PROGRESS).retriable


def test_a_code_from_the_future_is_named_by_its_number():
    error = codes.error_for(999)

    assert error.name == "UNKNOWN_CODE_999"
    assert not error.retriable
