"""Settings from environment variables, frozen and typed. An error names the variable and its meaning.

Only the `__main__` of a service reads the environment. Other code receives a settings object.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "FLEETLOOP_"


class SettingsError(Exception):
    """A variable or a file that people edit is missing or wrong. The text has one line for each problem."""


class ServiceSettings(BaseSettings):
    """The settings of every service. Each service extends them with its own."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    fleet_id: str = Field("demo", min_length=1, description="Fleet that this installation serves.")
    kafka_bootstrap_servers: str = Field(description="Addresses of Kafka brokers (host:port), separated by commas.")
    kafka_username: str = Field("", description="User for SCRAM-SHA-512 authentication; empty: no authentication.")
    kafka_password: str = Field("", repr=False, description="Password of that user.")
    kafka_ca: Path | None = Field(
        None, description="PEM file of the CA of the brokers, for TLS with authentication; unset: tls_ca."
    )
    kafka_tls: bool = Field(
        True, description="Whether to connect to the brokers by TLS if there is a CA; off only for one on loopback."
    )
    event_key: Path | None = Field(
        None, description="PEM file of the Ed25519 key that signs this service's events; unset: they are not signed."
    )
    event_trust: Path | None = Field(
        None,
        description="YAML file with the public keys of each topic whose events must be signed. Required with TLS.",
    )
    instance_id: str = Field(
        "",
        description="Name of this replica. A process that restarts under the same name gets its partitions back at "
        "once. Empty: after a kill they are assigned again only when the broker's session has expired.",
    )
    grpc_listen: str = Field(
        "127.0.0.1:0", description="Address (host:port) that the gRPC server listens on; port 0: any free port."
    )
    http_listen: str = Field(
        "127.0.0.1:0", description="Address (host:port) of /metrics, /livez and /readyz; port 0: any free port."
    )
    tls_ca: Path | None = Field(None, description="PEM file of the CA that verifies the certificates of peers.")
    tls_cert: Path | None = Field(None, description="PEM file of this process's certificate.")
    tls_key: Path | None = Field(None, description="PEM file of the private key of tls_cert.")
    renewal_within_s: float = Field(
        3600.0, ge=0, description="Restart within this many seconds after the certificate was renewed."
    )
    admission_list: Path | None = Field(
        None,
        description="File of admitted vehicles, people and services, which `fleetloop users`, `vehicles` and "
        "`services` write. Required with TLS.",
    )
    admission_check_s: float = Field(
        5.0, gt=0, description="Seconds between two checks whether the caller of an open call is still admitted."
    )
    state_dir: Path = Field(
        Path(".fleetloop/state"), description="Folder for state that survives restarts; used by this process only."
    )
    config_dir: Path = Field(Path("config"), description="Folder with the configuration files that users edit.")
    objects_url: str = Field(
        "file:///tmp/fleetloop/objects", description="URL of the object store: file:///... or s3://..."
    )
    database_url: str = Field("", description="SQLAlchemy URL of the database; empty: SQLite in state_dir.")
    log_format: str = Field("json", pattern="^(json|console)$", description="Format of log lines: json or console.")
    log_level: str = Field(
        "info", pattern="^(debug|info|warning|error)$", description="Least severe level that is logged."
    )
    trace_file: Path | None = Field(None, description="File to which spans are appended as JSON lines; unset: none.")
    trace_file_bytes: int = Field(
        64 * 2**20, gt=0, description="Bytes after which the trace file is rotated; one rotated file is kept."
    )
    otlp_endpoint: str = Field(
        "",
        pattern="^(https?://.+)?$",
        description="URL of the OpenTelemetry collector that receives spans over OTLP/gRPC, such as "
        "http://collector:4317 (https:// for TLS); empty: none. Needs fleetloop[tracing].",
    )
    stuck_after_s: float = Field(
        60.0, gt=0, description="Seconds with lag and without a commit before the liveness check fails."
    )


S = TypeVar("S", bound=ServiceSettings)


def load_settings(kind: type[S]) -> S:
    """Reads the settings `kind` from the environment.

    Raises SettingsError, which names each wrong variable and what is wrong with it.
    """
    try:
        return kind()
    except ValidationError as error:
        lines = []
        for problem in error.errors():
            name = PREFIX + "_".join(str(part) for part in problem["loc"]).upper()
            field = kind.model_fields.get(str(problem["loc"][0])) if problem["loc"] else None
            meaning = f" ({field.description})" if field and field.description else ""
            lines.append(f"{name}: {problem['msg']}{meaning}")
        raise SettingsError("\n".join(lines)) from error


M = TypeVar("M", bound=BaseModel)


def load_edited(path: Path, kind: type[M]) -> M:
    """Reads a YAML file that people edit. Raises SettingsError, which names the file, the field and what is wrong."""
    try:
        return kind.model_validate(yaml.safe_load(path.read_text()))
    except FileNotFoundError as error:
        raise SettingsError(f"{path}: no such file; copy the shipped one, config/{path.name}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: this is not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        lines = [f"{path}: {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise SettingsError("\n".join(lines)) from error
