"""Logins and commands of a user whose move stands still in the middle, until it ends one way or the other.

backend2 reaches the master through a relay that keeps its ACTIVATEs: a real XFER towards it stays between the reservation
and its end for as long as a test wants. Passwords are checked by the user's home.
"""
import contextlib
import imaplib
import os
import re
import signal
import socket
import threading
import time

from audit import rookery
from beside import plain
from commands import ok, refused, wait_for
from master_client import Client, Gone
from pop3 import Pop
from relay import Relay
from sieve import Sieve

SECONDS = 60
# The first lives on backend1 and is moved to backend2, where the other one lives.
MOVED, STAYS = "user003", "user004"
MESSAGES = 5
# How long it is looked whether somebody is answered who is not to be.
QUIET_SECONDS = 1.5
# Sessions that wait when the frontend is stopped, and that go by themselves.
MANY, GOERS = 100, 24
SAID = re.compile(rb'\* OK \[INPROGRESS \("(\S+)" NIL NIL\)\] ')


class Gate(Relay):
    """Keeps ACTIVATEs from the master while it is shut, or lets none through ever."""

    def __init__(self, address, master, source):
        self.open, self.holds, self.breaks = threading.Event(), threading.Event(), False
        self.open.set()
        super().__init__(address, master, source)

    def before(self, data):
        if b" ACTIVATE " in data and not self.open.is_set():
            self.holds.set()
            self.open.wait()
            if self.breaks:
                raise OSError("the master is not told")

    def shut(self, breaks=False):
        self.breaks = breaks
        self.holds.clear()
        self.open.clear()

    def close(self):
        self.open.set()
        super().close()


class World:
    """The murder, with a relay before backend2."""

    def __init__(self, bed):
        self.bed = bed
        with open(bed.murder_conf("backend2")) as f:
            text = f.read()
        line, self.master = re.search(r"^(mupdate_server: ([\d.]+).*)$", text, re.M).groups()
        with open(bed.murder_conf("backend2"), "w") as f:
            f.write(text.replace(line, f"mupdate_server: {bed.net}.6"))
        self.gate = Gate(f"{bed.net}.6", self.master, f"{bed.net}.12")
        bed.stop("backend2")
        bed.start("backend2")
        self.configure()

    def configure(self, *more):
        """A frontend that has time to stop, and `more` lines."""
        self.bed.stop_frontend()
        self.bed.write_configuration(more=[f"rookery_drain: {SECONDS}s", *more])
        self.bed.start_frontend()

    def close(self):
        self.gate.close()

    @contextlib.contextmanager
    def held(self, user, to=2, breaks=False):
        """His move has begun and does not end meanwhile; then it ends."""
        admin = self.bed.session("cyrus", address=self.bed.backend(3 - to), timeout=SECONDS)
        said = []
        moving = threading.Thread(target=lambda: said.append(admin.command(f"XFER user.{user} {self.bed.backend_host(to)}")))
        self.gate.shut(breaks)
        moving.start()
        try:
            assert self.gate.holds.wait(SECONDS), "the destination tells the master nothing"
            wait_for(lambda: self.is_reserved(user), "reservation")
            yield
        finally:
            self.gate.open.set()
            moving.join(SECONDS)
        assert said, "the move has no end"
        ok(said[0])
        admin.close()

    @contextlib.contextmanager
    def reserved(self, user):
        """His INBOX is reserved, by nobody who moves anything; then it is where it was."""
        inbox = f"user.{user}"
        with Client(self.master) as client:
            [(_, kind, name, location, acl)] = client.ok("FIND", inbox)
            assert (kind, name.decode()) == (b"MAILBOX", inbox), (kind, name)
            client.ok("DEACTIVATE", name, location)
        wait_for(lambda: self.is_reserved(user), "reservation")
        try:
            yield
        finally:
            wait_for(lambda: self.activated(name, location, acl), "end of the reservation")

    def activated(self, *entry):
        """Whether the master has taken an entry; it may be starting."""
        try:
            with Client(self.master, timeout=SECONDS) as client:
                client.ok("ACTIVATE", *entry)
        except (OSError, Gone):
            return False
        return True

    def is_reserved(self, user):
        """Whether the frontend's list says so."""
        return rookery(self.bed, "locate", f"user.{user}", status=None)[0]["state"] == "reserved"

    def waiting(self, line, user=None):
        """A session, of a user that is logged in if one is named, which has said this."""
        s = self.bed.session(user, timeout=SECONDS)
        s.send(line)
        return s


