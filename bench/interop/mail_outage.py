"""Outages as POP3, LMTP and ManageSieve see them, where the tests of the three protocols have no test of their own.

What each protocol says where nothing but time helps: POP3 `-ERR [SYS/TEMP]`, LMTP 451, ManageSieve `NO (TRYLATER)`.

  situation                          here                                      and in lmtp.py, pop3.py, sieve.py
  master down, and back              master_down_and_back                      unknown_user_is_not_bounced.., master_down
  master hangs                       master_that_hangs
  master lost its list, or lies      list_that_is_lost, list_that_is_cut
  server down                                                                  dead_backend_costs.., down_server..
  server dies under a session                                                  dead_backend_in_the_middle.., server_that_dies..
  server dies in a command           server_that_dies_in_a_command
  server hangs                       backend_that_stops_in_the_middle_of_data, silent_backend_.., server_that_hangs..
                                     backend_that_stops_behind_the_dot
  idle connection to it is dead      restarted_backend_takes_the_next_message
  mailbox moved meanwhile            moved_scripts_are_found                   mail_flows_while.., moved_user_is_found
  move that broke off                reserved_mailbox
  list and server disagree           mailbox_that_its_server_has_not
  mailbox on two servers             entry_that_was_stolen
  proxy's password is wrong          wrong_proxy_password                      wrong_proxy_password_is_not_the_clients
"""
import os
import shutil
import socket
import threading
import time
import uuid

from bed import Bed
from beside import Beside, Stopped, within
from daemon import scram_line
from fake_master import FakeMaster, bye_in_the_dump, empty
from leak import memory_kib, use_every_receive_buffer
from lmtp import HEAD, World, message
from master_client import Client
from pop3 import Pop
from sieve import Sieve
from wire import Lost

WAIT_SECONDS = 60
GHOST = "user048"
NOBODY = "user047"
ACL = "{0}\tlrswipkxtecda\tanyone\tp\t"
# Buffers of four sides and two shards, as the allocator takes them: 8 to 12 MiB, for 2 MB of message as for 80.
MESSAGE_MEMORY_KIB_MAX = 16 * 1024
TIMEOUTS = ["client_timeout: 4s", "rookery_lmtp_envelope_timeout: 5s", "rookery_lmtp_data_timeout: 5s",
            "lmtptxn_timeout: 8s", "rookery_command_timeout: 4s"]


# ---------------------------------------------------------------- what each protocol says
def by_pop3(world, user):
    """`ok`, `later`, or what was said."""
    s = Pop(world.bed)
    reply = s.login(user)
    s.close()
    return "ok" if reply.startswith(b"+OK") else "later" if b"[SYS/TEMP]" in reply else reply


def by_sieve(world, user):
    """The same."""
    s = Sieve(world.bed)
    reply = s.login(user)
    if reply.startswith(b"OK"):
        reply = s.command("LISTSCRIPTS")[-1]
    s.close()
    return "ok" if reply.startswith(b"OK") else "later" if reply.startswith((b"NO (TRYLATER)", b"BYE (TRYLATER)")) else reply


def by_lmtp(world, user):
    """The same."""
    client = world.lmtp()
    rcpts, ends = client.deliver([user])
    client.close()
    reply = rcpts[0] if not rcpts[0].startswith("2") else ends[0]
    return "ok" if reply.startswith("2") else "later" if reply.startswith("451") else reply


PROTOCOLS = [by_pop3, by_sieve, by_lmtp]


def all_say(world, user, wanted):
    """All three do at last."""
    for ask in PROTOCOLS:
        says(ask, world, user, wanted)


def says(ask, world, user, wanted):
    """Until it does: a list is behind its master for up to 5 s. A permanent refusal is wrong at once."""
    end = time.monotonic() + WAIT_SECONDS
    while (said := heard(ask, world, user)) != wanted:
        assert said in ("ok", "later", "nothing"), (ask.__name__, user, said)
        assert time.monotonic() < end, (ask.__name__, user, said)
        time.sleep(0.2)


