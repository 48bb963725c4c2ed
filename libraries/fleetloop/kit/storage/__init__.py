"""Databases with inbox and outbox, object stores, idempotent answers, pages, and retention."""
