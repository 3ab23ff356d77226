"""`rookery` beside a real murder: status, locate, list, accept over the control socket; audit and repair of every
kind of difference, each made by hand and gone after the plan was carried out."""
import base64
import json
import os
import pty
import re
import select
import socket
import subprocess
import time

from master_client import PASSWORD, Master

WAIT_SECONDS = 60
TOOL_SECONDS = 30


class Mupdate:
    """A connection to the master as the backends' user."""

    def __init__(self, address):
        self.socket = socket.create_connection((address, 3905), WAIT_SECONDS)
        self.file = self.socket.makefile("rb")
        while not self.file.readline().startswith(b"* OK"):
            pass
        secret = base64.b64encode(b"postman\0postman\0pw-postman").decode()
        self.ok("AUTHENTICATE", "PLAIN", secret)

    def ok(self, verb, *words):
        """One command that must succeed."""
        strings = "".join(f' "{word}"' for word in words)
        self.socket.sendall(f"X {verb}{strings}\r\n".encode())
        answer = self.file.readline()
        assert answer.startswith(b"X OK"), (verb, words, answer)

    def close(self):
        """Says goodbye, or Cyrus' master has one connection less."""
        self.ok("LOGOUT")
        self.file.close()
        self.socket.close()


def rookery(bed, *words, status=0, conf="rookery.conf"):
    """Runs the tool with the frontend's configuration; gives back its lines of JSON."""
    command = [f"{bed.binaries}/rookery", "-C", bed.conf(conf), "--json", *words]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          timeout=TOOL_SECONDS, check=False)
    said = done.stdout.decode() + done.stderr.decode()
    assert status in (None, done.returncode), (words, done.returncode, said)
    assert "pw-" not in said, "a password is shown"
    return [json.loads(line) for line in done.stdout.splitlines()]


def at(bed, backend):
    """A location on a backend."""
    return f"{bed.backend_host(backend)}!default"


def audit_text(bed, is_terminal):
    """What `rookery audit` says to a person or a pipe, as lines."""
    command = [f"{bed.binaries}/rookery", "-C", bed.conf("rookery.conf"), "audit", "--no-wait"]
    if not is_terminal:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TOOL_SECONDS, check=False)
        assert done.returncode == 1, done
        return done.stdout.decode().splitlines()
    reader, terminal = pty.openpty()
    said = b""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        while select.select([reader], [], [], TOOL_SECONDS)[0]:
            try:
                said += os.read(reader, 65536)
            except OSError:                # Linux' way to tell that nobody holds the other side
                break
    os.close(reader)
    assert process.returncode == 1, said
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.decode()).replace("\r", "\n").splitlines()


def admin(bed, backend, *commands):
    """Commands of an administrator of one backend."""
    with_admin = bed.session("cyrus", address=bed.backend(backend))
    for command in commands:
        answer = with_admin.command(command)
        assert answer.status == "OK", (command, answer.tagged)
    with_admin.command("LOGOUT")
    with_admin.close()


def problems(rows, leave_out=()):
    """Which mailbox has which problem."""
    return {(row["mailbox"], row["problem"]) for row in rows if row.get("problem") not in (None, *leave_out)}


def between_servers(bed, **more):
    """What differs between master and backends; a frontend may be behind Cyrus' master for five seconds."""
    return problems(rookery(bed, "audit", "--no-wait", status=1, **more), ["stale-frontend"])


def wait_for(condition, what):
    """Until it holds, with a deadline."""
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < end, f"no {what}"
        time.sleep(0.05)


# ---------------------------------------------------------------- the control socket
def status_tells_a_live_list(bed):
    [status] = rookery(bed, "status")
    assert (status["program"], status["knowledge"], status["held_back"]) == ("rookeryd", "live", None), status
    assert status["mailboxes"] >= 28 and status["source"] == f"{bed.net}.1:3905", status
    watcher = bed.session("user001")
    [busy] = rookery(bed, "status")
    assert sum(busy["sessions"]) == sum(status["sessions"]) + 1, (status, busy)
    watcher.close()


