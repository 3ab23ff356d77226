"""What operators know of a frontend: proc, msg/shutdown, limits of logins, failed logins in the log, the session's id,
and homes for who gets his first mail.

The Cyrus frontend stands at .101 and rookeryd at .102, both before the same backends.
"""
import concurrent.futures
import os
import re
import shutil
import signal
import subprocess

from bed import Bed
from beside import within
from daemon import Daemon, write
from lmtp import Lmtp, sha512
from names import first_choice
from pop3 import Pop
from sieve import Sieve

WAIT_SECONDS = 60
# Above every process id that Linux gives.
NO_PROCESS = 1 << 22
NEWCOMERS = ["user090", "user091", "user092", "user093"]
MAILS = 4


class World:
    """The bed with both frontends."""

    def __init__(self, bed):
        self.bed, self.cyrus, self.ours = bed, bed.address, f"{bed.net}.102"
        self.folder = f"{bed.folder}/rookery"
        os.makedirs(f"{self.folder}/conf/socket", exist_ok=True)
        self.passwords = f"{self.folder}/passwd"
        write(self.passwords, "".join(f"{user}:{sha512('pw-' + user)}\n" for user in ("cyrus", "user001", "user002", "user003", *NEWCOMERS)))
        services = f"""\
  imap cmd="imapd" listen="{self.ours}:143" proto="tcp4"
  pop3 cmd="pop3d" listen="{self.ours}:110" proto="tcp4"
  sieve cmd="timsieved" listen="{self.ours}:4190" proto="tcp4"
  lmtp cmd="lmtpd -a" listen="{self.ours}:24" proto="tcp4"
  lmtpauth cmd="lmtpd" listen="{self.ours}:2424" proto="tcp4"
"""
        changes = {"configdirectory": f"{self.folder}/conf", "sasl_pwcheck_method": "passwd_file", "lmtpsocket": None,
                   "sasl_passwd_file": self.passwords, "servername": f"rookery.n{bed.net.split('.')[2]}",
                   "sieve_allowreferrals": "no", "lmtpauth_admins": "cyrus", "maxlogins_per_user": "2",
                   "pop3_maxlogins_per_host": "1", "sieve_maxlogins_per_user": "1", "autocreate_quota": "5000", "autocreate_post": "yes",
                   "autocreate_users": " ".join(NEWCOMERS), "autocreate_inbox_folders": "Drafts | Sent"}
        for path in (self.folder, f"{self.folder}/conf", f"{self.folder}/conf/socket", self.passwords):
            shutil.chown(path, "cyrus")
        self.daemon = Daemon(bed, changes, services, folder=self.folder)

    def imap(self, user=None):
        """A client of rookeryd."""
        return self.bed.session(user, address=self.ours)

    def lmtp(self, port=24):
        """An MTA at rookeryd."""
        return Lmtp(self.ours, port)

    def listed(self, conf=None):
        """What `cyr_info proc` tells: process, service, host, user, mailbox."""
        conf = conf or self.daemon.imapd
        done = subprocess.run(["su", "-s", "/bin/sh", "cyrus", "-c", f"/usr/lib/cyrus/bin/cyr_info -C {conf} proc"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=WAIT_SECONDS)
        assert not done.returncode, done.stdout
        return [line.split() for line in done.stdout.splitlines()]

    def files(self):
        """Names in proc."""
        return [name for name in os.listdir(f"{self.folder}/conf/proc") if not name.startswith(".")]

    def log(self):
        """All that the daemon has said."""
        with open(self.daemon.log_file, errors="replace") as f:
            return f.read().splitlines(True)

    def put(self, text):
        """msg/shutdown; gives its path back."""
        path = f"{self.folder}/conf/msg/shutdown"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write(path, text)
        return path


def sessions_are_listed_as_cyrus_lists_them(world):
    """By Cyrus' own tool, beside the Cyrus frontend's."""
    theirs = world.bed.session("user001")
    row = within(WAIT_SECONDS, lambda: next(x for x in world.listed(world.bed.conf("imapd.conf")) if "user001" in x))
    theirs.close()
    # As Cyrus has a host without a name in DNS; with one that stands before it.
    assert row[1] == "imap" and row[-2:] == ["[127.0.0.1]", "user001"], row
    host = row[-2]
    imap, pop, sieve, mta = world.imap("user001"), Pop(world, address=world.ours), Sieve(world, address=world.ours), world.lmtp(2424)
    assert imap.command("SELECT INBOX").status == "OK"
    assert pop.login("user002").startswith(b"+OK")
    assert sieve.login("user003").startswith(b"OK")
    assert mta.login("cyrus", "pw-cyrus").startswith("235")
    guest = world.imap()

    def all_there():
        rows = world.listed()
        assert all(int(x[0]) > NO_PROCESS for x in rows), rows
        found = sorted(x[1:] for x in rows)
        wanted = sorted([["imap", host], ["imap", host, "user001", "user.user001"], ["pop3", host, "user002", "user.user002"],
                         ["sieve", host, "user003"], ["lmtpauth", host, "cyrus"]])
        assert found == wanted, (found, wanted, row)
    within(WAIT_SECONDS, all_there)
    assert imap.command("CLOSE").status == "OK"
    within(WAIT_SECONDS, lambda: one(["imap", host, "user001"] in [x[1:] for x in world.listed()]))
    for each in (imap, pop, sieve, mta, guest):
        each.close()
    within(WAIT_SECONDS, lambda: one(not world.files()))


def one(holds):
    """An assertion in a lambda."""
    assert holds


def files_of_a_killed_process_are_gone_at_the_next_start(world):
    s = world.imap("user001")
    within(WAIT_SECONDS, lambda: one(world.files()))
    stray = f"{world.folder}/conf/proc/77"
    write(stray, "imap\t[127.0.0.9]\tcyrus\t\t\n")
    world.daemon.process.send_signal(signal.SIGKILL)
    world.daemon.process.wait()
    s.close()
    assert len(world.files()) == 2, world.files()
    world.daemon.start()
    assert world.files() == ["77"], world.files()
    os.unlink(stray)
    world.daemon.stop()
    assert not world.files(), world.files()
    world.daemon.start()


def idle_sessions_are_sent_away(world):
    """Nobody says anything, but for the operator."""
    idle, inside, admin = world.imap("user001"), world.imap("user002"), world.imap("cyrus")
    assert inside.command("SELECT INBOX").status == "OK"
    tag = inside.tag()
    inside.send(f"{tag} IDLE\r\n".encode())
    inside.until_match(r"^\+", WAIT_SECONDS)
    pop, guest, sieve, mta = Pop(world, address=world.ours), Pop(world, address=world.ours), Sieve(world, address=world.ours), world.lmtp()
    assert pop.login("user003").startswith(b"+OK") and pop.command("STAT").startswith(b"+OK")
    assert sieve.login("user003").startswith(b"OK")
    path = world.put("back at noon\nsecond line\n")
    try:
        for s in (idle, inside):
            assert s.line() == b"* BYE [ALERT] back at noon"
        assert guest.line() == b"-ERR [SYS/TEMP] back at noon"
        assert sieve.line() == b'BYE "back at noon"'
        assert pop.ends() == b"-ERR [SYS/TEMP] back at noon\r\n"
        assert mta.say("NOOP").startswith("250") and mta.say("MAIL FROM:<a@b.c>") == "421 4.3.2 back at noon"
        assert admin.command("NOOP").status == "OK"
    finally:
        os.unlink(path)
    within(WAIT_SECONDS, lambda: one(world.imap("user003").command("NOOP").status == "OK"))
    for s in (idle, inside, admin, pop, guest, sieve, mta):
        s.close()


def logins_are_limited_in_each_service(world):
    """maxlogins_per_user: 2; one POP3 session a host, and one of ManageSieve a user."""
    taken = [world.imap("user001") for _ in range(2)]
    s = world.imap()
    assert b"Too many open connections (3 of 2 for user001)" in s.command("LOGIN user001 pw-user001").tagged
    pops = [Pop(world, address=world.ours) for _ in range(2)]
    assert pops[0].login("user001").startswith(b"+OK")
    assert pops[1].login("user002") == b"-ERR [SYS/TEMP] Too many open connections (2 of 1 from 127.0.0.1, 1 of 2 for user002)"
    pops[0].close()
    within(WAIT_SECONDS, lambda: one(pops[1].login("user002").startswith(b"+OK")))
    first, second = (Sieve(world, address=world.ours) for _ in range(2))
    assert first.login("user001").startswith(b"OK")
    assert second.login("user001") == b'NO "Too many open connections (2 of 1 for user001)"'
    first.close()
    within(WAIT_SECONDS, lambda: one(second.login("user001").startswith(b"OK")))
    for each in (*taken, s, pops[1], second):
        each.close()


def failed_logins_are_found_by_fail2ban(world):
    """The stock filters, on the log as it is; LMTP, for which there is none, by the expression of cyrus-imap."""
    pop, sieve, mta = Pop(world, address=world.ours), Sieve(world, address=world.ours), world.lmtp(2424)
    assert pop.login("user001", "wrong").startswith(b"-ERR")
    assert sieve.login("user001", "wrong").startswith(b"NO")
    assert mta.login("cyrus", "wrong").startswith("535")
    s = world.imap()
    s.command("LOGIN user001 wrong")
    for each in (pop, sieve, mta, s):
        each.close()

    def lines(service):
        found = [line for line in world.log() if f"/{service}[" in line and "badlogin:" in line and "too many" not in line]
        assert found, service
        return found
    for service, filter_name in (("imap", "cyrus-imap"), ("pop3", "cyrus-imap"), ("sieve", "sieve"), ("lmtpauth", "cyrus-imap")):
        found = within(WAIT_SECONDS, lines, service)
        path = f"{world.folder}/fail2ban-{service}.log"
        ident = "imap" if service == "lmtpauth" else service
        write(path, "".join(re.sub(r" \S*/%s\[" % service, f" cyrus/{ident}[", line) for line in found))
        done = subprocess.run(["fail2ban-regex", path, f"/etc/fail2ban/filter.d/{filter_name}.conf"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=WAIT_SECONDS)
        counts = re.search(r"(\d+) lines, (\d+) ignored, (\d+) matched, (\d+) missed", done.stdout)
        assert counts and counts.group(3) == str(len(found)) and counts.group(4) == "0", (service, found, done.stdout[-800:])


def every_line_of_a_session_has_its_id(world):
    """Logins and refusals of all protocols so far."""
    lines = [line for line in world.log() if re.search(r"/(imap|pop3|sieve|lmtp|lmtpauth)\[", line)]
    services = {re.search(r"/(\w+)\[", line).group(1) for line in lines}
    assert services >= {"imap", "pop3", "sieve", "lmtpauth"}, services
    without = [line for line in lines if not re.search(r"sessionid=<?rookery\S+-\d+-\d+-\d+", line, re.I)]
    assert not without, without[:5]


def home_of(world, user):
    """The backend that has the INBOX of a user, which must be one."""
    found = []
    for n in (1, 2):
        s = world.bed.session("cyrus", address=world.bed.backend(n))
        found += [n] if s.command(f'LIST "" "user.{user}"').named("LIST") else []
        s.close()
    assert len(found) == 1, (user, found)
    return found[0]


def first_mail_makes_a_home(world):
    """Mails and logins of several users at once: one home each, where a login would put it, with all the mail."""
    def mail(user):
        def sent():
            client = world.lmtp()
            rcpt, data = client.deliver([f"{user}@murder.test"])
            client.close()
            assert rcpt[0].startswith("250") and data[0].startswith("250"), (rcpt, data)
        within(WAIT_SECONDS, sent)

    def enter(user):
        s = world.imap(user)
        assert s.command("SELECT INBOX").status == "OK", user
        s.close()

    def log_in(user):
        within(WAIT_SECONDS, enter, user)
    stranger = world.lmtp()
    assert "550 5.1.1" in stranger.deliver(["nobody099"])[0][0]
    stranger.close()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        jobs = [pool.submit(mail, user) for user in NEWCOMERS for _ in range(MAILS)]
        jobs += [pool.submit(log_in, user) for user in NEWCOMERS[:2]]
        for job in jobs:
            job.result()
    homes = {user: home_of(world, user) for user in NEWCOMERS}
    for user, n in homes.items():
        assert world.bed.backend_host(n) == first_choice(world.bed, user), homes
    for user in NEWCOMERS:
        s = world.imap(user)
        told = s.command("STATUS INBOX (MESSAGES)").lines[0]
        assert b"MESSAGES %d)" % MAILS in told, (user, told)
        names = b" ".join(s.command('LIST "" "*"').lines)
        assert b"INBOX.Drafts" in names and b"INBOX.Sent" in names, names
        s.close()
    admin = world.imap("cyrus")
    for user in NEWCOMERS[2:]:
        assert admin.command(f"SETACL user.{user} cyrus lrswipkxtecda").status == "OK"
        assert admin.command(f"DELETE user.{user}").status == "OK"
        within(WAIT_SECONDS, lambda: one(not admin.command(f'LIST "" user.{user}').named("LIST")))
        log_in(user)
        assert home_of(world, user) == homes[user], (user, homes)
    admin.close()


TESTS = [sessions_are_listed_as_cyrus_lists_them, files_of_a_killed_process_are_gone_at_the_next_start, idle_sessions_are_sent_away,
         logins_are_limited_in_each_service, failed_logins_are_found_by_fail2ban, every_line_of_a_session_has_its_id,
         first_mail_makes_a_home]


def run(report, a):
    """On a murder with a Cyrus frontend beside."""
    folder = f"{a.folder}/plumbing"
    shutil.rmtree(folder, ignore_errors=True)
    with Bed(folder, a.net, ["--no-log"], 2, binaries=a.binaries) as bed:
        world = World(bed)
        with world.daemon:
            for test in TESTS:
                report.check(f"plumbing/{test.__name__}", test, world)
