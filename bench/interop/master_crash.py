"""Our master, killed under load: what it acknowledged is there, and nothing else appears."""
import os
import random
import signal
import subprocess
import threading
import time

from master_client import PASSWORD, Client, Gone, Master, listed

WRITERS = 6
NAMES_EACH = 40
# Pipelined by each writer: a kill finds commands in every state.
IN_FLIGHT = 8
# Octets of changes that are more than a master keeps for who is behind (16 MiB) and the sockets between take.
SLOW_CHANGES = 12_000
# These changes are 48 MiB, of which 16 are kept for who is behind, however many they are. While the next image is
# written its thread holds the 16 MiB of the image before and grows to as many of the new one; the database has 8 MiB of
# each of two generations. 62 to 77 MiB were seen, with subscribers and without.
SLOW_GROWTH_MAX = 96 * 1024 * 1024


class Writer(threading.Thread):
    """Owns names, changes them in a random order, and remembers what it was told."""

    def __init__(self, master, number, seed):
        super().__init__(daemon=True)
        self.random, self.number = random.Random(seed), number
        self.address, self.port = master.address, master.port
        # Name -> what may stand there: one entry when all is acknowledged, more when not.
        self.may = {f"user.w{number}n{n}": {None} for n in range(NAMES_EACH)}
        self.acknowledged = 0

    def change(self, name):
        """A change that its state allows, and what stands there after it."""
        known = next(iter(self.may[name]))
        if known is None or self.random.random() < 0.7:
            acl = f"w{self.number}\tlrs{self.random.randrange(10 ** 6)}\t"
            place = f"be{self.number}!p{self.random.randrange(3)}"
            if self.random.random() < 0.2 and known is None:
                return ("RESERVE", name, place), ("RESERVE", place, "")
            return ("ACTIVATE", name, place, acl), ("MAILBOX", place, acl)
        return ("DELETE", name), None

    def run(self):
        """Until the master is gone."""
        try:
            client = Client(self.address, self.port)
            while True:
                names = self.random.sample([x for x in self.may if len(self.may[x]) == 1], IN_FLIGHT)
                sent = []
                for name in names:
                    command, after = self.change(name)
                    self.may[name] = self.may[name] | {after}
                    sent.append((name, after, client.begin(*command)))
                for name, after, tag in sent:
                    answer = client.end(tag)[-1]
                    if answer[1] == b"OK":
                        self.may[name] = {after}
                        self.acknowledged += 1
                    else:
                        self.may[name] = self.may[name] - {after}
        except Gone:
            pass


# Changes of a round before the kill.
ACKNOWLEDGED_MIN = 50


def round_of(master, writers, seconds):
    """Load, a kill, a look at what is there."""
    for writer in writers:
        writer.start()
    time.sleep(seconds)
    end = time.monotonic() + 60
    while sum(writer.acknowledged for writer in writers) <= ACKNOWLEDGED_MIN and time.monotonic() < end:
        time.sleep(0.01)                   # on a busy machine
    master.kill()
    for writer in writers:
        writer.join(60)
        assert not writer.is_alive(), "a writer hangs"
    took = master.start()
    with master.client() as client:
        found = client.entries()
    for writer in writers:
        for name, may in writer.may.items():
            assert found.pop(name, None) in may, f"{name} is not what was acknowledged"
    return found, took


def killed_under_load(a, rounds):
    """Rounds of load and kill -9; each begins with what the one before left."""
    seed = int(os.environ.get("INTEROP_SEED") or random.randrange(10 ** 9))
    print(f"master: {rounds} kill -9 under load, INTEROP_SEED={seed}", flush=True)
    choice, master, total = random.Random(seed), Master(a.binaries, f"{a.folder}/crash", f"{a.net}.9"), 0
    slowest = master.start()
    try:
        for n in range(rounds):
            writers = [Writer(master, n * WRITERS + k, choice.random()) for k in range(WRITERS)]
            others_before = others(master)
            found, took = round_of(master, writers, choice.uniform(0.02, 0.25))
            assert found == others_before, "a name that nobody touched has changed"
            slowest = max(slowest, took)
            total += sum(writer.acknowledged for writer in writers)
        assert total > ACKNOWLEDGED_MIN * rounds, f"only {total} acknowledged changes: no load"
        print(f"master: {total} acknowledged changes, all there; open again in {slowest:.2f} s at most", flush=True)
    finally:
        master.kill()


def others(master):
    """What is there before a round."""
    with master.client() as client:
        return client.entries()


def second_master_is_refused(a):
    """One list has one master."""
    with Master(a.binaries, f"{a.folder}/second", f"{a.net}.9") as first:
        second = Master(a.binaries, f"{a.folder}/second", f"{a.net}.9")
        try:
            second.start()
        except RuntimeError as e:
            assert "in use by another process" in str(e), e
        else:
            second.kill()
            raise AssertionError("two masters of one list")
        with first.client() as client:
            client.ok("NOOP")


