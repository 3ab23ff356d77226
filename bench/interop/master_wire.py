"""Whatever is said to a running master is answered, or ends the connection, within limits."""
import os
import select
import ssl
import subprocess
import time
import zlib

from master_client import Client, Gone, Master, literal_plus, quoted
from master_murder import certificates

# (verb, the strings of a well-formed one)
COMMANDS = [
    ("ACTIVATE", ["user.x", "be1!p", "x\tlrs\t"]), ("DEACTIVATE", ["user.x", "be1!p"]), ("DELETE", ["user.x"]),
    ("RESERVE", ["user.x", "be1!p"]), ("FIND", ["user.x"]), ("LIST", []), ("LIST", ["be1!"]), ("NOOP", []),
    ("AUTHENTICATE", ["PLAIN"]), ("STARTTLS", []), ("COMPRESS", ["DEFLATE"]), ("NONSENSE", ["x"]),
    ("UPDATE", []), ("UPDATE", ["be1", "be2"]), ("RESUME", ["abcdef", "7"]), ("LOGOUT", []),
]
ANSWER_SECONDS = 60
# Behind what has come: the marker may have become part of a literal.
MORE_SECONDS = 3
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
    try:
        client.send(b"\r\nmark NOOP\r\n")
        while select.select([client.socket], [], [], MORE_SECONDS if client.buffer else ANSWER_SECONDS)[0]:
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


def every_malformed_response(master):
    """What answers a challenge is no command: base64 that is none, too long, cut off, cancelled."""
    for mechanism, first in (("PLAIN", b""), ("LOGIN", b""), ("SCRAM-SHA-256", b"biwsbj1wb3N0bWFuLHI9eHl6")):
        for name, response in (("no base64", b"*not base64*"), ("odd", b"abc"), ("not padded", b"YWJj="), ("NUL", b"AA\0AA"),
                               ("8 bit", b"\xff\xfe\xfd"), ("nothing", b""), ("another mechanism's", b"Zm9vLGI9"),
                               ("cancelled", b"*"), ("64 KiB", b"QUFB" * 16384), ("2 MiB", b"QUFB" * 524288),
                               ("a command", b'x1 AUTHENTICATE "PLAIN"')):
            client = master.client(user=None)
            try:
                client.send(b'A01 AUTHENTICATE "%s"\r\n' % mechanism.encode())
                for line in ([first] if first else []) + [response]:
                    client.raw_line()
                    client.send(line + b"\r\n")
            except Gone:
                pass
            assert answered_or_closed(client), f"{mechanism}, {name}: neither answered nor closed"
            assert b" OK" not in client.buffer.split(b"mark ")[0], (mechanism, name, client.buffer[:200])
            client.close()
            assert master.process.poll() is None, f"{mechanism}, {name}: the master died: {master.log()}"


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
    alive(master)
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


def deflating(client):
    """Asks for COMPRESS, and deflates from there on."""
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


def works_deflated(client):
    """Much goes both ways; COMPRESS is not begun twice."""
    for n in range(300):
        client.ok("ACTIVATE", f"user.zip{n}", "be1!p", "zip\tlrswipkxtecdan\t")
    assert len(client.entries()) >= 300
    assert client.command("COMPRESS", "DEFLATE")[-1][1:] == [b"BAD", b"DEFLATE active via COMPRESS"]
    for n in range(300):
        client.ok("DELETE", f"user.zip{n}")
    client.close()


def compressed(master):
    """COMPRESS before the login, and noise behind it."""
    client = master.client(user=None)
    assert [b"*", b"COMPRESS", b"DEFLATE"] in client.greeting, client.greeting
    deflating(client)
    assert client.plain("postman", "pw-postman")[1] == b"OK"
    works_deflated(client)
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


def compressed_under_tls(a):
    """Behind the login; before it a password and what others choose would share a stream."""
    folder = f"{a.folder}/wire-tls"
    certificates(folder)
    options = {"tls_server_cert": f"{folder}/server.pem", "tls_server_key": f"{folder}/server.key"}
    with Master(a.binaries, f"{folder}/master", f"{a.net}.9", options=options) as master:
        context = ssl.create_default_context(cafile=f"{folder}/ca.pem")
        context.check_hostname = False
        client = master.client(user=None, tls=context)
        assert [b"*", b"COMPRESS", b"DEFLATE"] in client.greeting, client.greeting
        assert client.command("COMPRESS", "DEFLATE")[-1][1:] == [b"NO", b"under TLS log in first"]
        assert client.plain("postman", "pw-postman")[1] == b"OK"
        deflating(client)
        works_deflated(client)


# What is deflated at a time, and what each costs (inflating, deflating, buffers), with room for what a list takes.
COMPRESSED_MAX, COMPRESSED_BYTES = 256, 600 * 1024


