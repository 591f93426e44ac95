"""Running AQL: from a checked text to the parts of its result.

Synchronous: whoever runs a text takes its steps, and may do other things in between.
"""
