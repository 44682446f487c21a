"""kafka-python, the second oracle: imported here, since its import warns on Python 3.11."""

import warnings

with warnings.catch_warnings():
    # It reads its schemas by importlib.resources.read_text; ours to tolerate, not to fix.
    warnings.simplefilter("ignore", DeprecationWarning)
    from kafka.protocol.consumer import FetchRequest, FetchResponse
    from kafka.protocol.producer import ProduceRequest, ProduceResponse
    from kafka.record.default_records import DefaultRecordBatch, DefaultRecordBatchBuilder
    from kafka.record.memory_records import MemoryRecords

__all__ = [
    "DefaultRecordBatch",
    "DefaultRecordBatchBuilder",
    "FetchRequest",
    "FetchResponse",
    "MemoryRecords",
    "ProduceRequest",
    "ProduceResponse",
]
