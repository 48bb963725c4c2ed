"""The language of triggers, compiled to loops over one vehicle at a time. See README.md."""
