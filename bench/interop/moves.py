"""A user is moved to another backend and back, again and again, while clients append, read and idle."""
import re
import threading
import time

from wire import Lost

MOVED = "user003"
# A client waits longer than any move takes, be the machine busy with others.
PATIENCE_SECONDS = 300
PATIENCE_SECONDS_A_MESSAGE = 0.2
TROUBLE = re.compile(rb"^\* (BYE|VANISHED|\d+ EXPUNGE)", re.I)


def numbered(who, n):
    """A message that can be told from all others."""
    return f"Subject: {who} {n}\r\nMessage-ID: <{who}-{n}@moves>\r\nFrom: a@b.c\r\n\r\nbody of {who} {n}\r\n"


class Client(threading.Thread):
    """A session that does one thing until told to stop; what goes wrong is kept."""

    patience = PATIENCE_SECONDS

    def __init__(self, bed, user, name, act, box="INBOX", prepare=()):
        super().__init__(name=name, daemon=True)
        self.bed, self.user, self.act, self.box, self.prepare = bed, user, act, box, prepare
        self.stopping, self.wrong, self.rounds, self.exists = threading.Event(), [], 0, 0
        self.acknowledged, self.doubtful, self.refused = [], [], 0

    def run(self):
        """The session's whole life; it must be one session."""
        try:
            s = self.bed.session(self.user, timeout=self.patience)
            for line in [*self.prepare, f"SELECT {self.box}"]:
                answer = s.command(line)
                assert answer.status == "OK", (line, answer.tagged)
                self.look(answer.lines)
            while not self.stopping.is_set():
                self.act(self, s)
                self.rounds += 1
            answer = s.command("NOOP")
            assert answer.status == "OK", answer.tagged
            s.command("LOGOUT")
            s.close()
        except (Lost, AssertionError, OSError) as e:
            self.wrong.append(f"{type(e).__name__}: {e}")

    def look(self, lines):
        """Nothing vanishes, and counts only grow."""
        for line in lines:
            assert not TROUBLE.match(line), line
            found = re.match(rb"^\* (\d+) EXISTS", line)
            if found:
                assert int(found[1]) >= self.exists, (self.exists, line)
                self.exists = int(found[1])

    def say(self, s, line):
        """A command that must be OK; what comes with it is looked at."""
        answer = s.command(line)
        assert answer.status == "OK", (line, answer.tagged)
        self.look(answer.lines)
        return answer


def appends(client, s):
    """APPEND, answered OK or NO; both are believed."""
    n = client.rounds
    answer = s.command("APPEND " + client.box + " {}", numbered(client.name, n), sync=n % 2 == 0)
    client.look(answer.lines)
    if answer.status == "OK":
        client.acknowledged.append(f"{client.name}-{n}")
    elif b"may have been done" in answer.tagged:
        client.doubtful.append(f"{client.name}-{n}")
    else:
        assert b"[UNAVAILABLE]" in answer.tagged, answer.tagged
        client.refused += 1
    time.sleep(0.05)


