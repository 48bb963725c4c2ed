"""Both ends of the run folder speak one contract, and a mistake in a file is a sentence that names the field."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from fleetloop.domain.run_folder import (
    REQUEST,
    Metric,
    RunFailure,
    RunFolderError,
    RunRequest,
    RunResult,
    VersionRef,
    parse_result,
    read_files,
    read_request,
    read_result,
    to_json,
)

VERSION = {"table": "file:///sets/town.lance", "tag": "v3", "version": "v3"}
REQUESTED: dict[str, Any] = {
    "run_id": "run-1",
    "recipe": "/config/recipes/first.yaml",
    "schema": "/config/tasks.yaml",
    "seed": 1,
    "dataset": VERSION,
    "test_set": VERSION,
    "parent": None,
}
METRIC = {"task": "sign", "slice": "rare", "name": "recall", "value": 0.5, "low": 0.4, "high": 0.6, "samples": 60}
RESULT: dict[str, Any] = {
    "passed": True,
    "reasons": ["Rare slices improved."],
    "metrics": [METRIC],
    "parent_metrics": [],
    "gates": [{"name": "slices", "passed": True, "reasons": ["Rare slices improved."]}],
    "model_digest": "ab" * 32,
    "files": {"head.onnx": "model/head.onnx"},
}


def test_a_request_that_was_written_is_read_again(tmp_path: Path) -> None:
    version = VersionRef(**VERSION)
    request = RunRequest(
        run_id="run-1",
        recipe=Path("/r.yaml"),
        schema_path=Path("/t.yaml"),
        seed=3,
        dataset=version,
        test_set=version,
        parent=Path("/parent"),
    )
    (tmp_path / REQUEST).write_text(to_json(request))
    assert json.loads((tmp_path / REQUEST).read_text())["schema"] == "/t.yaml"
    assert read_request(tmp_path) == request


def test_a_result_that_was_written_is_parsed_again() -> None:
    result = parse_result(RESULT)
    assert isinstance(result, RunResult)
    assert list(result.metrics) == [Metric(**METRIC)]
    assert parse_result(json.loads(to_json(result))) == result


def test_a_first_model_has_no_metrics_of_a_parent() -> None:
    result = parse_result({name: value for name, value in RESULT.items() if name != "parent_metrics"})
    assert isinstance(result, RunResult)
    assert list(result.parent_metrics) == []


def test_an_error_is_a_result_of_its_own() -> None:
    assert parse_result({"error": "request.json: seed: is missing"}) == RunFailure(
        error="request.json: seed: is missing"
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": "many"}, "request.json: seed"),
        ({"dataset": {"table": "x", "tag": "v1"}}, "request.json: dataset.version"),
        ({"schema": None}, "request.json: schema"),
        ({"speed": 3}, "request.json: speed"),
    ],
)
def test_a_wrong_request_names_the_field(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    (tmp_path / REQUEST).write_text(json.dumps(REQUESTED | change))
    with pytest.raises(RunFolderError, match=named):
        read_request(tmp_path)


@pytest.mark.parametrize(("text", "named"), [("{", "is not JSON"), ("[]", "is not a JSON object")])
def test_a_request_that_is_no_object_says_so(tmp_path: Path, text: str, named: str) -> None:
    (tmp_path / REQUEST).write_text(text)
    with pytest.raises(RunFolderError, match=f"request.json: {named}"):
        read_request(tmp_path)


def test_a_missing_request_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="cannot be read: No such file"):
        read_request(tmp_path)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"passed": "perhaps"}, "result.json: passed"),
        ({"metrics": [{**METRIC, "value": "high"}]}, "result.json: metrics.0.value"),
        ({"files": None}, "result.json: files"),
        ({"model_digest": None}, "result.json: model_digest"),
    ],
)
def test_a_wrong_result_names_the_field(change: dict[str, Any], named: str) -> None:
    with pytest.raises(RunFolderError, match=named):
        parse_result(RESULT | change)


def test_a_run_without_a_result_is_not_done(tmp_path: Path) -> None:
    assert read_result(tmp_path) is None


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps(RESULT))
    assert read_result(tmp_path) == parse_result(RESULT)


@pytest.mark.parametrize("content", ["", '{"passed": tr', "[]", "7", "{}", '{"passed": true, "model": "x"}'])
def test_a_result_that_cannot_be_used_is_a_failure_that_names_the_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "result.json").write_text(content)
    failure = read_result(tmp_path)
    assert isinstance(failure, RunFailure)
    assert failure.error.startswith("the job's result cannot be used: result.json: ")


@pytest.mark.parametrize(
    "files",
    [
        {"head.onnx": "../other-run/head.onnx"},
        {"head.onnx": "/etc/passwd"},
        {"head.onnx": "a/../../b"},
        {"head.onnx": ""},
        {"head.onnx": "a\0b"},
        {"../../models/other/head.onnx": "head.onnx"},
        {"a/b": "head.onnx"},
        {"..": "head.onnx"},
        {"": "head.onnx"},
    ],
)
def test_a_result_names_only_files_in_its_own_folder(tmp_path: Path, files: dict[str, str]) -> None:
    with pytest.raises(RunFolderError, match=r"result\.json: files"):
        parse_result({**RESULT, "files": files})
    (tmp_path / "result.json").write_text(json.dumps({**RESULT, "files": files}))
    assert isinstance(read_result(tmp_path), RunFailure)


def test_a_link_does_not_lead_out_of_the_run_folder(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    (folder / "export").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(b"key")
    (folder / "export" / "good").write_bytes(b"weights")
    (folder / "inner").symlink_to(folder / "export" / "good")
    (folder / "outer").symlink_to(tmp_path / "secret")
    (folder / "up").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")

    def read(path: str) -> dict[str, bytes]:
        return read_files(folder, RunResult(**{**RESULT, "files": {"head.onnx": path}}))

    assert read("export/good") == read("inner") == {"head.onnx": b"weights"}
    refused = {
        "outer": "leads out",
        "up/secret": "leads out",
        "pipe": "not a file",
        "gone": "not a file",
        "export": "not a",
    }
    for path, said in refused.items():
        with pytest.raises(RunFolderError, match=said):
            read(path)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"[" * 100_000, b"[]", b"{", b'"x"', b'{"files": {"a": 1}}'])
def test_a_damaged_result_is_a_failure_that_says_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "result.json").write_bytes(content)
    result = read_result(tmp_path)
    assert isinstance(result, RunFailure)
    assert "result.json" in result.error


def test_a_disk_that_fails_says_nothing_about_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "result.json").write_text(json.dumps(RESULT))

    def broken(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "open", broken)
    with pytest.raises(OSError, match="Input/output error"):
        read_result(tmp_path)
