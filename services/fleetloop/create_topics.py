"""A step of `fleetloop up`: create what the topic catalogue lists, once the broker answers.

python -m fleetloop.create_topics BOOTSTRAP_SERVERS CATALOGUE
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from fleetkit.topics import TopicCatalogueError, create_topics, load_topics


def main() -> None:
    bootstrap_servers, catalogue = sys.argv[1], Path(sys.argv[2])
    try:
        made = asyncio.run(create_topics(bootstrap_servers, load_topics(catalogue)))
    except TopicCatalogueError as error:
        sys.exit(str(error))
    print(f"created {len(made)} topics: {', '.join(sorted(made))}" if made else "all topics are there")


if __name__ == "__main__":
    main()
