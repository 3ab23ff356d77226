"""A MOVE between two backends that is cut off between its copy and its expunge, a message larger than all memory
that may be used, and backends that say nothing.

Where it is cut off is no chance: the destination is stopped until the source has told the messages, then the source
until the frontend has noted that all are copied.
"""
import hashlib
import re
import signal
import time

from bed import signalled
from wire import Lost

NOTICE_SECONDS = 60
# How often the source is given more time to tell the messages.
ATTEMPTS = 6
MEBIBYTE = 1 << 20
# What a copy may take at its peak beside heaps of threads: buffers of 64 KiB, whatever the message has.
PEAK_KIB_MAX = 12 * 1024


def name_of(what, n):
    """Message-ID of a message of these tests."""
    return f"{what}-{n}@crash"


def append(s, box, name):
    """A small message."""
    text = f"Message-ID: <{name}>\r\nFrom: a@b.c\r\nSubject: {name}\r\n\r\nbody\r\n"
    answer = s.command(f"APPEND {box} {{}}", text, sync=False)
    found = re.search(rb"APPENDUID \d+ (\d+)", answer.tagged)
    assert answer.status == "OK" and found, answer.tagged
    return int(found[1])


def copies(bed, backend, user, box, names):
    """How often each message is in a mailbox, asked of its server."""
    s = bed.session(user, address=bed.backend(backend), timeout=NOTICE_SECONDS)
    assert s.command(f"EXAMINE {box}").status == "OK", box
    lines = b"\n".join(s.command("FETCH 1:* (BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])").lines)
    s.close()
    return [lines.count(f"<{name}>".encode()) for name in names]


def journal(bed):
    """What the frontend keeps of moves."""
    with open(bed.conf("conf/rookery-moves"), errors="replace") as f:
        return f.read()


