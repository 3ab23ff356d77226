"""A MUPDATE master that misbehaves in one chosen way, or that pushes at once where Cyrus' takes 5 s."""
import base64
import socket
import threading

GREETING = (b'* AUTH "PLAIN"\r\n* PARTIAL-UPDATE\r\n'
            b'* OK MUPDATE "fake" "Cyrus IMAP" "3.6.1" "(master)"\r\n')


class FakeMaster:
    """Listens; `dump` is what follows `UPDATE` (a function of the tag). Then the connection ends, or
    with `stays` serves NOOP and brings what is pushed."""

    def __init__(self, address, port, dump, stays=False):
        self.dump, self.updates, self.stays, self.streams = dump, threading.Semaphore(0), stays, []
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind((address, port))
        self.listener.listen(32)
        self.open = True
        self.accepting = threading.Thread(target=self.accept, daemon=True)
        self.accepting.start()

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
                        if self.stays:
                            self.streams.append(connection)
                        self.updates.release()
                        if not self.stays:
                            return
                        continue
                    f.write(tag + (b' OK "done"\r\n' if verb != b"LOGOUT" else b' OK "bye-bye"\r\n'))
                    f.flush()
            except OSError:
                return

    def push(self, line):
        """Tells every stream of a change, at once."""
        for stream in self.streams:
            stream.sendall(line)

    def close(self):
        """No more connections, and none of those that stream. While somebody waits in accept() a socket that is closed
        listens on, and a server that is started here could not: Cyrus' runs without its port then."""
        self.open = False
        self.listener.shutdown(socket.SHUT_RDWR)
        self.accepting.join()
        self.listener.close()
        for stream in self.streams:
            stream.shutdown(socket.SHUT_RDWR)


def dump_of(address, port, name, password):
    """What a real master answers to `U01 UPDATE`, its OK included."""
    with socket.create_connection((address, port), 10) as connection, connection.makefile("rb") as lines:
        while not lines.readline().startswith(b"* OK"):
            pass
        plain = base64.b64encode(f"\0{name}\0{password}".encode()).decode()
        connection.sendall(f'A01 AUTHENTICATE "PLAIN" "{plain}"\r\n'.encode())
        answer = lines.readline()
        assert answer.startswith(b"A01 OK"), answer
        connection.sendall(b"U01 UPDATE\r\n")
        dump = [lines.readline()]
        while dump[-1] and not dump[-1].startswith(b"U01 OK"):
            dump.append(lines.readline())
        return b"".join(dump)


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