def locate_finds_mailboxes_and_users(bed):
    [sent, user, nobody] = rookery(bed, "locate", "user.user001.Sent", "user002", "user.nobody", status=1)
    assert (sent["state"], sent["server"], sent["partition"]) == ("active", bed.backend_host(1), "default"), sent
    assert sent["acl"].startswith("user001\t"), sent
    assert (user["name"], user["server"]) == ("user.user002", bed.backend_host(2)), user
    assert nobody["state"] == "absent", nobody


def list_takes_patterns(bed):
    names = [row["name"] for row in rookery(bed, "list", "team*")]
    assert names == ["team01", "team01.docs", "team02", "team02.docs", "team03", "team03.docs", "team04", "team04.docs"]
    assert [row["name"] for row in rookery(bed, "list", "team0%")] == names[::2]
    assert len(rookery(bed, "list")) >= 28


def accept_without_a_held_back_list_is_refused(bed):
    assert rookery(bed, "accept", status=1) == []


def socket_is_closed_to_others(bed):
    path = f"{bed.folder}/frontend/conf/socket/rookery"
    assert os.stat(path).st_mode & 0o777 == 0o600
    stranger = ["setpriv", "--reuid=65534", "--clear-groups", f"{bed.binaries}/rookery", "--socket", path, "status"]
    done = subprocess.run(stranger, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=TOOL_SECONDS, check=False)
    assert done.returncode == 75 and b"ermission denied" in done.stdout, done


def check_tells_every_line(bed):
    with open(bed.conf("rookery.conf")) as f:
        lines = len(f.read().splitlines())
    rows = rookery(bed, "check", "-M", bed.conf("cyrus.conf"))
    judged = [row for row in rows if row["file"].endswith("rookery.conf")]
    assert len(judged) == lines and any(row["is"] == "honoured" for row in judged), rows
    with open(bed.conf("unguarded.conf"), "w") as f:
        f.write(f"@include: {bed.conf('rookery.conf')}\nhttpallowcors: *\n")
    rookery(bed, "check", "-M", bed.conf("cyrus.conf"), status=78, conf="unguarded.conf")


# ---------------------------------------------------------------- audit
def nothing_differs(bed):
    rows = rookery(bed, "audit")
    assert problems(rows) == set(), rows
    [summary] = rows
    assert summary["judged"] >= 28 and len(summary["backends"]) == 2 and len(summary["frontends"]) == 1, summary


def make_differences(bed):
    """One of each kind; what audit must call them."""
    master, one, two = Mupdate(f"{bed.net}.1"), at(bed, 1), at(bed, 2)
    rights = "user001\tlrswipkxtecdan\t"
    master.ok("DELETE", "user.user001.Drafts")
    master.ok("ACTIVATE", "user.ghost", one, rights)
    master.ok("ACTIVATE", "user.user002.Drafts", one, "user002\tlrswipkxtecdan\t")
    master.ok("ACTIVATE", "user.user001.Sent", one, "user001\tlrs\t")
    master.ok("ACTIVATE", "user.user001.Trash", f"{bed.backend_host(1)}!other", rights)
    master.ok("RESERVE", "user.never", one)
    master.ok("DEACTIVATE", "user.user002.Sent", one)
    master.ok("DEACTIVATE", "user.user001.Work", one)
    master.ok("DEACTIVATE", "team03", one)
    master.close()
    admin(bed, 2, "LOCALCREATE team03")
    admin(bed, 1, "LOCALCREATE team02")
    return {
        ("user.user001.Drafts", "missing-at-master"), ("user.ghost", "orphan"),
        ("user.user002.Drafts", "wrong-server"), ("user.user001.Sent", "wrong-acl"),
        ("user.user001.Trash", "wrong-partition"), ("user.never", "stale-reservation"),
        ("user.user002.Sent", "move-not-announced"), ("user.user001.Work", "not-activated"),
        ("team03", "move-interrupted"), ("team02", "double-owner"),
    }


