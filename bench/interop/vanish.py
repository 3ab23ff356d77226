"""A selected mailbox that is emptied, renamed or deleted by somebody else: what its sessions are told of it.

Cyrus tells all three as "all messages are expunged". Eight sessions of our frontend have the mailbox selected; backend1
and the frontend each reach the master through a relay, which keeps the news of a RENAME from it, or the list from us.
"""
import re
import threading
import time

from commands import ok, wait_for
from drive import message
from relay import Relay
from wire import Lost

SECONDS = 60
# Past a barrier that is not answered (2 s), and another connection to the backend.
QUIET_SECONDS = 4
MESSAGES = 5
GONE = re.compile(rb"^\* (VANISHED|\d+ EXPUNGE)", re.I)
KINDS = ("noop", "noop", "pipelined", "pipelined", "idle", "idle", "qresync", "qresync")


class Gate(Relay):
    """Keeps DELETEs from the master while it is shut."""

    def __init__(self, address, master, source):
        self.open, self.holds = threading.Event(), threading.Event()
        self.open.set()
        super().__init__(address, master, source)

    def before(self, data):
        if b" DELETE " in data and not self.open.is_set():
            self.holds.set()
            self.open.wait()

    def shut(self):
        self.holds.clear()
        self.open.clear()

    def close(self):
        self.open.set()
        super().close()


class Watcher:
    """A session with the mailbox selected, and all that it was told since."""

    def __init__(self, world, kind, box):
        self.kind, self.lines, self.has_ended, self.end = kind, [], False, ""
        self.session = world.bed.session(f"user00{1 + len(world.watchers) % 4}", timeout=SECONDS)
        if kind == "qresync":
            ok(self.session.command("ENABLE QRESYNC"))
        answer = ok(self.session.command(f"SELECT {box}"))
        assert b"* %d EXISTS" % MESSAGES in answer.lines, answer.lines
        if kind == "idle":
            self.session.send(b"i IDLE\r\n")
            self.session.until_match(r"^\+", SECONDS)

    def act(self):
        """Says what makes its server tell news."""
        lines = {"idle": b"DONE\r\n", "pipelined": b"p NOOP\r\nq FETCH 1 (FLAGS)\r\nx NOOP\r\n"}
        self.session.send(lines.get(self.kind, b"x NOOP\r\n"))

    def hear(self, is_enough, seconds):
        """Reads until it has heard enough, the end, or for so long."""
        end = time.monotonic() + seconds
        while not is_enough() and not self.has_ended and (left := end - time.monotonic()) > 0:
            try:
                self.lines.append(self.session.line(left))
            except Lost as e:
                self.end = str(e)
                self.has_ended = "TimeoutError" not in self.end

    def gone(self):
        """How many messages it was told to be gone."""
        count = 0
        for line in filter(GONE.match, self.lines):
            uids = line.split()[2].split(b",") if line.startswith(b"* VANISHED") else [b"1"]
            ranges = [[int(uid) for uid in part.split(b":")] for part in uids]
            count += sum(part[-1] - part[0] + 1 for part in ranges)
        return count

    def is_answered(self):
        return any(re.match(rb"^[ix] ", line) for line in self.lines)

    def ended_with_bye(self):
        """It is told goodbye, and nothing else."""
        self.hear(lambda: False, SECONDS)
        is_told = self.gone() == 0 and self.lines and self.lines[-1].startswith(b"* BYE")
        assert self.has_ended and is_told, (self.kind, self.lines, self.end)

    def was_told(self, more=lambda line: True):
        """All are gone, and the session goes on."""
        self.hear(lambda: self.is_answered() and self.gone() >= MESSAGES, SECONDS)
        assert not self.has_ended and self.gone() == MESSAGES, (self.kind, self.lines)
        answer = ok(self.session.command("NOOP"))
        self.lines += answer.lines
        assert self.gone() == MESSAGES and any(map(more, self.lines)), (self.kind, self.lines)
        self.session.close()

    def ended_or_was_told(self):
        """Nobody is told that some are gone."""
        self.hear(lambda: self.is_answered() and self.gone() >= MESSAGES, SECONDS)
        if self.has_ended:
            self.ended_with_bye()
        else:
            self.was_told()


