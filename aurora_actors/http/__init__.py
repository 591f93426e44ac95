"""The HTTP gateway: REST, AQL, live events and the console, as an ASGI application.

The application is a client of the database like any other; the actor
``aurora_actors.actors.http_gateway`` serves it from the tree. Needs the extra ``http``.
"""
