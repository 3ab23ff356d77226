"""The log of slow commands (`rookery_slow_command`) at a MUPDATE master and at a slave that serves its list."""
import contextlib
import ctypes
import os
import re
import shutil
import signal
import time

from daemon import WAIT_SECONDS, wait_for
from master_client import Master
from master_slave import Slave

SLOW_SECONDS = 1.2
OPTIONS = {"rookery_slow_command": "1"}
# A slave that gives its master up after this is not what is tested.
PATIENT = {"mupdate_retry_delay": "20"}
CAP_SYS_PTRACE = 1 << 19
PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT, WALL = 17, 0x4206, 0x4207, 0x40000000


def fresh(a, name):
    """A folder of no earlier run."""
    folder = f"{a.folder}/{name}"
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def may_stop_threads():
    """Whether this process may trace those of other users: a container may forbid it."""
    with open("/proc/self/status") as f:
        caps = next(int(line.split()[1], 16) for line in f if line.startswith("CapEff:"))
    return bool(caps & CAP_SYS_PTRACE)


@contextlib.contextmanager
def stopped(pid, thread):
    """Stops one thread of a process, by name, as a disk that does not answer would."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    tasks = [int(task) for task in os.listdir(f"/proc/{pid}/task")]
    named = [task for task in tasks if comm(pid, task) == thread]
    assert len(named) == 1, (thread, sorted(comm(pid, task) for task in tasks))
    task = named[0]
    for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
        assert not libc.ptrace(request, task, None, None), os.strerror(ctypes.get_errno())
    os.waitpid(task, WALL)
    try:
        yield
    finally:
        libc.ptrace(PTRACE_DETACH, task, None, None)


def comm(pid, task):
    """The name of a thread."""
    with open(f"/proc/{pid}/task/{task}/comm") as f:
        return f.read().strip()


def states(pid):
    """What each thread of a process does."""
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/stat") as f:
            yield f.read().rpartition(")")[2].split()[0]


def slow_lines(server):
    """What the log has of slow commands."""
    return [line for line in server.log().splitlines() if "slow command: " in line]


def told(server, verb, wait):
    """The log has a line about this command, which waited for this party, and of no other."""
    wait_for(lambda: slow_lines(server), f"a line about {verb}")
    found = [re.search(r"slow command: (.+) took (\d+) ms: (.*) ms for 127\.", line) for line in slow_lines(server)]
    assert all(found) and {each.group(1) for each in found} == {verb}, slow_lines(server)
    words = found[0].group(3).split()
    waits = dict(zip(words[::2], map(int, words[1::2])))
    assert waits.pop(wait) >= 1000 and not any(waits.values()), slow_lines(server)


def change_waits_for_the_disk(a):
    """The master's thread that writes stands still: a change waits for the directory, and who asks does not."""
    with Master(a.binaries, fresh(a, "slow"), f"{a.net}.9", options=OPTIONS) as master, master.client() as client:
        client.ok("ACTIVATE", "user.quick", "be1!p", "q\tlrs\t")
        with stopped(master.process.pid, "store"):
            tag = client.begin("ACTIVATE", "user.slow", "be1!p", "s\tlrs\t")
            # Behind the answers to another connection, the change has been read.
            with master.client() as other:
                assert other.ok("FIND", "user.quick")
            time.sleep(SLOW_SECONDS)
        assert client.end(tag)[-1][1] == b"OK"
        told(master, "MUPDATE ACTIVATE", "directory")


def client_keeps_the_master_waiting(a):
    """A password that comes late is a wait for the client."""
    with Master(a.binaries, fresh(a, "late"), f"{a.net}.9", options=OPTIONS) as master, \
            master.client(user=None) as client:
        client.send(b'A01 AUTHENTICATE "PLAIN"\r\n')
        client.raw_line()
        time.sleep(SLOW_SECONDS)
        client.send(b'""\r\n')
        client.raw_line()
        told(master, "MUPDATE AUTHENTICATE", "client")


def slave_waits_for_its_master(a):
    """NOOP of a stream at a slave is a barrier with the slave's own master, which stands still: two seconds."""
    place = fresh(a, "slow-slave")
    with Master(a.binaries, f"{place}/master", f"{a.net}.9") as master, master.client() as writer, \
            Slave(a.binaries, f"{place}/slave", f"{a.net}.8", master.address, options=OPTIONS | PATIENT) as slave, \
            slave.client(timeout=WAIT_SECONDS) as reader:
        writer.ok("ACTIVATE", "user.first", "be1!p", "f\tlrs\t")
        reader.ok("UPDATE")
        reader.ok("NOOP")
        assert not slow_lines(slave), slow_lines(slave)
        master.process.send_signal(signal.SIGSTOP)
        wait_for(lambda: set(states(master.process.pid)) == {"T"}, "threads that all stand still")
        try:
            assert reader.command("NOOP")[-1][1] in (b"OK", b"NO")
        finally:
            master.process.send_signal(signal.SIGCONT)
        told(slave, "MUPDATE NOOP", "directory")


TESTS = [change_waits_for_the_disk, client_keeps_the_master_waiting, slave_waits_for_its_master]


def run(report, a):
    """All, without Cyrus."""
    for test in TESTS:
        if test is change_waits_for_the_disk and not may_stop_threads():
            report.skips(f"master/slow/{test.__name__}", "threads of other users' processes may not be stopped")
            continue
        report.check(f"master/slow/{test.__name__}", test, a)