def every_difference_is_found_and_repaired(bed):
    expected = make_differences(bed)
    plan = f"{bed.folder}/plan.json"
    rows = rookery(bed, "audit", "--plan", plan, status=1)
    assert problems(rows) == expected, (problems(rows) ^ expected, rows)
    steps = [row["step"] for row in rows if "step" in row]
    assert [step["do"] for step in steps] == ["activate"] * 6 + ["forget"] * 2 + ["by_hand"] * 2, steps
    assert steps[-2]["names"] == ["team02"], steps                     # who owns it, before anybody runs -m
    assert steps[-1]["names"] == ["team03"] and steps[-1]["at"] == bed.backend_host(1), steps  # the move's source
    assert between_servers(bed) == expected, "without --apply nothing is changed"
    people_are_told_the_same(bed, expected)
    rows = rookery(bed, "repair", plan, "--apply", "--yes", status=1)
    fates = {row["applied"]: row["fate"] for row in rows if "applied" in row}
    assert len(fates) == 8 and set(fates.values()) == {"done"}, rows
    by_hand = {("team03", "move-interrupted"), ("team02", "double-owner")}
    assert between_servers(bed) == by_hand
    again = rookery(bed, "repair", plan, "--apply", "--yes", status=1)
    assert {row["fate"] for row in again if "applied" in row} == {"already so"}, again


def people_are_told_the_same(bed, expected):
    """The text for a pipe, a line for each, and the one for a terminal, with the causes and the plan."""
    lines = audit_text(bed, is_terminal=False)
    found = {tuple(line.split("\t")[:2]) for line in lines if not line.startswith("step\t")}
    assert {row for row in found if row[1] != "stale-frontend"} == expected, lines
    assert all(len(line.split("\t")) == 5 for line in lines if not line.startswith("step\t")), lines
    assert sum(line.startswith("step\t") for line in lines) == 10, lines
    lines = audit_text(bed, is_terminal=True)
    shown = {tuple(line.split()[:2]) for line in lines}
    assert expected <= shown, (expected - shown, lines)
    text = " ".join(" ".join(lines).split())
    for said in ("MAILBOX PROBLEM MASTER SAYS OTHERS SAY", "Likely causes:", "double-owner (1): ", "Repair plan, in this order:",
                 "10. ", "--apply does 8 of them; 2 are for your hands."):
        assert said in text, (said, lines)
    assert "pw-" not in text, "a password is shown"


def what_is_for_hands_ends_as_the_plan_says(bed):
    """An owner is chosen, then the source synchronised; the copies that go Cyrus keeps as DELETED.*, silently."""
    admin(bed, 1, "LOCALDELETE team02")
    bed.murder("run", bed.folder, "backend1", "ctl_mboxlist", "-m")
    assert ("team03", "double-owner") in between_servers(bed)
    admin(bed, 2, "LOCALDELETE team03")
    found = problems(rookery(bed, "audit", "--no-wait", "--apply", "--yes", status=None), ["stale-frontend"])
    assert {problem for _, problem in found} <= {"missing-at-master"}, found
    assert all(mailbox.startswith("DELETED.") for mailbox, _ in found), found
    assert problems(rookery(bed, "audit")) == set()


def a_dump_or_the_database_is_as_good_as_the_backend(bed):
    path = f"{bed.folder}/backend2.json"
    with open(path, "w") as f:
        f.write(bed.murder("run", bed.folder, "backend2", "ctl_mboxlist", "-d"))
    bed.stop("backend2", kill=True)
    try:
        for truth in (path, f"{bed.folder}/backend2/conf/mailboxes.db"):
            rows = rookery(bed, "audit", "--dump", f"{bed.backend_host(2)}={truth}")
            assert problems(rows) == set(), rows
        rows = rookery(bed, "audit", status=75)
        assert problems(rows) == set() and rows[-1]["unread"] == [bed.backend_host(2)], rows
    finally:
        bed.start("backend2")


def a_master_that_lost_its_list_gets_it_back(bed):
    """The frontend keeps what it knows, the plan brings it back to the master, accept ends it."""
    bed.stop("master")
    os.unlink(f"{bed.folder}/master/conf/mailboxes.db")
    bed.start("master")
    wait_for(lambda: rookery(bed, "status", status=None)[0]["held_back"], "held-back list")
    [status] = rookery(bed, "status", status=1)
    assert status["held_back"]["brought"] == 0 and status["mailboxes"] >= 28, status
    rows = rookery(bed, "audit", "--no-wait", status=1)
    kinds = {problem for _, problem in problems(rows)}
    assert kinds == {"missing-at-master", "stale-frontend"}, rows
    assert any("accept" in row["cause"] for row in rows if row.get("problem") == "stale-frontend"), rows
    rows = rookery(bed, "audit", "--no-wait", "--apply", "--yes", status=1)
    assert {row["fate"] for row in rows if "applied" in row} == {"done"}, rows
    wait_for(lambda: problems(rookery(bed, "audit", "--no-wait", status=None)) == set(), "end of differences")
    rookery(bed, "accept")
    rookery(bed, "status")
    rookery(bed, "audit")


