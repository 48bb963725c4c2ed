"""gRPC servers and channels as every service has them: mTLS, who may call, health, reflection, metrics, traces.

One interceptor wraps every handler. It checks the caller against the admission list and the access policy, again
every few seconds while the call is open, opens a span under the caller's trace, counts the call, and translates a
`RefusedError` to a gRPC status whose text names the field and the remedy. No other module knows which status code
belongs to which refusal.

A service that calls on behalf of a person, such as the console, adds `speak_for(name, roles)` to the metadata of the
call. Only services that config/access.yaml lists as speakers may; the person's roles decide then.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import descriptor_pool
from google.protobuf.message import Message
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from fleetloop.kit.bounds import check_bounds
from fleetloop.kit.outage import OutageError
from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.process.metrics import RPC_SECONDS, RPCS
from fleetloop.kit.process.settings import ServiceSettings, SettingsError
from fleetloop.kit.process.tracing import current_traceparent, span
from fleetloop.kit.refusal import RefusedError
from fleetloop.kit.security.access import AccessPolicy
from fleetloop.kit.security.admission import AdmissionList
from fleetloop.kit.security.certificates import identity_of, load_certificate, serial_of_pem, server_name
from fleetloop.kit.security.gate import ON_BEHALF_OF, ROLES, Gate, NoAdmissions, speak_for
from fleetloop.kit.security.identity import Identity, IdentityKind, parse_spiffe_id
from fleetloop.kit.security.open_calls import OpenCalls
from fleetloop.kit.security.watch import CallWatch

__all__ = [
    "ON_BEHALF_OF",
    "ROLES",
    "Gatekeeper",
    "RpcServer",
    "admissions_of",
    "caller",
    "caller_roles",
    "expect_server",
    "open_channel",
    "open_service_channel",
    "peer_serial",
    "request_key",
    "retry_config",
    "server_credentials",
    "speak_for",
    "status_of",
]
log = get_logger(__name__)
_caller: ContextVar[Identity] = ContextVar("caller")
_roles: ContextVar[tuple[str, ...]] = ContextVar("roles", default=())
_serial: ContextVar[str | None] = ContextVar("serial")
_ABORT_S = 1.0
_MAX_MESSAGE_BYTES = 4 * 1024 * 1024
_OPTIONS = [
    ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
    ("grpc.so_reuseport", 0),
    # With the default of two minutes a client would find a restarted server up to two minutes late.
    ("grpc.max_reconnect_backoff_ms", 5_000),
]


def retry_config(*, wait_for_ready: bool = False) -> str:
    """The gRPC service config of a client: five attempts at a call whose server is UNAVAILABLE.

    With `wait_for_ready` a call waits, until its own deadline, for a server that has not been reached yet.
    """
    policy = {
        "maxAttempts": 5,
        "initialBackoff": "0.2s",
        "maxBackoff": "3s",
        "backoffMultiplier": 2,
        "retryableStatusCodes": ["UNAVAILABLE"],
    }
    every_method: dict[str, object] = {"name": [{}], "waitForReady": wait_for_ready, "retryPolicy": policy}
    return json.dumps({"methodConfig": [every_method]})


def status_of(refusal: RefusedError) -> grpc.StatusCode:
    """The gRPC status code of a refusal."""
    return grpc.StatusCode[refusal.kind.name]


def caller() -> Identity:
    """The identity of the caller, inside a handler: the person, when a speaker calls on behalf of one."""
    return _caller.get()


def caller_roles() -> tuple[str, ...]:
    """The roles of the caller, inside a handler; empty for services and vehicles."""
    return _roles.get()


def request_key(request_id: str) -> str:
    """The key under which a mutating call keeps its answer: request ids belong to their caller, inside a handler.

    Empty when the caller gave no request id.
    """
    return f"{caller()}:{request_id}" if request_id else ""


def peer_serial() -> str | None:
    """Serial number of the caller's certificate, inside a handler; None without TLS."""
    return _serial.get()


_serial_of_pem = lru_cache(maxsize=16_384)(serial_of_pem)


