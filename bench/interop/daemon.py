"""rookeryd as a daemon: what it says at start, logins, signals, restarts and TLS, with a real murder behind it."""
import base64
import errno
import hashlib
import hmac
import os
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time

from bed import Bed
from wire import Lost, Session

WAIT_SECONDS = 60
NOBODY = 65534
# The reference implementation's own vector: "password" with the salt "somesalt".
ARGON2 = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"


# ---------------------------------------------------------------- a daemon with a changed configuration
class Daemon:
    """One rookeryd; `changes` replace lines of the frontend's imapd.conf, None takes one out."""

    def __init__(self, bed, changes=None, services=None, prefix=(), binary=None, folder=None, descriptors=()):
        self.bed, self.prefix, self.process, self.ready = bed, list(prefix), None, None
        self.descriptors = descriptors     # inherited by it, under their numbers
        self.binary = binary or f"{bed.binaries}/rookeryd"
        self.folder = folder or f"{bed.folder}/frontend"
        self.imapd, self.cyrus = f"{self.folder}/daemon.conf", f"{self.folder}/daemon-cyrus.conf"
        self.pid_file, self.log_file = f"{self.folder}/conf/daemon.pid", f"{self.folder}/daemon.log"
        self.configure(changes)
        address = bed.address
        write(self.cyrus, "SERVICES {\n" + (services or f"""\
  imap cmd="imapd" listen="{address}:143" proto="tcp4"
  imaps cmd="imapd -s" listen="{address}:993" proto="tcp4"
""") + "}\n")

    def configure(self, changes=None):
        """Writes imapd.conf."""
        with open(self.bed.conf("imapd.conf")) as f:
            options = dict(line.split(": ", 1) for line in f.read().splitlines())
        # Cyrus 3.6.1's master crashes at times when a connection with TLS ends
        # (https://github.com/cyrusimap/cyrus-imapd/issues/4785): without TLS it lives.
        options |= {"sasl_pwcheck_method": "backend", "failedloginpause": "0", "rookery_drain": "1",
                    "rookery_mupdate_starttls": "never"}
        options |= changes or {}
        write(self.imapd, "".join(f"{key}: {value}\n" for key, value in options.items() if value is not None))

    def words(self, *more):
        """The command line."""
        return [*self.prefix, self.binary, "-D", "-C", self.imapd, "-M", self.cyrus, "-p", self.pid_file, *more]

    def refused(self, status, *expected):
        """It does not start, and says why."""
        done = subprocess.run(self.words(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=WAIT_SECONDS, cwd="/")
        said = done.stdout.decode(errors="replace")
        assert done.returncode == status, (done.returncode, said)
        for text in expected:
            assert text in said, (text, said)

    def start(self, ready=True):
        """Starts; with `ready` until the list is live, otherwise until there is a greeting."""
        path = f"{self.folder}/notify"
        if os.path.exists(path):
            os.unlink(path)
        self.ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.ready.bind(path)
        os.chmod(path, 0o666)
        with open(self.log_file, "wb") as log:
            self.process = subprocess.Popen(self.words(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                                            env={**os.environ, "NOTIFY_SOCKET": path}, pass_fds=self.descriptors)
        if ready:
            try:
                self.told("READY=1")
            except BaseException:
                self.kill()
                raise
        return self

    def kill(self):
        """Whatever state it is in."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def told(self, text, seconds=2 * WAIT_SECONDS):
        """Waits until the service manager is told this."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            assert self.process.poll() is None, f"exited {self.process.returncode}: {self.log()}"
            self.ready.settimeout(min(left, 0.2))
            try:
                if text in self.ready.recv(4096).decode():
                    return
            except TimeoutError:
                pass
        raise AssertionError(f"{text} was not told in {seconds} s: {self.log()}")

    def is_told(self, text, seconds):
        """Whether it is told in this time."""
        try:
            self.told(text, seconds)
            return True
        except AssertionError:
            return False

    def log(self):
        """What it has said."""
        with open(self.log_file, errors="replace") as f:
            return f.read()[-3000:]

    def logged(self, text):
        """Waits for a line."""
        wait_for(lambda: text in self.log(), f"{text!r} in the log: {self.log()}")

    def stop(self, sig=signal.SIGTERM):
        """Ends it and gives back its exit status."""
        if self.process is None:
            return None
        process, self.process = self.process, None
        process.send_signal(sig)
        try:
            return process.wait(WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"did not end: {self.log()}") from None
        finally:
            self.ready.close()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process is not None:
            self.stop()


def write(path, text, mode=0o644):
    """A file in one step, as an administrator would replace it."""
    with open(path + ".new", "w") as f:
        f.write(text)
    os.chmod(path + ".new", mode)
    os.rename(path + ".new", path)


def wait_for(condition, what):
    """Until it holds, with a deadline."""
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < end, f"no {what}"
        time.sleep(0.02)


def says(answer, *parts):
    """The tagged line has all of these."""
    for part in parts:
        assert part in answer.tagged, (answer.command, answer.tagged)


def denied(answer):
    """A wrong password, in the words of Cyrus; not an outage."""
    says(answer, b" NO ")
    assert b"UNAVAILABLE" not in answer.tagged, answer.tagged


# ---------------------------------------------------------------- start messages
def method_must_be_one_of_ours(bed):
    for method in (None, "auxprop"):
        Daemon(bed, {"sasl_pwcheck_method": method}).refused(
            78, "sasl_pwcheck_method", "saslauthd", "backend", "passwd_file")


def broken_lines_are_named(bed):
    daemon = Daemon(bed)
    with open(daemon.imapd, "a") as f:
        f.write("this is no option\n")
    with open(daemon.imapd) as f:
        line = len(f.read().splitlines())
    daemon.refused(78, f"{daemon.imapd}:{line}:", "expected")
    daemon = Daemon(bed, {"allowplaintext": "perhaps"})
    with open(daemon.imapd) as f:
        line = next(n for n, text in enumerate(f, 1) if text.startswith("allowplaintext"))
    daemon.refused(78, f"{daemon.imapd}:{line}:", "allowplaintext", "expected", "perhaps")
    daemon = Daemon(bed, services='  imap cmd="imapd" listen="127.0.0.1:no-such-service"\n')
    daemon.refused(78, f"{daemon.cyrus}:2:", "expected a port")
    daemon = Daemon(bed)
    daemon.imapd = "/nowhere/imapd.conf"
    daemon.refused(78, "/nowhere/imapd.conf", "cannot read")


def unknown_option_is_a_warning(bed):
    daemon = Daemon(bed, {"no_such_option": "1"})
    with open(daemon.imapd) as f:
        line = next(n for n, text in enumerate(f, 1) if text.startswith("no_such_option"))
    with daemon:
        daemon.logged(f"{daemon.imapd}:{line}: ")
        assert "no_such_option" in daemon.log(), daemon.log()


def missing_certificate_is_named(bed):
    Daemon(bed, {"tls_server_cert": "/nowhere/cert.pem"}).refused(78, "/nowhere/cert.pem")
    Daemon(bed, {"tls_client_ca_file": "/nowhere/ca.pem"}).refused(78, "/nowhere/ca.pem")


# Answers io_uring_setup(2), number 425, with an error by seccomp(2), and becomes another program.
WITHOUT_RING = """
import ctypes, os, struct, sys
steps = [(0x20, 0, 0, 0), (0x15, 0, 1, 425), (0x06, 0, 0, 0x00050000 | int(sys.argv[1])), (0x06, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
program = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(steps), ctypes.addressof(code)))
libc = ctypes.CDLL(None, use_errno=True)
if libc.prctl(38, 1, 0, 0, 0) or libc.prctl(22, 2, ctypes.byref(program), 0, 0):
    sys.exit("no seccomp")
os.execv(sys.argv[2], sys.argv[2:])
"""


def what_the_system_forbids_is_named(bed):
    """Each says what to set. (Locked memory: the part plumbing.)"""
    Daemon(bed, prefix=["prlimit", "--nofile=200:200"]).refused(69, "descriptor limit is 200, at least 256", "LimitNOFILE=")
    for error, expected in ((errno.EPERM, "kernel.io_uring_disabled=0"), (errno.ENOSYS, "allow the io_uring_* system calls"),
                            (errno.ENOMEM, "LimitMEMLOCK=infinity")):
        Daemon(bed, prefix=[sys.executable, "-c", WITHOUT_RING, str(int(error))]).refused(69, expected)


def second_daemon_is_refused(bed):
    with Daemon(bed) as first:
        with open(first.pid_file) as f:
            assert f.read() == f"{first.process.pid}\n"
        Daemon(bed).refused(73, first.pid_file, "already running")
        with open(first.pid_file) as f:
            assert f.read() == f"{first.process.pid}\n", "the second one wrote the first one's file"


# ---------------------------------------------------------------- logins
def scram_line(password, salt=b"0123456789abcdef", iterations=4096):
    """Stored keys (RFC 5802 section 3)."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    keys = (salt, stored, hmac.digest(salted, b"Server Key", "sha256"))
    return f"{{SCRAM-SHA-256}}{iterations}$" + "$".join(base64.b64encode(x).decode() for x in keys)


def scram(s, user, password):
    """AUTHENTICATE SCRAM-SHA-256; checks the server's signature and gives back the tagged line."""
    first = f"n={user},r=clientnonce"
    s.send(b"s1 AUTHENTICATE SCRAM-SHA-256\r\n")
    assert s.line().startswith(b"+")
    s.send(base64.b64encode(f"n,,{first}".encode()) + b"\r\n")
    line = s.line()
    if not line.startswith(b"+ "):
        return line
    challenge = base64.b64decode(line[2:]).decode()
    parts = dict(x.split("=", 1) for x in challenge.split(","))
    assert parts["r"].startswith("clientnonce") and len(parts["r"]) > len("clientnonce")
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(parts["s"]), int(parts["i"]))
    bare = f"c=biws,r={parts['r']}"
    whole = f"{first},{challenge},{bare}".encode()
    key = hmac.digest(salted, b"Client Key", "sha256")
    signature = hmac.digest(hashlib.sha256(key).digest(), whole, "sha256")
    proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature))).decode()
    s.send(base64.b64encode(f"{bare},p={proof}".encode()) + b"\r\n")
    line = s.line()
    if line.startswith(b"+ "):
        server = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), whole, "sha256")
        assert base64.b64decode(line[2:]) == b"v=" + base64.b64encode(server), line
        s.send(b"\r\n")
        line = s.line()
    return line


