"""pylibmc: libmemcached behind it, classic text protocol, compression and types in the items' flags."""

import sys
import pylibmc

address = [f"127.0.0.1:{sys.argv[1]}"]
client = pylibmc.Client(address, behaviors={"tcp_nodelay": True, "cas": True, "receive_timeout": 60_000_000})


def same(found, expected):
    if found != expected:
        raise SystemExit(f"{found!r} where {expected!r} is right")


def raises(kind, call):
    try:
        answer = call()
    except kind:
        return
    raise SystemExit(f"answered {answer!r} where {kind.__name__} is right")


same(client.get("a"), None)
same(client.set("a", "text"), True)
same(client.get("a"), "text")
same(client.set("number", 41), True)
same(client.incr("number"), 42)
same(client.decr("number", 2), 40)
same(client.get("number"), 40)
raises(pylibmc.NotFound, lambda: client.incr("none"))
same(client.set("object", {"a": [1, 2.5, None], "b": (True, b"bytes")}), True)
same(client.get("object"), {"a": [1, 2.5, None], "b": (True, b"bytes")})

same(client.add("a", "other"), False)
same(client.add("b", "x"), True)
same(client.replace("b", "y"), True)
same(client.replace("none", "y"), False)
same(client.append("b", "z"), True)
same(client.prepend("b", "x"), True)
same(client.get("b"), "xyz")

value, unique = client.gets("b")
same(client.cas("b", "swapped", unique), True)
same(client.cas("b", "again", unique), False)
raises(pylibmc.NotFound, lambda: client.cas("none", "x", unique))
same(client.get("b"), "swapped")

same(client.touch("a", 100), True)
same(client.touch("none", 100), False)
same(client.delete("a"), True)
same(client.delete("a"), False)

many = {f"many{number}": "x" * number for number in range(300)}
same(client.set_multi(many), [])
same(client.get_multi(list(many)), many)
same(client.set_multi({"1": "one", "2": "two"}, key_prefix="p-"), [])
same(client.get_multi(["1", "2", "3"], key_prefix="p-"), {"1": "one", "2": "two"})
same(client.delete_multi(list(many)), True)
same(client.get_multi(list(many)), {})

compressible = "compress me " * 20_000
same(client.set("compressed", compressible, min_compress_len=1000), True)
same(client.get("compressed"), compressible)
same(len(client.get_stats()), 1)

pool = pylibmc.ClientPool(client, 4)
with pool.reserve() as one, pool.reserve() as other:
    same(one.set("pooled", "x"), True)
    same(other.get("pooled"), "x")
same(client.flush_all(), True)
same(client.get("pooled"), None)
print("done")
