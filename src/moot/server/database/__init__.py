"""The tables of the space server, their migrations, and the transactions on them.

    database = Database(Path("/var/lib/moot/space.db"))         # or postgresql://…
    database.upgrade()                                          # to the newest schema
    event = database.write(lambda tx: log.post(tx, caller, room, draft))
    events = database.read(lambda tx: log.latest(tx, space, 50))
    database.close()

`write` returns after the commit is on the disk. Writes of many threads share one commit (`writer.py`).
"""
