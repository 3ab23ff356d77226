"""rookeryd and the sockets of its host: inherited, UNIX, bound; in the background; at its limits."""
import os
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.request

from daemon import WAIT_SECONDS, Daemon, descriptors, fresh, greets, says, wait_for
from drive import message


# Takes over descriptors as a service manager hands them: from 3 on, to the process itself.
INHERIT = ["bash", "-c", 'n=3; for fd in $0; do eval "exec $n<&$fd"; n=$((n+1)); done; '
                         'LISTEN_PID=$$ LISTEN_FDS=$((n-3)) exec "$@"']


def listener(address):
    """A listening socket that shares its port with nobody."""
    made = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    if not isinstance(address, str):
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(address)
    made.listen(64)
    return made


def busy_ns(pid, thread):
    """Time that the threads of this name have had a core."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/comm") as f:
            if f.read().strip() != thread:
                continue
        with open(f"/proc/{pid}/task/{task}/schedstat") as f:
            total += int(f.read().split()[0])
    return total


def works(s):
    """A logged-in session reaches both backends."""
    for line in ("SELECT INBOX", "SELECT team01", "SELECT team02"):
        says(s.command(line), b" OK")


# ---------------------------------------------------------------- listeners
def inherited_sockets_are_served(bed):
    """Also after the end of the daemon: who was in the queue is served by the next one."""
    path = fresh(bed, "inherited.sock")
    made = [listener((bed.address, 143)), listener(path)]
    os.chmod(path, 0o777)
    services = (f'  imap cmd="imapd" listen="{bed.address}:143" proto="tcp4"\n'
                f'  local cmd="imapd" listen="{path}"\n')
    numbers = sorted(s.fileno() for s in made)
    daemon = Daemon(bed, None, services, [*INHERIT, " ".join(map(str, numbers))], descriptors=numbers)
    try:
        with daemon:
            for place in (bed.address, path):
                s = bed.session("user001", address=place)
                works(s)
                s.close()
            assert "inherited" not in daemon.log(), daemon.log()
        assert os.path.exists(path), "an inherited path is not ours to remove"
        waiting = socket.create_connection((bed.address, 143), WAIT_SECONDS)
        with daemon:
            assert waiting.recv(100).startswith(b"* OK"), "who was in the queue is lost"
            waiting.close()
    finally:
        for s in made:
            s.close()
        os.unlink(path)


def unix_socket_is_listened_on(bed):
    path = fresh(bed, "imap.sock")
    left = listener(path)
    left.close()                               # as a process leaves it that was killed
    services = f'  local cmd="imapd" listen="{path}"\n'
    with Daemon(bed, {"rookery_shards": "2"}, services) as daemon:
        sessions = [bed.session("user001", address=path) for _ in range(4)]
        for s in sessions:
            works(s)
            s.close()
        second = Daemon(bed, None, services)
        second.pid_file += ".second"
        second.refused(69, path, "in use")
        assert daemon.stop() == 0, daemon.log()
    assert not os.path.exists(path), "the path stays"


# ---------------------------------------------------------------- backends
def backends_are_reached_from_client_bind(bed):
    """From all its addresses, in turn."""
    locals_ = [f"{bed.net}.77", f"{bed.net}.78"]
    with Daemon(bed, {"client_bind": "yes", "client_bind_name": " ".join(locals_)}) as daemon:
        sessions = [bed.session("user001") for _ in range(4)]
        for s in sessions:
            works(s)
        with open(f"/proc/{daemon.process.pid}/net/tcp") as f:
            rows = [line.split() for line in f.readlines()[1:]]
        for local in locals_:
            packed = socket.inet_aton(local)[::-1].hex().upper()
            from_it = {row[2] for row in rows if row[1].startswith(f"{packed}:") and row[3] == "01"}
            assert len(from_it) >= 2, (local, from_it, "connections from client_bind_name")
        for s in sessions:
            s.close()


# ---------------------------------------------------------------- shards
def every_shard_serves(bed):
    with Daemon(bed, {"rookery_shards": "2"}) as daemon:
        pid, threads = daemon.process.pid, ("shard-0", "shard-1")
        before = [busy_ns(pid, thread) for thread in threads]
        sessions = [bed.session("user001", port=993 if n % 2 else 143, tls=bed.tls() if n % 2 else None)
                    for n in range(16)]
        for s in sessions:
            says(s.command("SELECT team02"), b" OK")
        spent = [busy_ns(pid, thread) - then for thread, then in zip(threads, before)]
        assert min(spent) > max(spent) / 50, (spent, "ns of the shards")
        for s in sessions:
            s.close()


# ---------------------------------------------------------------- bulk
def bulk_goes_through_tls_whole(bed):
    """There in records of the client's, back in ours, to a client that begins to read late."""
    sent = message("bulk", "\r\n".join(f"{n:070}" for n in range(42_000)))
    with Daemon(bed):
        s = bed.session("user001", port=993, tls=bed.tls())
        for box in ("INBOX", "team02"):
            says(s.command(f"SELECT {box}"), b" OK")
            says(s.command(f"APPEND {box} {{}}", sent, sync=False), b" OK")
            for tag in ("f1", "f2"):
                s.send(f"{tag} FETCH * (BODY.PEEK[])\r\n".encode())
                time.sleep(0.2)
                seen = s.until_match(f"^{tag} ", 60)
                assert seen[-1].startswith(f"{tag} OK".encode()), seen[-1]
                assert any(line.endswith(sent + b")") for line in seen), [len(line) for line in seen]
        s.close()


