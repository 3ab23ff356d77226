"""What measurements of our daemons share: what a process costs, the names of a list, and how a script of them runs."""
import os
import resource
import shutil
import tempfile
import time

READY_SECONDS = 150
SETTLE_SECONDS = 20
# A process is at rest when its memory stands still as long as this.
STILL_SECONDS, STILL_MIB = 1.0, 0.02


def memory(pid):
    """Proportional resident memory, MiB."""
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Pss:")) / 1024


def settled_memory(pid):
    """The same, once it stands still: what was freed is given back a little later."""
    end, now = time.monotonic() + SETTLE_SECONDS, memory(pid)
    while time.monotonic() < end:
        time.sleep(STILL_SECONDS)
        before, now = now, memory(pid)
        if abs(now - before) < STILL_MIB:
            break
    return now


def cpu(pid):
    """Seconds that a process was on a processor."""
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def names(count):
    """(user, folder) of so many mailboxes, in the order of a Cyrus database."""
    return ((f"u{n // 6:07d}", n % 6) for n in range(count))


def run(parser, measure):
    """Runs `measure(arguments, folder)` with all descriptors there are and a folder for what it needs."""
    a = parser.parse_args()
    a.binaries = os.path.abspath(a.binaries)
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    folder = tempfile.mkdtemp(prefix="figures-", dir="/tmp")
    os.chmod(folder, 0o755)
    try:
        measure(a, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
