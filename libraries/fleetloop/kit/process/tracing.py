"""Traces over Kafka and gRPC, with a W3C `traceparent` that the shells pass on themselves.

OpenTelemetry's instrumentation of Kafka clients loses spans or their parents. So each shell reads the context of the
message that it handles, opens a span, and writes the context into the messages that it sends. Where many messages
lead to one (samples to a dataset version), the span links to each of its causes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import (
    BatchSpanProcessor,
    SimpleSpanProcessor,
    SpanExporter,
    SpanExportResult,
)
from opentelemetry.trace import Link, Span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from fleetloop.kit.process.settings import SettingsError

TRACE_FILE_BYTES = 64 * 2**20
_OTLP_TIMEOUT_S = 3
"""Seconds for one batch, its retries included. A process that stops waits for at most two of them."""
_OTLP_QUEUE_SPANS = 2048
_propagator = TraceContextTextMapPropagator()
_tracer = trace.get_tracer("fleetloop")


class JsonLinesExporter(SpanExporter):
    """Appends one line per span to a file, which is enough to follow a sample in an embedded run.

    A file that has reached `most_bytes` is renamed to `<name>.1.jsonl` and replaces the file of that name.
    """

    def __init__(self, path: Path, most_bytes: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._most_bytes = most_bytes
        self._file = path.open("a", buffering=1)

    def export(self, spans: Iterable[ReadableSpan]) -> SpanExportResult:
        for span in spans:
            context = span.get_span_context()
            if context is None:
                continue
            line = {
                "service": span.resource.attributes.get("service.name"),
                "name": span.name,
                "trace_id": f"{context.trace_id:032x}",
                "span_id": f"{context.span_id:016x}",
                "parent_id": f"{span.parent.span_id:016x}" if span.parent else None,
                "links": [f"{link.context.trace_id:032x}" for link in span.links],
                "start_ns": span.start_time,
                "end_ns": span.end_time,
                "attributes": dict(span.attributes or {}),
            }
            self._file.write(json.dumps(line) + "\n")
        if self._file.tell() >= self._most_bytes:
            self._file.close()
            self._path.replace(self._path.with_suffix(f".1{self._path.suffix}"))
            self._file = self._path.open("a", buffering=1)
        return SpanExportResult.SUCCESS

    def shutdown(self) -> None:
        self._file.close()


def configure_tracing(
    service: str, trace_file: Path | None, trace_file_bytes: int = TRACE_FILE_BYTES, otlp_endpoint: str = ""
) -> None:
    """Makes the spans of this process real; see `tracer_provider` for where they go. Call it once."""
    trace.set_tracer_provider(tracer_provider(service, trace_file, trace_file_bytes, otlp_endpoint))


def tracer_provider(
    service: str, trace_file: Path | None, trace_file_bytes: int = TRACE_FILE_BYTES, otlp_endpoint: str = ""
) -> TracerProvider:
    """Exports spans to a file and to a collector, where they are named.

    With neither, spans still carry ids, so that the chain from a vehicle to a model is never broken. Spans for the
    collector are sent in batches by a thread of their own: a collector that is slow or away delays no request, and
    its spans are dropped. Raises SettingsError when the package that speaks OTLP is not installed.
    """
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    if trace_file is not None:
        provider.add_span_processor(SimpleSpanProcessor(JsonLinesExporter(trace_file, trace_file_bytes)))
    if otlp_endpoint:
        provider.add_span_processor(_batches(_otlp_exporter(otlp_endpoint)))
    return provider


def _batches(exporter: SpanExporter) -> BatchSpanProcessor:
    # A batch holds a full queue: with smaller ones, a process that stops while the collector is away would wait for
    # the time-out of each.
    return BatchSpanProcessor(exporter, max_queue_size=_OTLP_QUEUE_SPANS, max_export_batch_size=_OTLP_QUEUE_SPANS)


def _otlp_exporter(endpoint: str) -> SpanExporter:
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    except ImportError as error:  # only installations with a collector need the package
        raise SettingsError(
            "FLEETLOOP_OTLP_ENDPOINT: the package that speaks OTLP is missing; install fleetloop[tracing]"
        ) from error
    exporter: SpanExporter = OTLPSpanExporter(endpoint=endpoint, timeout=_OTLP_TIMEOUT_S)
    return exporter


def current_traceparent() -> str | None:
    """The `traceparent` of the current span, or None outside of any span."""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier.get("traceparent")


def _context_of(traceparent: str | None) -> otel_context.Context | None:
    return _propagator.extract({"traceparent": traceparent}) if traceparent else None


@contextmanager
def span(
    name: str,
    parent: str | None = None,
    links: Iterable[str] = (),
    attributes: Mapping[str, str | int | float | bool] | None = None,
) -> Iterator[Span]:
    """Opens a span below `parent` (a `traceparent`; None: the current span) with links to other traceparents."""
    linked = []
    for traceparent in links:
        span_context = trace.get_current_span(_context_of(traceparent)).get_span_context()
        if span_context.is_valid:
            linked.append(Link(span_context))
    with _tracer.start_as_current_span(
        name, context=_context_of(parent), links=linked, attributes=dict(attributes or {})
    ) as current:
        yield current
