"""A MUPDATE master that misbehaves in one chosen way."""
import socket
import threading

GREETING = (b'* AUTH "PLAIN"\r\n* PARTIAL-UPDATE\r\n'
            b'* OK MUPDATE "fake" "Cyrus IMAP" "3.6.1" "(master)"\r\n')


class FakeMaster:
    """Listens; `dump` is what follows `UPDATE` (a function of the tag), then the connection ends."""

    def __init__(self, address, port, dump):
        self.dump, self.updates = dump, threading.Semaphore(0)
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((address, port))
        self.listener.listen(32)
        self.open = True
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        """One thread a connection."""
        while self.open:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        """Authenticates anybody, answers UPDATE as told."""
        with connection, connection.makefile("rwb") as f:
            try:
                f.write(GREETING)
                f.flush()
                while line := f.readline():
                    while line.rstrip().endswith(b"}"):
                        size = int(line.rstrip().rsplit(b"{", 1)[1].rstrip(b"+}"))
                        line = line.rstrip() + f.read(size) + f.readline()
                    tag, _, rest = line.partition(b" ")
                    verb = rest.split()[0].upper() if rest.split() else b""
                    if verb == b"UPDATE":
                        f.write(self.dump(tag))
                        f.flush()
                        self.updates.release()
                        return
                    f.write(tag + (b' OK "done"\r\n' if verb != b"LOGOUT" else b' OK "bye-bye"\r\n'))
                    f.flush()
            except OSError:
                return

    def close(self):
        """No more connections."""
        self.open = False
        self.listener.close()


def bye_in_the_dump(tag):
    """One entry, then BYE."""
    return tag + b' MAILBOX "user.user001" "nowhere!default" "user001\tlrswipkxtecdan\t"\r\n* BYE "fatal"\r\n'


def refused(tag):
    """UPDATE is not allowed."""
    return tag + b' NO "denied"\r\n'


def ends_in_the_dump(tag):
    """One entry, then end of input."""
    return tag + b' MAILBOX "user.user001" "nowhere!default" "user001\tlrswipkxtecdan\t"\r\n'


def nonsense(_):
    """No MUPDATE at all."""
    return b"HTTP/1.1 400 Bad Request\r\n\r\n"


def empty(tag):
    """A list of nothing: it would delete everything."""
    return tag + b' OK "streaming starts"\r\n'