def heard(ask, world, user):
    """What it says, where there is a connection."""
    try:
        return ask(world, user)
    except (Lost, OSError):
        return "nothing"


# ---------------------------------------------------------------- a backend stands still
class Peak:
    """The most memory that a process has meanwhile, over what it had before."""

    def __init__(self, pid):
        self.pid, self.before, self.grown_kib = pid, memory_kib(pid), 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def watch(self):
        """Looks again and again."""
        while not self.stop.wait(0.02):
            self.grown_kib = max(self.grown_kib, memory_kib(self.pid) - self.before)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


def backend_that_stops_in_the_middle_of_data(world):
    """Its recipients are told to come again, the others get the message, and it has no half of one. Of the message,
    40 MB, little is ever in memory."""
    use_every_receive_buffer(world.bed)
    client, name = world.lmtp(), uuid.uuid4().hex
    assert client.begin(["user001", "user002", "user003"])[-1].startswith("354")
    line = b"y" * 998 + b"\r\n"
    with Stopped(world.bed, "backend3"), Peak(world.bed.frontend_pid()) as peak:
        client.send(HEAD % name.encode() + line * 40_000 + b".\r\n")
        ends = [client.reply() for _ in range(3)]
        assert [end[:3] for end in ends] == ["250", "250", "451"], ends
    assert peak.grown_kib < MESSAGE_MEMORY_KIB_MAX, f"{peak.grown_kib} KiB of memory"
    assert client.say("NOOP").startswith("250")
    # The MTA comes again with the same message, and it is there once.
    within(WAIT_SECONDS, lambda: check(client.deliver(["user003"], message(name))[1][0].startswith("250")))
    assert [world.times(f"user00{n}", name) for n in (1, 2, 3)] == [1, 1, 1]


def backend_that_stops_behind_the_dot(world):
    """What others took they have, and nobody waits for longer than lmtptxn_timeout."""
    client, name = world.lmtp(), uuid.uuid4().hex
    assert client.begin(["user003", "user001", "user002"])[-1].startswith("354")
    with Stopped(world.bed, "backend3"):
        client.send(message(name))
        ends = [client.reply() for _ in range(3)]
        assert [end[:3] for end in ends] == ["451", "250", "250"], ends
    assert [world.times(f"user00{n}", name) for n in (1, 2)] == [1, 1]
    within(WAIT_SECONDS, lambda: check(by_lmtp(world, "user003") == "ok"))


def check(holds):
    """Raises where it does not."""
    assert holds


def restarted_backend_takes_the_next_message(world):
    """The connection that was kept for it is dead; nobody is told to come again for that."""
    client = world.lmtp()
    assert client.deliver(["user002"])[1][0].startswith("250")
    world.bed.stop("backend2", kill=True)
    world.bed.start("backend2")
    rcpts, ends = client.deliver(["user002"])
    assert rcpts[0].startswith("250") and ends[0].startswith("250"), (rcpts, ends)


def server_that_dies_in_a_command(world):
    """POP3 ends within the message, without the dot that would end it; ManageSieve says BYE."""
    big = message(body="z" * 70 + "\r\n").replace(b"z" * 70, (b"z" * 76 + b"\r\n") * 60_000)
    assert world.lmtp().deliver(["user002"], big)[1][0].startswith("250")
    pop, sieve = Pop(world.bed), Sieve(world.bed)
    assert pop.login("user002").startswith(b"+OK") and sieve.login("user002").startswith(b"OK")
    last = int(pop.command("STAT").split()[1])
    with Stopped(world.bed, "backend2"):
        sieve.send("LISTSCRIPTS")
        pop.send(f"RETR {last}")
        world.bed.stop("backend2", kill=True)
    try:
        assert sieve.reply()[-1].startswith(b"BYE (TRYLATER)")
        assert sieve.ends() == b""
        assert not pop.ends().endswith(b"\r\n.\r\n")
    finally:
        world.bed.start("backend2")
    all_say(world, "user002", "ok")


