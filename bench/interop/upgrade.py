"""rookeryd, our master and our tools before real backends of different releases, one of them upgraded under sessions.

Run only where newer releases are given, each as the folder under which it was installed. user001, user003 and team01,
team03 live on backend1, user002, user004 and team02, team04 on backend2.
"""
import itertools
import json
import os
import re
import shutil
import subprocess
import uuid

import mixed_domains
import mixed_mail
import mixed_sessions
from audit import rookery
from bed import Bed
from commands import ok, subjects, wait_for
from drive import message
from layouts import LAYOUTS, PLAIN, Spoken
from master_client import Master
from mixed_mail import Pop, Sieve
from moving import moved

DEBIANS = None
OURS = "ours"
# A client waits as long as the frontend does for a server that starts, and a bit.
PATIENCE_SECONDS = 150


class Mixture(Bed):
    """A murder of two releases in a layout of names. `master` is one of the releases, or ours."""

    def __init__(self, folder, a, releases, master, options=(), layout=PLAIN):
        programs = [("backend1", releases[0]), ("backend2", releases[1]), ("master", master if master != OURS else None)]
        words = [word for name, prefix in programs if prefix for word in ("--cyrus", f"{name}={prefix}")]
        words += ["--no-master"] if master == OURS else []
        words += [word.format(domain=f"n{a.net.split('.')[2]}") for word in layout.options]
        super().__init__(folder, a.net, [*words, *options], 2, "rookery", a.binaries)
        self.newer, self.layout = None, layout
        self.master = Master(a.binaries, f"{folder}-master", f"{a.net}.1", host="mupdate") if master == OURS else None

    def up(self, **more):
        if self.master:
            self.master.start()
        super().up(**more)

    def down(self):
        super().down()
        if self.master:
            self.master.kill()

    def session(self, user=None, address=None, port=143, tls=None, timeout=PATIENCE_SECONDS, **more):
        if self.layout == PLAIN:
            return super().session(user, address=address, port=port, tls=tls, timeout=timeout, **more)
        s = Spoken(self.layout, user == "cyrus", address or self.address, port, tls, timeout, user or "")
        return s.login(user, self.password(user)) if user else s

    def version(self, n):
        """What a backend says that it is, as numbers."""
        s = self.session(address=self.backend(n))
        s.close()
        return tuple(int(x) for x in re.search(rb"Cyrus IMAP (\d+)\.(\d+)", s.greeting).groups())

    def become(self, instance, prefix):
        """The instance goes on with its data as another release."""
        self.stop(instance)
        self.murder("become", self.folder, instance, *([prefix] if prefix else []))
        self.start(instance)


def releases_of(newer):
    """Every pair that an upgrade from release to release goes through, Debian's 3.6 first, and the newest with itself.

    The master is one of the two, or ours, in turns.
    """
    in_order = [DEBIANS, *newer]
    pairs = [*itertools.combinations(in_order, 2), (newer[-1], newer[-1])]
    masters = itertools.cycle([lambda pair: pair[0], lambda _: OURS, lambda pair: pair[1]])
    return [(pair, master(pair)) for pair, master in zip(pairs, masters)]


# ---------------------------------------------------------------- tools
def lists_agree(bed):
    """Our ctl_mboxlist reads the mailboxes.db of any release as its own does, and says and does what its own would."""
    program = f"{bed.folder}/ctl_mboxlist"
    shutil.copy(f"{bed.binaries}/ctl_mboxlist", program)
    for instance in ("backend1", "backend2"):
        theirs = json.loads(bed.murder("run", bed.folder, instance, "ctl_mboxlist", "-d"))
        ours = json.loads(spoken(program, "-C", bed.murder_conf(instance), "-d"))
        assert ours == theirs and len(ours) > 10, {name: (ours.get(name), theirs.get(name)) for name in
                                                   ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)}
        told = spoken(program, "-C", bed.murder_conf(instance), "-mw")
        # 3.6 leaves the partition out when it renames, which a push would put right.
        assert told == bed.murder("run", bed.folder, instance, "ctl_mboxlist", "-mw"), told
        assert all(line.startswith("Force Activate: ") for line in told.splitlines()), told
        assert spoken(program, "-C", bed.murder_conf(instance), "-m") == ""
        assert spoken(program, "-C", bed.murder_conf(instance), "-mw") == ""
        assert spoken(program, "-C", bed.murder_conf(instance), "-v") == ""


