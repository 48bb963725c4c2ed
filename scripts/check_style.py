"""Check the rules that ruff has no name for: vocabulary, sizes, and docstrings that are sentences.

    python scripts/check_style.py              # the whole tree, as `make lint` does
    python scripts/check_style.py --message F  # a commit message, as the commit-msg hook does

Prints one line per finding, as `path:line: what is wrong: what to do`, and exits 1 if there is any.
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).resolve().parent.parent

LONGEST_FUNCTION_LINES = 80
MOST_PARAMETERS = 12
LONGEST_FILE_LINES = 400
LONGEST_SUBJECT = 72

# Words that the documentation of Kafka, Kubernetes or PyTorch does not use, with what it says instead.
VOCABULARY: tuple[tuple[str, str], ...] = (
    (r"anew", "'again', 'from scratch', or the exact verb such as 'restart'"),
    (r"whoever", "'anyone who', or name the caller"),
    (r"nobody", "'no one', 'no service', or 'not ... any'"),
    (r"for ever", "'indefinitely' or 'forever'"),
    (r"(?:lets?|letting) go(?: of)?", "'delete', 'prune' or 'release'"),
    (r"(?:takes?|took|taken|taking) back", "'roll back', 'revoke' or 'undo'"),
    (r"alone", "'only'"),
    (r"rightly", "'correctly'"),
    (r"vain", "'unnecessary' or 'false'"),
    (r"(?:bury|buries|buried|burying)", "'send to the dead-letter queue'"),
    (r"dead letters?(?!-)", "'dead-letter queue' or 'dead-letter message'"),
    (r"front door", "'command line' or 'client API'"),
    (r"what became of", "'the outcome of'"),
)
_VOCABULARY = tuple(
    (re.compile(rf"(?<![\w-]){word}(?![\w-])", re.IGNORECASE), instead) for word, instead in VOCABULARY
)

_TEXT_SUFFIXES = {".md", ".proto", ".py", ".tpl", ".txt", ".yaml", ".yml", ".toml"}
_NOT_OURS = ("requirements/", "LICENSE", "CODE_OF_CONDUCT.md")
# This file and its test list the words themselves.
_LISTS_THE_WORDS = {"scripts/check_style.py", "tests/unit/scripts/test_check_style.py", "CONTRIBUTING.md"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One violation: where it is, what is wrong, and what to do about it."""

    path: str
    line: int
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.problem}: {self.remedy}"


def check_words(path: str, text: str) -> Iterator[Finding]:
    """Find words that our vocabulary replaces."""
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, instead in _VOCABULARY:
            for match in pattern.finditer(line):
                yield Finding(path, number, f"the word {match.group(0)!r}", f"say {instead}")


def check_file_size(path: str, text: str) -> Iterator[Finding]:
    """Find a file that is too long."""
    lines = text.count("\n")
    if lines > LONGEST_FILE_LINES:
        yield Finding(path, 1, f"{lines} lines in one file", f"split it, at most {LONGEST_FILE_LINES}")


def check_function_sizes(path: str, text: str) -> Iterator[Finding]:
    """Find functions and parameter lists that are too long."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if length > LONGEST_FUNCTION_LINES:
            remedy = f"split it, at most {LONGEST_FUNCTION_LINES}"
            yield Finding(path, node.lineno, f"{node.name} has {length} lines", remedy)
        arguments = node.args
        names = [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
        count = len([name for name in names if name not in ("self", "cls")])
        if count > MOST_PARAMETERS:
            remedy = f"group them in a type, at most {MOST_PARAMETERS}"
            yield Finding(path, node.lineno, f"{node.name} has {count} parameters", remedy)


def check_docstrings(path: str, text: str) -> Iterator[Finding]:
    """Find docstrings that are not sentences: no full stop after the first paragraph, or fewer than three words."""
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        docstring = ast.get_docstring(node)
        if docstring is None:
            continue
        name = getattr(node, "name", "the module")
        first = docstring.split("\n\n")[0].strip()
        line = getattr(node, "lineno", 1)
        if not first.endswith((".", "!", "?", ":", "::", "`")):
            yield Finding(
                path, line, f"the docstring of {name} does not end as a sentence", "end it with a full stop"
            )
        if len(first.split()) < 3:
            yield Finding(path, line, f"the docstring of {name} is a fragment", "write a sentence, or leave it out")


def check_file(path: str, text: str) -> Iterator[Finding]:
    """Apply every rule that is meant for this file. `path` is relative to the repository, with forward slashes."""
    if path not in _LISTS_THE_WORDS:
        yield from check_words(path, text)
    if path.endswith(".py"):
        yield from check_file_size(path, text)
        if not path.startswith("tests/"):
            yield from check_docstrings(path, text)
            # A migration is one statement per table and column, and a command's parameters are its options.
            if "/migrations/" not in path and not path.startswith("libraries/fleetloop/commands/"):
                yield from check_function_sizes(path, text)


def check_message(message: str) -> Iterator[Finding]:
    """Check a commit message: a subject of at most 72 characters, a blank line, and our vocabulary."""
    lines = [line for line in message.splitlines() if not line.startswith("#")]
    subject = lines[0] if lines else ""
    if not subject.strip():
        yield Finding("commit message", 1, "the subject is empty", "say what the commit does, in the imperative")
    if len(subject) > LONGEST_SUBJECT:
        remedy = f"at most {LONGEST_SUBJECT}; the reason belongs in the body"
        yield Finding("commit message", 1, f"the subject has {len(subject)} characters", remedy)
    if len(lines) > 1 and lines[1].strip():
        yield Finding("commit message", 2, "no blank line after the subject", "leave one")
    yield from check_words("commit message", "\n".join(lines))


def own_files(tracked: Iterable[str]) -> list[str]:
    """The text files among `tracked` that we wrote."""
    return [
        path for path in tracked if PurePosixPath(path).suffix in _TEXT_SUFFIXES and not path.startswith(_NOT_OURS)
    ]


def main() -> None:
    """Check the tree, or one commit message."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--message", type=Path, help="check this commit message instead of the tree")
    arguments = parser.parse_args()
    if arguments.message is not None:
        findings = list(check_message(arguments.message.read_text()))
    else:
        listed = subprocess.run(["git", "ls-files"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
        paths = [path for path in own_files(listed.splitlines()) if (ROOT / path).is_file()]
        findings = [each for path in paths for each in check_file(path, (ROOT / path).read_text())]
    for finding in findings:
        print(finding)
    if findings:
        sys.exit(f"{len(findings)} findings; CONTRIBUTING.md explains the rules")


if __name__ == "__main__":
    main()