class World:
    """The murder, with a relay before backend1 and one before the frontend."""

    def __init__(self, bed):
        self.bed, self.watchers, self.boxes = bed, [], 0
        master = self.rewrite("backend1", f"{bed.net}.5")
        self.gate = Gate(f"{bed.net}.5", master, f"{bed.net}.11")
        bed.stop("backend1")
        bed.start("backend1")
        bed.stop_frontend()
        self.rewrite("frontend", f"{bed.net}.7")
        self.list = Relay(f"{bed.net}.7", master)
        bed.write_configuration()
        bed.start_frontend()
        self.admin = bed.session("cyrus", address=bed.backend(1), timeout=SECONDS)

    def rewrite(self, instance, master):
        """Gives an instance another master; the address of the one it had before."""
        with open(self.bed.murder_conf(instance)) as f:
            text = f.read()
        line, before = re.search(r"^(mupdate_server: ([\d.]+).*)$", text, re.M).groups()
        with open(self.bed.murder_conf(instance), "w") as f:
            f.write(text.replace(line, f"mupdate_server: {master}"))
        return before

    def close(self):
        self.list.close()
        self.gate.close()

    def select(self):
        """A new mailbox with messages, which eight sessions select, and one at the backend itself."""
        self.boxes += 1
        box = f"vanish{self.boxes}"
        ok(self.admin.command(f"CREATE {box}"))
        ok(self.admin.command(f"SETACL {box} anyone lrswipkxte"))
        for n in range(MESSAGES):
            ok(self.admin.command(f"APPEND {box} {{}}", message(f"vanish {n}")))
        self.bed.settle()
        self.watchers = []
        for kind in KINDS:
            self.watchers.append(Watcher(self, kind, box))
        self.direct = self.bed.session("user001", address=self.bed.backend(1), timeout=SECONDS)
        ok(self.direct.command(f"SELECT {box}"))
        return box

    def act(self):
        for watcher in self.watchers:
            watcher.act()

    def nobody_is_told(self):
        """All wait; the backend itself tells whoever asks it that all are gone."""
        told = [line for line in self.direct.command("NOOP").lines if GONE.match(line)]
        assert len(told) == MESSAGES, told
        self.direct.close()
        end = time.monotonic() + QUIET_SECONDS
        for watcher in self.watchers:
            watcher.hear(lambda: False, max(0.05, end - time.monotonic()))
            assert watcher.gone() == 0, (watcher.kind, watcher.lines)

    def while_unheard(self, command):
        """The admin gives a command of whose DELETE the master hears only when all have acted."""
        self.gate.shut()
        admin = threading.Thread(target=lambda: ok(self.admin.command(command)))
        admin.start()
        try:
            assert self.gate.holds.wait(SECONDS), f"{command} asks the master for nothing"
            self.act()
            self.nobody_is_told()
        finally:
            self.gate.open.set()
            admin.join(SECONDS)
        assert not admin.is_alive(), f"{command} has no answer"

    def empty(self, box):
        """Another session takes all messages away."""
        ok(self.admin.command(f"SELECT {box}"))
        ok(self.admin.command("STORE 1:* +FLAGS.SILENT (\\Deleted)"))
        assert len(ok(self.admin.command("EXPUNGE")).named("EXPUNGE")) == MESSAGES
        ok(self.admin.command("UNSELECT"))


def rename_that_the_master_has_not_heard_of(world):
    box = world.select()
    world.while_unheard(f"RENAME {box} {box}new")
    for watcher in world.watchers:
        watcher.ended_with_bye()
    s = world.bed.session("user001")
    assert b"* %d EXISTS" % MESSAGES in ok(s.command(f"SELECT {box}new")).lines
    s.close()


def deletion_that_the_master_has_not_heard_of(world):
    box = world.select()
    world.while_unheard(f"DELETE {box}")
    for watcher in world.watchers:
        watcher.ended_or_was_told()


def rename_while_the_list_is_frozen(world):
    box = world.select()
    world.list.flows.clear()
    try:
        ok(world.admin.command(f"RENAME {box} {box}new"))
        world.act()
        world.nobody_is_told()
    finally:
        world.list.flows.set()
    for watcher in world.watchers:
        watcher.ended_with_bye()


def emptying_while_the_list_is_frozen(world):
    box = world.select()
    world.list.flows.clear()
    try:
        world.empty(box)
        world.act()
        for watcher in world.watchers:
            watcher.was_told()
    finally:
        world.list.flows.set()
    wait_for(lambda: is_live(world.bed), "live list")


def is_live(bed):
    """Whether the frontend says for good that a mailbox is not there."""
    s = bed.session("user001")
    answer = s.command("STATUS no-such-mailbox (MESSAGES)")
    s.close()
    return b"[UNAVAILABLE]" not in answer.tagged


def emptying(world):
    box = world.select()
    world.empty(box)
    world.act()
    for watcher in world.watchers:
        watcher.was_told()


def emptying_and_news(world):
    """What came since is no witness against it."""
    box = world.select()
    world.empty(box)
    for n in range(2):
        ok(world.admin.command(f"APPEND {box} {{}}", message(f"new {n}")))
    world.act()
    for watcher in world.watchers:
        watcher.was_told(lambda line: line == b"* 2 EXISTS")


def emptying_by_oneself(world):
    box = world.select()
    first, *others = world.watchers
    answers = [ok(first.session.command(line)) for line in ("STORE 1:* +FLAGS.SILENT (\\Deleted)", "EXPUNGE", "NOOP")]
    assert len(answers[1].named("EXPUNGE")) == MESSAGES, answers[1].lines
    for watcher in others:
        watcher.act()
        watcher.was_told()
    first.session.close()
    ok(world.admin.command(f"DELETE {box}"))


TESTS = [
    rename_that_the_master_has_not_heard_of,
    deletion_that_the_master_has_not_heard_of,
    rename_while_the_list_is_frozen,
    emptying_while_the_list_is_frozen,
    emptying,
    emptying_and_news,
    emptying_by_oneself,
]


def run(report, bed, _):
    """All of them on one murder."""
    world = World(bed)
    try:
        for test in TESTS:
            report.check(f"vanish/{test.__name__}", test, world)
    finally:
        world.close()