def logins_from_a_passwd_file(bed):
    crypt = subprocess.run(["openssl", "passwd", "-6", "-stdin"], input=b"crypted\n", stdout=subprocess.PIPE, check=True)
    path = f"{bed.folder}/frontend/passwd"
    write(path, f"# ours\nuser001:{ARGON2}\nuser002:{crypt.stdout.decode().strip()}\nuser003:{scram_line('stored')}\n")
    with Daemon(bed, {"sasl_pwcheck_method": "auxprop passwd_file", "sasl_passwd_file": path}):
        s = bed.session()
        answer = s.command("CAPABILITY")
        assert b"AUTH=SCRAM-SHA-256" in answer.lines[0], answer.lines
        s.close()
        for user, password in (("user001", "password"), ("user002", "crypted"), ("user003", "stored")):
            for wrong in ("pw-" + user, password + "x"):
                s = bed.session()
                denied(s.command(f"LOGIN {user} {wrong}"))
                s.close()
            s = bed.session()
            says(s.command(f"LOGIN {user} {password}"), b" OK")
            says(s.command("SELECT INBOX"), b" OK")
            s.close()
        s = bed.session()
        denied(s.command("LOGIN nobody-here password"))
        s.close()
        for user, password, expected in (("user003", "stored", b"s1 OK"), ("user003", "wrong", b"s1 NO"),
                                         ("nobody-here", "stored", b"s1 NO")):
            s = bed.session()
            line = scram(s, user, password)
            assert line.startswith(expected), line
            if expected == b"s1 OK":
                says(s.command("SELECT INBOX"), b" OK")
            s.close()
        write(path, f"user001:{scram_line('changed')}\n")          # read again without a signal
        s = bed.session()
        says(s.command("LOGIN user001 changed"), b" OK")
        s.close()


