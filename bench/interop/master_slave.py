"""Our `mupdate` without -m: slaves behind slaves, their kick sockets, and what a master asks of who connects."""
import json
import os
import signal
import socket
import subprocess
import time

from daemon import Saslauthd
from master_client import PASSWORD, Client, Gone, Master

# A barrier that does not come is answered after two seconds; all else is waiting for a turn.
KICK_SECONDS = 60


class Slave(Master):
    """Follows a server that speaks MUPDATE, a master or a slave."""

    def __init__(self, binaries, folder, address, source, host="slave", options=None):
        super().__init__(binaries, folder, address, host=host, options={
            "mupdate_server": source, "mupdate_authname": "postman", "mupdate_username": "postman",
            "mupdate_password": PASSWORD, "mupdate_retry_delay": "1", "rookery_accept_empty_list": "yes"} | (options or {}))

    def words(self):
        return [x for x in super().words() if x != "-m"]


def kick(server):
    """What the kick socket says until it closes."""
    said = b""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(KICK_SECONDS)
        s.connect(f"{server.folder}/conf/socket/mupdate.target")
        while part := s.recv(16):
            said += part
    return said


def found(client, name):
    """Whether a name is there, and as what."""
    rows = client.ok("FIND", name)
    return (rows[0][1].decode(), rows[0][3].decode()) if rows else None


def slaves_behind_slaves(a):
    """master <- slave <- slave: a kick of the last one is a barrier through all of them."""
    place = f"{a.folder}/cascade"
    with Master(a.binaries, f"{place}/master", f"{a.net}.9") as master, master.client() as writer:
        writer.ok("ACTIVATE", "user.first", "be1!p", "first\tlrs\t")
        with Slave(a.binaries, f"{place}/one", f"{a.net}.8", master.address) as one, \
                Slave(a.binaries, f"{place}/two", f"{a.net}.7", one.address) as two, two.client() as reader:
            assert reader.greeting[-1][-1] == f"mupdate://{a.net}.8".encode(), reader.greeting
            every_change_is_there_behind_a_kick(writer, two, reader)
            nothing_can_be_changed(reader)
            parts_are_followed(writer, two)
            kicks_are_answered_whatever_happens(master, one, two)
            one_goes_and_comes(writer, one, two)


def every_change_is_there_behind_a_kick(writer, two, reader):
    for n in range(60):
        name = f"user.k{n % 20}"
        there = found(reader, name)
        if there and n % 3 == 0:
            writer.ok("DELETE", name)
            expected = None
        else:
            expected = ("MAILBOX", f"be1!p{n}")
            writer.ok("ACTIVATE", name, expected[1], "k\tlrs\t")
        assert kick(two) == b"ok"
        assert found(reader, name) == expected, (n, name, expected)
    writer.ok("RESERVE", "user.reserved", "be2!p")
    assert reader.ok("NOOP") == []         # not a stream: no barrier
    assert kick(two) == b"ok"
    assert found(reader, "user.reserved") == ("RESERVE", "be2!p")
    assert reader.entries() == writer.entries()


def nothing_can_be_changed(reader):
    for command in (("ACTIVATE", "user.x", "be1!p", "x\tlrs\t"), ("DEACTIVATE", "user.k1", "be1!p"),
                    ("DELETE", "user.k1"), ("RESERVE", "user.x", "be1!p")):
        assert reader.command(*command)[-1][1:] == [b"BAD", b"read-only session"], command


def parts_are_followed(writer, two):
    """PARTIAL-UPDATE of a slave's slave; NOOP is the barrier."""
    with two.client() as part:
        rows = part.ok("UPDATE", "be2")
        assert [row[1:4] for row in rows] == [[b"RESERVE", b"user.reserved", b"be2!p"]], rows
        writer.ok("ACTIVATE", "user.reserved", "be2!p", "r\tl\t")
        writer.ok("ACTIVATE", "user.elsewhere", "be1!p", "e\tl\t")
        told = [row[1:3] for row in part.ok("NOOP")]
        assert told == [[b"MAILBOX", b"user.reserved"], [b"DELETE", b"user.elsewhere"]], told
        assert part.command("FIND", "user.first")[-1][1:] == [b"BAD", b"not legal when streaming"]


def kicks_are_answered_whatever_happens(master, one, two):
    """Cyrus' programs wait for the answer without a time limit."""
    for server in (master, one, two):
        assert kick(server) == b"ok"
    for frozen in (master, one):
        frozen.process.send_signal(signal.SIGSTOP)
        try:
            assert kick(two) == b"ok"
        finally:
            frozen.process.send_signal(signal.SIGCONT)


def one_goes_and_comes(writer, one, two):
    """The slave between dies; the last one answers from what it has, and catches up."""
    one.kill()
    assert kick(two) == b"ok"
    with two.client() as reader:
        assert found(reader, "user.first") == ("MAILBOX", "be1!p")
    writer.ok("ACTIVATE", "user.meanwhile", "be1!p", "m\tlrs\t")
    writer.ok("DELETE", "user.first")
    one.start()
    end = time.monotonic() + 60
    while time.monotonic() < end:
        assert kick(two) == b"ok"
        try:
            with two.client() as reader:
                if reader.entries() == writer.entries():
                    return
        except (Gone, OSError):
            pass
        time.sleep(0.1)
    raise AssertionError(f"the last slave is behind: {two.log()}")


