"""Mailboxes on nng and in memory; the only package that knows pynng."""

from __future__ import annotations
