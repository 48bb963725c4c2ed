"""Prepare the broker of an embedded run, once it answers: users, rights, quotas and topics. A step of `fleetloop up`.

python -m fleetloop.embedded.prepare_broker BOOTSTRAP_SERVERS FOLDER_OF_PASSWORDS
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from fleetloop.embedded.broker.users import KafkaUsers
from fleetloop.embedded.service_table import SERVICES
from fleetloop.errors import UserError
from fleetloop.kit.messaging.granting import grant
from fleetloop.kit.messaging.permissions import load_quotas, rules
from fleetloop.kit.messaging.topics import TopicCatalogueError, create_topics, load_topics
from fleetloop.shipped import topic_catalogue


async def prepare(bootstrap_servers: str, users: KafkaUsers) -> list[str]:
    """Grant rights and create topics; return the names of new topics. Idempotent."""
    topics = load_topics(topic_catalogue())
    granted = rules(topics, [entry.label for entry in SERVICES])
    options = users.node_options(bootstrap_servers)
    await grant(options, users.passwords(), granted, load_quotas(topic_catalogue()))
    return await create_topics(bootstrap_servers, topics, options=options)


def main() -> None:
    """Run the command."""
    bootstrap_servers, folder = sys.argv[1:]
    try:
        made = asyncio.run(prepare(bootstrap_servers, KafkaUsers(Path(folder))))
    except (TopicCatalogueError, UserError) as error:
        sys.exit(str(error))
    print(f"users and rights are set; created {len(made)} topics")


if __name__ == "__main__":
    main()
