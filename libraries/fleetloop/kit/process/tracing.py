"""Traces over Kafka and gRPC: W3C `traceparent` carried by hand.

OpenTelemetry's Kafka instrumentors orphan or lose spans, so each shell extracts the context of what it handles,
opens a span, and injects the context into what it sends. Where many things become one (samples into a dataset
version) the span links to each of its causes.
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
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Link, Span
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

_propagator = TraceContextTextMapPropagator()
_tracer = trace.get_tracer("fleetloop")


class JsonLinesExporter(SpanExporter):
    """Appends a line a span to a file: enough to follow a sample in the embedded run with no collector.

    A file of `most_bytes` is set aside as `<name>.1.jsonl`, and takes the place of the one that was there.
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


def configure_tracing(service: str, trace_file: Path | None, trace_file_bytes: int = 64 * 2**20) -> None:
    """Makes spans real. Without a file they still carry ids, so the chain is never broken."""
    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    if trace_file is not None:
        provider.add_span_processor(SimpleSpanProcessor(JsonLinesExporter(trace_file, trace_file_bytes)))
    trace.set_tracer_provider(provider)


def current_traceparent() -> str | None:
    """The current span as a `traceparent`, or None outside of any span."""
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
    """A span under `parent` (a `traceparent`; None: under the current one), linked to other traceparents."""
    linked = []
    for traceparent in links:
        span_context = trace.get_current_span(_context_of(traceparent)).get_span_context()
        if span_context.is_valid:
            linked.append(Link(span_context))
    with _tracer.start_as_current_span(
        name, context=_context_of(parent), links=linked, attributes=dict(attributes or {})
    ) as current:
        yield current