def wait_for(what, condition, seconds=NOTICE_SECONDS):
    """Polls until it holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(0.05)


def half_moved(bed, s, uids, pause):
    """UID MOVE to the other backend that has copied all and expunged nothing; whether it came so far. Both servers
    are stopped then."""
    destination, begun = bed.freeze("backend2"), journal(bed).count("begin ")
    s.send(f"m UID MOVE {uids[0]}:{uids[-1]} team02\r\n".encode())
    wait_for("the begin of a move", lambda: journal(bed).count("begin ") > begun)
    time.sleep(pause)                      # the source tells the messages
    bed.freeze("backend1")
    noted = journal(bed).count("copied ")
    signalled(destination, signal.SIGCONT)
    try:
        wait_for("the copy", lambda: journal(bed).count("copied ") > noted, 5)
    except AssertionError:
        return False
    return True


def prepared(bed, what):
    """A session with a move that has come half way, and the names of its messages."""
    for attempt in range(ATTEMPTS):
        s = bed.session("user001", timeout=NOTICE_SECONDS)
        names = [name_of(f"{what}{attempt}", n) for n in range(3)]
        assert s.command("STATUS team02 (MESSAGES)").status == "OK"
        uids = [append(s, "INBOX", name) for name in names]
        assert s.command("SELECT INBOX").status == "OK"
        if half_moved(bed, s, uids, 0.3 * 2 ** attempt):
            return s, names
        # The source was stopped too early: let this one end.
        signalled(bed.pids("backend1"), signal.SIGCONT)
        s.until_match("^m ", NOTICE_SECONDS)
        s.close()
    raise AssertionError("the source never told its messages in time")


def frontend_is_killed(bed):
    """The next start tells of it, once; nothing is lost."""
    s, names = prepared(bed, "frontend")
    bed.stop_frontend(signal.SIGKILL)
    signalled(bed.pids("backend1"), signal.SIGCONT)
    s.close()
    with open(bed.conf("rookeryd.log"), "rb") as f:
        before = len(f.read())
    bed.start_frontend()
    with open(bed.conf("conf/rookery-moves.unfinished")) as f:
        told = [line for line in f.read().splitlines() if "all were copied" in line]
    assert len(told) == 1 and "user001 moved" in told[0] and "user.user001 to team02" in told[0], told
    assert copies(bed, 2, "user001", "team02", names) == [1, 1, 1], "copied once"
    assert copies(bed, 1, "user001", "INBOX", names) == [1, 1, 1], "and lost nowhere"
    with open(bed.conf("rookeryd.log"), "rb") as f:
        f.seek(before)
        said = f.read()
    assert said.count(b"move cut off by the end of this program") == 1, said[-2000:]
    bed.stop_frontend()
    bed.start_frontend()
    with open(bed.conf("conf/rookery-moves.unfinished")) as f:
        assert f.read().count("all were copied") == 1, "told twice"


def source_is_killed(bed):
    """The client is told what was done, the log too; the session goes on."""
    s, names = prepared(bed, "source")
    bed.stop("backend1", kill=True)
    seen = s.until_match("^m ", NOTICE_SECONDS)
    assert b"NO [UNAVAILABLE] messages were copied" in seen[-1], seen[-3:]
    bed.start("backend1")
    assert s.command("NOOP").status == "OK"
    assert copies(bed, 2, "user001", "team02", names) == [1, 1, 1]
    assert copies(bed, 1, "user001", "INBOX", names) == [1, 1, 1]
    wait_for("the report", lambda: b"move not finished: user001 moved" in log(bed))
    s.close()


def destination_is_killed(bed):
    """Before anything is appended: all is where it was."""
    s = bed.session("user001", timeout=NOTICE_SECONDS)
    names = [name_of("destination", n) for n in range(3)]
    assert s.command("STATUS team02 (MESSAGES)").status == "OK"
    uids = [append(s, "INBOX", name) for name in names]
    assert s.command("SELECT INBOX").status == "OK"
    begun = journal(bed).count("begin ")
    bed.freeze("backend2")
    s.send(f"m UID MOVE {uids[0]}:{uids[-1]} team02\r\n".encode())
    wait_for("the begin of a move", lambda: journal(bed).count("begin ") > begun)
    bed.stop("backend2", kill=True)
    seen = s.until_match("^m ", NOTICE_SECONDS)
    assert b"NO [UNAVAILABLE]" in seen[-1] and not any(b"EXPUNGE" in x for x in seen), seen
    bed.start("backend2")
    assert copies(bed, 1, "user001", "INBOX", names) == [1, 1, 1]
    assert copies(bed, 2, "user001", "team02", names) == [0, 0, 0]
    answer = s.command(f"UID MOVE {uids[0]}:{uids[-1]} team02")
    assert answer.status == "OK", answer.tagged
    assert copies(bed, 1, "user001", "INBOX", names) == [0, 0, 0]
    assert copies(bed, 2, "user001", "team02", names) == [1, 1, 1]
    s.close()


def log(bed):
    """All that the frontend said."""
    with open(bed.conf("rookeryd.log"), "rb") as f:
        return f.read()


def pieces(mebibytes):
    """A message of this size, a MiB at a time."""
    yield b"Message-ID: <large@crash>\r\nFrom: a@b.c\r\nSubject: large\r\n\r\n"
    # 64 bytes: whole lines in every MiB.
    block = (b"0123456789abcdef" * 3 + b"0123456789abcd\r\n") * (MEBIBYTE // 64)
    for _ in range(mebibytes):
        yield block


def peak_kib(pid):
    """The most memory that it ever had, since the last reset."""
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmHWM:"))


def large_copy(bed, mebibytes):
    """A message goes through buffers of 64 KiB, and arrives byte by byte."""
    admin = bed.session("cyrus")
    assert admin.command(f"SETQUOTA user.user001 (STORAGE {4096 * mebibytes})").status == "OK"
    admin.close()
    s = bed.session("user001", timeout=600)
    size = sum(map(len, pieces(mebibytes)))
    s.send(f"l APPEND INBOX {{{size}+}}\r\n".encode())
    for piece in pieces(mebibytes):
        s.send(piece)
    s.send(b"\r\n")
    seen = s.until_match("^l ", 600)
    uid = re.search(rb"APPENDUID \d+ (\d+)", seen[-1])
    assert uid, seen
    assert s.command("SELECT INBOX").status == "OK"
    assert s.command("STATUS team02 (MESSAGES)").status == "OK"
    pid = bed.frontend_pid()
    with open(f"/proc/{pid}/clear_refs", "w") as f:
        f.write("5")
    before, begin = peak_kib(pid), time.monotonic()
    answer = s.command(f"UID COPY {uid[1].decode()} team02")
    took, grown = time.monotonic() - begin, peak_kib(pid) - before
    assert answer.status == "OK" and b"COPYUID" in answer.tagged, answer.tagged
    s.close()
    assert sha_of_last(bed) == sha(pieces(mebibytes)), "other bytes than were sent"
    print(f"copy: {mebibytes} MiB from backend to backend in {took:.1f} s, memory at its peak {grown:+} KiB")
    assert grown <= PEAK_KIB_MAX, f"{grown} KiB for a message of {size} bytes"


def sha(parts):
    """The sum of parts."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part)
    return whole.hexdigest()


