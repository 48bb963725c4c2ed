from __future__ import annotations

import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from fleetloop.kit.process.settings import ServiceSettings, SettingsError, load_settings
from fleetloop.kit.process.tracing import JsonLinesExporter, tracer_provider


def test_a_trace_file_has_a_bound_and_the_one_before_it_is_kept(tmp_path: Path) -> None:
    path, most_bytes = tmp_path / "desk.jsonl", 5_000
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(JsonLinesExporter(path, most_bytes)))
    tracer = provider.get_tracer("test")
    for number in range(100):
        with tracer.start_as_current_span(f"span-{number}"):
            pass
    files = sorted(tmp_path.glob("*.jsonl"))
    assert [file.name for file in files] == ["desk.1.jsonl", "desk.jsonl"]
    assert all(file.stat().st_size < most_bytes + 1_000 for file in files)
    names = [json.loads(line)["name"] for file in files for line in file.read_text().splitlines()]
    assert names == [f"span-{number}" for number in range(100 - len(names), 100)], "the newest, each whole"
    provider.shutdown()


def collector(requests: list[Any]) -> tuple[grpc.Server, int]:
    """A collector that keeps what it receives over OTLP, and its port."""

    class Traces(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request: Any, context: object) -> Any:
            requests.append(request)
            return trace_service_pb2.ExportTraceServiceResponse()

    server = grpc.server(ThreadPoolExecutor(1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Traces(), server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    return server, port


def test_spans_go_to_the_file_and_in_batches_to_the_collector(tmp_path: Path) -> None:
    requests: list[Any] = []
    server, port = collector(requests)
    path = tmp_path / "spans.jsonl"
    provider = tracer_provider("test-service", path, otlp_endpoint=f"http://127.0.0.1:{port}")
    with provider.get_tracer("test").start_as_current_span("detect", attributes={"vehicle": "car-1"}) as span:
        trace_id = span.get_span_context().trace_id
    with provider.get_tracer("test").start_as_current_span("announce"):
        pass
    provider.shutdown()
    server.stop(0)
    (request,) = requests
    (resource,) = request.resource_spans
    attributes = {each.key: each.value.string_value for each in resource.resource.attributes}
    assert attributes["service.name"] == "test-service"
    spans = [span for scope in resource.scope_spans for span in scope.spans]
    assert [span.name for span in spans] == ["detect", "announce"]
    assert int.from_bytes(spans[0].trace_id, "big") == trace_id
    assert [json.loads(line)["name"] for line in path.read_text().splitlines()] == ["detect", "announce"]


def test_a_collector_that_is_away_delays_neither_the_work_nor_for_long_the_end() -> None:
    provider = tracer_provider("test-service", None, otlp_endpoint="http://127.0.0.1:1")
    began = time.monotonic()
    for _ in range(5_000):  # more than the queue holds
        with provider.get_tracer("test").start_as_current_span("detect"):
            pass
    assert time.monotonic() - began < 5
    began = time.monotonic()
    provider.shutdown()
    assert time.monotonic() - began < 10, "a stopping process has 20 s"


def test_without_an_endpoint_nothing_speaks_otlp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)
    provider = tracer_provider("test-service", None)
    with provider.get_tracer("test").start_as_current_span("detect") as span:
        assert span.get_span_context().is_valid
    provider.shutdown()


def test_an_endpoint_without_the_package_is_a_wrong_setting_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)
    with pytest.raises(SettingsError, match=r"FLEETLOOP_OTLP_ENDPOINT: .* install fleetloop\[tracing\]"):
        tracer_provider("test-service", None, otlp_endpoint="http://collector:4317")


@pytest.mark.parametrize(("endpoint", "right"), [("", True), ("https://c:4317", True), ("collector:4317", False)])
def test_an_endpoint_is_a_url(monkeypatch: pytest.MonkeyPatch, endpoint: str, right: bool) -> None:
    monkeypatch.setenv("FLEETLOOP_KAFKA_BOOTSTRAP_SERVERS", "one:1")
    monkeypatch.setenv("FLEETLOOP_OTLP_ENDPOINT", endpoint)
    if right:
        assert load_settings(ServiceSettings).otlp_endpoint == endpoint
    else:
        with pytest.raises(SettingsError, match="FLEETLOOP_OTLP_ENDPOINT"):
            load_settings(ServiceSettings)
