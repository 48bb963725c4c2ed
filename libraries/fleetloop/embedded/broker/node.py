"""One Kafka node in KRaft mode, broker and controller in one process, run from jars with `java`."""

from __future__ import annotations

import base64
import subprocess
import tempfile
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from fleetloop.errors import UserError
from fleetloop.kit.process.atomic_file import replace_text

QUICK_JVM = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xms96m", "-Xmx512m")
"""Starts in half the time with a third of the memory; for tests and demos on two cores."""
BENCH_JVM = ("-XX:+UseG1GC", "-Xms1g", "-Xmx1g")
"""Full JIT and a larger heap, for measurements."""

# A single node: every internal topic has one replica and few partitions, because each costs files and start-up time.
# After a SIGKILL the node waits until its own old session has expired, so the session timeout is short.
_PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller_port}
listeners=CLIENT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=CLIENT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=CLIENT
log.dirs={data}
auto.create.topics.enable=false
num.partitions=1
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
log.index.size.max.bytes=1048576
log.cleaner.dedupe.buffer.size=16777216
num.network.threads=2
num.io.threads=4
broker.heartbeat.interval.ms=1000
broker.session.timeout.ms=4000
controlled.shutdown.max.retries=1
"""

_OPEN = """\
listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT
"""

# Users authenticate by SCRAM. By PLAIN, only the node itself does: as broker and controller, and to grant rights to
# users before there are any. TLS would only hide from root what passes through the loopback interface.
_SECURED = """\
listener.security.protocol.map=CLIENT:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT
sasl.mechanism.inter.broker.protocol=PLAIN
sasl.mechanism.controller.protocol=PLAIN
listener.name.client.sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN
listener.name.client.scram-sha-512.sasl.jaas.config={scram}
listener.name.client.plain.sasl.jaas.config={login}
listener.name.controller.sasl.enabled.mechanisms=PLAIN
listener.name.controller.plain.sasl.jaas.config={login}
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
allow.everyone.if.no.acl.found=false
super.users=User:{user}
"""
_LOGIN = (
    "org.apache.kafka.common.security.plain.PlainLoginModule required "
    'username="{user}" password="{password}" user_{user}="{password}";'
)
_SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
NODE_USER = "broker"
"""The node's own user, which has every right."""

_LOGGING = """\
rootLogger.level = WARN
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{{ISO8601}} %p %c{{1}}: %m%n
logger.server.name = kafka.server.KafkaRaftServer
logger.server.level = INFO
"""


@dataclass(frozen=True, slots=True)
class KafkaNode:
    """A Kafka node of this machine."""

    folder: Path
    """Data and configuration. A second start in the same folder finds the same topics."""
    java: Path
    jars: Path
    port: int
    controller_port: int
    jvm: tuple[str, ...] = QUICK_JVM
    password: str = field(default="", repr=False)
    """Password of NODE_USER, letters and digits. Without one, every program of this machine has every right."""

    @property
    def bootstrap_servers(self) -> str:
        """host:port of the broker."""
        return f"127.0.0.1:{self.port}"

    def command(self) -> tuple[str, ...]:
        """Return the command that runs the node."""
        return (*self._java(*self.jvm), "kafka.Kafka", str(self._config))

    def prepare(self) -> None:
        """Write the configuration, and format the storage if needed. Raises UserError if it fails."""
        # Kafka splits log.dirs at commas.
        if "," in str(self.folder):
            raise UserError(
                f"Kafka cannot use a folder with a comma in its name: {self.folder}.", "Name another one with --dir."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        self._logging.write_text(_LOGGING.format())
        self._configure(self._config, self._data)
        if not self._data.exists():
            self._format()

    def _configure(self, path: Path, data: Path) -> None:
        escaped = str(data).replace("\\", "\\\\")
        properties = _PROPERTIES.format(port=self.port, controller_port=self.controller_port, data=escaped)
        if self.password:
            login = _LOGIN.format(user=NODE_USER, password=self.password)
            properties += _SECURED.format(login=login, scram=_SCRAM, user=NODE_USER)
        else:
            properties += _OPEN
        replace_text(path, properties, mode=0o600)

    def _format(self) -> None:
        """Format the storage in a temporary folder and rename it, so that it exists completely or not at all."""
        cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        # The tool would read a leading dash as an option.
        cluster_id = cluster_id.replace("-", "A", 1) if cluster_id.startswith("-") else cluster_id
        with tempfile.TemporaryDirectory(dir=self.folder, prefix="formatting-") as draft:
            config, data = Path(draft) / "server.properties", Path(draft) / "data"
            self._configure(config, data)
            tool = [*self._java(*QUICK_JVM), "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(config)]
            try:
                done = subprocess.run(tool, capture_output=True, text=True, timeout=180, check=False)
            except subprocess.TimeoutExpired as error:
                raise UserError(
                    "Kafka did not format its storage within 180 s.", "Check whether the machine is overloaded."
                ) from error
            if done.returncode != 0:
                said = (done.stderr or done.stdout).strip().splitlines()
                raise UserError(
                    f"Kafka could not format its storage in {self._data}: {said[-1] if said else 'no reason given'}",
                    "Check that the folder is writable and that the disk has free space.",
                )
            data.replace(self._data)

    @property
    def _config(self) -> Path:
        return self.folder / "server.properties"

    @property
    def _logging(self) -> Path:
        return self.folder / "log4j2.properties"

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _java(self, *options: str) -> tuple[str, ...]:
        logging = f"-Dlog4j2.configurationFile={self._logging}"
        return (str(self.java), *options, logging, "-cp", str(self.jars / "*"))
