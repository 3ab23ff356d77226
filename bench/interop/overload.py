"""rookeryd before clients that take nothing of what they asked for: its memory is bounded, who reads goes on.

In a network of its own, where the kernel keeps as little for a connection as it can: else it takes megabytes for each
client before anything waits in the daemon.
"""
import ctypes
import fcntl
import re
import shutil
import socket
import struct
import threading
import time
import urllib.request

from bed import Bed
from daemon import WAIT_SECONDS, Daemon, greets, says, wait_for
from drive import message
from sockets import FULL, works
from wire import Lost, Session

# Below what is spliced, so that it goes through the memory of the daemon; what fits into the kernel is much less.
MESSAGE_BYTES = 48 * 1024
FETCHES = 4
# A sixteenth is kept from new clients.
UNSENT = 1024 * 1024
FULL_FROM = UNSENT - UNSENT // 16
# Each keeps 30 to 60 KiB waiting: a third of them or a half fits.
SLOW = 64
# All that they ask for is 12 MiB, and what waits may be held twice while it moves; the rest is the shard's buffers.
GROWTH_KIB_MAX = 24 * 1024
METRICS_PORT = 9144
CLONE_NEWNET, SIOCSIFFLAGS, IFF_UP_RUNNING = 0x40000000, 0x8914, 0x41


class Slow(Session):
    """A client whose kernel takes little for him."""

    def __init__(self, address):
        super().__init__(address, timeout=WAIT_SECONDS)

    def connected(self, address, port):
        """With a small window, from the beginning."""
        made = socket.socket()
        made.settimeout(WAIT_SECONDS)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        made.connect((address, port))
        return made

    def asks(self):
        """Several messages at once, and reads none."""
        self.send(b"".join(b"f%d FETCH * (BODY.PEEK[])\r\n" % n for n in range(FETCHES)))

    def reads(self, whole):
        """Takes all: how many messages came whole before the connection ended."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        for n in range(FETCHES):
            try:
                lines = self.until_match(f"^f{n} ", WAIT_SECONDS)
            except Lost as e:
                assert "TimeoutError" not in str(e) and "within" not in str(e), e
                return n
            assert any(line.endswith(whole + b")") for line in lines), [len(line) for line in lines]
            assert lines[-1].startswith(b"f%d OK" % n), lines[-1]
        return FETCHES


def resident_kib(daemon):
    """Memory of the daemon."""
    with open(f"/proc/{daemon.process.pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS:"))


def waiting(bed):
    """Bytes that wait, as Prometheus is told."""
    with urllib.request.urlopen(f"http://{bed.address}:{METRICS_PORT}/metrics", timeout=WAIT_SECONDS) as answer:
        return int(re.search(r'^rookery_waiting_bytes\{shard="0"\} (\d+)$', answer.read().decode(), re.M).group(1))


def first_line(bed, port):
    """What a client hears before he speaks."""
    with socket.create_connection((bed.address, port), WAIT_SECONDS) as raw:
        said = b""
        while not said.endswith(b"\n") and (some := raw.recv(100)):
            said += some
        return said


def everybody_is_sent_away(bed):
    """Whether each protocol says that there is no place."""
    too_many = b"too many connections, try again later"
    words = {143: b"* BYE [UNAVAILABLE] %b\r\n", 110: b"-ERR [SYS/TEMP] %b\r\n", 4190: b'BYE (TRYLATER) "%b"\r\n',
             2003: b"421 4.3.2 %b\r\n"}
    return all(first_line(bed, port) == text % too_many for port, text in words.items())


def who_takes_nothing_is_cut_and_who_reads_goes_on(bed):
    """Near the limit new clients are told to come later; past it those who take nothing are cut, the stillest first."""
    text = message("bulk", "\r\n".join(f"{n:070}" for n in range(MESSAGE_BYTES // 72)))
    services = "".join(f'  {name} cmd="{program}" listen="{bed.address}:{port}" proto="tcp4"\n'
                       for name, program, port in FULL if port != 993)
    changes = {"rookery_shards": "1", "rookery_unsent_max": str(UNSENT),
               "rookery_metrics_listen": f"{bed.address}:{METRICS_PORT}"}
    with Daemon(bed, changes, services) as daemon:
        old = bed.session("user001", timeout=WAIT_SECONDS)
        says(old.command("APPEND INBOX {}", text, sync=False), b" OK")
        slow = [Slow(bed.address).login("user001", bed.password("user001")) for _ in range(SLOW)]
        for s in slow:
            says(s.command("SELECT INBOX"), b" OK")
        before, left = resident_kib(daemon), list(slow)

        def is_full():
            if waiting(bed) >= FULL_FROM and everybody_is_sent_away(bed):
                return True
            if left:
                # One after the other, so that the limit is come near to before it is passed.
                left.pop(0).asks()
                time.sleep(0.2)
            return False
        wait_for(is_full, "words for those who find no place")
        daemon.logged("do not take what waits for them (rookery_unsent_max)")
        who_reads_is_served(old, text)
        for s in left:
            s.asks()
        who_reads_is_served(old, text)
        assert waiting(bed) < 2 * UNSENT, waiting(bed)
        grown = resident_kib(daemon) - before
        assert grown < GROWTH_KIB_MAX, f"{grown} KiB more"
        came = [s.reads(text) for s in slow]
        cut = [n < FETCHES for n in came]
        # Which of those that stand still since about one moment are the first is the kernel's choice.
        assert 0 < sum(cut) < SLOW and sum(cut[:SLOW // 2]) >= sum(cut[SLOW // 2:]), came
        wait_for(lambda: greets(bed), "a greeting when all is taken")
        wait_for(lambda: waiting(bed) == 0, "nothing that waits")
        works(old)
        for s in (*slow, old):
            s.close()


def who_reads_is_served(old, text):
    """Also with what goes through the same memory."""
    works(old)
    for _ in range(3):
        says(old.command("SELECT INBOX"), b" OK")
        lines = old.command("FETCH * (BODY.PEEK[])").lines
        assert any(line.endswith(text + b")") for line in lines), [len(line) for line in lines]


def takes_a_network_of_its_own():
    """The calling thread, and what it starts, have one where sockets send little ahead. OSError where a container
    forbids that."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "a network of its own is forbidden")
    with socket.socket() as s:
        fcntl.ioctl(s, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", IFF_UP_RUNNING))
    with open("/proc/sys/net/ipv4/tcp_wmem", "w") as f:
        f.write("4096 4096 8192")


def with_a_murder(a):
    """The test, on servers of its own."""
    folder = f"{a.folder}/overload"
    shutil.rmtree(folder, ignore_errors=True)
    bed = Bed(folder, a.net, ["--tls"], 2, "rookery", a.binaries)
    try:
        bed.murder("up", folder, "--net", a.net, "--backends", "2", "--no-frontend", "--tls")
        bed.murder("seed", folder, "--users", "2", "--shared", "2", "--messages", "1")
        who_takes_nothing_is_cut_and_who_reads_goes_on(bed)
    finally:
        bed.murder("down", folder)


def in_a_thread(*steps):
    """Runs them in one, for a network is a thread's."""
    failures = []

    def run():
        try:
            for step in steps:
                step()
        except BaseException as e:
            failures.append(e)
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def overloaded(a):
    """In a network of its own."""
    in_a_thread(takes_a_network_of_its_own, lambda: with_a_murder(a))


def run(report, a):
    """All of it."""
    try:
        in_a_thread(takes_a_network_of_its_own)
    except OSError as e:
        return report.skips("daemon/overload", e)
    report.check("daemon/overload", overloaded, a)
