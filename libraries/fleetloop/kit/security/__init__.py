"""Certificates, identities, allow-lists of RPC methods, the list of admitted vehicles, and signing keys."""
