"""Our tools on a terminal, beside Debian's where there is one; and a push that is killed in its middle."""
import os
import pty
import re
import select
import signal
import subprocess
import termios
import threading
import time

from master_client import Master
from master_figures import backend
from master_murder import certificates
from relay import Relay

SECONDS = 60
MANY = 20_000
ACTIVATES = 3_000


class Terminal:
    """A program whose standard input and outputs are a terminal."""

    def __init__(self, words):
        self.reader, terminal = pty.openpty()
        self.process = subprocess.Popen(words, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True,
                                        preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)))
        os.close(terminal)
        self.text, self.seen = "", 0

    def read(self):
        """Whether there may be more."""
        if not select.select([self.reader], [], [], 0.1)[0]:
            return True
        try:
            data = os.read(self.reader, 65536)
        except OSError:                # the other end is closed
            return False
        self.text += data.decode(errors="replace").replace("\r\n", "\n")
        return bool(data)

    def says(self, words):
        """Waits for words behind those that were waited for before."""
        end = time.monotonic() + SECONDS
        while words not in self.text[self.seen:]:
            assert time.monotonic() < end and self.read(), f"no {words!r} in {self.text!r}"
        self.seen = self.text.index(words, self.seen) + len(words)

    def shows_what_is_typed(self):
        return bool(termios.tcgetattr(self.reader)[3] & termios.ECHO)

    def types(self, line):
        os.write(self.reader, f"{line}\n".encode())

    def end(self):
        """Its exit status."""
        end = time.monotonic() + SECONDS
        while self.read():
            assert time.monotonic() < end, f"does not end: {self.text!r}"
        os.close(self.reader)
        return self.process.wait(SECONDS)


class Narrow(Relay):
    """Between a tool and the master: lets so many ACTIVATEs of the tool through, then waits until it may go on."""

    def __init__(self, address, master, activates):
        self.activates, self.full, self.may_go_on = activates, threading.Event(), threading.Event()
        super().__init__(address, master)

    def after(self, data):
        self.activates -= data.count(b"ACTIVATE")
        if self.activates <= 0 and not self.full.is_set():
            self.full.set()
            self.may_go_on.wait(SECONDS)


def a_push_that_is_killed_goes_on(world):
    """What was pushed stays, the next push does the rest; it shows how far it is, and asks nothing."""
    folder, net = f"{world.folder}/many", world.bed.net
    with Master(world.binaries, f"{folder}/master", f"{net}.9") as master:
        conf = backend(f"{folder}/backend", MANY, f"{net}.7")
        words = [f"{world.folder}/ctl_mboxlist", "-C", conf, "-m", "-i"]
        narrow = Narrow(f"{net}.7", master.address, ACTIVATES)
        tool = subprocess.Popen(words, stdin=subprocess.DEVNULL)
        assert narrow.full.wait(SECONDS), "nothing was pushed"
        tool.send_signal(signal.SIGKILL)
        tool.wait(SECONDS)
        narrow.may_go_on.set()
        narrow.close()
        before = settled(master)
        assert 500 < len(before) < MANY, len(before)
        narrow = Narrow(f"{net}.7", master.address, ACTIVATES)
        terminal = Terminal(words)
        assert narrow.full.wait(SECONDS), terminal.text
        time.sleep(0.5)                # it shows something every 0.2 s
        narrow.may_go_on.set()
        status = terminal.end()
        narrow.close()
        assert status == 0 and re.search(rf"activating: \d+ of {MANY - len(before)}\b", terminal.text), (status, terminal.text)
        assert "?" not in terminal.text and terminal.text.endswith("\r\x1b[K"), terminal.text
        with master.client(timeout=SECONDS) as client:
            after = client.entries()
        assert len(after) == MANY and before.items() <= after.items(), len(after)


def settled(master):
    """The list when what was pushed has come in."""
    end = time.monotonic() + SECONDS
    with master.client(timeout=SECONDS) as client:
        before = None
        while not (now := client.entries()) or now != before:
            assert time.monotonic() < end, "nothing came in"
            before = now
            time.sleep(0.5)
    return now


def mupdatetest_is_typed_to(world):
    """Debian's and ours: the password is asked for and not shown, with TLS, compression and another mechanism; what
    is typed is answered."""
    folder, net = f"{world.folder}/typed", world.bed.net
    certificates(folder)
    options = {"tls_server_cert": f"{folder}/server.pem", "tls_server_key": f"{folder}/server.key"}
    with Master(world.binaries, f"{folder}/master", f"{net}.9", options=options) as master:
        for words in (["-t", "", "-m", "PLAIN", "-q"], ["-t", "", "-m", "PLAIN"], ["-m", "SCRAM-SHA-256", "-q"], ["-q"]):
            sessions = [typed([program, *words, "-u", "postman", "-a", "postman", master.address])
                        for program in ("/usr/lib/cyrus/bin/mupdatetest", f"{world.folder}/mupdatetest")]
            assert sessions[0] == sessions[1] and sessions[0][0] == 0, (words, sessions)


def typed(words):
    """One session: its exit status and lines, without what is random or a library's own words."""
    terminal = Terminal(words)
    terminal.says("Please enter your password: ")
    end = time.monotonic() + SECONDS
    while terminal.shows_what_is_typed():      # Debian's asks before it hides what is typed; ours does not
        assert time.monotonic() < end and "/usr/lib/" in words[0], "the password is shown"
    terminal.types("pw-postman")
    terminal.says('Z01 OK "DEFLATE active"' if "-q" in words else "Security strength factor: ")
    for line, answer in (("N1 NOOP", 'N1 OK "Noop done"'), ('F1 FIND "user.x"', 'F1 OK "Search completed"'),
                         ("B1 BOGUS", "B1 BAD "), ("Q1 LOGOUT", 'Q1 OK "bye-bye"')):
        assert terminal.shows_what_is_typed()
        terminal.types(line)
        terminal.says(answer)
    status = terminal.end()
    assert "pw-postman" not in terminal.text, terminal.text
    text = re.sub(r"(?m)^((?:[SC]: )?)[A-Za-z0-9+/=]{30,}$", r"\1BASE64", terminal.text.replace("\r", ""))
    text = re.sub(r"\{\d+\+\}", "{n+}", text)
    return status, [line for line in text.splitlines() if not line.startswith("verify error")]


TESTS = [a_push_that_is_killed_goes_on, mupdatetest_is_typed_to]
