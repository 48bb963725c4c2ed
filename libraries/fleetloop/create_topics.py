"""Create the topics of the catalogue once the broker answers. A step of `fleetloop up` and of the chart.

    python -m fleetloop.create_topics BOOTSTRAP_SERVERS [CATALOGUE]

FLEETLOOP_REPLICATION_FACTOR is the number of brokers that store each message (1). FLEETLOOP_KAFKA_USERNAME,
FLEETLOOP_KAFKA_PASSWORD and FLEETLOOP_KAFKA_CA have the same meaning as for services.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from fleetloop.kit.messaging.producer import connection_options
from fleetloop.kit.messaging.topics import TopicCatalogueError, create_topics, load_topics
from fleetloop.kit.process.settings import ServiceSettings
from fleetloop.shipped import topic_catalogue


def main() -> None:
    """Run the command."""
    bootstrap_servers = sys.argv[1]
    catalogue = Path(sys.argv[2]) if len(sys.argv) > 2 else topic_catalogue()
    try:
        replication = int(os.environ.get("FLEETLOOP_REPLICATION_FACTOR", "1"))
        options = connection_options(ServiceSettings(kafka_bootstrap_servers=bootstrap_servers))
        made = asyncio.run(create_topics(bootstrap_servers, load_topics(catalogue), replication, options))
    except (TopicCatalogueError, ValueError) as error:
        sys.exit(str(error))
    print(f"created {len(made)} topics: {', '.join(sorted(made))}" if made else "all topics exist already")


if __name__ == "__main__":
    main()
