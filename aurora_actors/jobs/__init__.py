"""Running jobs: what a worker process does between claiming and finishing.

``handlers`` finds the functions, ``run`` is one attempt, the three ``*_host`` modules
run handlers (trio tasks, asyncio tasks, threads), and ``worker`` keeps count of what the
process holds and says to storage.
"""