class Saslauthd:
    """Answers as saslauthd does; knows one user."""

    def __init__(self, path):
        self.path, self.asked = path, []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        os.chmod(path, 0o777)
        self.listener.listen(8)
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        """One question a connection."""
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rwb") as f:
                parts = [f.read(struct.unpack("!H", f.read(2))[0]).decode() for _ in range(4)]
                self.asked.append(parts)
                answer = b"OK" if parts[:2] == ["user001", "from pam"] else b"NO authentication failed"
                f.write(struct.pack("!H", len(answer)) + answer)

    def close(self):
        """No more answers."""
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        os.unlink(self.path)


def logins_by_saslauthd(bed):
    path = f"{bed.folder}/frontend/mux"
    saslauthd = Saslauthd(path)
    with Daemon(bed, {"sasl_pwcheck_method": "saslauthd", "sasl_saslauthd_path": path}) as daemon:
        s = bed.session()
        assert b"SCRAM" not in s.command("CAPABILITY").lines[0]
        denied(s.command('LOGIN user001 "from the user"'))
        says(s.command('LOGIN user001 "from pam"'), b" OK")
        says(s.command("SELECT INBOX"), b" OK")
        s.close()
        assert saslauthd.asked[-1] == ["user001", "from pam", "imap", ""], saslauthd.asked
        saslauthd.close()
        s = bed.session()
        says(s.command('LOGIN user001 "from pam"'), b" NO [UNAVAILABLE]")
        s.close()
        daemon.logged(path)
        assert "from pam" not in daemon.log(), "a password in the log"