def stop_is_clean(a):
    """SIGTERM: a BYE for everybody, status 0, and nothing is lost."""
    master = Master(a.binaries, f"{a.folder}/stop", f"{a.net}.9")
    master.start()
    client = master.client()
    client.ok("ACTIVATE", "user.a", "be1!p", "a\tlrs\t")
    stream = master.client()
    stream.ok("UPDATE")
    assert master.stop() == 0
    for one in (client, stream):
        assert one.row()[:2] == [b"*", b"BYE"]
    with master, master.client() as again:
        assert again.entries() == {"user.a": ("MAILBOX", "be1!p", "a\tlrs\t")}


def slow_subscribers(a):
    """Who does not read costs bounded memory, is told BYE when too much has changed, and begins anew: a client, and a
    slave of ours that stands still."""
    acl, folder = "x" * 4000 + "\tlrs\t", f"{a.folder}/slow"
    with Master(a.binaries, f"{folder}/master", f"{a.net}.9") as master, master.client(timeout=60) as writer:
        writer.ok("ACTIVATE", "user.first", "be1!p", "first\tlrs\t")
        slave = Master(a.binaries, f"{folder}/slave", f"{a.net}.8", options={
            "mupdate_server": master.address, "mupdate_authname": "postman", "mupdate_username": "postman",
            "mupdate_password": PASSWORD, "mupdate_retry_delay": "1"})
        slave.words = lambda: [x for x in Master.words(slave) if x != "-m"]
        with slave, master.client(timeout=60) as slow:
            assert len(slow.ok("UPDATE")) == 1
            slave.process.send_signal(signal.SIGSTOP)
            before = resident(master)
            try:
                for n in range(SLOW_CHANGES // IN_FLIGHT):
                    for tag in [writer.begin("ACTIVATE", f"user.s{n % 40}x{k}", "be1!p", acl + f"{n}\tl\t")
                                for k in range(IN_FLIGHT)]:
                        assert writer.end(tag)[-1][1] == b"OK"
            finally:
                slave.process.send_signal(signal.SIGCONT)
            grown = resident(master) - before
            assert grown < SLOW_GROWTH_MAX, f"{grown >> 20} MiB more"
            last = b""
            try:
                while True:
                    row = slow.row()
                    last = b" ".join(row[:2]) if row[:2] == [b"*", b"BYE"] else last
            except Gone:
                assert last == b"* BYE", last
            truth = writer.entries()
            with master.client(timeout=60) as again:
                assert listed(again.ok("UPDATE")) == truth
            end = time.monotonic() + 60
            while followed(slave) != truth:
                assert time.monotonic() < end, f"the slave is behind: {slave.log()}"
                time.sleep(0.1)


def followed(slave):
    """What a slave has; nothing while it serves nobody."""
    try:
        with slave.client() as client:
            return client.entries()
    except (Gone, OSError, AssertionError):
        return None


def resident(master):
    """Bytes of memory that a master has."""
    with open(f"/proc/{master.process.pid}/statm") as f:
        return int(f.read().split()[1]) * 4096


def beside_a_frontend(a):
    """A `mupdate -m` line in a frontend's cyrus.conf: started, started again when it dies, ended with it."""
    own = Master(a.binaries, f"{a.folder}/beside", f"{a.net}.8", options={
        "mupdate_server": f"{a.net}.8", "mupdate_authname": "postman", "mupdate_username": "postman",
        "mupdate_password": PASSWORD, "mupdate_retry_delay": "1", "rookery_shards": "1", "rookery_drain": "1",
        "rookery_accept_empty_list": "yes"})
    services = f"{own.folder}/cyrus.conf"
    with open(services, "w") as f:
        f.write(f"""SERVICES {{
  imap cmd="imapd" listen="{a.net}.8:14300" proto="tcp4"
  mupdate cmd="mupdate -m" listen="{a.net}.8:3905" proto="tcp4"
}}
""")
    own.own()
    own.words = lambda: [f"{a.binaries}/rookeryd", "-D", "-C", f"{own.folder}/imapd.conf", "-M", services]
    own.start()                            # READY says that the frontend is in step with its master
    try:
        child = the_child(own)
        with own.client() as client:
            client.ok("ACTIVATE", "user.beside", "be1!p", "beside\tlrs\t")
        os.kill(child, signal.SIGKILL)
        end = time.monotonic() + 10
        while the_child(own) in (None, child) and time.monotonic() < end:
            time.sleep(0.05)
        again = the_child(own)
        assert again not in (None, child), own.log()
        while time.monotonic() < end:
            try:
                with own.client() as client:
                    assert set(client.entries()) == {"user.beside"}
                break
            except OSError:
                time.sleep(0.05)
        else:
            raise AssertionError(f"the master did not come back: {own.log()}")
        assert own.stop() == 0, own.log()
        assert not os.path.exists(f"/proc/{again}"), "the master outlives the frontend"
    finally:
        own.kill()


def the_child(frontend):
    """The process id of the master that a frontend has started."""
    found = subprocess.run(["pgrep", "-P", str(frontend.process.pid), "-x", "mupdate"], stdout=subprocess.PIPE, text=True)
    return int(found.stdout.split()[0]) if found.stdout.split() else None


def run(report, a):
    """All of it."""
    report.check("master/beside a frontend", beside_a_frontend, a)
    report.check("master/second master", second_master_is_refused, a)
    report.check("master/slow subscribers", slow_subscribers, a)
    report.check("master/stop", stop_is_clean, a)
    report.check("master/kill -9 under load", killed_under_load, a, a.kills)