def sha_of_last(bed):
    """The sum of the newest message of team02, asked of its server and never held whole."""
    s = bed.session("user001", address=bed.backend(2), timeout=600)
    assert s.command("EXAMINE team02").status == "OK"
    s.send(b"f FETCH * (BODY.PEEK[])\r\n")
    while b"}\r\n" not in s.buffer:
        s.read()
    head, s.buffer = s.buffer.split(b"}\r\n", 1)
    left, whole = int(head.rpartition(b"{")[2]), hashlib.sha256()
    while left:
        if not s.buffer:
            s.read()
        part, s.buffer = s.buffer[:left], s.buffer[left:]
        whole.update(part)
        left -= len(part)
    s.until_match("^f ", 60)
    s.close()
    return whole.hexdigest()


def named(answer, keyword):
    """The mailboxes of its rows; attributes are not kept while a server is away."""
    return sorted(line.rpartition(b" ")[2] for line in answer.named(keyword))


def silent_home(bed):
    """The home says nothing: LIST is whole, LSUB as it was told last, SUBSCRIBE is refused for now."""
    bed.stop_frontend()
    bed.write_configuration(more=["rookery_command_timeout: 4s", "rookery_fan_out_timeout: 2s", "client_timeout: 4s"])
    bed.start_frontend()
    s = bed.session("user001", timeout=NOTICE_SECONDS)
    assert s.command("SUBSCRIBE INBOX").status == "OK"
    whole = sorted(s.command('LIST "" "*"').named("LIST"))
    subscribed = named(s.command('LSUB "" "*"'), "LSUB")
    assert subscribed and len(whole) > 4, (subscribed, whole)
    pids = bed.freeze("backend1")
    try:
        answer = s.command('LIST "" "*"')
        assert answer.status == "OK" and sorted(answer.named("LIST")) == whole, answer.lines
        answer = s.command('LSUB "" "*"')
        assert answer.status == "OK" and named(answer, "LSUB") == subscribed, answer.lines
        assert bed.backend_host(1).encode() in answer.tagged, answer.tagged
        answer = s.command('LIST "" "*" RETURN (STATUS (MESSAGES))')
        assert answer.status == "OK" and bed.backend_host(1).encode() in answer.tagged, answer.tagged
        assert sorted(answer.named("LIST")) == whole
        assert any(b"team02" in line for line in answer.named("STATUS")), "the server that lives is not told of"
        answer = s.command("SUBSCRIBE team01")
        assert answer.status == "NO" and b"[UNAVAILABLE]" in answer.tagged, answer.tagged
        assert s.command("SELECT team02").status == "OK", "other mailboxes go on"
    finally:
        signalled(pids, signal.SIGCONT)
    wait_for("the home", lambda: s.command("SUBSCRIBE team01").status == "OK")
    s.command("LOGOUT")
    s.close()


def watched_mailbox(bed, box, how):
    """A mailbox with messages of its own, selected by somebody who waits."""
    s = bed.session("user001", timeout=NOTICE_SECONDS)
    if "QRESYNC" in how:
        assert s.command("ENABLE QRESYNC").status == "OK"
    assert s.command(f"CREATE {box}").status == "OK"
    for n in range(3):
        append(s, box, name_of(box, n))
    assert s.command(f"SELECT {box}").status == "OK"
    return s


WAITS = ("NOOP", "IDLE", "IDLE QRESYNC")


def waiting(s, how):
    """Begins to wait for news, by one of these."""
    if "IDLE" in how:
        s.send(b"i IDLE\r\n")
        s.until_match(r"^\+", NOTICE_SECONDS)


def asked(s, how):
    """Asks for news who does not get them unasked."""
    if how == "NOOP":
        s.send(b"n NOOP\r\n")


def renamed_by_another(bed, what):
    """Its messages are there, under another name: BYE, and no word of an expunge; the same for one that goes along
    with the one above it."""
    for n, how in enumerate(WAITS):
        other, old, new = bed.session("user001", timeout=NOTICE_SECONDS), f"INBOX.Old{what}{n}", f"INBOX.New{what}{n}"
        watchers = [watched_mailbox(bed, box, how) for box in (old, f"{old}.sub")]
        for s in watchers:
            waiting(s, how)
        assert other.command(f"RENAME {old} {new}").status == "OK"
        for s in watchers:
            asked(s, how)
            seen = until_end(s)
            assert seen and seen[-1].startswith(b"* BYE"), (how, seen)
            assert not any(b"EXPUNGE" in x or b"VANISHED" in x for x in seen), (how, seen)
            s.close()
        for box in (new, f"{new}.sub"):
            told = other.command(f"STATUS {box} (MESSAGES)").named("STATUS")
            assert told == [b"* STATUS %s (MESSAGES 3)" % box.encode()], told
        other.close()


