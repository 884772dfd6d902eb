"""pymemcache, from Pinterest: written in Python alone, classic text protocol."""

import sys
from pymemcache.client.base import Client, PooledClient
from pymemcache.exceptions import MemcacheClientError, MemcacheServerError, MemcacheUnknownCommandError

address = ("127.0.0.1", int(sys.argv[1]))
client = Client(address, timeout=60, connect_timeout=60, default_noreply=False, no_delay=True)


def same(found, expected):
    if found != expected:
        raise SystemExit(f"{found!r} where {expected!r} is right")


def raises(kind, call):
    try:
        answer = call()
    except kind:
        return
    raise SystemExit(f"answered {answer!r} where {kind.__name__} is right")


same(client.get(b"a"), None)
same(client.set(b"a", b"1", flags=7), True)
same(client.get(b"a"), b"1")
same(client.add(b"a", b"2"), False)
same(client.add(b"b", b"2"), True)
same(client.replace(b"b", b"3"), True)
same(client.replace(b"c", b"3"), False)
same(client.append(b"b", b"4"), True)
same(client.prepend(b"b", b"2"), True)
same(client.append(b"none", b"4"), False)
same(client.get_many([b"a", b"b", b"c"]), {b"a": b"1", b"b": b"234"})
same(client.incr(b"b", 66), 300)
same(client.decr(b"b", 1000), 0)
same(client.incr(b"none", 1), None)
client.set(b"word", b"word")
raises(MemcacheClientError, lambda: client.incr(b"word", 1))

value, unique = client.gets(b"a")
same(value, b"1")
same(client.cas(b"a", b"new", unique), True)
same(client.cas(b"a", b"newer", unique), False)
same(client.cas(b"none", b"x", unique), None)
same(client.get(b"a"), b"new")
same(sorted(client.gets_many([b"a", b"b"])), [b"a", b"b"])

same(client.touch(b"a", expire=100), True)
same(client.touch(b"none", expire=100), False)
same(client.set(b"gone", b"x", expire=-1), True)
same(client.get(b"gone"), None)
same(client.delete(b"a"), True)
same(client.delete(b"a"), False)

many = {b"many%d" % number: b"%d" % number * number for number in range(300)}
same(client.set_many(many), [])
same(client.get_many(list(many)), many)
same(client.delete_many(list(many)), True)
same(client.get_many(list(many)), {})

large = bytes(range(256)) * 4000
same(client.set(b"large", large), True)
same(client.get(b"large"), large)
raises(MemcacheServerError, lambda: client.set(b"large", large + large))
same(client.get(b"large"), None)

same(client.version().startswith(b"1.6.18"), True)
same(int(client.stats()[b"curr_connections"]) >= 1, True)
same(client.set(b"silent", b"x", noreply=True), True)
same(client.get(b"silent"), b"x")
raises(MemcacheUnknownCommandError, lambda: client._misc_cmd([b"bogus\r\n"], b"bogus", False))

pool = PooledClient(address, timeout=60, max_pool_size=4)
same(pool.set(b"pooled", b"x", noreply=False), True)
same(pool.get(b"pooled"), b"x")

same(client.flush_all(), True)
same(client.get(b"pooled"), None)
client.quit()
print("done")
