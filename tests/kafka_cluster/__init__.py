"""A real Apache Kafka for tests, benchmarks and the demo: fetched by Maven, run on loopback."""

from .cluster import KafkaCluster
from .jars import DEFAULT_VERSION, KafkaUnavailable, jars, java

__all__ = ["DEFAULT_VERSION", "KafkaCluster", "KafkaUnavailable", "jars", "java"]
