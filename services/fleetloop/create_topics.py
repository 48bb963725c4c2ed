"""A step of `fleetloop up`: create what the topic catalogue lists, once the broker answers.

python -m fleetloop.create_topics BOOTSTRAP_SERVERS CATALOGUE

FLEETLOOP_REPLICATION_FACTOR says how many brokers hold each message; 1 unless set.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from fleetkit.topics import TopicCatalogueError, create_topics, load_topics


def main() -> None:
    bootstrap_servers, catalogue = sys.argv[1], Path(sys.argv[2])
    try:
        replication = int(os.environ.get("FLEETLOOP_REPLICATION_FACTOR", "1"))
        made = asyncio.run(create_topics(bootstrap_servers, load_topics(catalogue), replication))
    except (TopicCatalogueError, ValueError) as error:
        sys.exit(str(error))
    print(f"created {len(made)} topics: {', '.join(sorted(made))}" if made else "all topics are there")


if __name__ == "__main__":
    main()
