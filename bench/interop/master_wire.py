"""Whatever is said to a running master is answered, or ends the connection, within limits."""
import select
import time
import zlib

from master_client import Client, Gone, Master, literal_plus, quoted

# (verb, the strings of a well-formed one)
COMMANDS = [
    ("ACTIVATE", ["user.x", "be1!p", "x\tlrs\t"]), ("DEACTIVATE", ["user.x", "be1!p"]), ("DELETE", ["user.x"]),
    ("RESERVE", ["user.x", "be1!p"]), ("FIND", ["user.x"]), ("LIST", []), ("LIST", ["be1!"]), ("NOOP", []),
    ("AUTHENTICATE", ["PLAIN"]), ("STARTTLS", []), ("COMPRESS", ["DEFLATE"]), ("NONSENSE", ["x"]),
    ("UPDATE", []), ("UPDATE", ["be1", "be2"]), ("LOGOUT", []),
]
ANSWER_SECONDS = 3
MEMORY_GROWTH_MAX = 64 * 1024 * 1024


def malformations(verb, strings):
    """Lines that a client should not send, each with its name."""
    line = lambda *parts: b" ".join([b"m1", verb.encode(), *parts]) + b"\r\n"      # noqa: E731
    good = [quoted(x) for x in strings]
    yield "missing", line(*good[:-1])
    yield "extra", line(*good, *[quoted("x")] * 40)
    yield "atom", line(*good[:-1], b"atom")
    yield "NUL in a quoted string", line(*good[:-1], b'"a\0b"')
    yield "NUL in a literal", line(*good[:-1], literal_plus(b"a\0b"))
    yield "open quote", line(*good[:-1], b'"open')
    yield "CR in a quoted string", line(*good[:-1], b'"a\rb"')
    yield "bad base64", line(*good, quoted("*not base64*"))
    yield "literal without a size", line(*good[:-1], b"{}")
    yield "negative literal", line(*good[:-1], b"{-1+}")
    yield "literal of 64 MiB", line(*good[:-1], b"{67108864+}")
    yield "literal of 2^32", line(*good[:-1], b"{4294967296+}")
    yield "literal of 2^70", line(*good[:-1], b"{1180591620717411303424+}")
    yield "quoted string of 2 MiB", line(*good[:-1], b'"' + b"q" * 2 ** 21 + b'"')
    yield "empty name", line(quoted(""), *good[1:])
    yield "no tag", b" " + verb.encode() + b"\r\n"
    yield "tag alone", b"m1\r\n"
    yield "tag and space", b"m1 \r\n"
    yield "tab for space", b"m1\t" + verb.encode() + b"\r\n"
    yield "bare LF", b"m1 " + verb.encode() + b"\n"
    yield "8 bit", line(*good[:-1], '"Ünï"'.encode("latin-1"))
    yield "name of 600", line(quoted("u" * 600), *good[1:])
    yield "pipelined garbage", line(*good) + b"\xff\xfe\0\r\n" * 50 + b"{9999999999999}\r\n"


def answered_or_closed(client):
    """Something comes back, or the end; a marker behind it finds the line end."""
    end = time.monotonic() + ANSWER_SECONDS
    try:
        client.send(b"\r\nmark NOOP\r\n")
        while time.monotonic() < end:
            ready, _, _ = select.select([client.socket], [], [], max(0, end - time.monotonic()))
            if not ready:
                break
            client.more()
            if b"\r\nmark " in b"\r\n" + client.buffer or b"BYE" in client.buffer:
                return True
        return bool(client.buffer)
    except Gone:
        return True


def resident(master):
    """Bytes of memory that the master has."""
    with open(f"/proc/{master.process.pid}/statm") as f:
        return int(f.read().split()[1]) * 4096


