"""Apache Kafka for the embedded run and the tests: the real one, a single node, its folder below the run's."""

from fleetloop.broker.ladder import Broker, find_broker
from fleetloop.broker.running import running_broker

__all__ = ["Broker", "find_broker", "running_broker"]
