"""rookeryd beside a Cyrus frontend: two frontends of one murder, so that both are asked the same."""
import base64
import hashlib
import hmac
import os
import re
import shutil
import signal
import socket
import ssl
import time

from bed import Bed, signalled
from daemon import scram_line
from wire import Lost


class Beside(Bed):
    """The frontend of a murder that has a Cyrus one, at the address behind that one's."""

    def __init__(self, bed, binaries):
        super().__init__(bed.folder, bed.net, bed.options, bed.backends, "rookery", binaries)
        self.address = f"{bed.net}.102"

    def conf(self, name):
        return f"{self.folder}/rookery/{name}"

    def write_configuration(self, method="backend", more=()):
        """The Cyrus frontend's own, with an address, a folder and a password source of its own."""
        os.makedirs(self.conf("conf/socket"), exist_ok=True)
        with open(f"{self.folder}/frontend/imapd.conf") as f:
            lines = [x for x in f.read().splitlines() if not re.match("sasl_(pwcheck|auxprop|sasldb)|configdir|failedlog", x)]
        lines += [f"configdirectory: {self.conf('conf')}", f"sasl_pwcheck_method: {method}", "failedloginpause: 0"]
        keys = {x.split(":")[0] for x in more}
        lines = [x for x in lines if x.split(":")[0] not in keys]
        with open(self.conf("rookery.conf"), "w") as f:
            f.write("\n".join([*lines, *more]) + "\n")
        with open(f"{self.folder}/frontend/cyrus.conf") as f:
            services = f.read().replace(f"{self.net}.101", self.address)
        with open(self.conf("cyrus.conf"), "w") as f:
            f.write("\n".join(x for x in services.splitlines() if "lmtpunix" not in x) + "\n")
        for path, folders, _ in os.walk(self.conf("conf")):
            shutil.chown(path, "cyrus")

    def restart(self, method="backend", more=(), live=True):
        """With another configuration."""
        self.stop_frontend()
        self.write_configuration(method, more)
        self.start_frontend(live)


    def use_passwd_file(self, *users):
        """Passwords come from a file."""
        path = f"{self.folder}/rookery/passwd"
        with open(path, "w") as f:
            f.writelines(f"{user}:{scram_line('pw-' + user)}\n" for user in users)
        shutil.chown(path, "cyrus")
        self.restart("passwd_file", [f"sasl_passwd_file: {path}", "sasl_mech_list: SCRAM-SHA-256 PLAIN"])


class Stopped:
    """All processes of an instance stand still meanwhile."""

    def __init__(self, bed, instance):
        self.bed, self.instance, self.pids = bed, instance, ()

    def __enter__(self):
        self.pids = self.bed.freeze(self.instance)
        return self

    def __exit__(self, *_):
        signalled(self.pids, signal.SIGCONT)


class FreshUser:
    """A user whose INBOX was made a moment ago, at another frontend."""

    def __init__(self, bed, user):
        self.user, self.admin = user, bed.session("cyrus", address=bed.backend(1))

    def __enter__(self):
        assert self.admin.command(f"CREATE user.{self.user}").status == "OK"
        return self.user

    def __exit__(self, *_):
        self.admin.command(f"SETACL user.{self.user} cyrus lrswipkxtecda")
        assert self.admin.command(f"DELETE user.{self.user}").status == "OK"
        self.admin.close()


class Line:
    """A connection that speaks in lines."""

    def __init__(self, address, port, tls=None, timeout=60):
        self.socket = socket.create_connection((address, port), timeout)
        self.socket.settimeout(timeout)
        self.buffer = b""
        if tls:
            self.secure(tls, address)

    def secure(self, tls, address):
        """A handshake."""
        self.socket = tls.wrap_socket(self.socket, server_hostname=address)

    def send(self, data):
        """A line, or bytes as they are."""
        self.socket.sendall(data if isinstance(data, bytes) else data.encode() + b"\r\n")

    def more(self):
        """More bytes into the buffer."""
        try:
            got = self.socket.recv(65536)
        except (TimeoutError, ssl.SSLError, ConnectionError) as e:
            raise Lost(f"{type(e).__name__} {e}") from e
        if not got:
            raise Lost("end of input")
        self.buffer += got

    def exactly(self, n):
        """So many bytes."""
        while len(self.buffer) < n:
            self.more()
        got, self.buffer = self.buffer[:n], self.buffer[n:]
        return got

    def line(self):
        """One line without its end."""
        while b"\n" not in self.buffer:
            self.more()
        got, self.buffer = self.buffer.split(b"\n", 1)
        return got.rstrip(b"\r")

    def ends(self):
        """What comes until the other end closes."""
        try:
            while True:
                self.more()
        except Lost as e:
            if "Timeout" in str(e):
                raise
        return self.buffer

    def close(self):
        """Without a word."""
        self.socket.close()


def within(seconds, test, *arguments):
    """Repeats a test until it holds."""
    end = time.monotonic() + seconds
    while True:
        try:
            return test(*arguments)
        except (AssertionError, Lost, OSError):
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


def plain(*parts):
    """The message of PLAIN in base64."""
    return base64.b64encode("\0".join(parts).encode()).decode()


def scram_messages(user, password):
    """The first message of SCRAM-SHA-256 in base64, and what makes the last one of the challenge: it, and a
    check of the server's signature."""
    first = f"n={user},r=clientnonce"

    def final(challenge):
        challenge = base64.b64decode(challenge).decode()
        parts = dict(x.split("=", 1) for x in challenge.split(","))
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(parts["s"]), int(parts["i"]))
        bare = f"c=biws,r={parts['r']}"
        whole = f"{first},{challenge},{bare}".encode()
        key = hmac.digest(salted, b"Client Key", "sha256")
        signature = hmac.digest(hashlib.sha256(key).digest(), whole, "sha256")
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature))).decode()
        server = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), whole, "sha256")

        def verify(last):
            assert base64.b64decode(last) == b"v=" + base64.b64encode(server), last
        return base64.b64encode(f"{bare},p={proof}".encode()).decode(), verify
    return base64.b64encode(f"n,,{first}".encode()).decode(), final
