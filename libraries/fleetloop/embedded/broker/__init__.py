"""Apache Kafka for the embedded run and the tests: a single real node, with its files below the run's folder."""

from fleetloop.embedded.broker.choose import Broker, find_broker
from fleetloop.embedded.broker.fixture import running_broker

__all__ = ["Broker", "find_broker", "running_broker"]