def compression_has_its_places(a):
    """So many connections and no more; who leaves makes room."""
    with Master(a.binaries, f"{a.folder}/places", f"{a.net}.9") as master:
        before, clients = resident(master), [master.client() for _ in range(COMPRESSED_MAX)]
        for client in clients:
            deflating(client)
            client.ok("LIST")
        grown = resident(master) - before
        assert grown < COMPRESSED_MAX * COMPRESSED_BYTES, f"{grown >> 20} MiB"
        late = master.client()
        assert late.command("COMPRESS", "DEFLATE")[-1][1:] == [b"NO", b"too many compressed connections"]
        late.ok("NOOP")
        clients.pop().close()
        end = time.monotonic() + 60
        while late.command("COMPRESS", "DEFLATE")[-1][1] != b"OK":
            assert time.monotonic() < end, "a place that was left stays taken"
            time.sleep(0.05)
        for client in clients:
            client.close()


DEAF, DEAF_NAMES = 20, 3000
# The receive buffers of two shards, which get their pages when they are first filled.
RECEIVE_BUFFERS_BYTES = 2 * 1024 * 4096


def who_never_reads_costs_little(a):
    """LISTs without end that nobody reads: bounded memory, and others are served. (That they are cut off after five
    minutes is tested without waiting for it.)"""
    with Master(a.binaries, f"{a.folder}/deaf", f"{a.net}.9") as master, master.client(timeout=60) as client:
        for tag in [client.begin("ACTIVATE", f"user.d{n}", "be1!p", f"d{n}\tlrswipkxtecdan\t") for n in range(DEAF_NAMES)]:
            client.end(tag)
        size = sum(len(b" ".join(row)) for row in client.ok("LIST"))
        before, deaf = resident(master), [master.client() for _ in range(DEAF)]
        for one in deaf:
            one.socket.settimeout(0.2)
            try:
                for _ in range(200):
                    one.socket.sendall(b"L LIST\r\n" * 500)
            except TimeoutError:
                pass                       # it has stopped reading them: the way is full
            client.ok("NOOP")
        grown = resident(master) - before
        # Half a MiB is what a receive that is being stopped still brings; the list stands once in what is sent.
        most = DEAF * 1536 * 1024 + RECEIVE_BUFFERS_BYTES
        assert grown < most, f"{grown >> 20} MiB for {DEAF} clients of a list of {size >> 10} KiB"
        client.ok("ACTIVATE", "user.heard", "be1!p", "h\tl\t")
        for one in deaf:
            one.close()
        client.ok("DELETE", "user.heard")


LONG_NAMES = 300_000


def a_long_list_keeps_nobody_waiting(a):
    """A LIST that finds nothing looks at all names; others are answered meanwhile."""
    folder = f"{a.folder}/long"
    master = Master(a.binaries, folder, f"{a.net}.9")
    store = f"{folder}/conf/rookery-master"
    os.makedirs(store)
    lines = "".join(f"user.l{n:06d}\t16 be1!default l\tlrswipkxtecdan\t\n" for n in range(LONG_NAMES))
    subprocess.run([f"{a.binaries}/ctl_mboxlist", "-C", f"{folder}/imapd.conf", "-u", "-L", "-f", store], input=lines.encode(),
                   check=True)
    master.own()
    with master, master.client(timeout=60) as lister, master.client(timeout=60) as other:
        between = []
        for verb in ("LIST", "UPDATE"):
            for _ in range(20 if verb == "LIST" else 1):
                tag, answered = lister.begin(verb, "elsewhere" if verb == "UPDATE" else "elsewhere!"), 0
                while not select.select([lister.socket], [], [], 0)[0]:
                    other.ok("NOOP")
                    answered += 1
                assert len(lister.end(tag)) == 1
                between.append(answered)
        assert max(between) > 2, f"answered while the list was looked through: {between}"


def run(report, a):
    """All of it on one master."""
    with Master(a.binaries, f"{a.folder}/wire", f"{a.net}.9") as master:
        before = resident(master)
        report.check("master/wire before login", every_malformation, master, False)
        report.check("master/wire after login", every_malformation, master, True)
        report.check("master/malformed responses in a login", every_malformed_response, master)
        report.check("master/alive after that", alive, master)
        report.check("master/half-sent commands", half_sent_commands_block_nobody, master)
        report.check("master/forms of a string", all_forms_of_a_string, master)
        report.check("master/compress", compressed, master)
        grown = resident(master) - before
        report.check("master/memory after that", lambda: None if grown < MEMORY_GROWTH_MAX else 1 / 0)
    report.check("master/compress under TLS", compressed_under_tls, a)
    report.check("master/compress, how many", compression_has_its_places, a)
    report.check("master/clients that never read", who_never_reads_costs_little, a)
    report.check("master/a long list keeps nobody waiting", a_long_list_keeps_nobody_waiting, a)
