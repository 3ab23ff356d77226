"""A move that mail breaks off: what Cyrus says of it, what audit makes of it, and how all mail comes together again.

XFER makes the mailbox at its destination and fills it before it tells the master. A backend's lmtpd takes mail for it as
soon as it is there: from an MTA that was told a moment ago that the user is at this server, because he was.
"""
import threading
import time
import uuid

from audit import problems, rookery
from lmtp import message
from moving import WAIT_SECONDS, move, moved

USER, HOME, OTHER = "user003", 3, 2
MTAS = 3
ROUNDS_MAX = 30


class Mtas:
    """Clients that deliver to one backend, whatever the list says, until they are stopped."""

    def __init__(self, world, backend):
        self.world, self.backend, self.stop, self.taken = world, backend, threading.Event(), []
        self.threads = [threading.Thread(target=self.deliver) for _ in range(MTAS)]

    def deliver(self):
        client = self.world.backend(self.backend)
        while not self.stop.is_set():
            name = f"early{uuid.uuid4().hex}"
            rcpts, ends = client.deliver([USER], message(name))
            if rcpts[0].startswith("2") and ends[0].startswith("2"):
                self.taken.append(name)
                time.sleep(0.02)
            elif not rcpts[0].startswith("2"):
                client.say("RSET")
        client.close()

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()


def broken_off(world):
    """A move that was: what it was told, and what the destination took meanwhile."""
    taken = []
    for _ in range(ROUNDS_MAX):
        with Mtas(world, OTHER) as mtas:
            why = move(world.bed, USER, HOME, OTHER, world.ours)
        taken += mtas.taken
        if why:
            return taken
        moved(world.bed, USER, OTHER, HOME)
    raise AssertionError(f"none of {ROUNDS_MAX} moves broke off, with {len(taken)} messages")


def move_that_mail_breaks_off_is_made_again(world):
    """`* NO USER`, and NO from our frontend; two copies, which audit names; the next move joins them."""
    conf = "../rookery/daemon.conf"
    taken = broken_off(world)
    found = problems(rookery(world.bed, "audit", status=1, conf=conf))
    assert (f"user.{USER}", "double-owner") in found, found
    moved(world.bed, USER, HOME, OTHER)
    end = time.monotonic() + WAIT_SECONDS
    while found := problems(rookery(world.bed, "audit", "--no-wait", status=None, conf=conf)):
        assert time.monotonic() < end, found
        time.sleep(0.5)
    once(world, taken)
    moved(world.bed, USER, OTHER, HOME)
    once(world, taken)


def once(world, names):
    """All are in his mailbox, once."""
    subjects = world.subjects(USER)
    assert names and [name for name in names if subjects.count(name) != 1] == [], (len(names), len(subjects))


TESTS = [move_that_mail_breaks_off_is_made_again]
