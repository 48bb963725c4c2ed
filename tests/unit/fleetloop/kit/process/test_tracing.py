from __future__ import annotations

import json
from pathlib import Path

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from fleetloop.kit.process.tracing import JsonLinesExporter


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