def a_master_that_guards_owners_tells_claims_and_is_repaired(bed):
    """Ours: what it refuses is a conflict; a plan goes through all the same, the owner giving up first."""
    folder, acl = f"{bed.folder}/guard", "fred\tlrs\t"
    with Master(bed.binaries, folder, f"{bed.net}.2") as master, master.client() as client:
        with open(bed.conf("guard.conf"), "w") as f:
            f.write(f"configdirectory: {folder}/conf\nmupdate_server: {bed.net}.2:3905\nmupdate_authname: postman\n"
                    f"mupdate_username: postman\nmupdate_password: {PASSWORD}\n")
        assert rookery(bed, "conflicts", conf="guard.conf") == []
        for name in ("user.a", "user.b", "user.c", "user.d"):
            client.ok("ACTIVATE", name, "be1!default", acl)
        client.ok("DEACTIVATE", "user.d", "be1!default")
        client.ok("RESERVE", "user.new", "be1!default")
        assert client.command("ACTIVATE", "user.a", "be2!default", acl)[-1][1] == b"NO"
        [status] = rookery(bed, "status", conf="guard.conf")
        assert (status["program"], status["mailboxes"], status["sessions"]) == ("mupdate", 5, [1]), status
        [conflict, _, reservation] = rookery(bed, "conflicts", conf="guard.conf", status=1)
        claims = [conflict["conflict"][key] for key in ("name", "asked", "outcome", "owner", "claimed")]
        assert claims == ["user.a", "activate", "refused", "be1!default", "be2!default"], conflict
        assert reservation["reservation"]["name"] == "user.new", reservation
        was = {"state": "active", "location": "be1!default", "acl": acl}
        steps = [{"do": "activate", "name": "user.a", "location": "be2!default", "acl": acl, "was": was, "why": "-"},
                 {"do": "forget", "name": "user.b", "was": was, "why": "-"},
                 {"do": "forget", "name": "user.c", "was": was | {"location": "be2!default"}, "why": "-"},
                 {"do": "activate", "name": "user.d", "location": "be1!default", "acl": acl, "why": "-",
                  "was": {"state": "reserved", "location": "be1!default"}}]
        plan = f"{bed.folder}/guard.json"
        with open(plan, "w") as f:
            json.dump({"master": f"{bed.net}.2:3905", "steps": steps, "undecided": 0}, f)
        rows = rookery(bed, "repair", plan, "--apply", "--yes", conf="guard.conf", status=1)
        fates = {row["applied"]: row["fate"] for row in rows if "applied" in row}
        assert fates == {"user.a": "done", "user.b": "done", "user.c": "skipped", "user.d": "done"}, rows
        assert set(client.entries()) == {"user.a", "user.c", "user.d", "user.new"}
        assert client.entries()["user.d"] == ("MAILBOX", "be1!default", acl)
        shown = rookery(bed, "conflicts", "--forget", conf="guard.conf")
        assert {row["conflict"]["name"] for row in shown if "conflict" in row} >= {"user.a"}, shown
        assert [list(row) for row in rookery(bed, "conflicts", conf="guard.conf")] == [["reservation"]]
        assert client.entries()["user.a"] == ("MAILBOX", "be2!default", acl)


TESTS = [
    status_tells_a_live_list, locate_finds_mailboxes_and_users, list_takes_patterns,
    accept_without_a_held_back_list_is_refused, socket_is_closed_to_others, check_tells_every_line, nothing_differs,
    every_difference_is_found_and_repaired, what_is_for_hands_ends_as_the_plan_says,
    a_dump_or_the_database_is_as_good_as_the_backend, a_master_that_lost_its_list_gets_it_back,
    a_master_that_guards_owners_tells_claims_and_is_repaired,
]


def run(report, bed, _):
    """All of them, in this order: each leaves the murder as it should be."""
    for test in TESTS:
        report.check(f"audit/{test.__name__}", test, bed)
