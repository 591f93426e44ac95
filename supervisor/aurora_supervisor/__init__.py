"""The supervisor: starts, watches, restarts and stops a tree of actor processes."""

from __future__ import annotations