class Gatekeeper(grpc.aio.ServerInterceptor):  # type: ignore[misc,unused-ignore]
    """Wraps every handler of a server: identity, admission, policy, trace, metrics, and refusals as gRPC statuses."""

    def __init__(self, service: str, gate: Gate, insecure_identity: Identity | None, check_s: float) -> None:
        """`check_s`: seconds between two checks of a call that is open."""
        self._service = service
        self._gate = gate
        self._insecure_identity = insecure_identity
        self._check_s = check_s
        self._open = OpenCalls()

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        handler = await continuation(details)
        if handler is None:
            return handler
        method: str = details.method
        traceparent = next((v for k, v in details.invocation_metadata or () if k == "traceparent"), None)
        serialisers = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.response_streaming:
            inner_stream = handler.stream_stream if handler.request_streaming else handler.unary_stream

            # No generator: the check of an open call has to reach the write, which waits for a slow client.
            async def stream(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> None:
                async with self._guard(method, traceparent, context):
                    answers = inner_stream(_bounded(request), context)
                    if not hasattr(answers, "__aiter__"):
                        await answers  # it writes its answers itself, as gRPC's own health service does
                        return
                    async with aclosing(answers):
                        async for response in answers:
                            await context.write(response)

            make = (
                grpc.stream_stream_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_stream_rpc_method_handler
            )
            return make(stream, **serialisers)
        inner = handler.stream_unary if handler.request_streaming else handler.unary_unary

        async def unary(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            async with self._guard(method, traceparent, context):
                return await inner(_bounded(request), context)

        make = (
            grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
        )
        return make(unary, **serialisers)

    def _identify(self, context: grpc.aio.ServicerContext[Any, Any]) -> Identity | None:
        if self._insecure_identity is not None:
            return self._insecure_identity
        uris = context.auth_context().get("peer_spiffe_id", [])
        return parse_spiffe_id(uris[0].decode()) if uris else None

    @asynccontextmanager
    async def _guard(
        self, method: str, traceparent: str | None, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[None]:
        began = time.monotonic()
        code = grpc.StatusCode.OK
        watch: CallWatch | None = None
        try:
            identity = self._identify(context)
            if identity is None:
                code = grpc.StatusCode.UNAUTHENTICATED
                await context.abort(code, "the certificate carries no SPIFFE id; enrol and use the one you are given")
                return
            pem = next(iter(context.auth_context().get("x509_pem_cert", ())), None)
            serial = _serial_of_pem(pem) if pem is not None else None
            metadata = tuple(context.invocation_metadata() or ())
            found = self._gate.check(identity, serial, method, metadata)
            _caller.set(found.identity)
            _roles.set(found.roles)
            _serial.set(serial)
            watch = CallWatch(lambda: self._gate.check(identity, serial, method, metadata), self._check_s)
            with self._open.open(identity), span(method, parent=traceparent, attributes={"caller": str(identity)}):
                yield
        except RefusedError as refusal:
            code = status_of(refusal)
            await context.abort(code, str(refusal))
        except asyncio.CancelledError:
            code = code if code is not grpc.StatusCode.OK else grpc.StatusCode.CANCELLED
            if watch is None or (ended := watch.refusal()) is None:
                raise
            code = status_of(ended)
            await _abort_soon(context, code, str(ended))
        except grpc.aio.AbortError:
            code = code if code is not grpc.StatusCode.OK else grpc.StatusCode.CANCELLED
            raise
        except OutageError as error:
            code = grpc.StatusCode.UNAVAILABLE
            log.error("rpc_unavailable", method=method, error=str(error))
            await context.abort(code, "storage cannot be reached now: try again later; the log has the details")
        except Exception:
            code = grpc.StatusCode.INTERNAL
            log.exception("rpc_failed", method=method)
            await context.abort(code, "the server failed; its log has the details under this trace")
        finally:
            if watch is not None:
                watch.stop()
            RPCS.labels(self._service, method, code.name).inc()
            RPC_SECONDS.labels(self._service, method).observe(time.monotonic() - began)


def _bounded(request: Any) -> Any:
    """The request, or the stream of requests, with every message inside its bounds. Raises OutOfBoundsError."""
    if isinstance(request, Message):
        check_bounds(request)
        return request
    return _bounded_stream(request) if hasattr(request, "__aiter__") else request


async def _bounded_stream(requests: AsyncIterator[Message]) -> AsyncIterator[Message]:
    async for request in requests:
        yield _bounded(request)


async def _abort_soon(context: grpc.aio.ServicerContext[Any, Any], code: grpc.StatusCode, text: str) -> None:
    """Ends a call with a status. A client that reads nothing gets none, and cannot hold the call open."""
    try:
        async with asyncio.timeout(_ABORT_S):
            await context.abort(code, text)
    except TimeoutError:
        raise asyncio.CancelledError from None


def server_credentials(settings: ServiceSettings) -> grpc.ServerCredentials | None:
    """mTLS from the settings' files, or None when none are set, which only tests do."""
    if settings.tls_cert is None or settings.tls_key is None or settings.tls_ca is None:
        return None
    return grpc.ssl_server_credentials(
        [(settings.tls_key.read_bytes(), settings.tls_cert.read_bytes())],
        root_certificates=settings.tls_ca.read_bytes(),
        require_client_auth=True,
    )


def admissions_of(settings: ServiceSettings) -> AdmissionList | NoAdmissions:
    """The admission list of a server. Raises SettingsError when the settings have TLS and no list."""
    if settings.admission_list is not None:
        return AdmissionList(settings.admission_list)
    if settings.tls_ca is None:
        return NoAdmissions()
    raise SettingsError("FLEETLOOP_ADMISSION_LIST: set the file of admitted callers, which `fleetloop users` writes")


class RpcServer:
    """A server with health and reflection. Add the servicers to `server`, call `start`, and later `stop`."""

    def __init__(self, service: str, settings: ServiceSettings, policy: AccessPolicy) -> None:
        """Raises SettingsError when the settings have TLS and no admission list."""
        self._service = service
        self._settings = settings
        self._policy = policy
        credentials = server_credentials(settings)
        insecure = None if credentials else Identity(settings.fleet_id, "service", "insecure")
        if insecure:
            log.warning("grpc_without_tls", remedy="set FLEETLOOP_TLS_CA, _CERT and _KEY")
        gate = Gate(settings.fleet_id, policy, admissions_of(settings))
        self.server = grpc.aio.server(
            interceptors=[Gatekeeper(service, gate, insecure, settings.admission_check_s)],
            options=_OPTIONS,
            maximum_concurrent_rpcs=10_000,
        )
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)
        self._credentials = credentials
        self.port = 0

    async def start(self, service_names: Sequence[str]) -> None:
        """Start listening. `service_names` are full protobuf names, for reflection and health.

        Raises SettingsError when the access policy has no entry for a method of these services.
        """
        pool = descriptor_pool.Default()
        methods = {name: [each.name for each in pool.FindServiceByName(name).methods] for name in service_names}
        faults = list(self._policy.faults(methods, all_services=False))
        if faults:
            raise SettingsError("\n".join(f"access.yaml: {fault}" for fault in faults))
        reflection.enable_server_reflection(
            [*service_names, health.SERVICE_NAME, reflection.SERVICE_NAME], self.server
        )
        address = self._settings.grpc_listen
        if self._credentials is not None:
            self.port = self.server.add_secure_port(address, self._credentials)
        else:
            self.port = self.server.add_insecure_port(address)
        await self.server.start()
        for name in ("", *service_names):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        log.info("grpc_listening", address=address, port=self.port)

    async def stop(self, grace_s: float = 5.0) -> None:
        """Report NOT_SERVING, wait up to `grace_s` seconds for open calls to end, then close."""
        await self._health.enter_graceful_shutdown()
        await self.server.stop(grace_s)


class _TraceInjector(
    grpc.aio.UnaryUnaryClientInterceptor,  # type: ignore[misc,unused-ignore]
):
    """Adds the current trace to the metadata of unary calls."""

    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        traceparent = current_traceparent()
        if traceparent is None:
            return await continuation(details, request)
        metadata = grpc.aio.Metadata(*(details.metadata or ()))
        metadata.add("traceparent", traceparent)
        details = grpc.aio.ClientCallDetails(
            details.method, details.timeout, metadata, details.credentials, details.wait_for_ready
        )
        return await continuation(details, request)


def expect_server(service: str, own_certificate: bytes) -> tuple[str, str]:
    """The channel option with which a client accepts only the certificate of `service`, of its own fleet.

    Without it gRPC accepts every certificate of the fleet that has the host name of the address, and most have
    `localhost`.
    """
    fleet = identity_of(load_certificate(own_certificate)).fleet_id
    name = server_name(Identity(fleet, IdentityKind.SERVICE, service.replace("_", "-")))
    return ("grpc.ssl_target_name_override", name)


def open_channel(
    service: str, address: str, ca: Path | None, cert: Path | None, key: Path | None
) -> grpc.aio.Channel:
    """A channel to one of our services: with mTLS when the files are given, and retries while it is unavailable.

    The server has to prove that it is `service`, such as `label-desk`, whatever its address is.
    """
    options = [*_OPTIONS, ("grpc.service_config", retry_config()), ("grpc.enable_retries", 1)]
    if ca is None or cert is None or key is None:
        return grpc.aio.insecure_channel(address, options=options, interceptors=[_TraceInjector()])
    own = cert.read_bytes()
    options.append(expect_server(service, own))
    credentials = grpc.ssl_channel_credentials(ca.read_bytes(), key.read_bytes(), own)
    return grpc.aio.secure_channel(address, credentials, options=options, interceptors=[_TraceInjector()])


def open_service_channel(service: str, address: str, settings: ServiceSettings) -> grpc.aio.Channel:
    """A channel to `service` with another service's own certificate."""
    return open_channel(service, address, settings.tls_ca, settings.tls_cert, settings.tls_key)
