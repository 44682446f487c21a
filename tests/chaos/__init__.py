"""Chaos: a real cluster, workers and brokers that are ended at any moment, and who counts after it.

`python -m tests.chaos --help` runs it; docs/guarantees.md has what came out. What judges
(`checker`, `reading`, `watching`, `ledger`) is built on librdkafka and imports nothing of faustc.
"""
