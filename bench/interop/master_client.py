"""A MUPDATE client that can say anything, and our master as a process."""
import base64
import hashlib
import hmac
import os
import pwd
import signal
import socket
import subprocess
import time

READY_SECONDS = 60
PASSWORD = "pw-postman"
USER = "nobody"


class Gone(Exception):
    """The connection has ended."""


def scram_line(password, salt=b"0123456789abcdef", iterations=4096):
    """Stored keys (RFC 5802 section 3) as a line of a password file has them."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    keys = (salt, stored, hmac.digest(salted, b"Server Key", "sha256"))
    return f"{{SCRAM-SHA-256}}{iterations}$" + "$".join(base64.b64encode(x).decode() for x in keys)


def quoted(text):
    """A quoted string."""
    data = text if isinstance(text, bytes) else text.encode(errors="surrogateescape")
    return b'"' + data.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'


def literal_plus(text):
    """A literal that waits for nothing."""
    data = text if isinstance(text, bytes) else text.encode(errors="surrogateescape")
    return b"{%d+}\r\n" % len(data) + data


class Client:
    """One connection. Rows are lists: tag, word, strings."""

    def __init__(self, address, port=3905, user="postman", password=PASSWORD, timeout=60, tls=None):
        self.socket = socket.create_connection((address, port), timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer, self.tags = b"", 0
        self.greeting = self.greeted()
        if tls is not None:
            self.send(b"S01 STARTTLS\r\n")
            assert self.row()[1] == b"OK"
            self.socket = tls.wrap_socket(self.socket, server_hostname=address)
            self.greeting = self.greeted()
        if user:
            answer = self.plain(user, password)
            assert answer[1] == b"OK", answer

    def greeted(self):
        """All rows to the OK."""
        rows = []
        while not rows or rows[-1][1] not in (b"OK", b"BYE"):
            rows.append(self.row())
        return rows

    def plain(self, user, password):
        """AUTHENTICATE PLAIN."""
        response = base64.b64encode(f"\0{user}\0{password}".encode())
        self.send(b'A01 AUTHENTICATE "PLAIN" ' + quoted(response) + b"\r\n")
        return self.row()

    def send(self, data):
        """Bytes as they are."""
        try:
            self.socket.sendall(data)
        except OSError as e:
            raise Gone(str(e)) from e

    def more(self):
        """Reads on."""
        try:
            got = self.socket.recv(65536)
        except OSError as e:
            raise Gone(f"{type(e).__name__} {e}") from e
        if not got:
            raise Gone("end of input")
        self.buffer += got

    def raw_line(self):
        """A line without its end."""
        while b"\n" not in self.buffer:
            self.more()
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.rstrip(b"\r")

    def row(self):
        """A response: words and strings, quoted or literal."""
        line, words, at = self.raw_line(), [], 0
        while at < len(line):
            if line[at:at + 1] == b" ":
                at += 1
            elif line[at:at + 1] == b'"':
                text, at = b"", at + 1
                while line[at:at + 1] != b'"':
                    at += line[at:at + 1] == b"\\"
                    text, at = text + line[at:at + 1], at + 1
                words.append(text)
                at += 1
            elif line[at:at + 1] == b"{" and line.endswith(b"}"):
                size = int(line[at + 1:-1].rstrip(b"+"))
                while len(self.buffer) < size:
                    self.more()
                words.append(self.buffer[:size])
                self.buffer = self.buffer[size:]
                line, at = self.raw_line(), 0
            else:
                end = line.find(b" ", at)
                end = len(line) if end < 0 else end
                words.append(line[at:end])
                at = end
        return words if words else [b"", b""]

    def begin(self, verb, *strings, string=quoted):
        """Sends a command; its tag."""
        self.tags += 1
        tag = b"t%d" % self.tags
        self.send(b" ".join([tag, verb.encode(), *[string(x) for x in strings]]) + b"\r\n")
        return tag

    def end(self, tag):
        """Rows up to the answer of a command, which is the last."""
        rows = [self.row()]
        while rows[-1][0] != tag or rows[-1][1] not in (b"OK", b"NO", b"BAD"):
            if rows[-1][:2] == [b"*", b"BYE"]:
                raise Gone("BYE")
            rows.append(self.row())
        return rows

    def command(self, verb, *strings, string=quoted):
        """A command and its rows."""
        return self.end(self.begin(verb, *strings, string=string))

    def ok(self, verb, *strings):
        """A command that must succeed; its data rows."""
        rows = self.command(verb, *strings)
        assert rows[-1][1] == b"OK", (verb, strings, rows[-1])
        return rows[:-1]

    def entries(self, prefix=None):
        """The list: name -> (state, location, acl)."""
        return listed(self.ok("LIST", *([prefix] if prefix else [])))

    def close(self):
        """Without a word."""
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def listed(rows):
    """Rows of a list as name -> (state, location, acl)."""
    found = {}
    for row in rows:
        words = [word.decode(errors="surrogateescape") for word in row[1:]]
        if words[0] == "DELETE":
            found.pop(words[1], None)
        else:
            found[words[1]] = (words[0], words[2], words[3] if words[0] == "MAILBOX" else "")
    return found


class Master:
    """Our `mupdate -m`; it keeps its list under `folder`."""

    def __init__(self, binaries, folder, address, host="mupdate", port=3905, options=None, tls=None):
        self.binary, self.folder = f"{binaries}/mupdate", folder
        self.address, self.port, self.process = address, port, None
        for sub in ("conf", "conf/socket"):
            os.makedirs(f"{folder}/{sub}", exist_ok=True)
        with open(f"{folder}/passwd", "w") as f:
            f.write(f"postman:{scram_line(PASSWORD)}\n")
        settings = {"configdirectory": f"{folder}/conf", "servername": host, "admins": "cyrus postman",
                    "allowplaintext": "yes", "failedloginpause": "0", "sasl_pwcheck_method": "passwd_file",
                    "sasl_passwd_file": f"{folder}/passwd", "sasl_mech_list": "PLAIN LOGIN SCRAM-SHA-256"}
        settings |= tls or {}
        settings |= options or {}
        if not os.geteuid():           # its rings count against the locked memory of that user alone
            settings["rookery_user"] = USER
        with open(f"{folder}/imapd.conf", "w") as f:
            f.write("".join(f"{key}: {value}\n" for key, value in settings.items()))
        self.own()

    def own(self):
        """What the daemon writes belongs to the user that it becomes."""
        if os.geteuid():
            return
        user = pwd.getpwnam(USER)
        for place, folders, files in os.walk(self.folder):
            for name in [place, *[f"{place}/{x}" for x in folders + files]]:
                os.lchown(name, user.pw_uid, user.pw_gid)

    def words(self):
        """The command line."""
        return [self.binary, "-m", "-D", "-C", f"{self.folder}/imapd.conf", "-l", f"{self.address}:{self.port}"]

    def start(self, seconds=READY_SECONDS):
        """Starts and waits until it is ready; the seconds that took."""
        path = f"{self.folder}/notify"
        if os.path.exists(path):
            os.unlink(path)
        ready = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        ready.bind(path)
        os.chmod(path, 0o666)
        ready.settimeout(0.1)
        begun = time.monotonic()
        with open(f"{self.folder}/log", "ab") as log:
            self.process = subprocess.Popen(self.words(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/",
                                            env={**os.environ, "NOTIFY_SOCKET": path})
        try:
            while time.monotonic() < begun + seconds:
                if self.process.poll() is not None:
                    raise RuntimeError(f"mupdate exited {self.process.returncode}: {self.log()}")
                try:
                    if b"READY=1" in ready.recv(4096):
                        return time.monotonic() - begun
                except TimeoutError:
                    pass
        finally:
            ready.close()
        raise RuntimeError(f"mupdate was not READY in {seconds} s: {self.log()}")

    def log(self):
        """The end of what it has said."""
        with open(f"{self.folder}/log", errors="replace") as f:
            return f.read()[-2000:]

    def kill(self):
        """A crash."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self):
        """SIGTERM; its exit status."""
        process, self.process = self.process, None
        if process is None:
            return None
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(READY_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"mupdate did not end: {self.log()}") from None

    def client(self, **more):
        """A logged-in connection."""
        return Client(self.address, self.port, **more)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.kill()
