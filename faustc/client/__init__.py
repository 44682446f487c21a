"""One Kafka cluster, spoken to over our own sockets: knows Kafka, not Faust."""