def logins_at_the_home_server(bed):
    """A dead home server is told at once: nobody waits for `client_timeout`."""
    with Daemon(bed, {"client_timeout": "10m"}) as daemon:
        for user in ("user001", "user002", "cyrus"):
            s = bed.session(user)
            if user != "cyrus":
                says(s.command("SELECT INBOX"), b" OK")
            s.close()
            s = bed.session()
            denied(s.command(f"LOGIN {user} wrong-word"))
            s.close()
        s = bed.session()
        denied(s.command("LOGIN nobody-here wrong-word"))
        s.close()
        bed.stop("backend2", kill=True)
        try:
            for _ in range(3):
                s = bed.session()
                says(s.command("LOGIN user002 pw-user002"), b" NO [UNAVAILABLE]")
                s.close()
            daemon.logged(f"cannot connect to {bed.backend_host(2)}: Connection refused")
            bed.session("user001").close()
        finally:
            bed.start("backend2")
        end = time.monotonic() + WAIT_SECONDS
        while True:
            s = bed.session()
            answer = s.command("LOGIN user002 pw-user002")
            s.close()
            if answer.status == "OK":
                break
            assert time.monotonic() < end, answer.tagged
            time.sleep(0.1)
        assert "wrong-word" not in daemon.log() and "pw-user" not in daemon.log(), "a password in the log"


# ---------------------------------------------------------------- readiness and restarts
def ready_only_with_a_live_list(bed):
    """The master is down at the start and there is no copy of its list."""
    ready_file = f"{bed.folder}/frontend/conf/ready"
    daemon = Daemon(bed, {"master_ready_file": ready_file, "rookery_list_path": fresh(bed, "list-of-nobody")})
    bed.stop("master")
    try:
        daemon.start(ready=False)
        daemon.logged("starting")
        assert not daemon.is_told("READY=1", 2), "ready without a list"
        assert not os.path.exists(ready_file)
        wait_for(lambda: os.path.exists(daemon.pid_file), "pid file")
    finally:
        bed.start("master")
    try:
        daemon.told("READY=1")
        wait_for(lambda: os.path.exists(ready_file), "ready file")
        s = bed.session("user001")
        says(s.command("SELECT INBOX"), b" OK")
        s.close()
    finally:
        status = daemon.stop()
    assert status == 0, daemon.log()
    assert not os.path.exists(ready_file) and not os.path.exists(daemon.pid_file), "files stay"


def fresh(bed, name):
    """A path that the daemon's user may write, with nothing there."""
    path = f"{bed.folder}/frontend/conf/{name}"
    shutil.rmtree(path, ignore_errors=True)
    return path


