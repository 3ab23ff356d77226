"""Our ctl_mboxlist and mupdatetest beside Debian's, on real backends and against the real master."""
import json
import os
import re
import shutil
import subprocess
import time

import tools_terminal
from bed import MURDER, Bed, murder_module
from daemon import Daemon
from master_client import Master
from master_slave import Slave, kick

LATER = 75
THEIRS = "/usr/lib/cyrus/bin/mupdatetest"
EMPTY = ('{"%s": {"mbtype": "e", "uidvalidity": "1", "createdmodseq": "1", "foldermodseq": "1", '
         '"partition": "default", "acl": {"anyone": "lrs"}, "uniqueid": "%s"}}')


class World:
    """The murder, and our programs where user cyrus can run them."""

    def __init__(self, a, folder):
        self.bed, self.folder, self.binaries = Bed(f"{folder}/bed", a.net, [], 2), folder, a.binaries
        os.makedirs(folder, exist_ok=True)
        for program in ("ctl_mboxlist", "mupdatetest"):
            shutil.copy(f"{a.binaries}/{program}", f"{folder}/{program}")

    def conf(self, instance):
        return f"{self.bed.folder}/{instance}/imapd.conf"

    def theirs(self, instance, *words, stdin=None):
        """Debian's ctl_mboxlist: status and output."""
        return spoken([MURDER, "run", self.bed.folder, instance, "ctl_mboxlist", *words], stdin)[:2]

    def ours(self, instance, *words):
        """Ours: status, output and complaints."""
        return spoken([f"{self.folder}/ctl_mboxlist", "-C", self.conf(instance), *words])

    def add(self, instance, name):
        """An entry that the master has not been told of."""
        self.theirs(instance, "-u", stdin=EMPTY % (name, f"id-{name}"))

    def warned(self, *words):
        """What both say that a push would do, which must be the same."""
        theirs, ours = self.theirs("backend1", "-mw", *words), self.ours("backend1", "-mw", *words)
        assert (ours[0], ours[1]) == theirs, (theirs, ours)
        return ours[1].splitlines()


