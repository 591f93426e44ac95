"""Embedded real-time document database, built from supervised actor processes."""

from __future__ import annotations