class Login(threading.Thread):
    """A client that logs in, again as long as it is told to come later; how it ended."""

    def __init__(self, act):
        super().__init__(daemon=True)
        self.act, self.result, self.end = act, None, time.monotonic() + SECONDS
        self.start()

    def run(self):
        while self.result is None:
            try:
                said = self.act()
            except Exception as e:
                said = f"{type(e).__name__} {e}".encode()
            is_later = b"TRYLATER" in said or b"[SYS/TEMP]" in said
            if not is_later or time.monotonic() > self.end:
                self.result = said

    def succeeds(self, begins):
        self.join(2 * SECONDS)
        assert self.result and self.result.startswith(begins), self.result


def by_imaplib(world, user):
    client = imaplib.IMAP4(world.bed.address, timeout=SECONDS)
    said = client.login(user, f"pw-{user}")[0].encode()
    count = client.select("INBOX")[1][0]
    client.logout()
    return said + b" " + count


def by_pop3(world, user):
    client = Pop(world.bed)
    said = client.login(user)
    client.close()
    return said


def by_sieve(world, user):
    client = Sieve(world.bed)
    said = client.login(user)
    client.close()
    return said


def told(session, tag):
    """It is told that this command is under way, and nothing else."""
    line = session.line(SECONDS)
    found = SAID.match(line)
    assert found and found.group(1) == tag, (tag, line)


def answered(session, tag):
    """The result of a command, behind whatever comes before."""
    seen = session.until_match(rf"^{tag.decode()} ", SECONDS)
    assert not any(line.startswith(b"* BYE") for line in seen), seen
    return seen


class Goers:
    """Clients that log in and go while they wait, half of them with a command behind the first."""

    def __init__(self, world, user):
        host = socket.inet_aton(world.bed.address)[::-1].hex().upper()
        self.frontend = f"{host}:{143:04X}"
        login = f"l LOGIN {user} pw-{user}\r\n".encode()
        waiting = [world.waiting(login + b"n NOOP\r\n" * (n % 2)) for n in range(GOERS)]
        self.silent, self.talkative = ({s.socket.getsockname()[1] for s in waiting[begin::2]} for begin in (0, 1))
        wait_for(lambda: self.held() == self.silent | self.talkative, "waiting sessions")
        for session in waiting:
            session.close()

    def held(self):
        """The ports of those for whom the frontend still has a descriptor."""
        with open("/proc/net/tcp") as f:
            rows = [line.split() for line in f.read().splitlines()[1:]]
        ports = {int(row[2].rpartition(":")[2], 16) for row in rows if row[1] == self.frontend and row[9] != "0"}
        return ports & (self.silent | self.talkative)

    def silent_are_gone(self):
        """Who has more to say is missed when he is told the second time that he waits."""
        wait_for(lambda: not self.held() & self.silent, "end of sessions whose clients went away")

    def all_are_gone(self):
        wait_for(lambda: not self.held(), "end of all sessions whose clients went away")


# ---------------------------------------------------------------- a move that ends
def who_waits_is_told_so_and_goes_on_at_the_new_server(world):
    """Logins, a relayed command that reads, one that writes, and one that is routed; who goes leaves nothing behind."""
    reads, writes = (world.bed.session(MOVED, timeout=SECONDS) for _ in range(2))
    for s in (reads, writes):
        assert b"* %d EXISTS" % MESSAGES in ok(s.command("SELECT INBOX")).lines
    routed = world.bed.session(MOVED, timeout=SECONDS)
    with world.held(MOVED):
        login = world.waiting(f"l LOGIN {MOVED} pw-{MOVED}\r\n".encode())
        sasl = world.waiting(f"s AUTHENTICATE PLAIN {plain('', MOVED, f'pw-{MOVED}')}\r\n".encode() + b"t SELECT INBOX\r\n")
        reads.send(b"r FETCH 1 (FLAGS)\r\n")
        writes.send(b"w STORE 1 +FLAGS (\\Flagged)\r\n")
        routed.send(b"x STATUS INBOX (MESSAGES)\r\n")
        goers = Goers(world, MOVED)
        goers.silent_are_gone()
        for s, tag in ((login, b"l"), (sasl, b"s"), (reads, b"r"), (writes, b"w"), (routed, b"x")):
            told(s, tag)
        others = {Login(lambda act=act: act(world, MOVED)): begins
                  for act, begins in ((by_imaplib, b"OK"), (by_pop3, b"+OK"), (by_sieve, b"OK"))}
        time.sleep(QUIET_SECONDS)
        assert all(client.result is None for client in others), [client.result for client in others]
    for client, begins in others.items():
        client.succeeds(begins)
    assert answered(login, b"l")[-1].startswith(b"l OK")
    assert b"* %d EXISTS" % MESSAGES in ok(login.command("SELECT INBOX")).lines
    answered(sasl, b"s")
    assert b"* %d EXISTS" % MESSAGES in answered(sasl, b"t")
    assert any(line.startswith(b"* 1 FETCH") for line in answered(reads, b"r"))
    # It was lost with its server, or done there.
    stored = answered(writes, b"w")[-1]
    assert stored.startswith(b"w OK") or b"may have been done" in stored, stored
    assert any(b"MESSAGES %d" % MESSAGES in line for line in answered(routed, b"x"))
    for s in (login, sasl, reads, writes, routed):
        ok(s.command("NOOP"))
        s.close()
    goers.all_are_gone()


