"""The wire vocabulary: one module for each conversation between processes."""

from __future__ import annotations
