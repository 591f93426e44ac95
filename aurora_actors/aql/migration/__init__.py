"""Carrying out schema statements and migrations.

``convert`` changes single values, ``transform`` documents, ``changes`` a database: a
generator that gives the requests for storage and takes the replies, so that query
executors and clients can drive it alike.
"""
