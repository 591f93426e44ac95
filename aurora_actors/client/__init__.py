"""The proxy: what an application talks to."""

from __future__ import annotations
