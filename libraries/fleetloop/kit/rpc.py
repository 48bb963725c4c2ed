"""gRPC servers and channels as every service has them: mTLS, an allow-list, health, reflection, metrics, traces.

One interceptor wraps every handler. It checks the caller against the allow-list, opens a span under the caller's
trace, counts the call, and translates a `RefusedError` to a gRPC status whose text names the field and the remedy. No
other module knows which status code belongs to which refusal.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from fleetloop.kit.process.logs import get_logger
from fleetloop.kit.process.metrics import RPC_SECONDS, RPCS
from fleetloop.kit.process.settings import ServiceSettings
from fleetloop.kit.process.tracing import current_traceparent, span
from fleetloop.kit.refusal import InvalidArgumentError, PermissionDeniedError, RefusedError
from fleetloop.kit.security.identity import AllowList, Identity, is_person_name, parse_spiffe_id
from fleetloop.kit.security.pki import serial_of_pem

log = get_logger(__name__)
_caller: ContextVar[Identity] = ContextVar("caller")
_certificate: ContextVar[bytes | None] = ContextVar("certificate")
ON_BEHALF_OF = "on-behalf-of"
"""Metadata key in which a speaker, such as the console, names the person on whose behalf it calls."""
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
    """The identity of the caller, inside a handler."""
    return _caller.get()


def request_key(request_id: str) -> str:
    """The key under which a mutating call keeps its answer: request ids belong to their caller, inside a handler.

    Empty when the caller gave no request id.
    """
    return f"{caller()}:{request_id}" if request_id else ""


def peer_serial() -> str | None:
    """Serial number of the caller's certificate, inside a handler; None without TLS.

    It parses the certificate: call it once per call, not once per message.
    """
    pem = _certificate.get()
    return serial_of_pem(pem) if pem is not None else None


class Gatekeeper(grpc.aio.ServerInterceptor):  # type: ignore[misc,unused-ignore]
    """Wraps every handler of a server: identity, allow-list, trace, metrics, and refusals as gRPC statuses."""

    def __init__(
        self, service: str, allow: AllowList, insecure_identity: Identity | None, speakers: Sequence[str] = ()
    ) -> None:
        self._service = service
        self._allow = allow
        self._insecure_identity = insecure_identity
        self._speakers = frozenset(speakers)

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

            async def stream(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
                async with self._guard(method, traceparent, context):
                    async for response in inner_stream(request, context):
                        yield response

            make = (
                grpc.stream_stream_rpc_method_handler
                if handler.request_streaming
                else grpc.unary_stream_rpc_method_handler
            )
            return make(stream, **serialisers)
        inner = handler.stream_unary if handler.request_streaming else handler.unary_unary

        async def unary(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            async with self._guard(method, traceparent, context):
                return await inner(request, context)

        make = (
            grpc.stream_unary_rpc_method_handler if handler.request_streaming else grpc.unary_unary_rpc_method_handler
        )
        return make(unary, **serialisers)

    def _identify(self, context: grpc.aio.ServicerContext[Any, Any]) -> Identity | None:
        if self._insecure_identity is not None:
            return self._insecure_identity
        uris = context.auth_context().get("peer_spiffe_id", [])
        return parse_spiffe_id(uris[0].decode()) if uris else None

    def _speaks_for(self, speaker: Identity, method: str, context: grpc.aio.ServicerContext[Any, Any]) -> Identity:
        """The person in `on-behalf-of`, or the speaker itself when the metadata names no person.

        Raises a RefusedError when the speaker may speak only for itself, the name is malformed, or the person may not
        call the method.
        """
        names = [value for key, value in context.invocation_metadata() or () if key == ON_BEHALF_OF]
        if not names:
            return speaker
        if str(speaker) not in self._speakers:
            raise PermissionDeniedError(f"{speaker} may speak only for itself", ON_BEHALF_OF)
        if len(names) != 1 or not is_person_name(names[0]):
            remedy = "give one name of at most 63 letters, digits, dots, hyphens and underscores"
            raise InvalidArgumentError(remedy, ON_BEHALF_OF)
        person = Identity(speaker.fleet_id, "user", str(names[0]))
        if not self._allow.permits(person, method):
            raise PermissionDeniedError(f"{person} may not call {method}", ON_BEHALF_OF)
        return person

    @asynccontextmanager
    async def _guard(
        self, method: str, traceparent: str | None, context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[None]:
        began = time.monotonic()
        code = grpc.StatusCode.OK
        try:
            identity = self._identify(context)
            if identity is None:
                code = grpc.StatusCode.UNAUTHENTICATED
                await context.abort(code, "the certificate carries no SPIFFE id; enrol and use the one you are given")
                return
            if not self._allow.permits(identity, method):
                code = grpc.StatusCode.PERMISSION_DENIED
                await context.abort(code, f"{identity} may not call {method}")
            _caller.set(self._speaks_for(identity, method, context))
            _certificate.set(next(iter(context.auth_context().get("x509_pem_cert", ())), None))
            with span(method, parent=traceparent, attributes={"caller": str(identity)}):
                yield
        except RefusedError as refusal:
            code = status_of(refusal)
            await context.abort(code, str(refusal))
        except (grpc.aio.AbortError, asyncio.CancelledError):
            code = code if code is not grpc.StatusCode.OK else grpc.StatusCode.CANCELLED
            raise
        except Exception:
            code = grpc.StatusCode.INTERNAL
            log.exception("rpc_failed", method=method)
            await context.abort(code, "the server failed; its log has the details under this trace")
        finally:
            RPCS.labels(self._service, method, code.name).inc()
            RPC_SECONDS.labels(self._service, method).observe(time.monotonic() - began)


def server_credentials(settings: ServiceSettings) -> grpc.ServerCredentials | None:
    """mTLS from the settings' files, or None when none are set, which only tests do."""
    if settings.tls_cert is None or settings.tls_key is None or settings.tls_ca is None:
        return None
    return grpc.ssl_server_credentials(
        [(settings.tls_key.read_bytes(), settings.tls_cert.read_bytes())],
        root_certificates=settings.tls_ca.read_bytes(),
        require_client_auth=True,
    )