# ---------------------------------------------------------------- the list
def master_down_and_back(world):
    """Who is known is served, also behind a restart; of nobody else it is said that he is not there."""
    world.bed.stop("master")
    try:
        all_say(world, NOBODY, "later")
        all_say(world, "user001", "ok")
        world.restart(live=False)
        all_say(world, NOBODY, "later")
        all_say(world, "user002", "ok")
        world.forget_list()
        all_say(world, "user001", "later")
    finally:
        world.bed.start("master")
    all_say(world, "user001", "ok")
    within(WAIT_SECONDS, lambda: check(str(by_lmtp(world, NOBODY)).startswith("550")))
    within(WAIT_SECONDS, lambda: check(by_sieve(world, NOBODY) == b'NO "Mailbox does not exist"'))


def master_that_hangs(world):
    """Nobody waits for it for long, and nobody is sent away for it."""
    with Stopped(world.bed, "master"):
        all_say(world, NOBODY, "later")
        all_say(world, "user001", "ok")
    within(WAIT_SECONDS, lambda: check(str(by_lmtp(world, NOBODY)).startswith("550")))


def with_fake(world, dump, test):
    """A master that misbehaves in the place of the real one."""
    world.bed.stop("master")
    fake = FakeMaster(f"{world.net}.1", 3905, dump)
    try:
        assert fake.updates.acquire(timeout=WAIT_SECONDS), "no UPDATE came"
        test(fake)
    finally:
        fake.close()
        world.bed.start("master")
    all_say(world, "user001", "ok")
    within(WAIT_SECONDS, lambda: check(str(by_lmtp(world, NOBODY)).startswith("550")))


def list_that_is_lost(world):
    """A master without entries changes nothing here; with nothing here it is no reason to send mail back."""
    def test(_):
        all_say(world, "user001", "ok")
        all_say(world, NOBODY, "later")
        world.forget_list()
        all_say(world, "user001", "later")
    with_fake(world, empty, test)


def list_that_is_cut(world):
    """Half a list is none."""
    def test(fake):
        assert fake.updates.acquire(timeout=WAIT_SECONDS), "no second UPDATE came"
        all_say(world, "user002", "ok")
        all_say(world, NOBODY, "later")
    with_fake(world, bye_in_the_dump, test)


def with_entry(world, verb, name, *words, test):
    """An entry that no backend told, for a while."""
    with Client(f"{world.net}.1") as master:
        master.ok(verb, name, *words)
        try:
            test(master)
        finally:
            master.ok("DELETE", name)


def reserved_mailbox(world):
    """As a move or CREATE leaves it that broke off."""
    def test(_):
        all_say(world, GHOST, "later")
    with_entry(world, "RESERVE", f"user.{GHOST}", f"{world.bed.backend_host(2)}!default", test=test)


def mailbox_that_its_server_has_not(world):
    """Mail for it is kept by the MTA, for its server may get it back. (A backend's pop3d and timsieved make it.)"""
    def test(_):
        says(by_lmtp, world, GHOST, "later")
    place = f"{world.bed.backend_host(2)}!default"
    with_entry(world, "ACTIVATE", f"user.{GHOST}", place, ACL.format(GHOST), test=test)


def entry_that_was_stolen(world):
    """A leftover copy's server told the master that the mailbox is its own; then the owner does."""
    with Client(f"{world.net}.1") as master:
        name, mine = "user.user001", f"{world.bed.backend_host(1)}!default"
        master.ok("ACTIVATE", name, f"{world.bed.backend_host(3)}!default", ACL.format("user001"))
        try:
            says(by_lmtp, world, "user001", "later")
        finally:
            master.ok("ACTIVATE", name, mine, ACL.format("user001"))
    all_say(world, "user001", "ok")


def moved_scripts_are_found(world):
    """A user's scripts go with him, and he is served where they are."""
    s = Sieve(world.bed)
    assert s.login("user004").startswith(b"OK")
    assert s.put("mine", b"keep;")[-1].startswith(b"OK")
    s.command("LOGOUT")
    for here, there in ((1, 2), (2, 1)):
        admin = world.bed.session("cyrus", address=world.bed.backend(here), timeout=WAIT_SECONDS)
        assert admin.command(f"XFER user.user004 {world.bed.backend_host(there)}").status == "OK"
        admin.close()
        s = Sieve(world.bed)
        assert s.login("user004").startswith(b"OK")
        assert b'"mine"' in s.ok("LISTSCRIPTS"), "scripts are elsewhere"
        s.command("LOGOUT")