def a_slave_goes_on_where_it_was(a):
    """Not a list again, but what it missed: behind its own restart, and behind a crash of the master."""
    place = f"{a.folder}/resume"
    with Master(a.binaries, f"{place}/master", f"{a.net}.9") as master:
        slave = Slave(a.binaries, f"{place}/slave", f"{a.net}.8", master.address)
        with slave:
            with master.client() as writer:
                for n in range(50):
                    writer.ok("ACTIVATE", f"user.r{n}", "be1!p", "r\tl\t")
                assert kick(slave) == b"ok"
                assert slave.stop() == 0, slave.log()
                writer.ok("DELETE", "user.r1")
                writer.ok("ACTIVATE", "user.s", "be1!p", "s\tl\t")
                writer.ok("RESERVE", "user.t", "be2!p")
            for restart in (slave.start, lambda: (master.kill(), master.start())):
                os.truncate(f"{slave.folder}/log", 0)
                restart()
                with master.client() as writer:
                    expected = writer.entries()
                end = time.monotonic() + 60
                while "in step with the mupdate master again: 51 mailboxes" not in slave.log():
                    assert time.monotonic() < end and " new, " not in slave.log(), slave.log()
                    time.sleep(0.05)
                with slave.client() as reader:
                    assert reader.entries() == expected


def a_unified_server_keeps_its_own_without_a_server(a):
    """What is at the host itself has no server in its list, in any case of letters; the rest has."""
    place = f"{a.folder}/unified"
    with Master(a.binaries, f"{place}/master", f"{a.net}.9") as master, master.client() as writer:
        writer.ok("ACTIVATE", "user.here", "BE1!p", "h\tl\t")
        writer.ok("ACTIVATE", "user.there", "be2!p", "t\tl\t")
        options = {"mupdate_config": "unified"}
        with Slave(a.binaries, f"{place}/slave", f"{a.net}.8", master.address, host="be1", options=options) as slave:
            writer.ok("RESERVE", "user.new", "be1!q")
            assert kick(slave) == b"ok"
            with slave.client() as reader:
                assert {name: row[:2] for name, row in reader.entries().items()} == {
                    "user.here": ("MAILBOX", "p"), "user.there": ("MAILBOX", "be2!p"), "user.new": ("RESERVE", "q")}


def no_more_connections_than_allowed(a):
    """`mupdate_connections_max`: one more is told so, and the next is served when one has gone."""
    options = {"mupdate_connections_max": "3"}
    with Master(a.binaries, f"{a.folder}/full", f"{a.net}.9", options=options) as master:
        clients = [master.client() for _ in range(3)]
        assert Client(master.address, user=None).greeting == [[b"*", b"BYE", b"Server Unable"]]
        clients.pop().close()
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                with master.client() as client:
                    client.ok("NOOP")
                break
            except (AssertionError, Gone):
                time.sleep(0.05)
        else:
            raise AssertionError("the place of who left stays taken")
        for client in clients:
            client.ok("NOOP")


def takeovers_may_be_allowed(a):
    """`rookery_takeover: allowed` is Cyrus' rule, the last one is right; without it the owner is. Both are shown."""
    for value, answer, outcome in (("allowed", b"OK", "done"), (None, b"NO", "refused")):
        folder, options = f"{a.folder}/takeover-{outcome}", {"rookery_takeover": value} if value else {}
        with Master(a.binaries, folder, f"{a.net}.9", options=options) as master, master.client() as client:
            client.ok("ACTIVATE", "user.taken", "be1!p", "t\tlrs\t")
            client.ok("ACTIVATE", "user.moved", "be1!p", "m\tlrs\t")
            assert client.command("ACTIVATE", "user.taken", "be2!q", "t\tl\t")[-1][1] == answer, outcome
            assert client.command("DEACTIVATE", "user.moved", "be2!q")[-1][1] == answer, outcome
            place = ("MAILBOX", "be2!q", "t\tl\t") if value else ("MAILBOX", "be1!p", "t\tlrs\t")
            assert client.entries()["user.taken"] == place, client.entries()
            done = subprocess.run([f"{a.binaries}/rookery", "-C", f"{folder}/imapd.conf", "--json", "conflicts"],
                                  stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
            rows = [json.loads(line)["conflict"] for line in done.stdout.splitlines() if b'"conflict"' in line]
            found = {(row["name"], row["asked"], row["outcome"], row["owner"], row["claimed"]) for row in rows}
            assert found == {("user.taken", "activate", outcome, "be1!p", "be2!q"),
                             ("user.moved", "deactivate", outcome, "be1!p", "be2!q")}, (found, done)


def passwords_by_saslauthd(a):
    """As on a frontend; `mupdate_admins` takes the place of `admins`."""
    folder = f"{a.folder}/sasl"
    os.makedirs(folder, exist_ok=True)
    saslauthd = Saslauthd(f"{folder}/saslauthd")
    options = {"sasl_pwcheck_method": "saslauthd", "sasl_saslauthd_path": f"{folder}/saslauthd",
               "mupdate_admins": "user001", "sasl_mech_list": "PLAIN LOGIN"}
    try:
        with Master(a.binaries, f"{folder}/master", f"{a.net}.9", options=options) as master:
            with Client(master.address, user="user001", password="from pam") as client:
                client.ok("NOOP")
            assert saslauthd.asked[-1][:3] == ["user001", "from pam", "mupdate"], saslauthd.asked
            refused = Client(master.address, user=None)
            assert refused.plain("user001", "wrong")[1] == b"NO"
            assert refused.plain("postman", "from pam")[1] == b"NO", "admins counts beside mupdate_admins"
    finally:
        saslauthd.close()


def run(report, a):
    """All of it."""
    report.check("slave/behind a slave", slaves_behind_slaves, a)
    report.check("slave/goes on where it was", a_slave_goes_on_where_it_was, a)
    report.check("slave/unified", a_unified_server_keeps_its_own_without_a_server, a)
    report.check("master/connections_max", no_more_connections_than_allowed, a)
    report.check("master/takeovers may be allowed", takeovers_may_be_allowed, a)
    report.check("master/saslauthd", passwords_by_saslauthd, a)