def spoken(command, stdin=None):
    done = subprocess.run(command, input=stdin or "", capture_output=True, text=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def dumps_are_the_same(world):
    for instance in ("backend1", "backend2", "frontend", "master"):
        for words in (["-d"], ["-d", "-y"], ["-d", "-p", "default"]):
            theirs, ours, again = None, None, world.theirs(instance, *words)
            while theirs != again:         # servers may still write what the seeding has changed
                theirs, ours, again = again, world.ours(instance, *words), world.theirs(instance, *words)
            assert ours[:2] == theirs and len(json.loads(ours[1])) > 5, (instance, words, ours[2])


def nothing_differs_at_first(world):
    assert world.warned() == []
    assert world.ours("backend1", "--check")[0] == 0
    assert world.ours("backend1", "-m") == (0, "", "")
    assert world.ours("backend1", "-v")[:2] == (0, "")


def folders_and_list_are_compared(world):
    """-v on a backend. Debian's 3.6.1 is no measure: it misses every folder that is named by an id."""
    spool = f"{world.bed.folder}/backend2/spool"
    rows = json.loads(world.ours("backend2", "-d")[1])
    lost = rows["team02"]["uniqueid"]
    place, away = f"{spool}/uuid/{lost[0]}/{lost[1]}/{lost}", f"{world.folder}/away"
    shutil.move(place, away)
    strays = [f"{spool}/user/stray/Sub", f"{spool}/uuid/z/z/zz1"]
    try:
        for stray in strays:
            os.makedirs(stray)
            shutil.copy(f"{away}/cyrus.header", stray)
        status, out, complaint = world.ours("backend2", "-v")
        assert status == 0 and out.splitlines() == [
            "'team02' has a DB entry but no directory on partition 'default'",
            f"'user.stray.Sub' has a directory '{strays[0]}' but no DB entry",
            f"'zz1' has a directory '{strays[1]}' but no DB entry"], (status, out, complaint)
    finally:
        for stray in (f"{spool}/user/stray", f"{spool}/uuid/z/z/zz1"):
            shutil.rmtree(stray, ignore_errors=True)
        shutil.move(away, place)
    assert world.ours("backend2", "-v") == (0, "", "")


def cyrus_own_database_is_not_changed(world):
    """What Cyrus' program would do to it is refused, and said how; a dump that breaks off is told with how far it came."""
    before = world.ours("backend1", "-d")
    for words in (["-d", "-x"], ["-u"]):
        status, out, complaint = world.ours("backend1", *words)
        assert (status, out) == (1, "") and f"use Cyrus' ctl_mboxlist {' '.join(words)}" in complaint, (status, complaint)
    assert world.ours("backend1", "-d") == before
    store = f"{world.folder}/broken/rookery-master"
    os.makedirs(store)
    broken = before[1].replace('"partition"', '"server": "be1", "partition"')
    status, out, complaint = spoken([f"{world.folder}/ctl_mboxlist", "-C", world.conf("backend1"), "-u", "-f", store],
                                    broken[:broken.index("\n", broken.index("\n", 3) + 1) + 40])
    assert (status, out) == (1, "") and "the 2 mailboxes before that were taken" in complaint, (status, complaint)


def an_absent_master_is_75(world):
    world.bed.murder("stop", world.bed.folder, "master")
    try:
        for words in (["-m"], ["-mw"], ["--check"]):
            status, _, complaint = world.ours("backend1", *words)
            assert status == LATER and "couldn't connect to mupdate server" in complaint, (status, complaint)
        # What happens meanwhile: new names, and an ACL that only the backend has.
        for name in ("tools.new", "tools.new.sub", "tools.new-sub"):
            world.add("backend1", name)
        admin = world.bed.session("cyrus", address=world.bed.backend(1))
        admin.command("SETACL user.user001 user002 lr")
        admin.close()
    finally:
        world.bed.murder("start", world.bed.folder, "master")


def a_push_brings_the_master_in_step(world):
    lines = world.warned()
    assert "Force Activate: tools.new" in lines and "Force Activate: user.user001" in lines, lines
    assert world.ours("backend1", "--check")[0] == 1
    assert world.ours("backend1", "-m") == (0, "", "")
    assert world.warned() == [] and world.ours("backend1", "--check")[0] == 0


def names_that_are_gone_are_removed(world):
    host = world.bed.backend_host(1)
    mupdatetest(world, "PLAIN", "".join(f'R1 ACTIVATE "tools.gone.{n}" "{host}!default" ""\r\n' for n in "abc"))
    assert world.warned() == [f"Remove from MUPDATE: tools.gone.{n}" for n in "cba"]
    assert world.ours("backend1", "-m") == (0, "", "")
    assert world.warned() == []


def a_mailbox_that_is_elsewhere_is_left_alone(world):
    world.add("backend1", "tools.both")
    mupdatetest(world, "PLAIN", f'R1 ACTIVATE "tools.both" "{world.bed.backend_host(2)}!default" ""\r\n')
    assert world.warned() == ["Remove Local Mailbox: tools.both"]
    assert world.warned("-a") == ["Force Activate: tools.both"]
    status, out, told = world.ours("backend1", "-m")
    assert (status, out) == (0, "") and "tools.both at" in told and "nothing was deleted" in told, (status, told)
    assert "tools.both" in json.loads(world.ours("backend1", "-d")[1])


def a_start_line_never_keeps_a_backend_down(world):
    """Differences are left (the test before), and then the master is down too."""
    path = f"{world.bed.folder}/backend1/cyrus.conf"
    with open(path) as f:
        text = f.read()
    line = f'mupdatepush cmd="{world.folder}/ctl_mboxlist -C {world.conf("backend1")} -m"'
    with open(path, "w") as f:
        f.write(re.sub(r'mupdatepush cmd="[^"]*"', line, text))
    world.bed.murder("stop", world.bed.folder, "backend1")
    world.bed.murder("start", world.bed.folder, "backend1")
    world.bed.murder("stop", world.bed.folder, "master")
    try:
        world.bed.murder("stop", world.bed.folder, "backend1")
        world.bed.murder("start", world.bed.folder, "backend1")
    finally:
        world.bed.murder("start", world.bed.folder, "master")
    world.bed.session("cyrus", address=world.bed.backend(1)).close()


def entries(text):
    """A dump as name -> (server, partition, ACL)."""
    return {name: (row["server"], row["partition"], row["acl"]) for name, row in json.loads(text).items()}


def a_frontends_own_copy_is_dumped_and_restored(world):
    """rookeryd beside the Cyrus frontend keeps what that keeps. What is restored is served while the master is down,
    and brought in step when it is back."""
    folder = f"{world.folder}/rookery"
    os.makedirs(f"{folder}/conf/socket")
    murder_module().chown_r(folder)
    address, conf = f"{world.bed.net}.102", f"{folder}/daemon.conf"
    services = f'  imap cmd="imapd" listen="{address}:143" proto="tcp4"\n'
    daemon = Daemon(world.bed, {"configdirectory": f"{folder}/conf", "mupdate_retry_delay": "1"}, services,
                    binary=f"{world.binaries}/rookeryd", folder=folder)
    ours = lambda *words, stdin=None: spoken([f"{world.folder}/ctl_mboxlist", "-C", conf, *words], stdin)   # noqa: E731
    with daemon:
        status, _, complaint = ours("-d")
        assert status == LATER and "stop the daemon" in complaint, (status, complaint)
    status, dump, complaint = ours("-d")
    _, theirs = world.theirs("frontend", "-d")
    assert status == 0 and entries(dump) == entries(theirs) and len(entries(dump)) > 20, complaint
    for words in (["-m"], ["-mw"], ["--check"]):
        status, _, complaint = ours(*words)
        assert status == LATER and "is for a backend" in complaint, (words, complaint)
    left_out = {name: row for name, row in json.loads(dump).items() if name != "user.user002"}
    shutil.move(f"{folder}/conf/rookery-list", f"{folder}/lost")
    os.makedirs(f"{folder}/conf/rookery-list")
    assert ours("-u", stdin=json.dumps(left_out)) == (0, "", "")
    assert entries(ours("-d")[1]) == {name: row for name, row in entries(dump).items() if name != "user.user002"}
    murder_module().chown_r(folder)
    world.bed.murder("stop", world.bed.folder, "master")
    try:
        daemon.start(ready=False)
        daemon.logged("mailboxes in the copy")
        user = world.bed.session("user001", address=address)
        assert user.command("SELECT INBOX").status == "OK", daemon.log()
        user.close()
        world.bed.murder("start", world.bed.folder, "master")
        daemon.told("READY=1")
    finally:
        stopped = daemon.stop()
        world.bed.murder("start", world.bed.folder, "master")
    assert stopped == 0 and entries(ours("-d")[1]) == entries(dump)
    assert ours("-v") == (0, "", "")
    removed = ours("-d", "-x")
    assert removed[0] == 0 and entries(removed[1]) == entries(dump), removed[2]
    assert entries(ours("-d")[1]) == {}
    murder_module().chown_r(folder)
    with daemon:                       # Cyrus' master tells it all again
        pass
    assert entries(ours("-d")[1]) == entries(dump)


def a_masters_list_is_verified_removed_and_restored(world):
    """Ours, with a slave behind it: what a tool changes while the master is down reaches the slave as any change."""
    folder, net = f"{world.folder}/ours", world.bed.net
    with Master(world.binaries, f"{folder}/master", f"{net}.9") as master:
        with Slave(world.binaries, f"{folder}/slave", f"{net}.8", master.address) as slave:
            with master.client() as client:
                for n in range(40):
                    client.ok("ACTIVATE", f"user.u{n:02}", f"be{n % 2}!part{n % 4}", f"u{n}\tlrs\t")
                client.ok("RESERVE", "user.soon", "be1!part1")
                whole = client.entries()
            ours = lambda *words, stdin=None: spoken(    # noqa: E731
                [f"{world.folder}/ctl_mboxlist", "-C", f"{master.folder}/imapd.conf", *words], stdin)
            for words in (["-v"], ["-d"], ["-d", "-x"]):
                status, out, complaint = ours(*words)
                assert (status, out) == (LATER, "") and "stop the daemon" in complaint, (words, status, out, complaint)
            assert master.stop() == 0, master.log()
            assert ours("-v") == (0, "", "")
            dump = ours("-d")[1]
            part = ours("-d", "-x", "-p", "part1")[1]
            assert set(entries(part)) == {f"user.u{n:02}" for n in range(1, 40, 4)} | {"user.soon"}, part
            without = {name: row for name, row in whole.items() if name not in entries(part)}
            master.own()
            followed(master, slave, without)
            assert master.stop() == 0 and ours("-u", stdin=part) == (0, "", "")
            assert entries(ours("-d")[1]) == entries(dump)
            master.own()
            followed(master, slave, whole)
            assert master.stop() == 0
            damage(f"{master.folder}/conf/rookery-master")
            status, out, complaint = ours("-v")
            assert (status, out) == (1, "") and "is damaged" in complaint and "stop" not in complaint, (status, out, complaint)


def followed(master, slave, expected):
    """The master begins again; its slave has the same in the end."""
    master.start()
    with master.client() as client, slave.client() as reader:
        assert client.entries() == expected
        end = time.monotonic() + 60
        while reader.entries() != expected:
            assert time.monotonic() < end, (reader.entries(), expected)
            time.sleep(0.05)


def damage(store):
    """Overwrites the middle of every file that holds something."""
    for place, _, files in os.walk(store):
        for name in files:
            size = os.path.getsize(f"{place}/{name}")
            with open(f"{place}/{name}", "r+b") as f:
                f.seek(size // 4)
                f.write(b"\xa5" * (size // 2))


def the_default_port_is_mupdates(world):
    """`mupdate -m` without -l, and `mupdatetest` without -p, where nobody else can be reached: on every address,
    IPv4 and IPv6, of a network of its own."""
    with Alone(world.binaries, f"{world.folder}/alone", "127.0.0.1") as master:
        for address in ("127.0.0.1", "::1", "localhost"):
            words = [f"{world.folder}/mupdatetest", "-m", "PLAIN", "-a", "postman", "-u", "postman", "-w", "pw-postman", address]
            status, out, complaint = spoken(["nsenter", f"--net=/proc/{master.process.pid}/ns/net", *words],
                                            'R1 ACTIVATE "user.a" "be1!p" "a"\nF1 FIND "user.a"\n')
            assert status == 0 and 'F1 OK "Search completed"' in out and '"be1!p"' in out, (address, status, out, complaint)
        assert master.stop() == 0, master.log()


class Alone(Master):
    """A master in a network of its own that says nothing of where it listens."""

    def words(self):
        command = " ".join(super().words()[:-2])
        return ["unshare", "--net", "sh", "-c", f"ip link set lo up && exec {command}"]


def a_cyrus_frontend_follows_a_slave_of_ours(world):
    """Cyrus' master <- `mupdate` of ours <- Cyrus' slave: what its imapd does is there behind its kick."""
    before = world.theirs("frontend", "-d")[1]
    conf = world.conf("frontend")
    with open(conf) as f:
        own = f.read()
    with Slave(world.binaries, f"{world.folder}/slave", f"{world.bed.net}.8", f"{world.bed.net}.1") as slave:
        world.bed.murder("stop", world.bed.folder, "frontend")
        with open(conf, "w") as f:
            f.write(re.sub(r"(?m)^mupdate_server:.*$", f"mupdate_server: {slave.address}", own))
        try:
            world.bed.murder("start", world.bed.folder, "frontend")
            user = world.bed.session("user001")
            for n in range(3):
                for command in (f"CREATE INBOX.Cascade{n}", f"SELECT INBOX.Cascade{n}", f"SETACL INBOX.Cascade{n} user002 lrs",
                                f"MYRIGHTS INBOX.Cascade{n}"):
                    answer = user.command(command)
                    assert answer.status == "OK", (command, answer.tagged)
            user.command("UNSELECT")
            assert kick(slave) == b"ok"
            with slave.client() as client:
                names = {name for name in client.entries() if "Cascade" in name}
                assert names == {f"user.user001.Cascade{n}" for n in range(3)}, names
            for n in range(3):
                assert user.command(f"DELETE INBOX.Cascade{n}").status == "OK"
                answer = user.command(f"STATUS INBOX.Cascade{n} (MESSAGES)")
                assert answer.status == "NO", answer.tagged
            user.close()
            now = entries(world.theirs("frontend", "-d")[1])
            assert {name: row for name, row in now.items() if "DELETED" not in name} == {
                name: row for name, row in entries(before).items() if "DELETED" not in name}
        finally:
            world.bed.murder("stop", world.bed.folder, "frontend")
            with open(conf, "w") as f:
                f.write(own)
            world.bed.murder("start", world.bed.folder, "frontend")


def mupdatetest(world, mechanism, lines, program=None, *more):
    """A session by a program, piped."""
    program = program or f"{world.folder}/mupdatetest"
    words = ["-m", mechanism, "-a", "postman", "-w", "pw-postman", *more]
    user = [] if mechanism == "LOGIN" else ["-u", "postman"]
    return spoken([program, *words, *user, "-p", "3905", f"{world.bed.net}.1"], lines)[:2]


def sessions_are_the_same(world):
    lines = 'F1 FIND "user.user001"\nN1 NOOP\nB1 BOGUS\nL1 LIST "nowhere!"\n'
    for mechanism in ("PLAIN", "LOGIN", "SCRAM-SHA-256"):
        for more in ([], ["-q"], ["-n", "2"]):
            theirs = mupdatetest(world, mechanism, lines, THEIRS, *more)
            ours = mupdatetest(world, mechanism, lines, None, *more)
            assert normal(ours) == normal(theirs), (mechanism, more, ours, theirs)
            assert "Authenticated." in ours[1] and 'F1 OK "Search completed"' in ours[1], ours


def a_wrong_password_is_told_the_same(world):
    words = ["-m", "PLAIN", "-a", "postman", "-u", "postman", "-w", "wrong", "-p", "3905", f"{world.bed.net}.1"]
    ours, theirs = (spoken([program, *words])[:2] for program in (f"{world.folder}/mupdatetest", THEIRS))
    assert ours == theirs, (ours, theirs)


def normal(session):
    """What is random in SCRAM, and lines of answers in any order with the LOGOUT that is not waited for."""
    status, text = session
    text = re.sub(r"(?m)^((?:[SC]: )?)[A-Za-z0-9+/=]{40,}\r?$", r"\1BASE64", text)
    text = re.sub(r"\{\d+\+\}", "{n+}", text)
    head, _, tail = text.partition("Security strength factor: 0\n")
    return status, head, sorted(tail.splitlines())


TESTS = [dumps_are_the_same, a_frontends_own_copy_is_dumped_and_restored,
         a_masters_list_is_verified_removed_and_restored, nothing_differs_at_first,
         folders_and_list_are_compared, cyrus_own_database_is_not_changed, *tools_terminal.TESTS,
         a_cyrus_frontend_follows_a_slave_of_ours, sessions_are_the_same, a_wrong_password_is_told_the_same,
         an_absent_master_is_75, a_push_brings_the_master_in_step, names_that_are_gone_are_removed,
         a_mailbox_that_is_elsewhere_is_left_alone, a_start_line_never_keeps_a_backend_down]
# Not every machine that runs tests may make networks: the long form alone.
LONG_TESTS, LONG_KILLS = [the_default_port_is_mupdates], 200


def run(report, a):
    """One murder, the tests in this order."""
    folder = f"{a.folder}/tools"
    shutil.rmtree(folder, ignore_errors=True)
    world = World(a, folder)
    with world.bed:
        for test in TESTS + (LONG_TESTS if a.kills >= LONG_KILLS else []):
            report.check(f"tools/{test.__name__}", test, world)