def wrong_proxy_password(world):
    """Backends send the frontend away: nobody's mail is sent back for that, no password called wrong."""
    world.restart(["proxy_password: wrong"])
    try:
        all_say(world, "user001", "later")
    finally:
        world.restart()


class Door:
    """A port that leads to another; counts who came."""

    def __init__(self, address, port, to):
        self.to, self.came = to, 0
        self.listener = socket.create_server((address, port))
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                outer, _ = self.listener.accept()
            except OSError:
                return
            self.came += 1
            inner = socket.create_connection((self.listener.getsockname()[0], self.to), WAIT_SECONDS)
            for pair in ((outer, inner), (inner, outer)):
                threading.Thread(target=self.pass_on, args=pair, daemon=True).start()

    @staticmethod
    def pass_on(source, sink):
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def ports_of_a_server_are_its_own(world):
    """`rookery_HOST_SERVICE_port`: a port in a server's name would be IMAP's."""
    address = world.bed.backend(2)
    doors = [Door(address, port, to) for port, to in ((11110, 110), (14190, 4190), (10024, 24))]
    world.restart([f"rookery_backend2_{name}_port: {port}"
                   for name, port in (("pop3", 11110), ("sieve", 14190), ("lmtp", 10024))])
    try:
        all_say(world, "user002", "ok")
        all_say(world, "user001", "ok")
        assert [door.came > 0 for door in doors] == [True] * 3, [door.came for door in doors]
        for door in doors:
            door.listener.close()
    finally:
        world.restart()


TESTS = [ports_of_a_server_are_its_own, backend_that_stops_in_the_middle_of_data, backend_that_stops_behind_the_dot,
         restarted_backend_takes_the_next_message, server_that_dies_in_a_command, reserved_mailbox,
         mailbox_that_its_server_has_not, entry_that_was_stolen, moved_scripts_are_found, master_that_hangs,
         list_that_is_cut, list_that_is_lost, master_down_and_back, wrong_proxy_password]


class Outages(World):
    """The world of the LMTP tests, with a daemon that is started anew."""

    def __init__(self, beside, net):
        super().__init__(beside, None, net)
        self.passwords = f"{beside.folder}/rookery/passwd"

    def restart(self, more=(), live=True):
        """With more options."""
        keys = {x.split(":")[0] for x in more}
        own = [x for x in TIMEOUTS if x.split(":")[0] not in keys]
        self.bed.restart("passwd_file", [*own, f"sasl_passwd_file: {self.passwords}", *more], live)

    def forget_list(self):
        """The daemon begins anew, without its copy."""
        self.bed.stop_frontend()
        shutil.rmtree(self.bed.conf("conf"))
        self.restart(live=False)


def run(report, a):
    """One murder for all tests; the Cyrus frontend in it only lends its configuration."""
    folder = f"{a.folder}/mailoutage"
    shutil.rmtree(folder, ignore_errors=True)
    options = ["--no-log", "--set", "backend:duplicatesuppression=no"]
    with Bed(folder, a.net, options, 3) as cyrus:
        beside = Beside(cyrus, a.binaries)
        world = Outages(beside, a.net)
        os.makedirs(os.path.dirname(world.passwords), exist_ok=True)
        with open(world.passwords, "w") as f:
            users = ["cyrus", "user001", "user002", "user003", "user004", NOBODY, GHOST]
            f.writelines(f"{user}:{scram_line('pw-' + user)}\n" for user in users)
        shutil.chown(world.passwords, "cyrus")
        world.restart()
        # A backend makes `#sieve` at the first login, for which it needs the master.
        for user in ("user001", "user002", "user003", "user004"):
            says(by_sieve, world, user, "ok")
        try:
            for test in TESTS:
                report.check(f"mailoutage/{test.__name__}", test, world)
        finally:
            beside.stop_frontend()
