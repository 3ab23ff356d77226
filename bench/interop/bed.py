"""A murder for one configuration, with the real Cyrus frontend or with rookeryd in its place."""
import contextlib
import glob
import importlib.machinery
import importlib.util
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

from wire import Lost, Session

HERE = os.path.dirname(os.path.abspath(__file__))
MURDER = f"{HERE}/murder"
READY_SECONDS = 60
# The kernel counts locked memory by user: another one than cyrus shares it with no other test-bed.
OWN_USER = os.environ.get("INTEROP_USER")
# Instances that are another Cyrus than Debian's, "backend2=PREFIX ...": any part before any release.
OTHER_CYRUS = os.environ.get("INTEROP_CYRUS", "").split()


def murder_module():
    """The script as a module, for its knowledge of the state file."""
    sys.dont_write_bytecode = True
    loader = importlib.machinery.SourceFileLoader("murder", MURDER)
    spec = importlib.util.spec_from_loader("murder", loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def missing():
    """Why the real servers cannot run here, or None."""
    if os.geteuid():
        return "must be root for ports below 1024 and /etc/hosts"
    if not os.path.exists("/usr/lib/cyrus/bin/mupdate"):
        return "Cyrus is not installed (bench/interop/murder install)"
    return None


class Bed:
    """Master, backends and one frontend under a folder of their own."""

    def __init__(self, folder, net, options=(), backends=2, frontend="cyrus", binaries=None):
        self.folder, self.net, self.options = folder, net, list(options)
        self.backends, self.frontend, self.binaries = backends, frontend, binaries
        instances = {"master", "frontend", *(f"backend{n}" for n in range(1, backends + 1))}
        instances -= {"master"} if "--no-master" in self.options else set()
        instances -= {"frontend"} if frontend != "cyrus" else set()
        for word in OTHER_CYRUS:
            self.options += ["--cyrus", word] if word.partition("=")[0] in instances else []
        self.process = None
        self.address = f"{net}.101"
        self.password = lambda user: "pw-" + user.split("@")[0]

    # ------------------------------------------------------------ life
    def murder(self, *words):
        """One call of the script."""
        with tempfile.TemporaryFile("w+") as out:      # not a pipe: the servers that stay inherit it
            done = subprocess.run([MURDER, *words], stdin=subprocess.DEVNULL, stdout=out, stderr=out)
            out.seek(0)
            said = out.read()
        if done.returncode:
            raise RuntimeError(f"murder {' '.join(words)}: {said.strip()[-2000:]}")
        return said

    def up(self, users=4, shared=4, messages=5):
        """Everything, seeded; the frontend has seen the whole list."""
        extra = [] if self.frontend == "cyrus" else ["--no-frontend"]
        self.murder("up", self.folder, "--net", self.net, "--backends", str(self.backends), *extra, *self.options)
        self.murder("seed", self.folder, "--users", str(users), "--shared", str(shared), "--messages", str(messages))
        if self.frontend != "cyrus":
            self.write_configuration()
            self.start_frontend()
        self.settle()

    def settle(self):
        """A look-up that misses makes a frontend catch up with its master first."""
        admin = self.session("cyrus")
        admin.command("STATUS no-such-mailbox (MESSAGES)")
        admin.command("LOGOUT")
        admin.close()

    def down(self):
        """Everything that `up` started."""
        self.stop_frontend()
        self.murder("down", self.folder)

    def __enter__(self):
        try:
            self.up()
        except BaseException:
            self.down()
            raise
        return self

    def __exit__(self, *_):
        self.down()

    # ------------------------------------------------------------ rookeryd
    def conf(self, name):
        """Path of a file of the frontend."""
        return f"{self.folder}/frontend/{name}"

    def murder_conf(self, instance):
        """imapd.conf of a Cyrus instance."""
        return f"{self.folder}/{instance}/imapd.conf"

    def write_configuration(self, method="backend", more=()):
        """The configuration of the Cyrus frontend, changed in the one line that must change, and `more` lines."""
        with open(self.conf("imapd.conf")) as f:
            lines = f.read().splitlines()
        lines = [f"sasl_pwcheck_method: {method}" if x.startswith("sasl_pwcheck_method:") else x for x in lines]
        if OWN_USER:
            lines.append(f"rookery_user: {OWN_USER}")
            self.give_to(OWN_USER)
        with open(self.conf("rookery.conf"), "w") as f:
            f.write("\n".join([*lines, *more]) + "\n")

    def give_to(self, user):
        """What the frontend writes to is this user's."""
        for top in ("conf", "spool"):
            for folder, _, files in os.walk(self.conf(top)):
                for path in [folder, *(os.path.join(folder, name) for name in files)]:
                    shutil.chown(path, user)
        shutil.chown(self.conf("."), user)

    def start_frontend(self, live=True):
        """Starts the frontend and waits until its list is live, or only until it greets."""
        if self.frontend == "cyrus":
            self.murder("start", self.folder, "frontend")
            return
        log, ready = open(self.conf("rookeryd.log"), "ab"), self.notify_socket()
        self.process = subprocess.Popen(
            [f"{self.binaries}/rookeryd", "-D", "-C", self.conf("rookery.conf"), "-M", self.conf("cyrus.conf"),
             "-p", self.conf("rookeryd.pid")], stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
            env={**os.environ, "NOTIFY_SOCKET": self.conf("notify")})
        end = time.monotonic() + READY_SECONDS
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError(f"rookeryd exited {self.process.returncode}: {self.log_tail()}")
            if not live and self.greets():
                return
            try:
                if b"READY=1" in ready.recv(4096):
                    return
            except TimeoutError:
                pass
        raise RuntimeError(f"rookeryd was not READY in {READY_SECONDS} s: {self.log_tail()}")

    def greets(self):
        """Whether the frontend answers; the kernel deals connections to the listeners of a process that
        was killed for a moment after its death, hence more than one."""
        try:
            for _ in range(16):
                self.session(timeout=10).close()
        except (Lost, OSError):
            return False
        return True

    def notify_socket(self):
        """Where rookeryd says that its list is live, as it says to systemd."""
        path = self.conf("notify")
        if os.path.exists(path):
            os.unlink(path)
        ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        ready.bind(path)
        os.chmod(path, 0o666)
        ready.settimeout(0.1)
        return ready

    def log_tail(self):
        """The end of rookeryd's log."""
        try:
            with open(self.conf("rookeryd.log"), errors="replace") as f:
                return f.read()[-1500:]
        except OSError:
            return ""

    def stop_frontend(self, sig=signal.SIGTERM):
        """Ends the frontend; only the process that was started here."""
        if self.frontend == "cyrus" or self.process is None:
            return
        self.process.send_signal(sig)
        try:
            self.process.wait(READY_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def frontend_pid(self):
        """The process whose descriptors and memory are watched, None for Cyrus' many."""
        return self.process.pid if self.process else None

    # ------------------------------------------------------------ sessions and instances
    def session(self, user=None, name=None, record=None, address=None, port=143, tls=None, timeout=60):
        """A session, logged in when a user is given."""
        s = Session(address or self.address, port, tls, timeout, name or user or "", record)
        return s.login(user, self.password(user)) if user else s

    def backend(self, n):
        """The address of backend n."""
        return f"{self.net}.{10 + n}"

    def backend_host(self, n):
        """The server name of backend n."""
        return f"backend{n}" + ("" if self.net == "127.0.10" else f".n{self.net.split('.')[2]}")

    def stop(self, instance, kill=False):
        """Stops an instance, with --kill as a crash."""
        self.murder("stop", self.folder, instance, *(["--kill"] if kill else []))

    def start(self, instance):
        """Starts it again."""
        self.murder("start", self.folder, instance)

    def pids(self, instance):
        """All processes of an instance: those of the session that its master began."""
        with open(f"{self.folder}/state.json") as f:
            leader = json.load(f)["pids"][instance]
        found = []
        for stat in glob.glob("/proc/[0-9]*/stat"):
            try:
                with open(stat) as f:
                    fields = f.read().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == leader and fields[0] != "Z":
                found.append(int(stat.split("/")[2]))
        return found

    def freeze(self, instance):
        """Stops all processes of an instance with SIGSTOP, those too that its master forks meanwhile; which they are."""
        frozen = set()
        while fresh := set(self.pids(instance)) - frozen:
            signalled(fresh, signal.SIGSTOP)
            frozen |= fresh
        return frozen

    def tls(self):
        """A context that trusts the test's authority."""
        return ssl.create_default_context(cafile=f"{self.folder}/tls/ca.pem")


def signalled(pids, sig):
    """A signal to those that still live."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, sig)


def reachable(address, port=143):
    """Whether somebody listens."""
    try:
        socket.create_connection((address, port), 1).close()
        return True
    except OSError:
        return False
