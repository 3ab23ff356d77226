"""What stands between a MUPDATE client and its master."""
import socket
import threading


class Relay:
    """Gives an instance an address of its own towards the master, and may freeze.

    `before` and `after` see what goes to the master, and may wait.
    """

    def __init__(self, address, master, source=None, port=3905):
        self.source, self.master, self.port, self.flows = source, master, port, threading.Event()
        self.flows.set()
        self.listener = socket.create_server((address, port), backlog=64)
        threading.Thread(target=self.accept, daemon=True).start()

    def before(self, data):
        """These bytes are about to go to the master."""

    def after(self, data):
        """They went."""

    def accept(self):
        source = (self.source, 0) if self.source else None
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection((self.master, self.port), 5, source_address=source)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            for one, other, is_asked in ((near, far, True), (far, near, False)):
                threading.Thread(target=self.pump, args=(one, other, is_asked), daemon=True).start()

    def pump(self, one, other, is_asked):
        try:
            while data := one.recv(65536):
                self.flows.wait()
                if is_asked:
                    self.before(data)
                other.sendall(data)
                if is_asked:
                    self.after(data)
        except OSError:
            pass
        for end in (one, other):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.flows.set()
        self.listener.shutdown(socket.SHUT_RDWR)   # or a connection more would be accepted
        self.listener.close()
