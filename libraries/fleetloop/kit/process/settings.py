"""Settings from environment variables, frozen and typed; an error names the variable and what it takes.

Only a service's `__main__` reads the environment. Everything else is handed a settings object.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "FLEETLOOP_"


class SettingsError(Exception):
    """A variable or a file that people edit is missing or wrong. The text has a line for each, ready to show."""


class ServiceSettings(BaseSettings):
    """What every service is told. A service's own settings extend this."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    fleet_id: str = Field("demo", min_length=1, description="Fleet that this installation serves.")
    kafka_bootstrap_servers: str = Field(description="host:port of brokers, separated by commas.")
    kafka_username: str = Field("", description="SCRAM-SHA-512 user; empty: no authentication.")
    kafka_password: str = Field("", repr=False, description="Password of that user.")
    kafka_ca: Path | None = Field(
        None, description="PEM file of the CA that brokers are checked against, with a user; none: tls_ca."
    )
    instance_id: str = Field(
        "",
        description="Name of this process among its kind; a restart under it takes its partitions back at once. "
        "Empty: a restart after a kill waits out the broker's session.",
    )
    grpc_listen: str = Field("127.0.0.1:0", description="Address that gRPC listens on.")
    http_listen: str = Field("127.0.0.1:0", description="Address of /metrics, /livez and /readyz.")
    tls_ca: Path | None = Field(None, description="PEM file of the CA that peers are checked against.")
    tls_cert: Path | None = Field(None, description="PEM file of this process's certificate.")
    tls_key: Path | None = Field(None, description="PEM file of its private key.")
    renewal_within_s: float = Field(
        3600.0, ge=0, description="Where the certificate was renewed, the process ends to take it within so long."
    )
    state_dir: Path = Field(Path(".fleetloop/state"), description="Folder of its own that survives restarts.")
    config_dir: Path = Field(Path("config"), description="Folder with what users edit.")
    objects_url: str = Field("file:///tmp/fleetloop/objects", description="Object store: file:///..., s3://...")
    database_url: str = Field("", description="SQLAlchemy URL, for services with a database.")
    log_format: str = Field("json", pattern="^(json|console)$", description="json or console.")
    log_level: str = Field("info", pattern="^(debug|info|warning|error)$", description="Least severe level.")
    trace_file: Path | None = Field(None, description="File that spans are appended to as JSON lines.")
    trace_file_bytes: int = Field(
        64 * 2**20, gt=0, description="A trace file that has grown to so much is set aside; the one before it goes."
    )
    otlp_endpoint: str = Field(
        "",
        pattern="^(https?://.+)?$",
        description="URL of the OpenTelemetry collector that receives spans over OTLP/gRPC, such as "
        "http://collector:4317 (https:// for TLS); empty: none. Needs fleetloop[tracing].",
    )
    stuck_after_s: float = Field(60.0, gt=0, description="Lag without a commit for so long fails liveness.")


S = TypeVar("S", bound=ServiceSettings)


def load_settings(kind: type[S]) -> S:
    """Reads `kind` from the environment.

    Raises SettingsError that names each variable at fault and what is wrong with it.
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
    """Reads a YAML file that people edit. Raises SettingsError that names the file, the field and what is wrong."""
    try:
        return kind.model_validate(yaml.safe_load(path.read_text()))
    except FileNotFoundError as error:
        raise SettingsError(f"{path}: no such file; config/{path.name} is the one shipped") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path}: not YAML: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        lines = [f"{path}: {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors()]
        raise SettingsError("\n".join(lines)) from error