def spoken(*command):
    """What a program says; it must succeed."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, (command, done.returncode, done.stdout, done.stderr)
    return done.stdout


def audit_finds_nothing(bed):
    """Backends, master and frontend say the same; Cyrus' master tells frontends within five seconds."""
    wait_for(lambda: not [row for row in rookery(bed, "audit", status=None) if row.get("problem")], "audit in step")


# ---------------------------------------------------------------- moves
def idle_for(bed, user):
    """A session that waits in its INBOX."""
    s = bed.session(user)
    ok(s.command("SELECT INBOX"))
    tag = s.tag()
    s.send(f"{tag} IDLE\r\n".encode())
    s.until_match(r"^\+", 60)
    return s, tag


def user_moves_to_and_fro(bed):
    """XFER to the other release and back, which Cyrus does both ways, while a session waits in the mailbox."""
    for user, home in (("user001", 1), ("user002", 2)):
        away = 3 - home
        folder = f"INBOX.Kept{uuid.uuid4().hex[:8]}"
        owner = bed.session(user)
        ok(owner.command(f"CREATE {folder}"))
        ok(owner.command(f"SETMETADATA {folder} (/private/comment {{}} /private/specialuse {{}})", "noted", "\\Junk"))
        ok(owner.command(f"APPEND {folder} {{}}", message("kept")))
        owner.close()
        s, tag = idle_for(bed, user)
        reader = bed.session(user)
        before, kept = mixed_sessions.picture(reader, "INBOX"), True
        for at, to in ((home, away), (away, home)):
            moved(bed, user, at, to)
            sender = bed.session(user)
            ok(sender.command("APPEND INBOX (\\Flagged) {}", message(f"after the move to {to}")))
            s.until_match(r"EXISTS", 120)
            s.send(b"DONE\r\n")
            assert s.until_match(f"^{tag} ", 60)[-1].split()[1] == b"OK"
            sender.command("LOGOUT")
            sender.close()
            reader = bed.session(user)
            assert f"after the move to {to}" in subjects(reader, "INBOX") and subjects(reader, folder) == ["kept"]
            kept = kept and not loses_annotations(bed, at, to)
            told = ok(reader.command(f"GETMETADATA {folder} (/private/comment)")).lines
            assert any(b"noted" in line for line in told) == kept, (at, to, told)
            found = ok(reader.command('LIST (SPECIAL-USE) "" "*"')).named("LIST")
            assert any(folder.encode() in line and b"\\Junk" in line for line in found) == kept, (at, to, found)
            reader.close()
            assert at_server(bed, f"user.{user}{folder[5:]}") == bed.backend_host(to)
            tag = s.tag()
            s.send(f"{tag} IDLE\r\n".encode())
            s.until_match(r"^\+", 60)
        after = mixed_sessions.picture(bed.session(user), "INBOX")
        assert after[:len(before)] == before and len(after) == len(before) + 2, (before, after)
        audit_finds_nothing(bed)
        for session in (s, reader):
            session.close()


def loses_annotations(bed, at, to):
    """Cyrus 3.6 with `unixhierarchysep` does not find its own when it compares (`annotatemore_findall_pattern`), and takes
    those away that a newer destination tells to have, without a frontend, too. Another 3.6 finds none either."""
    return bed.layout.is_unix and bed.version(at) < (3, 8) <= bed.version(to)


def at_server(bed, name):
    """Where the frontend's list says that a mailbox is."""
    [row] = rookery(bed, "locate", name)
    return row["server"]