def serves_its_copy_while_the_master_is_down(bed):
    with Daemon(bed):
        bed.session("user001").close()
    daemon = Daemon(bed)
    bed.stop("master")
    try:
        daemon.start(ready=False)
        wait_for(lambda: greets(bed), "greeting")
        s = bed.session("user001")
        for line in ("SELECT INBOX", "SELECT team02"):
            says(s.command(line), b" OK")
        assert len(s.command('LIST "" "*"').named("LIST")) >= 4
        says(s.command("SELECT INBOX.NoSuch"), b" NO [UNAVAILABLE]")
        assert not daemon.is_told("READY=1", 0.5), "ready with a stale list"
    finally:
        bed.start("master")
    try:
        daemon.told("READY=1")
        answer = s.command("SELECT INBOX.NoSuch")
        assert answer.status == "NO" and b"UNAVAILABLE" not in answer.tagged, answer.tagged
        s.close()
    finally:
        daemon.stop()


def greets(bed):
    """Whether somebody greets on port 143."""
    try:
        Session(bed.address, timeout=10).close()
        return True
    except (OSError, Lost):
        return False


# ---------------------------------------------------------------- signals
def certificate(bed, path, authority=None):
    """A new certificate of the frontend, signed by the test's authority or by another one."""
    names = f"subjectAltName=DNS:localhost,IP:{bed.address}"
    ca = authority or f"{bed.folder}/tls/ca"
    new = ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=new",
           "-keyout", f"{path}.key"]
    quiet = {"check": True, "stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([*new, "-out", f"{path}.csr"], **quiet)
    write(f"{path}.ext", f"{names}\nextendedKeyUsage=serverAuth\n")
    subprocess.run(["openssl", "x509", "-req", "-in", f"{path}.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key",
                    "-CAcreateserial", "-days", "30", "-extfile", f"{path}.ext", "-out", f"{path}.pem"], **quiet)
    os.chmod(f"{path}.key", 0o644)


def shown_certificate(bed):
    """What a new TLS connection is shown."""
    s = bed.session(port=993, tls=bed.tls())
    shown = s.socket.getpeercert(binary_form=True)
    s.close()
    return shown


def hangup_reads_everything_again(bed):
    path = f"{bed.folder}/frontend/own"
    certificate(bed, path)
    changes = {"tls_server_cert": f"{path}.pem", "tls_server_key": f"{path}.key", "servername": "before.test"}
    with Daemon(bed, changes) as daemon:
        old = shown_certificate(bed)
        over_tls = bed.session("user001", port=993, tls=bed.tls())
        plain = bed.session("user002")
        for s in (over_tls, plain):
            says(s.command("SELECT INBOX"), b" OK")
        plain.send(b"i1 IDLE\r\n")
        plain.until_match(r"^\+", WAIT_SECONDS)
        certificate(bed, path)
        daemon.configure(changes | {"servername": "after.test"})
        daemon.process.send_signal(signal.SIGHUP)
        daemon.told("RELOADING=1")
        daemon.told("READY=1")
        assert shown_certificate(bed) != old, "the old certificate is shown"
        s = bed.session()
        assert b"after.test" in s.greeting, s.greeting
        s.close()
        says(over_tls.command("FETCH 1 (UID)"), b" OK")
        plain.send(b"DONE\r\n")
        assert plain.until_match("^i1 ", WAIT_SECONDS)[-1].startswith(b"i1 OK")
        broken_configuration_is_not_taken(bed, daemon, changes)
        says(over_tls.command("NOOP"), b" OK")
        over_tls.close()
        plain.close()


def broken_configuration_is_not_taken(bed, daemon, changes):
    """The daemon goes on with what it had."""
    for broken in ({"allowplaintext": "perhaps"}, {"tls_server_cert": "/nowhere/cert.pem"}):
        daemon.configure(changes | broken | {"servername": "broken.test"})
        daemon.process.send_signal(signal.SIGHUP)
        daemon.told("READY=1")
        daemon.logged("configuration not read again")
        s = bed.session()
        assert b"after.test" in s.greeting, s.greeting
        s.close()


def descriptors(pid):
    """How many it has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def stops_cleanly(bed, sig):
    """Who is idle does not hold it up: nobody waits for `rookery_drain`."""
    daemon = Daemon(bed, {"rookery_drain": "10m"}).start()
    try:
        bed.session("user001").close()
        at_rest = descriptors(daemon.process.pid)
        new, quiet, idle = bed.session(), bed.session("user001"), bed.session("user002", port=993, tls=bed.tls())
        says(idle.command("SELECT INBOX"), b" OK")
        idle.send(b"i1 IDLE\r\n")
        idle.until_match(r"^\+", WAIT_SECONDS)
        gone = bed.session("user001")
        says(gone.command("SELECT team02"), b" OK")
        gone.close()
        more = bed.session("user001")
        more.command("LOGOUT")
        more.close()
        assert descriptors(daemon.process.pid) > at_rest
        process = daemon.process
        process.send_signal(sig)
        for s in (new, quiet, idle):
            lines = s.drain(WAIT_SECONDS)
            assert lines and lines[-1].startswith(b"* BYE"), (s.name, lines)
        assert process.wait(WAIT_SECONDS) == 0, daemon.log()
        assert not greets(bed) and not os.path.exists(daemon.pid_file)
        daemon.process = None
        assert "stopped" in daemon.log(), daemon.log()
    finally:
        daemon.kill()
        daemon.ready.close()


def drain_has_an_end(bed):
    """A client that reads nothing holds the daemon up for `rookery_drain` and no longer."""
    from drive import message
    daemon = Daemon(bed, {"rookery_drain": "2"}).start()
    try:
        s = bed.session("user001")
        says(s.command("SELECT INBOX"), b" OK")
        says(s.command("APPEND INBOX {}", message("big", size=20_000_000), sync=False), b" OK")
        s.send(b"f1 FETCH * (BODY.PEEK[])\r\n")
        s.read()
        before = time.monotonic()
        status = daemon.stop()
        took = time.monotonic() - before
        assert status == 0 and 1.5 < took < WAIT_SECONDS, (status, took, daemon.log())
        s.close()
    finally:
        daemon.kill()


def descriptors_come_back(bed):
    with Daemon(bed) as daemon:
        bed.session("user001").close()
        pid = daemon.process.pid
        at_rest = descriptors(pid)
        for n in range(20):
            s = bed.session("user001", port=993 if n % 2 else 143, tls=bed.tls() if n % 2 else None)
            says(s.command("SELECT team02"), b" OK")
            if n % 3:
                s.command("LOGOUT")
            s.close()
        wait_for(lambda: descriptors(pid) <= at_rest, f"{at_rest} descriptors")


# ---------------------------------------------------------------- TLS
def context(bed, version):
    """Exactly one version."""
    made = bed.tls()
    made.minimum_version = made.maximum_version = version
    return made


def tls_of_both_versions(bed):
    versions = {"TLSv1.2": ssl.TLSVersion.TLSv1_2, "TLSv1.3": ssl.TLSVersion.TLSv1_3}
    with Daemon(bed):
        for name, version in versions.items():
            s = bed.session("user001", port=993, tls=context(bed, version))
            assert s.socket.version() == name
            says(s.command("SELECT INBOX"), b" OK")
            s.close()
            s = bed.session()
            assert b"STARTTLS" in s.command("CAPABILITY").lines[0]
            says(s.starttls(context(bed, version), bed.address), b" OK")
            assert s.socket.version() == name
            assert b"STARTTLS" not in s.command("CAPABILITY").lines[0]
            says(s.command("LOGIN user001 pw-user001"), b" OK")
            says(s.command("SELECT INBOX"), b" OK")
            s.close()
    for option, good, bad in (("tls1_3", "TLSv1.3", "TLSv1.2"), ("tls1_2", "TLSv1.2", "TLSv1.3")):
        with Daemon(bed, {"tls_versions": option}):
            bed.session("user001", port=993, tls=context(bed, versions[good])).close()
            try:
                bed.session(port=993, tls=context(bed, versions[bad])).close()
            except (ssl.SSLError, Lost, ConnectionError):
                continue
            raise AssertionError(f"{bad} with tls_versions: {option}")


def sessions_are_resumed(bed):
    with Daemon(bed):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            ctx, session = context(bed, version), None
            for is_resumed in (False, True, True):
                raw = socket.create_connection((bed.address, 993), WAIT_SECONDS)
                tls = ctx.wrap_socket(raw, server_hostname=bed.address, session=session)
                assert tls.recv(1000).startswith(b"* OK")
                assert tls.session_reused == is_resumed, (version, is_resumed)
                session = tls.session
                tls.close()


def backends_are_verified(bed):
    other = f"{bed.folder}/frontend/other"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-subj", "/CN=other", "-keyout", f"{other}.key", "-out", f"{other}.pem"], check=True,
                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    required = {"rookery_backend_starttls": "required"}
    with Daemon(bed, required):
        s = bed.session("user001")
        for line in ("SELECT INBOX", "SELECT team02"):
            says(s.command(line), b" OK")
        s.close()
    with Daemon(bed, required | {"tls_client_ca_file": f"{other}.pem"}) as daemon:
        s = bed.session()
        says(s.command("LOGIN user001 pw-user001"), b" NO [UNAVAILABLE]")
        s.close()
        daemon.logged(bed.backend_host(1))
        assert "certificate" in daemon.log(), daemon.log()


# ---------------------------------------------------------------- without root
def runs_without_root(bed):
    folder = f"{bed.folder}/nobody"
    os.makedirs(f"{folder}/conf")
    shutil.copy(f"{bed.binaries}/rookeryd", f"{folder}/rookeryd")
    changes = {"configdirectory": f"{folder}/conf", "tls_server_cert": None, "tls_server_key": None}
    services = f'  imap cmd="imapd" listen="{bed.address}:10143" proto="tcp4"\n'
    prefix = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--no-new-privs"]
    daemon = Daemon(bed, changes, services, prefix, f"{folder}/rookeryd", folder)
    for path in (folder, f"{folder}/conf"):
        os.chown(path, NOBODY, NOBODY)
    with daemon:
        assert os.stat(f"/proc/{daemon.process.pid}").st_uid == NOBODY
        s = bed.session("user001", port=10143)
        says(s.command("SELECT team02"), b" OK")
        s.close()
        assert daemon.stop() == 0, daemon.log()
    low = Daemon(bed, changes, f'  imap cmd="imapd" listen="{bed.address}:143" proto="tcp4"\n', prefix,
                 f"{folder}/rookeryd", folder)
    with open("/proc/sys/net/ipv4/ip_unprivileged_port_start") as f:
        is_guarded = int(f.read()) > 143
    if is_guarded:
        low.refused(69, f"{bed.address}:143", "ermission denied")


TESTS = [
    method_must_be_one_of_ours, broken_lines_are_named, unknown_option_is_a_warning, missing_certificate_is_named,
    what_the_system_forbids_is_named, second_daemon_is_refused, logins_from_a_passwd_file, logins_by_saslauthd, logins_at_the_home_server,
    ready_only_with_a_live_list, serves_its_copy_while_the_master_is_down, hangup_reads_everything_again,
    drain_has_an_end, descriptors_come_back, tls_of_both_versions, sessions_are_resumed, backends_are_verified,
    runs_without_root,
]


def run(report, a, more=()):
    """All of them and `more`, with one murder; there is no Cyrus to compare with."""
    folder = f"{a.folder}/daemon-{a.frontend}"
    shutil.rmtree(folder, ignore_errors=True)
    bed = Bed(folder, a.net, ["--tls"], 2, "rookery", a.binaries)
    try:
        bed.murder("up", folder, "--net", a.net, "--backends", "2", "--no-frontend", "--tls",
                   "--set", "backend:failedloginpause=0")
        bed.murder("seed", folder, "--users", "3", "--shared", "2", "--messages", "1")
        for test in [*TESTS, *more]:
            report.check(f"daemon/{test.__name__}", test, bed)
        for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            report.check(f"daemon/stops_cleanly on {sig.name}", stops_cleanly, bed, sig)
    finally:
        bed.murder("down", folder)
