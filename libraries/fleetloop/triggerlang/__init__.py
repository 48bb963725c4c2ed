"""The language in which triggers are written, compiled to loops over one vehicle at a time. See README.md."""