class RpcServer:
    """A server with health and reflection. Add the servicers to `server`, call `start`, and later `stop`."""

    def __init__(
        self, service: str, settings: ServiceSettings, allow: AllowList, speakers: Sequence[str] = ()
    ) -> None:
        """`speakers` (`kind/name`) may name a person in `on-behalf-of`; `caller()` is then that person."""
        self._service = service
        self._settings = settings
        credentials = server_credentials(settings)
        insecure = None if credentials else Identity(settings.fleet_id, "service", "insecure")
        if insecure:
            log.warning("grpc_without_tls", remedy="set FLEETLOOP_TLS_CA, _CERT and _KEY")
        self.server = grpc.aio.server(
            interceptors=[Gatekeeper(service, allow, insecure, speakers)],
            options=_OPTIONS,
            maximum_concurrent_rpcs=10_000,
        )
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.server)
        self._credentials = credentials
        self.port = 0

    async def start(self, service_names: Sequence[str]) -> None:
        """Start listening. `service_names` are full protobuf names, for reflection and health."""
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


def open_channel(address: str, ca: Path | None, cert: Path | None, key: Path | None) -> grpc.aio.Channel:
    """A channel to one of our services: with mTLS when the files are given, and retries while it is unavailable."""
    options = [*_OPTIONS, ("grpc.service_config", retry_config()), ("grpc.enable_retries", 1)]
    if ca is None or cert is None or key is None:
        return grpc.aio.insecure_channel(address, options=options, interceptors=[_TraceInjector()])
    credentials = grpc.ssl_channel_credentials(ca.read_bytes(), key.read_bytes(), cert.read_bytes())
    return grpc.aio.secure_channel(address, credentials, options=options, interceptors=[_TraceInjector()])


def open_service_channel(address: str, settings: ServiceSettings) -> grpc.aio.Channel:
    """A channel with a service's own certificate."""
    return open_channel(address, settings.tls_ca, settings.tls_cert, settings.tls_key)