def every_malformation(master, login):
    """Each on a connection of its own; the master stays and does its work."""
    for verb, strings in COMMANDS:
        for name, data in malformations(verb, strings):
            client = master.client(user="postman" if login else None)
            try:
                client.send(data)
            except Gone:
                pass
            # What waits for the rest of a literal or string is closed by time, not by us.
            waits = b"+}" in data or b'"open' in data
            assert answered_or_closed(client) or waits, f"{verb}, {name}: neither answered nor closed"
            client.close()
            assert master.process.poll() is None, f"{verb}, {name}: the master died: {master.log()}"


def alive(master):
    """It serves, and holds no garbage."""
    with master.client() as client:
        client.ok("ACTIVATE", "user.alive", "be1!p", "alive\tlrs\t")
        for name in client.entries():
            client.ok("DELETE", name)
        assert client.entries() == {}


def half_sent_commands_block_nobody(master):
    """Cyrus' 50 workers wait for 72 of these."""
    stuck = [master.client() for _ in range(100)]
    for n, client in enumerate(stuck):
        client.send([b"h1 ACTIVATE ", b"h1 FIND {100+}\r\nabc", b"h1", b'h1 DELETE "us'][n % 4])
    begun = time.monotonic()
    alive(master)
    assert time.monotonic() - begun < 1
    for client in stuck:
        client.close()


def all_forms_of_a_string(master):
    """Quoted, `{n+}`, and `{n}` behind the go-ahead."""
    with master.client() as client:
        client.send(b'f1 ACTIVATE {5}\r\n')
        assert client.raw_line() == b"+ go ahead"
        client.send(b'forms {5+}\r\nbe1!p "a \\" b"\r\n')
        assert client.row() == [b"f1", b"OK", b"done"]
        assert client.ok("FIND", "forms") == [[b"t1", b"MAILBOX", b"forms", b"be1!p", b'a " b']]
        client.ok("DELETE", "forms")


def compressed(master):
    """COMPRESS before the login, as Debian's mupdatetest -q sends it."""
    client = master.client(user=None)
    assert [b"*", b"COMPRESS", b"DEFLATE"] in client.greeting, client.greeting
    client.send(b'Z01 COMPRESS "DEFLATE"\r\n')
    assert client.row()[:2] == [b"Z01", b"OK"]
    deflate, inflate, raw = zlib.compressobj(wbits=-15), zlib.decompressobj(wbits=-15), client.socket

    def send(data):
        raw.sendall(deflate.compress(data) + deflate.flush(zlib.Z_SYNC_FLUSH))

    def more():
        got = raw.recv(65536)
        if not got:
            raise Gone("end of input")
        client.buffer += inflate.decompress(got)

    client.send, client.more = send, more
    assert client.plain("postman", "pw-postman")[1] == b"OK"
    for n in range(300):
        client.ok("ACTIVATE", f"user.zip{n}", "be1!p", "zip\tlrswipkxtecdan\t")
    assert len(client.entries()) >= 300
    assert client.command("COMPRESS", "DEFLATE")[-1][1:] == [b"BAD", b"DEFLATE active via COMPRESS"]
    for n in range(300):
        client.ok("DELETE", f"user.zip{n}")
    client.close()
    alive(master)
    noise = master.client(user=None)
    noise.send(b'Z01 COMPRESS "DEFLATE"\r\n')
    noise.row()
    noise.send(b"\xff" * 5000)
    try:
        while True:
            noise.more()
    except Gone:
        pass


def run(report, a):
    """All of it on one master."""
    with Master(a.binaries, f"{a.folder}/wire", f"{a.net}.9") as master:
        before = resident(master)
        report.check("master/wire before login", every_malformation, master, False)
        report.check("master/wire after login", every_malformation, master, True)
        report.check("master/alive after that", alive, master)
        report.check("master/half-sent commands", half_sent_commands_block_nobody, master)
        report.check("master/forms of a string", all_forms_of_a_string, master)
        report.check("master/compress", compressed, master)
        grown = resident(master) - before
        report.check("master/memory after that", lambda: None if grown < MEMORY_GROWTH_MAX else 1 / 0)
