"""The language in which triggers are written, compiled to array operations. See README.md."""