# ---------------------------------------------------------------- limits
FULL = (("imap", "imapd", 143), ("imaps", "imapd -s", 993), ("pop3", "pop3d", 110), ("sieve", "timsieved", 4190),
        ("lmtp", "lmtpd -a", 2003))


def until_nobody_greets(bed, most):
    """Connections that were greeted, and the first that was not."""
    served = []
    while len(served) <= most:
        raw = socket.create_connection((bed.address, 143), WAIT_SECONDS)
        raw.settimeout(0.5)
        try:
            assert raw.recv(100).startswith(b"* OK")
            served.append(raw)
        except TimeoutError:
            raw.settimeout(WAIT_SECONDS)
            return served, raw
    raise AssertionError(f"more than {most} are served")


def first_words(bed, port):
    """What a client hears before he speaks, and that the connection ends."""
    with socket.create_connection((bed.address, port), WAIT_SECONDS) as raw:
        said = b""
        while some := raw.recv(100):
            said += some
        return said


def connections_past_the_limit_are_refused(bed):
    """512 descriptors are kept for other uses: 88 connections, some of them for who asks saslauthd, of clients and
    of backends. Each protocol says that it is full, and who is there reaches his server."""
    services = "".join(f'  {name} cmd="{program}" listen="{bed.address}:{port}" proto="tcp4"\n'
                       for name, program, port in FULL)
    changes = {"rookery_shards": "1", "rookery_metrics_listen": f"{bed.address}:9144"}
    with Daemon(bed, changes, services, prefix=["prlimit", "--nofile=600:600"]) as daemon:
        old = bed.session("user001")
        served = []
        while len(served) < 88:
            raw = socket.create_connection((bed.address, 143), WAIT_SECONDS)
            raw.settimeout(WAIT_SECONDS)
            served.append(raw)
            if not raw.recv(100).startswith(b"* OK"):
                break
        assert 40 <= len(served) < 88, len(served)
        heard = {port: first_words(bed, port) for _, _, port in FULL if port != 993}
        too_many = b"too many connections, try again later"
        assert heard == {
            143: b"* BYE [UNAVAILABLE] " + too_many + b"\r\n",
            110: b"-ERR [SYS/TEMP] " + too_many + b"\r\n",
            4190: b'BYE (TRYLATER) "' + too_many + b'"\r\n',
            2003: b"421 4.3.2 " + too_many + b"\r\n",
        }, heard
        raw = socket.create_connection((bed.address, 993), WAIT_SECONDS)
        try:
            bed.tls().wrap_socket(raw, server_hostname="frontend")
            raise AssertionError("a handshake with who is full")
        except ssl.SSLError as error:
            assert "internal error" in str(error), error
        works(old)
        daemon.logged("clients refused")
        with urllib.request.urlopen(f"http://{bed.address}:9144/metrics", timeout=WAIT_SECONDS) as answer:
            text = answer.read().decode()
        assert 'rookery_refused_clients_total{shard="0"} 6\n' in text, text
        for s in served:
            s.close()
        wait_for(lambda: greets(bed), "greeting after all have gone")
        old.close()


def accepting_pauses_without_descriptors(bed):
    """Most of its descriptors are gone before it starts, so that they end before its connections do."""
    with Daemon(bed, {"rookery_shards": "1"}) as daemon:
        bed.session("user001").close()
        at_rest = descriptors(daemon.process.pid)
    with open("/dev/null", "rb") as null:
        lost = [os.dup(null.fileno()) for _ in range(256 - at_rest - 16)]
    try:
        with Daemon(bed, {"rookery_shards": "1"}, prefix=["prlimit", "--nofile=256:256"], descriptors=lost) as daemon:
            old = bed.session("user001")
            works(old)
            served, waiting = until_nobody_greets(bed, 16)
            before = busy_ns(daemon.process.pid, "shard-0")
            time.sleep(1)
            spent = busy_ns(daemon.process.pid, "shard-0") - before
            assert spent < 100_000_000, f"{spent} ns in a second of waiting"
            says(old.command("NOOP"), b" OK")
            served.pop().close()
            assert waiting.recv(100).startswith(b"* OK"), "nobody is accepted when somebody has gone"
            for s in (*served, waiting):
                s.close()
            works(old)
            old.close()
    finally:
        for fd in lost:
            os.close(fd)


