"""Who owns a mailbox: our master, tools and audit where real Cyrus backends contradict each other or break off."""
import base64
import hashlib
import hmac
import json
import os
import re
import shutil
import socket
import subprocess
import threading
import time

import audit
import master_murder
from bed import murder_module
from master_client import Gone, Master
from master_murder import certificates, ok
from relay import Relay
from wire import Lost

WAIT_SECONDS = 60
THEIRS = "/usr/lib/cyrus/bin/mupdatetest"


class World(master_murder.World):
    """The murder of `master_murder`; each instance reaches the master through a relay of its own."""

    def __enter__(self):
        super().__enter__()
        try:
            hosts = {"backend1": (5, 11), "backend2": (6, 12), "frontend": (7, 101)}
            self.relays = {}
            self.bed.write_configuration()      # what `rookery` reads: without the relays
            for instance, (at, source) in hosts.items():
                self.bed.stop(instance)
                relay = f"{self.net}.{at}"
                self.relays[instance] = Relay(relay, self.master.address, f"{self.net}.{source}")
                # A slave that is slow to find out; who asks it must be an administrator.
                own = {"mupdate_retry_delay": "20", "admins": "cyrus postman"} if instance == "frontend" else {}
                self.rewrite(instance, {"mupdate_server": relay} | own)
            for instance in hosts:
                self.bed.start(instance)
            for program in ("ctl_mboxlist", "mupdatetest"):
                shutil.copy(f"{self.bed.binaries}/{program}", f"{self.folder}/{program}")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for relay in getattr(self, "relays", {}).values():
            relay.close()
        super().__exit__()

    def rewrite(self, instance, changes):
        """Changes lines of an instance's imapd.conf."""
        with open(self.bed.murder_conf(instance)) as f:
            lines = [line.partition(":") for line in f.read().splitlines()]
        with open(self.bed.murder_conf(instance), "w") as f:
            f.write("".join(f"{key}: {changes.get(key, value.strip())}\n" for key, _, value in lines))

    def ours(self, instance, *words):
        """Our ctl_mboxlist on an instance: status and output."""
        return program(f"{self.folder}/ctl_mboxlist", "-C", self.bed.murder_conf(instance), *words)

    def place(self, name):
        """Where the master has a mailbox."""
        with self.master.client() as client:
            rows = client.ok("FIND", name)
        return (rows[0][1].decode(), rows[0][3].decode()) if rows else None

    def claims(self, master=None):
        """What a master remembers of who claimed what."""
        done = subprocess.run([f"{self.bed.binaries}/rookery", "-C", f"{(master or self.master).folder}/imapd.conf", "--json",
                               "conflicts"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=60, check=False)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def conflicts(self, name, master=None):
        """What a master remembers of a name: (asked, outcome)."""
        return [(row["conflict"]["asked"], row["conflict"]["outcome"]) for row in self.claims(master)
                if row.get("conflict", {}).get("name") == name]

    def unfinished(self):
        """Names of moves that broke off, each with what to do."""
        return {row["unfinished_move"]["name"]: row["repair"] for row in self.claims() if "unfinished_move" in row}

    def at(self, n):
        return f"{self.hosts[n - 1]}!default"


def program(*words, stdin=None):
    done = subprocess.run(words, input=stdin or "", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
    return done.returncode, done.stdout


def refused(session, line):
    answer = session.command(line)
    assert answer.status == "NO", (line, answer.tagged)


# ---------------------------------------------------------------- contradictions
def a_leftover_copy_steals_nothing(world):
    """An ACL changed on it, a RENAME and a DELETE of it: the owner keeps the mailbox, all is remembered."""
    for n in (1, 2):
        admin = world.admin(n)                 # the master learns which address is whose
        ok(admin, f"CREATE known{n}")
        admin.close()
    loser = world.admin(2)
    ok(loser, "LOCALCREATE team01")
    refused(loser, "SETACL team01 anyone lrs")
    assert world.place("team01") == ("MAILBOX", world.at(1)), world.place("team01")
    assert ("activate", "refused") in world.conflicts("team01"), world.conflicts("team01")
    refused(loser, "RENAME team01 team01x")
    assert world.place("team01") == ("MAILBOX", world.at(1)), world.place("team01")
    refused(loser, "DELETE team01")
    assert world.place("team01") == ("MAILBOX", world.at(1)), world.place("team01")
    assert ("delete", "refused") in world.conflicts("team01"), world.conflicts("team01")
    ok(loser, "LOCALDELETE team01")
    loser.close()
    heal(world)


def heal(world):
    """Left-over copies become DELETED.* without a word; the next push tells."""
    world.push(1, 2, 1, 2)
    world.agrees()


def a_move_onto_a_leftover_copy_ends_with_one_owner(world):
    for n in (1, 2):
        copy = world.admin(3 - n)
        owner, user = world.admin(n), f"user00{n + 2}"          # user003 on 1, user004 on 2
        ok(copy, f"LOCALCREATE user.{user}")
        refused(copy, f"SETACL user.{user} anyone lrs")
        answer = owner.command(f"XFER user.{user} {world.hosts[2 - n]}")
        kind, place = world.place(f"user.{user}")
        expected = world.at(3 - n if answer.status == "OK" else n)
        assert (kind, place) == ("MAILBOX", expected), (answer.tagged, kind, place)
        for session in (copy, owner):
            session.close()
        if answer.status != "OK":
            again = world.admin(3 - n)
            ok(again, f"LOCALDELETE user.{user}")
            again.close()
        heal(world)
        reader = world.bed.session(user)
        assert any(b" 5 EXISTS" in line for line in reader.command("SELECT INBOX").lines), "mail was lost"
        reader.close()


def a_dead_backend_is_replaced_by_ma(world):
    """Debian's `-ma` of the replacement takes over what the dead one had, which is remembered."""
    world.bed.stop("backend1", kill=True)
    copy = world.admin(2)
    ok(copy, "LOCALCREATE team03")
    copy.close()
    assert world.place("team03") == ("MAILBOX", world.at(1))
    world.tool("backend2", "ctl_mboxlist", "-ma")
    assert world.place("team03") == ("MAILBOX", world.at(2))
    assert ("activate", "done") in world.conflicts("team03"), world.conflicts("team03")
    world.bed.start("backend1")                # its START line's -m gives its own copy up
    heal(world)
    assert world.place("team03") == ("MAILBOX", world.at(2))


# ---------------------------------------------------------------- audit
def a_stale_cyrus_frontend_is_found(world):
    """The Cyrus slave hears nothing of its master for a moment."""
    address = f"{world.net}.101:3905"
    world.agrees()
    wait_until(lambda: stale(world, address) == set(), "frontend in step")
    world.relays["frontend"].flows.clear()
    try:
        admin = world.admin(1)
        ok(admin, "CREATE team05")
        admin.close()
        found = stale(world, address)
        assert found == {("team05", "stale-frontend")}, found
    finally:
        world.relays["frontend"].flows.set()
    wait_until(lambda: stale(world, address) == set(), "frontend in step again")


def stale(world, address):
    """What audit finds, of a frontend that it could read."""
    rows = audit.rookery(world.bed, "audit", "--no-wait", "--frontend", address, status=None)
    [summary] = [row for row in rows if "judged" in row]
    return audit.problems(rows) if summary["frontends"] else {("", f"unread: {summary}")}


def wait_until(condition, what):
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < end, f"no {what}"
        time.sleep(0.1)


def a_move_whose_source_died_is_found_and_repaired(world):
    """kill -9 of the source between DEACTIVATE and the end; repaired in the order that audit tells."""
    push = f"{world.bed.folder}/backend2/mupdatepush"
    with open(push) as f:
        wrapper = f.read()
    with open(push, "w") as f:
        f.write("#!/bin/sh\nexit 0\n")
    try:
        break_a_move(world)
        world.bed.start("backend2")
        found = {(name, problem) for name, problem in stale(world, f"{world.net}.101:3905")
                 if name.startswith("user.user002") and problem != "stale-frontend"}
        assert found and {problem for _, problem in found} <= {
            "move-interrupted", "move-not-announced", "not-activated"}, found
        assert world.unfinished() == {}, "its source has not asked for its list yet"
        world.tool("backend2", "ctl_mboxlist", "-mw")
        told = world.unfinished()
        reserved = {name for name, (kind, _, _) in world.told().items() if kind == "RESERVE"}
        assert reserved and told.keys() == reserved, (told, reserved)
        assert {repair for repair in told.values()} == {
            f"ctl_mboxlist -m on {world.hosts[1]} first, then at its destination"}, told
    finally:
        with open(push, "w") as f:
            f.write(wrapper)
    world.push(2, 1)                           # the source first
    heal(world)
    # What was pushed before the kill is at the destination: each mailbox has one owner, and nothing is reserved.
    kinds = {kind for name, (kind, _, _) in world.told().items() if name.startswith("user.user002")}
    assert kinds == {"MAILBOX"}, kinds
    assert stale(world, f"{world.net}.101:3905") == set()
    reader = world.bed.session("user002")
    assert any(b" 5 EXISTS" in line for line in reader.command("SELECT INBOX").lines), "mail was lost"
    reader.close()


def break_a_move(world):
    """Ends with the source dead and its user's mailboxes reserved; again when a move was too quick."""
    for _ in range(10):
        done = threading.Event()

        def move():
            admin = world.admin(2)
            try:
                admin.command(f"XFER user.user002 {world.hosts[0]}")
            except Lost:
                pass
            admin.close()
            done.set()

        mover = threading.Thread(target=move, daemon=True)
        with world.master.client() as client:
            mover.start()
            while not done.is_set():
                rows = client.ok("FIND", "user.user002")
                if rows and rows[0][1] == b"RESERVE":
                    world.bed.stop("backend2", kill=True)
                    break
        mover.join(WAIT_SECONDS)
        if world.place("user.user002")[0] == "RESERVE":
            return
        world.bed.start("backend2")            # nothing is done if it still runs
        heal(world)
        if world.place("user.user002") == ("MAILBOX", world.at(1)):
            admin = world.admin(1)
            ok(admin, f"XFER user.user002 {world.hosts[1]}")
            admin.close()
            heal(world)
    raise AssertionError("no move could be broken in its middle")


# ---------------------------------------------------------------- our tools on our master
def our_ctl_mboxlist_does_what_debians_does(world):
    with world.master.client() as client:
        client.ok("DELETE", "user.user001.Sent")
        client.ok("ACTIVATE", "user.user001.Ghost", world.at(1), "user001\tlrs\t")
        client.ok("ACTIVATE", "user.user001.Drafts", f"{world.hosts[0]}!other", "user001\tlrs\t")
    theirs = world.tool("backend1", "ctl_mboxlist", "-mw")
    assert world.ours("backend1", "-mw") == (0, theirs) and len(theirs.splitlines()) == 3, theirs
    assert world.ours("backend1", "--check")[0] == 1
    assert world.ours("backend1", "-m") == (0, "")
    assert world.ours("backend1", "--check") == (0, "") and world.tool("backend1", "ctl_mboxlist", "-mw") == ""
    world.agrees()
    world.relays["backend1"].close()
    try:
        for words in (["--check"], ["-m"], ["-mw"]):
            assert world.ours("backend1", *words)[0] == 75, words
    finally:
        world.relays["backend1"] = Relay(f"{world.net}.5", world.master.address, f"{world.net}.11")
    assert world.ours("backend1", "--check")[0] == 0


def entries(text):
    """A dump as name -> (server, partition, acl)."""
    return {name: (row.get("server"), row["partition"], row.get("acl")) for name, row in json.loads(text).items()}


def a_master_is_restored_from_its_own_dump(world):
    slave = Master(world.bed.binaries, f"{world.folder}/slave", f"{world.net}.8", options={
        "mupdate_server": world.master.address, "mupdate_authname": "postman", "mupdate_username": "postman",
        "mupdate_password": "pw-postman"})
    slave.words = lambda: [x for x in Master.words(slave) if x != "-m"]
    tool, told = f"{world.folder}/ctl_mboxlist", world.told()
    with slave:
        with slave.client() as client:
            assert set(client.entries()) == set(told)
        assert slave.stop() == 0
    conf = f"{world.master.folder}/imapd.conf"
    status, _ = program(tool, "-C", conf, "-d")
    assert status != 0, "a running master's store is not opened"
    assert world.master.stop() == 0
    try:
        status, dump = program(tool, "-C", conf, "-d")
        assert status == 0 and len(entries(dump)) == len(told), status
        status, copy = program(tool, "-C", f"{slave.folder}/imapd.conf", "-d")
        assert (status, entries(copy)) == (0, entries(dump)), "a frontend's copy is dumped like the master's list"
        store = f"{world.master.folder}/conf/rookery-master"
        shutil.move(store, f"{world.folder}/lost")
        os.makedirs(store)
        assert program(tool, "-C", conf, "-u", stdin=dump) == (0, "")
        assert program(tool, "-C", conf, "-d") == (0, dump)
        world.master.own()
    finally:
        world.master.start()
    assert world.told() == told
    for instance in ("backend1", "backend2"):
        assert world.tool(instance, "ctl_mboxlist", "-mw") == "" and world.ours(instance, "--check")[0] == 0
    world.agrees(WAIT_SECONDS)


def mupdatetest_of_both_on_our_master(world):
    lines = 'F1 FIND "user.user001"\r\nN1 NOOP\r\nB1 BOGUS\r\nL1 LIST "nowhere!"\r\nQ01 LOGOUT\r\n'
    for mechanism in ("PLAIN", "LOGIN", "SCRAM-SHA-256"):
        user = [] if mechanism == "LOGIN" else ["-u", "postman"]
        for more in ([], ["-q"]):
            said = [program(one, "-m", mechanism, *user, "-a", "postman", "-w", "pw-postman", *more, world.master.address,
                            stdin=lines) for one in (THEIRS, f"{world.folder}/mupdatetest")]
            theirs, ours = (flat(text) for _, text in said)
            assert ours == theirs and "Authenticated." in ours, (mechanism, more, ours, theirs)
            assert any("Z01 OK" in line for line in ours) == bool(more), ours


def scram_sha_1_of_both(world):
    """Stored keys of the older hash, for who has them."""
    folder, salt = f"{world.folder}/sha1", b"fedcba9876543210"
    options = {"sasl_mech_list": "SCRAM-SHA-1"}
    master = Master(world.bed.binaries, folder, f"{world.net}.4", options=options)
    salted = hashlib.pbkdf2_hmac("sha1", b"pw-postman", salt, 4096)
    stored = hashlib.sha1(hmac.digest(salted, b"Client Key", "sha1")).digest()
    keys = "$".join(base64.b64encode(x).decode() for x in (salt, stored, hmac.digest(salted, b"Server Key", "sha1")))
    with open(f"{folder}/passwd", "w") as f:
        f.write(f"postman:{{SCRAM-SHA-1}}4096${keys}\n")
    with master:
        for one in (THEIRS, f"{world.folder}/mupdatetest"):
            for password, expected in (("pw-postman", "Authenticated."), ("wrong", "Authentication failed")):
                status, said = program(one, "-m", "SCRAM-SHA-1", "-u", "postman", "-a", "postman", "-w", password,
                                       master.address, stdin="N1 NOOP\r\nQ01 LOGOUT\r\n")
                assert expected in said and ('N1 OK "Noop done"' in said) == (password == "pw-postman"), (one, status, said)


def flat(text):
    """What both have to say, whatever is random."""
    text = re.sub(r"(?m)^((?:[SC]: )?)[A-Za-z0-9+/=]{40,}\r?$", r"\1BASE64", text)
    return [line for line in re.sub(r"\{\d+\+\}", "{n+}", text).splitlines() if line]


def mupdatetest_begins_tls(world):
    """`-t ""` by Debian's and ours: the same session, and STARTTLS that is not offered is told."""
    folder = f"{world.folder}/tls"
    certificates(folder)
    options = {"allowplaintext": "no", "tls_server_cert": f"{folder}/server.pem", "tls_server_key": f"{folder}/server.key"}
    lines = "N1 NOOP\r\nQ01 LOGOUT\r\n"
    words = ["-t", "", "-m", "PLAIN", "-u", "postman", "-a", "postman", "-w", "pw-postman"]
    with Master(world.bed.binaries, f"{folder}/master", f"{world.net}.3", options=options) as master:
        for one in (THEIRS, f"{world.folder}/mupdatetest"):
            status, said = program(one, *words, master.address, stdin=lines)
            assert status == 0 and "Authenticated." in said and 'N1 OK "Noop done"' in said, (one, status, said)
            assert "S01 STARTTLS" in said and re.search("Security strength factor: (128|256)", said), (one, said)
            status, said = program(one, *words, "-q", master.address, stdin=lines)
            assert status == 0 and "Z01 OK" in said and 'N1 OK "Noop done"' in said, (one, status, said)
        plain = [x for x in words if x not in ("-t", "")]
        status, said = program(f"{world.folder}/mupdatetest", *plain, master.address, stdin=lines)
        assert "Authentication failed" in said, "no password goes in clear"
    status, said = program(f"{world.folder}/mupdatetest", *words, world.master.address, stdin=lines)
    assert status == 1, said


# ---------------------------------------------------------------- mupdate_config
def unified_and_replicated_masters(world):
    """Real 3.6 pushes to them as it does to a standard one; nothing is refused, all is remembered."""
    with open(world.bed.murder_conf("backend1")) as f:
        lines = [x for x in f.read().splitlines() if not x.startswith("mupdate_server:")]
    local = {name for name, (_, place, _) in world.backends().items() if place.startswith(f"{world.hosts[0]}!")}
    for mode, place in (("unified", world.at(1)), ("replicated", "default"), ("standard", world.at(1))):
        folder = f"{world.folder}/{mode}"
        with Master(world.bed.binaries, folder, f"{world.net}.4", options={"mupdate_config": mode}) as master:
            conf = f"{folder}/backend1.conf"
            with open(conf, "w") as f:
                f.write("\n".join([*lines, f"mupdate_server: {master.address}", f"mupdate_config: {mode}"]) + "\n")
            world.tool("backend1", "ctl_mboxlist", "-C", conf, "-m")
            with master.client() as client:
                found = client.entries()
                assert set(found) == local and {x[1] for x in found.values()} == {place}, (mode, found)
                answer = client.command("ACTIVATE", "user.user001", "other!default", "user001\tlrs\t")[-1]
                assert answer[1] == (b"NO" if mode == "standard" else b"OK"), (mode, answer)
                assert client.command("RESERVE", "user.user001.Sent", "other!default")[-1][1] == (
                    b"NO" if mode == "standard" else b"OK"), mode
            outcome = "refused" if mode == "standard" else "done"
            assert world.conflicts("user.user001", master) == [("activate", outcome)], (mode, world.claims(master))
            assert master.stop() == 0


def a_delete_goes_by_who_asks(world):
    """It has no location: what counts is for which servers its address activates."""
    with Master(world.bed.binaries, f"{world.folder}/deletes", f"{world.net}.4") as master:
        one, both, stranger = (source_of(master, f"{world.net}.{n}") for n in (21, 22, 23))
        for name in ("user.a", "user.b"):
            one.ok("ACTIVATE", name, "be1!default", "a\tlrs\t")
        for name, server in (("user.c", "be2"), ("user.d", "be3")):
            both.ok("ACTIVATE", name, f"{server}!default", "a\tlrs\t")
        assert one.command("DELETE", "user.c")[-1][1] == b"NO"         # known for be1 alone
        assert one.command("DELETE", "user.unknown")[-1][1] == b"NO"
        both.ok("DELETE", "user.a")                                    # two servers share it
        stranger.ok("DELETE", "user.b")                                # nobody knows it
        one.ok("ACTIVATE", "user.e", "be1!default", "a\tlrs\t")
        one.ok("DEACTIVATE", "user.e", "BE1!default")                  # servers have no case
        both.ok("DELETE", "user.e")                                    # it is not active
        assert set(one.entries()) == {"user.c", "user.d"}
        found = {name: world.conflicts(name, master) for name in ("user.a", "user.b", "user.c", "user.e", "user.unknown")}
        assert found == {"user.a": [("delete", "done")], "user.b": [("delete", "done")], "user.c": [("delete", "refused")],
                         "user.e": [], "user.unknown": []}, found
        for client in (one, both, stranger):
            client.close()


def source_of(master, address):
    """A client that connects from an address of its own."""
    connect = socket.create_connection
    socket.create_connection = lambda place, timeout: connect(place, timeout, (address, 0))
    try:
        return master.client()
    finally:
        socket.create_connection = connect


def dash_a_is_the_master_where_it_is_named(world):
    """`mupdate -a`, by `mupdate_server`; anywhere else a slave that follows it."""
    named = {"mupdate_server": f"{world.net}.4", "mupdate_authname": "postman", "mupdate_username": "postman",
             "mupdate_password": "pw-postman"}
    here = Master(world.bed.binaries, f"{world.folder}/auto", f"{world.net}.4", options=named)
    here.words = lambda: ["-a" if x == "-m" else x for x in Master.words(here)]
    with here, here.client() as client:
        assert client.greeting[-1][-1] == b"(master)", client.greeting
        client.ok("ACTIVATE", "user.auto", world.at(1), "auto\tlrs\t")


TESTS = [dash_a_is_the_master_where_it_is_named, a_leftover_copy_steals_nothing, a_move_onto_a_leftover_copy_ends_with_one_owner,
         our_ctl_mboxlist_does_what_debians_does, mupdatetest_of_both_on_our_master, scram_sha_1_of_both, mupdatetest_begins_tls,
         unified_and_replicated_masters, a_delete_goes_by_who_asks, a_stale_cyrus_frontend_is_found, a_dead_backend_is_replaced_by_ma,
         a_move_whose_source_died_is_found_and_repaired, a_master_is_restored_from_its_own_dump]


def run(report, a):
    """All of it in one murder."""
    folder = f"{a.folder}/owners"
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    os.chmod(folder, 0o755)
    murder_module()
    try:
        with World(report, a, folder) as world:
            for test in TESTS:
                report.check(f"owners/{test.__name__}", test, world)
    except (RuntimeError, Gone, Lost) as e:
        report.fails("owners/murder", f"  test-bed: {e}")
