"""A raw IMAP client that remembers every line: what a test compares is what came over the wire."""
import re
import socket
import ssl
import time

LITERAL = re.compile(rb"\{(\d+)\}$")
LINE_MAX = 1 << 20


class Lost(Exception):
    """The other end closed, or did not answer in time."""


class Exchange:
    """One command and all that came back for it."""

    def __init__(self, group, session, command):
        self.group, self.session, self.command = group, session, command
        self.lines = []                    # responses without CRLF, literals inlined

    @property
    def tagged(self):
        """The last line, which is the tagged one unless the connection was lost."""
        return self.lines[-1] if self.lines else b""

    @property
    def status(self):
        """OK, NO or BAD."""
        words = self.tagged.split(b" ", 2)
        return words[1].decode(errors="replace") if len(words) > 1 else ""

    def named(self, keyword):
        """The untagged responses with this keyword, as `* KEYWORD ...` or `* n KEYWORD ...`."""
        rx = re.compile(rb"\* (\d+ )?" + keyword.encode() + rb"\b")
        return [line for line in self.lines if rx.match(line)]

    def as_json(self):
        """For keeping a reference run."""
        return [self.group, self.session, self.command, [line.decode("latin-1") for line in self.lines]]

    @staticmethod
    def from_json(row):
        """The reverse of `as_json`."""
        exchange = Exchange(*row[:3])
        exchange.lines = [line.encode("latin-1") for line in row[3]]
        return exchange


def connected(address, port, timeout):
    """A stream to a port, or to a path."""
    if not address.startswith("/"):
        return socket.create_connection((address, port), timeout)
    stream = socket.socket(socket.AF_UNIX)
    stream.settimeout(timeout)
    stream.connect(address)
    return stream


class Session:
    """A connection. Tags are a1, a2, ...; every wait has a deadline."""

    def __init__(self, address, port=143, tls=None, timeout=60, name="", record=None):
        self.name, self.record, self.group, self.timeout = name, record, "", timeout
        self.socket = self.connected(address, port)
        self.buffer, self.tags = b"", 0
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname=address)
        self.greeting = self.line()

    def connected(self, address, port):
        """The stream, before TLS."""
        return connected(address, port, self.timeout)

    def starttls(self, tls, address):
        """STARTTLS, then the handshake."""
        answer = self.command("STARTTLS")
        if answer.status == "OK":
            self.socket = tls.wrap_socket(self.socket, server_hostname=address)
        return answer

    def read(self, timeout=None):
        """More bytes into the buffer."""
        self.socket.settimeout(self.timeout if timeout is None else timeout)
        try:
            got = self.socket.recv(65536)
        except (TimeoutError, ssl.SSLError, ConnectionError) as e:
            raise Lost(f"{type(e).__name__} {e}") from e
        if not got:
            raise Lost("end of input")
        self.buffer += got

    def line(self, timeout=None):
        """One response line with its literals."""
        whole = b""
        while True:
            while b"\r\n" not in self.buffer:
                if len(self.buffer) > LINE_MAX:
                    raise Lost("line without end")
                self.read(timeout)
            line, self.buffer = self.buffer.split(b"\r\n", 1)
            whole += line
            found = LITERAL.search(line)
            if not found:
                return whole
            size = int(found.group(1))
            while len(self.buffer) < size:
                self.read(timeout)
            whole += b"\r\n" + self.buffer[:size]
            self.buffer = self.buffer[size:]

    def send(self, data):
        """Bytes as they are."""
        try:
            self.socket.sendall(data)
        except (ConnectionError, TimeoutError, ssl.SSLError) as e:
            raise Lost(f"{type(e).__name__} {e}") from e

    def tag(self):
        """The next tag."""
        self.tags += 1
        return f"a{self.tags}"

    def command(self, text, *literals, sync=True):
        """Sends a command; `{}` in the text stands for the next literal. Returns the Exchange."""
        exchange = Exchange(self.group, self.name, text)
        tag = self.tag()
        parts = text.split("{}")
        head = f"{tag} {parts[0]}".encode()
        if self.record is not None:
            self.record.append(exchange)
        for literal, rest in zip(literals, parts[1:]):
            literal = literal if isinstance(literal, bytes) else literal.encode()
            if sync:
                self.send(head + b"{%d}\r\n" % len(literal))
                if not self.until(exchange, tag, continuation=True):
                    return exchange
                head = literal + rest.encode()
            else:
                head += b"{%d+}\r\n" % len(literal) + literal + rest.encode()
        self.send(head + b"\r\n")
        self.until(exchange, tag)
        return exchange

    def until(self, exchange, tag, continuation=False):
        """Reads to the tagged line, or to a continuation; tells whether it was the latter."""
        while True:
            line = self.line()
            exchange.lines.append(line)
            if continuation and line.startswith(b"+"):
                return True
            if line.startswith(tag.encode() + b" "):
                return False

    def until_match(self, pattern, timeout):
        """Reads untagged lines until one matches; returns all of them."""
        seen, end = [], time.monotonic() + timeout
        while True:
            left = end - time.monotonic()
            if left <= 0:
                raise Lost(f"no {pattern} within {timeout} s, saw {seen}")
            seen.append(self.line(left))
            if re.search(pattern.encode(), seen[-1]):
                return seen

    def drain(self, timeout):
        """All that still comes until the end of input; the end must come in time."""
        end, lines = time.monotonic() + timeout, []
        while True:
            try:
                lines.append(self.line(max(0.01, end - time.monotonic())))
            except Lost as e:
                if "TimeoutError" in str(e):
                    raise
                return lines

    def login(self, user, password):
        """LOGIN; a failure is an error of the test."""
        answer = self.command(f'LOGIN "{user}" "{password}"')
        if answer.status != "OK":
            raise Lost(f"login of {user}: {answer.tagged!r}")
        return self

    def close(self):
        """Without LOGOUT."""
        self.socket.close()