# ---------------------------------------------------------------- in the background
def background(daemon):
    """Runs the parent of a daemon to its end; the pipe ends only when nobody holds it."""
    words = [word for word in daemon.words() if word != "-D"] + ["-d"]
    return subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=WAIT_SECONDS, cwd="/")


def goes_to_the_background_when_it_serves(bed):
    ready = fresh(bed, "ready")
    daemon = Daemon(bed, {"umask": "027", "master_ready_file": ready, "rookery_list_path": fresh(bed, "list-027")})
    done = background(daemon)
    assert (done.returncode, done.stdout) == (0, b""), done
    with open(daemon.pid_file) as f:
        pid = int(f.read())
    try:
        bed.session().close()
        wait_for(lambda: os.path.exists(ready), "ready file")
        s = bed.session("user001")
        works(s)
        assert os.stat(ready).st_mode & 0o777 == 0o640, oct(os.stat(ready).st_mode)
        assert os.stat(f"{daemon.folder}/conf/list-027").st_mode & 0o777 == 0o750
        assert os.getsid(pid) == pid, "no session of its own"
        for fd in range(3):
            assert os.readlink(f"/proc/{pid}/fd/{fd}") == "/dev/null", fd
        second = background(daemon)
        assert second.returncode == 73 and b"already running" in second.stdout, second
    finally:
        os.kill(pid, signal.SIGTERM)
    assert s.drain(WAIT_SECONDS)[-1].startswith(b"* BYE")
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), "end")
    assert not os.path.exists(daemon.pid_file) and not os.path.exists(ready), "files stay"


def failure_in_the_background_is_told(bed):
    taken = listener((bed.address, 143))
    try:
        done = background(Daemon(bed))
        assert done.returncode == 69 and b"cannot listen on" in done.stdout, done
    finally:
        taken.close()


def locked_memory_is_enough_for_many_shards(bed):
    """64 shards without root under the usual limit; of one that is too low the start says what to set."""
    user, folder = 61000 + int(bed.net.split(".")[2]), f"{bed.folder}/many"
    os.makedirs(f"{folder}/conf", exist_ok=True)
    shutil.copy(f"{bed.binaries}/rookeryd", f"{folder}/rookeryd")
    services = f'  imap cmd="imapd" listen="{bed.address}:10144" proto="tcp4"\n'
    changes = {"configdirectory": f"{folder}/conf", "tls_server_cert": None, "tls_server_key": None}

    def daemon(shards, limit):
        # Huge pages on: what lies in one is counted whole.
        prefix = ["env", "GLIBC_TUNABLES=glibc.malloc.hugetlb=1", "prlimit", f"--memlock={limit}:{limit}", "setpriv",
                  f"--reuid={user}", f"--regid={user}", "--clear-groups", "--no-new-privs",
                  "--bounding-set=-all", "--inh-caps=-all"]
        made = Daemon(bed, changes | {"rookery_shards": str(shards)}, services, prefix, f"{folder}/rookeryd", folder)
        for path in (folder, f"{folder}/conf"):
            os.chown(path, user, user)
        return made
    with daemon(64, 8 << 20):
        # Shards begin one after the other, which takes a busy machine a minute, and connections wait for theirs.
        sessions = [bed.session(port=10144, timeout=10 * WAIT_SECONDS) for _ in range(128)]
        for s in sessions:
            says(s.command("NOOP"), b" OK")
            s.close()
    daemon(100, 8 << 20).refused(69, "locked memory limit is 8388608 bytes", "set LimitMEMLOCK=", "or rookery_shards: ")
    daemon(2, 64 << 10).refused(69, "set LimitMEMLOCK=524288 (ulimit -l 512)")


TESTS = [
    inherited_sockets_are_served, unix_socket_is_listened_on, backends_are_reached_from_client_bind,
    every_shard_serves, bulk_goes_through_tls_whole, connections_past_the_limit_are_refused,
    accepting_pauses_without_descriptors, locked_memory_is_enough_for_many_shards, goes_to_the_background_when_it_serves, failure_in_the_background_is_told,
]