def reads(client, s):
    """All flags, and the message that is known longest."""
    client.say(s, "FETCH 1:* (UID FLAGS)")
    answer = client.say(s, "FETCH 1 (BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
    assert answer.named("FETCH"), answer.lines
    time.sleep(0.05)


def waits(client, s):
    """NOOP now and then."""
    client.say(s, "NOOP")
    time.sleep(0.3)


def idles(client, s):
    """IDLE until there is news or a second is over."""
    tag = s.tag()
    s.send(f"{tag} IDLE\r\n".encode())
    client.look(s.until_match(r"^\+", client.patience))
    try:
        client.look([s.line(1)])
    except Lost as e:
        assert "TimeoutError" in str(e), e
    s.send(b"DONE\r\n")
    seen = s.until_match(f"^{tag} ", client.patience)
    assert seen[-1].startswith(f"{tag} OK".encode()), seen
    client.look(seen)


def wanders(client, s):
    """STATUS and SELECT of one mailbox after the other."""
    n = client.rounds % 4
    client.say(s, f"STATUS INBOX.Many{n} (MESSAGES UIDNEXT)")
    client.exists = 0
    client.say(s, f"SELECT INBOX.Many{n}")
    client.say(s, "UID FETCH 1:* (FLAGS)")


def fill(bed, mailboxes, messages):
    """The user's mailboxes, with gaps where messages were expunged."""
    s = bed.session(MOVED, timeout=60)
    each = max(1, messages // mailboxes)
    for n in range(mailboxes):
        assert s.command(f"CREATE INBOX.Many{n}").status == "OK"
        for begin in range(0, each, 50):
            batch = range(begin, min(each, begin + 50))
            parts = " ".join("{}" for _ in batch)
            texts = [numbered(f"many{n}", m) for m in batch]
            answer = s.command(f"APPEND INBOX.Many{n} {parts}", *texts, sync=False)
            assert answer.status == "OK", answer.tagged
        for line in (f"SELECT INBOX.Many{n}", "STORE 1 +FLAGS (\\Deleted)", "EXPUNGE", "UNSELECT"):
            assert s.command(line).status == "OK"
    assert s.command("SETACL INBOX.Many0 user001 lrswi").status == "OK"
    s.close()
    return each - 1


def everything(bed, backend, user, box):
    """How often each Message-ID stands in a mailbox, asked of its server."""
    s = bed.session(user, address=bed.backend(backend), timeout=60)
    assert s.command(f"EXAMINE {box}").status == "OK", box
    counts = {}
    for line in s.command("FETCH 1:* (BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])").lines:
        for found in re.findall(rb"<([^>]+)@moves>", line):
            counts[found.decode()] = counts.get(found.decode(), 0) + 1
    s.close()
    return counts


def judge(bed, clients, homes):
    """Every acknowledged APPEND is there once; none twice."""
    for client in [c for c in clients if c.act is appends]:
        counts = everything(bed, homes[client.user], client.user, client.box)
        wrong = [x for x in client.acknowledged if counts.get(x) != 1]
        assert not wrong, f"{client.name}: acknowledged, but not there once: {[(x, counts.get(x)) for x in wrong]}"
        own = {x for x in counts if x.startswith(client.name + "-")}
        doubled = [x for x in own if counts[x] > 1]
        assert not doubled, doubled
        stray = own - set(client.acknowledged) - set(client.doubtful)
        assert not stray, f"{client.name}: refused, but there: {stray}"


def crew(bed):
    """Four sessions of the moved user, one of a guest of his, three of others."""
    qresync = ("ENABLE QRESYNC",)
    return [
        Client(bed, MOVED, "appender", appends),
        Client(bed, MOVED, "idler", idles),
        Client(bed, MOVED, "waiter", waits, "INBOX.Many1", qresync),
        Client(bed, MOVED, "reader", reads, "INBOX.Many2"),
        Client(bed, MOVED, "wanderer", wanders, "INBOX.Many3"),
        Client(bed, "user001", "guest", waits, f"user.{MOVED}.Many0"),
        Client(bed, "user001", "other1", appends),
        Client(bed, "user002", "other2", appends),
        Client(bed, "user002", "other3", idles, "team02"),
    ]


def moves_under_load(bed, rounds, mailboxes, messages):
    """All of it."""
    Client.patience = PATIENCE_SECONDS + PATIENCE_SECONDS_A_MESSAGE * messages
    each = fill(bed, mailboxes, messages)
    admin = bed.session("cyrus", timeout=Client.patience)
    clients = crew(bed)
    for client in clients:
        client.start()
    time.sleep(1)
    homes, took = {MOVED: 1, "user001": 1, "user002": 2}, []
    try:
        for n in range(rounds):
            to = 2 if homes[MOVED] == 1 else 1
            begin = time.monotonic()
            answer = admin.command(f"RENAME user.{MOVED} user.{MOVED} {bed.backend_host(to)}")
            took.append(time.monotonic() - begin)
            assert answer.status == "OK", (answer.lines, [c.wrong for c in clients])
            homes[MOVED] = to
            before = [c.rounds for c in clients]
            end = time.monotonic() + Client.patience
            while any(c.is_alive() and c.rounds < b + 2 for c, b in zip(clients, before)):
                assert time.monotonic() < end, f"stuck: {[(c.name, c.rounds - b) for c, b in zip(clients, before)]}"
                time.sleep(0.1)
            wrong = {c.name: c.wrong for c in clients if c.wrong}
            assert not wrong, f"after move {n + 1}: {wrong}"
    finally:
        for client in clients:
            client.stopping.set()
        for client in clients:
            client.join(Client.patience)
    assert not any(c.is_alive() for c in clients), "a client hangs"
    wrong = {c.name: c.wrong for c in clients if c.wrong}
    assert not wrong, wrong
    judge(bed, clients, homes)
    for n in range(mailboxes):
        counts = everything(bed, homes[MOVED], MOVED, f"INBOX.Many{n}")
        assert len(counts) == each and set(counts.values()) == {1}, (n, len(counts))
    said = {c.name: (len(c.acknowledged), len(c.doubtful), c.refused) for c in clients if c.act is appends}
    print(f"moves: {rounds} of {mailboxes} mailboxes with {messages} messages, slowest {max(took):.1f} s; "
          f"appended, in doubt, refused: {said}")


def run(report, bed, a):
    """The moves, short or long."""
    report.check("moves/under_load", moves_under_load, bed, a.moves, a.move_mailboxes, a.move_messages)
