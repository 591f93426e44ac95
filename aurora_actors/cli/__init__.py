"""The aurora command line."""

from __future__ import annotations
