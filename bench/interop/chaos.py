"""Backends and the master are killed, stopped and restarted under 200 clients; nothing acknowledged may be lost."""
import collections
import random
import re
import signal
import threading
import time

from bed import signalled
from leak import memory_kib, settled_descriptors, use_every_receive_buffer
from wire import Lost

CLIENTS = 200
USERS = ["user001", "user002", "user003", "user004"]
HOME = {"user001": 1, "user002": 2, "user003": 1, "user004": 2}
# Where a user's messages go that he moves to the other backend: team02 is on backend2, team01 on backend1.
OTHER = {1: "team02", 2: "team01"}
# A command may wait for a mailbox whose server restarts.
COMMAND_SECONDS = 150
# What every run does first.
FIRST_HARMS = [("stop", "backend1"), ("kill", "backend2"), ("restart", "backend1"), ("kill", "master")]
# Each waits for a minute.
START_ATTEMPTS = 3
# Heaps of glommio's and our threads that grew for 200 sessions at once, by huge pages of 2 MiB.
CHAOS_SLACK_KIB = 12 * 1024


class Ledger:
    """What all clients were told of their messages."""

    def __init__(self):
        self.lock = threading.Lock()
        # Message -> the mailboxes where it must be (one of them), and where it may be as well.
        self.must, self.may, self.owner = {}, collections.defaultdict(set), {}
        self.counts = collections.Counter()

    def appended(self, name, owner, box, acknowledged):
        """An APPEND that was answered, or not."""
        with self.lock:
            self.owner[name] = owner
            self.counts["appended" if acknowledged else "in doubt"] += 1
            if acknowledged:
                self.must[name] = {box}
            self.may[name].add(box)

    def moved(self, name, source, destination, acknowledged):
        """A MOVE that was answered, or not: then it is at one of the two, or at both."""
        with self.lock:
            self.counts["moved" if acknowledged else "moves in doubt"] += 1
            if acknowledged:
                self.must[name], self.may[name] = {destination}, {destination}
            else:
                self.must[name] = {source, destination}
                self.may[name] |= {source, destination}


class Client(threading.Thread):
    """Sessions of one user, one after the other; a new one when one ends."""

    def __init__(self, bed, ledger, number, stopping, made):
        super().__init__(daemon=True)
        self.bed, self.ledger, self.number, self.stopping = bed, ledger, number, stopping
        self.random, self.user = random.Random(number), USERS[number % len(USERS)]
        self.inbox = f"user.{self.user}"
        self.made, self.wrong, self.sessions = made, [], 0

    def run(self):
        """Until told to stop."""
        while not self.stopping.is_set():
            try:
                self.session()
            except (Lost, OSError) as e:
                self.ledger.counts[f"ended: {str(e)[:24]}"] += 1
                self.stopping.wait(0.5)
            except AssertionError as e:
                self.wrong.append(str(e))
                return

    def session(self):
        """One session."""
        s = self.bed.session(timeout=COMMAND_SECONDS)
        answer = s.command(f"LOGIN {self.user} pw-{self.user}")
        if answer.status != "OK":
            assert b"[UNAVAILABLE]" in answer.tagged, answer.tagged
            s.close()
            self.stopping.wait(0.5)
            return
        self.sessions += 1
        self.select(s, "INBOX")
        while not self.stopping.is_set():
            act = self.random.choices([self.append, self.read, self.idle, self.look, self.move],
                                      [4, 4, 3, 3, 1])[0]
            act(s)
            self.stopping.wait(self.random.uniform(0.2, 1.5))
        s.command("LOGOUT")
        s.close()

    def ask(self, s, line, *literals):
        """A command; a NO must say that it is for now."""
        answer = s.command(line, *literals, sync=self.random.random() < 0.5)
        if answer.status != "OK":
            temporary = b"[UNAVAILABLE]" in answer.tagged or b"select a mailbox" in answer.tagged
            assert temporary, (self.user, line, answer.tagged)
            self.ledger.counts["NO"] += 1
        return answer

    def select(self, s, box):
        """SELECT, again while its server is down."""
        while self.ask(s, f"SELECT {box}").status != "OK" and not self.stopping.is_set():
            self.stopping.wait(0.5)

    def append(self, s):
        """A message of his into his INBOX."""
        self.made += 1
        name = f"c{self.number}n{self.made}"
        text = f"Subject: {name}\r\nMessage-ID: <{name}@chaos>\r\nX-Owner: {self.user}\r\n\r\n" + "x" * 500 + "\r\n"
        acknowledged = False
        try:
            answer = self.ask(s, "APPEND INBOX {}", text)
            acknowledged = answer.status == "OK"
            if not acknowledged and b"may have been done" not in answer.tagged:
                self.ledger.counts["refused"] += 1
        finally:
            self.ledger.appended(name, self.user, self.inbox, acknowledged)
        return name if acknowledged else None

    def read(self, s):
        """The newest messages."""
        answer = self.ask(s, "FETCH *:* (UID FLAGS BODY.PEEK[HEADER.FIELDS (X-OWNER)])")
        for owner in re.findall(rb"X-Owner: (\S+)", b"\n".join(answer.lines)):
            assert owner.decode() == self.user, f"{self.user} was shown a message of {owner}"

    def idle(self, s):
        """IDLE for a moment."""
        tag = s.tag()
        s.send(f"{tag} IDLE\r\n".encode())
        first = s.until_match(rf"^(\+|{tag} )", COMMAND_SECONDS)
        if first[-1].startswith(b"+"):
            self.stopping.wait(self.random.uniform(0.2, 3))
            s.send(b"DONE\r\n")
            s.until_match(f"^{tag} ", COMMAND_SECONDS)

    def look(self, s):
        """Something elsewhere, or nothing."""
        line = self.random.choice(["NOOP", "STATUS team01 (MESSAGES)", "STATUS team02 (MESSAGES)", 'LIST "" "*"'])
        self.ask(s, line)

    def move(self, s):
        """A message that was just appended, to the other backend."""
        name = self.append(s)
        if not name:
            return
        found = self.ask(s, f'UID SEARCH HEADER Message-ID "<{name}@chaos>"')
        uid = re.search(rb"^\* SEARCH (\d+)$", b"\n".join(found.lines), re.M)
        if found.status != "OK" or not uid:
            return
        other, acknowledged = OTHER[HOME[self.user]], False
        try:
            answer = s.command(f"UID MOVE {uid[1].decode()} {other}")
            acknowledged = answer.status == "OK"
        finally:
            self.ledger.moved(name, self.inbox, other, acknowledged)


