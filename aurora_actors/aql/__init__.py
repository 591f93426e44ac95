"""The front end of AQL: text to tree, checks, values. Import the module you need."""

from __future__ import annotations
