"""Each rule of check_style finds what it is meant to find, and passes what it is not."""

from __future__ import annotations

import pytest
from scripts.check_style import (
    VOCABULARY,
    check_docstrings,
    check_file,
    check_file_size,
    check_function_sizes,
    check_message,
    check_words,
    own_files,
)


def problems(findings: object) -> list[str]:
    return [each.problem for each in findings]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "text",
    ["starts anew", "Whoever calls", "nobody reads it", "kept for ever", "lets go of rows", "taken back", "alone"],
)
def test_a_word_of_the_list_is_found_with_its_line(text: str) -> None:
    (found,) = check_words("docs/a.md", f"first line\n{text}\n")
    assert (found.path, found.line) == ("docs/a.md", 2)
    assert found.remedy.startswith("say ")


@pytest.mark.parametrize("text", ["standalone", "forever", "a renewal", "vanity", "dead-letter queue", "everybody"])
def test_other_words_pass(text: str) -> None:
    assert list(check_words("docs/a.md", text)) == []


def test_every_word_has_something_to_say_instead() -> None:
    assert all(instead for _, instead in VOCABULARY)


def test_a_long_file_is_found() -> None:
    assert problems(check_file_size("a.py", "x = 1\n" * 401)) == ["401 lines in one file"]
    assert list(check_file_size("a.py", "x = 1\n" * 400)) == []


def test_a_long_function_is_found_at_its_line() -> None:
    body = "    pass\n" * 80
    (found,) = check_function_sizes("a.py", f"import os\n\n\ndef f():\n{body}")
    assert (found.line, found.problem) == (4, "f has 81 lines")
    assert list(check_function_sizes("a.py", f"def f():\n{body[len('    pass' + chr(10)) :]}")) == []


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_too_many_parameters_are_found(kind: str) -> None:
    names = ", ".join(f"a{number}" for number in range(13))
    assert problems(check_function_sizes("a.py", f"{kind} f({names}): ...")) == ["f has 13 parameters"]
    keyword_only = ", ".join(f"a{number}" for number in range(12))
    assert list(check_function_sizes("a.py", f"class A:\n    {kind} f(self, *, {keyword_only}): ...")) == []


@pytest.mark.parametrize(
    ("docstring", "problem"),
    [
        ("Hex.", "the docstring of f is a fragment"),
        ("Return the sum of all rows", "the docstring of f does not end as a sentence"),
    ],
)
def test_a_docstring_that_is_no_sentence_is_found(docstring: str, problem: str) -> None:
    assert problems(check_docstrings("a.py", f'def f():\n    """{docstring}"""\n')) == [problem]


@pytest.mark.parametrize(
    "docstring", ["Return the sum.", "Sum up rows.\n\n    Args:\n        a: The rows\n    ", "Use `it` as follows:"]
)
def test_sentences_pass(docstring: str) -> None:
    assert problems(check_docstrings("a.py", f'def f():\n    """{docstring}"""\n')) == []


def test_tests_and_migrations_may_have_long_functions() -> None:
    text = "def f():\n" + "    pass\n" * 90
    assert problems(check_file("services/a/core.py", text)) == ["f has 91 lines"]
    assert list(check_file("tests/unit/a/test_core.py", text)) == []
    assert list(check_file("services/a/migrations/0001_create.py", text)) == []


@pytest.mark.parametrize(
    ("message", "problem"),
    [
        ("", "the subject is empty"),
        ("x" * 73, "the subject has 73 characters"),
        ("Fix it\nbecause", "no blank line after the subject"),
        ("Start anew", "the word 'anew'"),
    ],
)
def test_a_wrong_commit_message_is_found(message: str, problem: str) -> None:
    assert problems(check_message(message)) == [problem]


def test_a_good_commit_message_passes_with_its_comments() -> None:
    assert list(check_message("Fix it\n\nBecause it was wrong.\n# nobody reads this line\n")) == []


def test_only_texts_that_we_wrote_are_checked() -> None:
    tracked = ["a.py", "docs/b.md", "requirements/c.txt", "docs/images/d.png", "LICENSE", "charts/e.tpl"]
    assert own_files(tracked) == ["a.py", "docs/b.md", "charts/e.tpl"]
