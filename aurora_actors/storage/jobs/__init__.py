"""Jobs as storage keeps them: documents with a state machine, and the index of those.

``document`` is what a job looks like, ``machine`` what can become of it (pure),
``index`` the entries of the table ``jobs`` that follow from a document, ``desk`` the
workers and their leases, ``changes`` what requests do inside a batch, and ``claiming``
how workers get their jobs.
"""
