"""Certificates, SPIFFE identities, who may call what, which vehicles are admitted, and signing keys."""