def deleted_by_another(bed, what):
    """Its messages are gone: the client is told so, or, where `disconnect_on_vanished_mailbox` is on, BYE."""
    for n, how in enumerate(WAITS):
        other, box = bed.session("user001", timeout=NOTICE_SECONDS), f"INBOX.Gone{what}{n}"
        s = watched_mailbox(bed, box, how)
        waiting(s, how)
        assert other.command(f"DELETE {box}").status == "OK"
        asked(s, how)
        if what == "on":
            seen = until_end(s)
            assert seen and seen[-1].startswith(b"* BYE"), (how, seen)
            assert not any(b"EXPUNGE" in x or b"VANISHED" in x for x in seen), (how, seen)
        elif "QRESYNC" in how:
            assert s.until_match("VANISHED", NOTICE_SECONDS), how
        else:
            lines = [s.until_match("EXPUNGE", NOTICE_SECONDS) for _ in range(3)]
            assert not any(b"BYE" in x for seen in lines for x in seen), lines
        s.close()
        other.close()


def moved_by_another(bed, what, servers):
    """A user is moved to one server after the other: his own sessions and those of a guest go on there, and are told of
    no expunge."""
    owner, box = bed.session("user003", timeout=NOTICE_SECONDS), f"Moved{what}"
    assert owner.command(f"CREATE INBOX.{box}").status == "OK"
    assert owner.command(f"SETACL INBOX.{box} user001 lrs").status == "OK"
    for n in range(3):
        append(owner, f"INBOX.{box}", name_of(box, n))
    owner.close()
    watchers = []
    for how in WAITS:
        for user, name in (("user003", f"INBOX.{box}"), ("user001", f"user.user003.{box}")):
            s = bed.session(user, timeout=NOTICE_SECONDS)
            if "QRESYNC" in how:
                assert s.command("ENABLE QRESYNC").status == "OK"
            assert s.command(f"SELECT {name}").named("EXISTS") == [b"* 3 EXISTS"], (user, how)
            waiting(s, how)
            watchers.append((s, user, how))
    admin = bed.session("cyrus", timeout=NOTICE_SECONDS)
    for to in servers:
        answer = admin.command(f"RENAME user.user003 user.user003 {bed.backend_host(to)}")
        assert answer.status == "OK", answer.lines
        for s, user, how in watchers:
            if "IDLE" in how:
                s.send(b"DONE\r\n")
                seen = s.until_match("^i ", NOTICE_SECONDS)
            else:
                seen = s.command("NOOP").lines
            told = s.command("FETCH 1:3 (FLAGS)")
            assert told.status == "OK" and len(told.named("FETCH")) == 3, (user, how, told.lines)
            lines = seen + told.lines
            assert not any(x.startswith(b"* BYE") or b"EXPUNGE" in x or b"VANISHED" in x for x in lines), (user, how, lines)
            waiting(s, how)
    for s, _, _ in watchers:
        s.close()
    admin.close()


def with_disconnect_on_vanished_mailbox(bed):
    """As operators have it who set the option: at the frontend and at the backends."""
    for instance in ("backend1", "backend2"):
        with open(bed.murder_conf(instance), "a") as f:
            f.write("disconnect_on_vanished_mailbox: yes\n")
        bed.stop(instance)
        bed.start(instance)
    bed.stop_frontend()
    bed.write_configuration(more=["disconnect_on_vanished_mailbox: yes"])
    bed.start_frontend()
    moved_by_another(bed, "on", [2])
    renamed_by_another(bed, "on")
    deleted_by_another(bed, "on")


def until_end(s):
    """All lines up to BYE or the end of the connection."""
    lines = []
    try:
        while not (lines and lines[-1].startswith(b"* BYE")):
            lines.append(s.line(NOTICE_SECONDS))
    except Lost:
        pass
    return lines


def run(report, bed, a):
    """In this order: the last ones configure the frontend anew."""
    report.check("cutoff/destination_is_killed", destination_is_killed, bed)
    report.check("cutoff/source_is_killed", source_is_killed, bed)
    report.check("cutoff/frontend_is_killed", frontend_is_killed, bed)
    report.check("cutoff/renamed_by_another", renamed_by_another, bed, "off")
    report.check("cutoff/deleted_by_another", deleted_by_another, bed, "off")
    report.check("cutoff/moved_by_another", moved_by_another, bed, "off", [2, 1])
    report.check("cutoff/large_copy", large_copy, bed, a.copy_mebibytes)
    report.check("cutoff/silent_home", silent_home, bed)
    report.check("cutoff/disconnect_on_vanished_mailbox", with_disconnect_on_vanished_mailbox, bed)
