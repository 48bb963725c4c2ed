"""Apache Kafka for the embedded run and the tests: the real one, a single node, its folder below the run's."""

from fleetloop.embedded.broker.choose import Broker, find_broker
from fleetloop.embedded.broker.fixture import running_broker

__all__ = ["Broker", "find_broker", "running_broker"]
