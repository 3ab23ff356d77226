"""A user who is moved between two backends all the while."""
import threading

WAIT_SECONDS = 60


class Moving:
    """Moves user002 to and fro between two backends meanwhile; at the end he is where others expect him."""

    def __init__(self, world, pause):
        self.world, self.pause, self.moves, self.stop = world, pause, 0, threading.Event()
        self.thread = threading.Thread(target=self.move)

    def move(self):
        at, is_whole = 2, True
        while at != 2 or not is_whole or not self.stop.is_set():
            to = 3 if at == 2 else 2
            s = self.world.bed.session("cyrus", address=self.world.bed.backend(at), timeout=WAIT_SECONDS)
            answer = s.command(f"XFER user.user002 {self.world.bed.backend_host(to)}")
            s.close()
            # One that breaks off leaves the mailbox deactivated in the list: it is moved again.
            is_whole = answer.status == "OK"
            if is_whole:
                at, self.moves = to, self.moves + 1
            self.stop.wait(self.pause)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


def pause_for(messages):
    """A move keeps the mailbox locked for seconds, the longer the more is in it."""
    return max(0.3, messages / 250)
