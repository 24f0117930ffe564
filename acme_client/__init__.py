"""Certificates over ACME (RFC 8555): obtained, stored, renewed."""