# ---------------------------------------------------------------- the upgrade
def upgraded_under_sessions(bed):
    """backend2 stops as 3.6 and starts again as the newer one on its spool; sessions are alive, and go on."""
    waiting, tag = idle_for(bed, "user002")
    guest = bed.session("user001")
    ok(guest.command("SELECT team02"))
    resting = bed.session("user004")
    old = mixed_sessions.offered(bed, "user001")
    before = {box: mixed_sessions.picture(bed.session("user002"), box) for box in ("INBOX", "INBOX.Sent", "team02")}
    script = mixed_mail.script(bed, "lmtp")
    sieve = Sieve(bed)
    assert sieve.login("user002").startswith(b"OK") and sieve.put("main", script)[-1].startswith(b"OK")
    sieve.ok('SETACTIVE "main"')
    bed.become("backend2", bed.newer)
    assert bed.version(2) > (3, 6), bed.version(2)
    wait_for(lambda: resting.command("SELECT INBOX").status == "OK", "server that is believed to be back")
    assert len(ok(resting.command("FETCH 1:* (UID FLAGS)")).named("FETCH")) == 5
    ok(guest.command("NOOP"))
    ok(guest.command("APPEND team02 {}", message("after the upgrade")))
    assert any(b"after the upgrade" in line for line in
               ok(guest.command("FETCH * BODY.PEEK[HEADER]")).named("FETCH"))
    sender = bed.session("user002")
    ok(sender.command("APPEND INBOX {}", message("after the upgrade")))
    waiting.until_match("EXISTS", 120)
    waiting.send(b"DONE\r\n")
    assert waiting.until_match(f"^{tag} ", 60)[-1].split()[1] == b"OK"
    ok(waiting.command("FETCH 1:* (FLAGS)"))
    after = {box: mixed_sessions.picture(bed.session("user002"), box) for box in before}
    assert all(after[box][:len(before[box])] == before[box] for box in before), (before, after)
    new = mixed_sessions.offered(bed, "user001")
    assert {"QRESYNC", "MOVE"} <= new and not {x for x in old - new if not x.startswith("APPENDLIMIT=")} - mixed_sessions.OLD_QUOTA, old ^ new
    scripts = Sieve(bed)
    assert scripts.login("user002").startswith(b"OK")
    assert any(b'"main"' in line and b"ACTIVE" in line for line in scripts.command("LISTSCRIPTS"))
    for session in (waiting, guest, resting, sender):
        session.close()


def all_upgraded_offers_more(bed):
    """With the last old server gone, what all have is offered; the users see what they had."""
    bed.become("backend1", bed.newer)
    offered = wait_for(lambda: (told := mixed_sessions.offered(bed, "user001")) and bed.version(1) > (3, 6) and told,
                       "capabilities")
    assert mixed_sessions.is_true(bed, offered, "user001"), offered
    pop = Pop(bed)
    assert pop.login("user001").startswith(b"+OK")
    assert pop.command("STAT").startswith(b"+OK ")


ALWAYS = (lists_agree, user_moves_to_and_fro, audit_finds_nothing)


def run(report, a):
    """Every mixture of the releases that were given, in other layouts of each with the next and the ends, then an upgrade."""
    in_order = [DEBIANS, *a.newer_cyrus]
    neighbours = {*zip(in_order, in_order[1:]), (in_order[0], in_order[-1])}
    for layout in (PLAIN, *LAYOUTS):
        for releases, master in releases_of(a.newer_cyrus):
            if layout == PLAIN or releases in neighbours:
                mixed(report, a, releases, master, layout)
    for newer in a.newer_cyrus:
        folder = f"{a.folder}/upgraded"
        label = f"upgrade/3.6 to {os.path.basename(newer.rstrip('/'))}"
        bed = Mixture(folder, a, (DEBIANS, DEBIANS), OURS)
        bed.newer = newer
        checked(report, label, bed, [upgraded_under_sessions, all_upgraded_offers_more, *ALWAYS])


def mixed(report, a, releases, master, layout):
    """One mixture in one layout."""
    names = [os.path.basename(prefix.rstrip("/")) if prefix else "3.6" for prefix in releases]
    folder = f"{a.folder}/mixture"
    options = ["--set", "backend:munge8bit=no", "--set", "backend2:literalminus=yes"]
    domains = mixed_domains.TESTS if layout.has_domains else []
    tests = [*mixed_sessions.TESTS, *mixed_mail.TESTS, *domains, *ALWAYS]
    label = f"upgrade/{layout.name}/{names[0]} and {names[1]}"
    checked(report, label, Mixture(folder, a, releases, master, options, layout), tests)


def checked(report, label, bed, tests):
    """The tests in a murder; one that does not come up is one failure."""
    named = [(f"{label}: {test.__name__}", test) for test in tests]
    named = [(name, test) for name, test in named if report.only in name]
    if not named:
        return
    shutil.rmtree(bed.folder, ignore_errors=True)
    try:
        with bed:
            for name, test in named:
                report.check(name, test, bed)
    except Exception as e:
        report.fails(label, f"  test-bed: {e}")