def started(bed, instance):
    """Starts a server that may be slow to come while 200 clients use the machine."""
    for patience in range(START_ATTEMPTS, -1, -1):
        try:
            return bed.start(instance)
        except RuntimeError as e:
            if patience == 0 or "did not come up" not in str(e):
                raise
            bed.stop(instance, kill=True)


def harm(bed, dice, number):
    """Something happens to one of the servers; it is well again when this returns. The first are no chance, so that
    the shortest run has one of each."""
    instance = dice.choice(["backend1", "backend2", "backend1", "backend2", "master"])
    how = dice.choice(["kill", "restart", "stop"])
    if number < len(FIRST_HARMS):
        how, instance = FIRST_HARMS[number]
    if how == "stop":
        pids = bed.freeze(instance)
        time.sleep(dice.uniform(0.5, 4))
        signalled(pids, signal.SIGCONT)
    else:
        bed.stop(instance, kill=how == "kill")
        time.sleep(dice.uniform(0, 2))
        started(bed, instance)
    return f"{how} {instance}"


def contents(bed, box, backend):
    """Message -> how often it stands in a mailbox, and messages with their owners."""
    s = bed.session("cyrus", address=bed.backend(backend), timeout=60)
    if box.startswith("user."):
        assert s.command(f"SETACL {box} cyrus lrs").status == "OK", box
    assert s.command(f"EXAMINE {box}").status == "OK", box
    counts, owners = collections.Counter(), {}
    for line in s.command("FETCH 1:* (BODY.PEEK[HEADER.FIELDS (MESSAGE-ID X-OWNER)])").lines:
        name = re.search(rb"<([^>]+)@chaos>", line)
        if name:
            counts[name[1].decode()] += 1
            owner = re.search(rb"X-Owner: (\S+)", line)
            owners[name[1].decode()] = owner and owner[1].decode()
    s.close()
    return counts, owners


def judge(bed, ledger):
    """Nothing lost, nothing twice, nothing at a stranger's."""
    found = {}
    for user in USERS:
        box = f"user.{user}"
        found[box], owners = contents(bed, box, HOME[user])
        strange = {x: owner for x, owner in owners.items() if owner != user}
        assert not strange, f"in the mailbox of {user}: {strange}"
    for backend, box in ((1, "team01"), (2, "team02")):
        found[box], _ = contents(bed, box, backend)
    for name, boxes in ledger.must.items():
        assert any(found[box][name] for box in boxes), f"{name} of {ledger.owner[name]} is lost: was in {boxes}"
    for box, counts in found.items():
        for name, count in counts.items():
            assert count == 1, f"{name} stands {count} times in {box}"
            assert box in ledger.may[name], f"{name} is in {box}, may be in {ledger.may[name]}"


def crowd(bed, ledger, seconds, harmful):
    """All clients for so long; what was done to the servers."""
    stopping, dice, done = threading.Event(), random.Random(seconds), []
    # Names are not used twice in one murder.
    clients = [Client(bed, ledger, n, stopping, len(ledger.owner)) for n in range(CLIENTS)]
    for client in clients:
        client.start()
    end = time.monotonic() + seconds
    while time.monotonic() < end and not any(c.wrong for c in clients):
        time.sleep(dice.uniform(1, 3))
        if harmful:
            done.append(harm(bed, dice, len(done)))
    # However slow the machine: as much harm as the shortest run promises.
    while harmful and len(done) < len(FIRST_HARMS) and not any(c.wrong for c in clients):
        done.append(harm(bed, dice, len(done)))
    stopping.set()
    for client in clients:
        client.join(COMMAND_SECONDS)
    wrong = [w for c in clients for w in c.wrong]
    assert not wrong, wrong[:5]
    assert not any(c.is_alive() for c in clients), "a client hangs"
    return done


def chaos(bed, seconds):
    """Warm, then harmed; memory and descriptors before and after."""
    pid, ledger = bed.frontend_pid(), Ledger()
    use_every_receive_buffer(bed)
    crowd(bed, ledger, 8, harmful=False)
    first, memory = settled_descriptors(pid, 0), memory_kib(pid)
    done = crowd(bed, ledger, seconds, harmful=True)
    last = settled_descriptors(pid, first)
    grown = memory_kib(pid) - memory
    print(f"chaos: {seconds} s, {len(done)} harms {dict(collections.Counter(done))}; {dict(ledger.counts)}; "
          f"descriptors {first} then {last}, memory {memory} KiB {grown:+} KiB")
    judge(bed, ledger)
    assert last <= first, f"{last - first} descriptors more"
    assert grown <= CHAOS_SLACK_KIB, f"{grown} KiB more"


def run(report, bed, a):
    """The chaos, short or long."""
    report.check("chaos/nothing_is_lost", chaos, bed, a.chaos)
