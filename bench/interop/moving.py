"""A user who is moved between two backends, as an operator moves him: until his server says that he has been moved."""
import re
import threading
import time

WAIT_SECONDS = 60
# Why a move of 3.6.1 breaks off where mail reaches the copy that it makes. Nothing is lost: the list still names the
# source, which has what it had; the copy at the destination stays, takes mail, and is joined with it by the next move.
JOINED_NEXT_TIME = (b"Mailbox has changed since last sync", b"Replication inconsistency detected", b"Retry operation")


def move(bed, user, at, to, ours=None):
    """XFER at his server, or at our frontend: None if he was moved, else why not.

    The tagged answer of 3.6.1 is OK all the same, which our frontend mends: what counts is the untagged one, for each user.
    """
    s = bed.session("cyrus", address=ours or bed.backend(at), timeout=WAIT_SECONDS)
    answer = s.command(f"XFER user.{user} {bed.backend_host(to)}")
    s.close()
    refused = [match.group(1) for line in answer.lines if (match := re.match(rb"\* NO USER \S+ \((.*)\)", line))]
    if refused:
        assert refused[0] in JOINED_NEXT_TIME, answer.lines
        if ours:
            assert answer.status == "NO" and b"was not moved: " + refused[0] in answer.tagged, answer.lines
        return refused[0]
    assert answer.status == "OK" and b"* OK USER %s" % user.encode() in answer.lines, (answer.lines, answer.tagged)
    return None


def moved(bed, user, at, to):
    """Moves him, again where a move breaks off; how often it did."""
    broken, end = 0, time.monotonic() + WAIT_SECONDS
    while why := move(bed, user, at, to):
        assert time.monotonic() < end, (user, why)
        broken += 1
        time.sleep(0.2)
    return broken


class Moving:
    """Moves user002 to and fro between two backends meanwhile; at the end he is where others expect him."""

    def __init__(self, world, pause):
        self.world, self.pause, self.stop = world, pause, threading.Event()
        self.moves, self.broken, self.failure = 0, 0, None
        self.thread = threading.Thread(target=self.run)

    def run(self):
        """Until it is told to stop and he is back."""
        at = 2
        try:
            while at != 2 or not self.stop.is_set():
                to = 3 if at == 2 else 2
                self.broken += moved(self.world.bed, "user002", at, to)
                at, self.moves = to, self.moves + 1
                self.stop.wait(self.pause)
        except Exception as e:
            self.failure = e

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()

    def check(self):
        """He was moved, and nothing went wrong with it that is not known."""
        if self.failure:
            raise self.failure
        assert self.moves, "nothing moved"


def pause_for(messages):
    """A move keeps the mailbox locked for seconds, the longer the more is in it."""
    return max(0.3, messages / 250)
