"""Predicates, planner and operators."""

from __future__ import annotations