def a_login_goes_on_where_the_move_was_taken_back(world):
    """The master dies meanwhile, too."""
    with world.reserved(STAYS):
        waiting = world.waiting(f"l LOGIN {STAYS} pw-{STAYS}\r\n".encode())
        world.bed.stop("master", kill=True)
        others = {Login(lambda act=act: act(world, STAYS)): begins
                  for act, begins in ((by_pop3, b"+OK"), (by_sieve, b"OK"))}
        time.sleep(QUIET_SECONDS)
        assert all(client.result is None for client in others), [client.result for client in others]
        assert not waiting.buffer
        world.bed.start("master")
    for client, begins in others.items():
        client.succeeds(begins)
    assert answered(waiting, b"l")[-1].startswith(b"l OK")
    assert b"* %d EXISTS" % MESSAGES in ok(waiting.command("SELECT INBOX")).lines
    waiting.close()


# ---------------------------------------------------------------- one that does not end
def a_frontend_that_stops_tells_all_who_wait(world):
    """SIGTERM while many wait for a move that does not end: nobody is cut off, and it ends."""
    standing = [world.bed.session(STAYS, timeout=SECONDS) for _ in range(MANY // 2)]
    with world.reserved(STAYS):
        for s in standing:
            s.send(b"x STATUS INBOX (MESSAGES)\r\n")
        login = f"l LOGIN {STAYS} pw-{STAYS}\r\n".encode()
        waiting = [world.waiting(login + b"n NOOP\r\n" * (n % 2)) for n in range(MANY // 2)]
        pop, sieve = Pop(world.bed), Sieve(world.bed)
        assert pop.command(f"USER {STAYS}").startswith(b"+OK")
        pop.send(f"PASS pw-{STAYS}")
        sieve.send(f'AUTHENTICATE "PLAIN" "{plain("", STAYS, f"pw-{STAYS}")}"')
        time.sleep(QUIET_SECONDS)
        process = world.bed.process
        process.send_signal(signal.SIGTERM)
        for s in (*standing, *waiting):
            lines = s.drain(SECONDS)
            assert lines and lines[-1] == b"* BYE server is shutting down", lines
            s.close()
        assert pop.line().startswith(b"-ERR [SYS/TEMP]")
        assert re.match(rb"(BYE|NO) \(TRYLATER\)", sieve.whole_line())
        assert process.wait(SECONDS) == 0, process.returncode
        world.bed.process = None


def who_waits_in_vain_is_told_to_come_later(world):
    """rookery_move_timeout; sessions go on."""
    world.configure("rookery_move_timeout: 2s")
    standing = world.bed.session(STAYS, timeout=SECONDS)
    with world.reserved(STAYS):
        refused(standing.command("STATUS INBOX (MESSAGES)"), b"NO [UNAVAILABLE] Mailbox is currently reserved")
        s = world.bed.session(timeout=SECONDS)
        refused(s.command(f"LOGIN {STAYS} pw-{STAYS}"), b"NO [UNAVAILABLE] authentication temporarily unavailable")
        ok(s.command("NOOP"))
        said = by_pop3(world, STAYS)
        assert said == b"-ERR [SYS/TEMP] authentication temporarily unavailable", said
        said = by_sieve(world, STAYS)
        assert said == b'NO (TRYLATER) "authentication temporarily unavailable"', said
    wait_for(lambda: not world.is_reserved(STAYS), "list without the reservation")
    s.login(STAYS, f"pw-{STAYS}")
    for session in (s, standing):
        ok(session.command("STATUS INBOX (MESSAGES)"))
        session.close()


TESTS = [
    who_waits_is_told_so_and_goes_on_at_the_new_server,
    a_login_goes_on_where_the_move_was_taken_back,
    a_frontend_that_stops_tells_all_who_wait,
    who_waits_in_vain_is_told_to_come_later,
]


def run(report, bed, _):
    """All of them on one murder."""
    world = World(bed)
    try:
        for test in TESTS:
            begin = time.monotonic()
            report.check(f"waits/{test.__name__}", test, world)
            if os.environ.get("INTEROP_VERBOSE"):
                print(f"{test.__name__}: {time.monotonic() - begin:.1f} s")
    finally:
        world.close()
