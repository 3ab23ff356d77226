"""A real Postfix on loopback, with its own configuration, queue and port: the system's is never touched."""
import os
import shutil
import smtplib
import socket
import subprocess
import time
import uuid

from audit import Mupdate
from daemon import write
from moving import Moving, pause_for

WAIT_SECONDS = 60
PORT = 2525
SERVICES = """\
{listen}:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


class Postfix:
    """One instance, with lines that `rookery postfix-config` printed."""

    def __init__(self, folder, listen, lines):
        self.folder, self.listen = folder, listen
        self.conf = f"{folder}/etc"
        shutil.rmtree(folder, ignore_errors=True)
        for name in ("etc", "queue", "data"):
            os.makedirs(f"{folder}/{name}")
        shutil.chown(f"{folder}/data", "postfix")
        write(f"{self.conf}/main.cf", f"""\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/mail.log
maillog_file_prefixes = {os.path.dirname(folder)}
myhostname = mta.murder.test
mydestination =
inet_interfaces = loopback-only
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_recipient_restrictions = reject_unlisted_recipient
smtpd_peername_lookup = no
lmtp_host_lookup = native
smtp_host_lookup = native
virtual_alias_domains =
virtual_alias_maps = inline:{{ {{ postmaster@murder.test = user001@murder.test }} }}
minimal_backoff_time = 2s
maximal_backoff_time = 4s
queue_run_delay = 2s
{lines}
""")
        write(f"{self.conf}/master.cf", SERVICES.format(listen=listen, port=PORT))

    def run(self, word):
        """`postfix -c CONF WORD`; what stays must not hold our output."""
        with open(f"{self.folder}/{word}.out", "w") as out:
            return subprocess.run(["postfix", "-c", self.conf, word], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                  timeout=WAIT_SECONDS).returncode

    def __enter__(self):
        checked = subprocess.run(["postfix", "-c", self.conf, "check"], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=WAIT_SECONDS)
        unused = [line for line in checked.stdout.splitlines() if "unused parameter" in line or "fatal" in line]
        assert checked.returncode == 0 and not unused, checked.stdout
        assert self.run("start") == 0, self.log()
        end = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                socket.create_connection((self.listen, PORT), 1).close()
                return self
            except OSError:
                if time.monotonic() > end:
                    self.run("stop")
                    raise AssertionError(f"Postfix does not listen: {self.log()}") from None
                time.sleep(0.05)

    def __exit__(self, *_):
        self.run("stop")

    def log(self):
        """The end of its log and of what it said at start."""
        text = ""
        for name in ("start.out", "mail.log"):
            if os.path.exists(f"{self.folder}/{name}"):
                with open(f"{self.folder}/{name}", errors="replace") as f:
                    text += f.read()[-2500:]
        return text

    def send(self, recipients, name):
        """Submits a message; who was refused."""
        client = smtplib.SMTP(self.listen, PORT, timeout=WAIT_SECONDS)
        try:
            return client.sendmail("sender@murder.test", recipients,
                                   f"From: sender@murder.test\r\nSubject: {name}\r\n\r\n.hello\r\n..\r\n".encode())
        except smtplib.SMTPRecipientsRefused as e:
            return e.recipients
        finally:
            client.quit()

    def whole_log(self):
        """All of its log."""
        with open(f"{self.folder}/mail.log", errors="replace") as f:
            return f.read()

    def until(self, condition, what, seconds=WAIT_SECONDS):
        """Polls."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"{what}: {self.log()}"
            time.sleep(0.1)


def printed(world, *words):
    """What `rookery postfix-config` prints, as one would paste it."""
    done = subprocess.run([f"{world.bed.binaries}/rookery", "postfix-config", "--map", f"inet:{world.ours}:2425",
                           "--domain", "murder.test", *words], stdout=subprocess.PIPE, check=True, text=True)
    return done.stdout


def delivers(world, name, lines):
    """Mail for three backends arrives once, an alias is Postfix's, nobody is refused."""
    with Postfix(f"{world.bed.folder}/{name}", f"{world.net}.103", lines) as mta:
        subject = uuid.uuid4().hex
        users = ["user001", "user002", "user003"]
        refused = mta.send([*[f"{user}+x@murder.test" for user in users], "nosuch@murder.test"], subject)
        assert list(refused) == ["nosuch@murder.test"] and refused["nosuch@murder.test"][0] == 550, refused
        for user in users:
            mta.until(lambda user=user: world.times(user, subject) == 1, f"mail for {user}")
        alias = uuid.uuid4().hex
        assert mta.send(["postmaster@murder.test"], alias) == {}
        mta.until(lambda: world.times("user001", alias) == 1, "mail for an alias")


def through_the_frontend(world):
    delivers(world, "postfix-a", printed(world, "--frontend", f"{world.ours}:24"))


def directly_to_backends(world):
    lines = printed(world).replace("static:NAME:PASSWORD", "static:mailproxy:pw-mailproxy")
    delivers(world, "postfix-b", lines)


def on_a_backend(world):
    """Its own mail goes to its LMTP, all other to the internal MTA."""
    host = world.bed.backend_host(1)
    sasl = ("lmtp_sasl_auth_enable = yes\nlmtp_sasl_password_maps = static:mailproxy:pw-mailproxy\n"
            "lmtp_sasl_security_options = noanonymous\n")
    inner = printed(world, "--frontend", f"{world.ours}:24")
    lines = printed(world, "--backend", host, "--relayhost", f"{world.net}.103:{PORT}") + sasl
    with Postfix(f"{world.bed.folder}/postfix-c", f"{world.net}.103", inner) as mta, \
            Postfix(f"{world.bed.folder}/postfix-d", f"{world.net}.104", lines) as own:
        subject = uuid.uuid4().hex
        assert own.send(["user001@murder.test", "user002@murder.test"], subject) == {}
        own.until(lambda: world.times("user001", subject) == 1, "mail of its own")
        mta.until(lambda: world.times("user002", subject) == 1, f"mail of another: {own.log()}")
        assert f"relay={world.net}.103" in own.log() and f"relay={host}" in own.log(), own.log()


def ask(address, port, *requests):
    """Netstring requests and their answers."""
    with socket.create_connection((address, port), WAIT_SECONDS) as s:
        f = s.makefile("rb")
        answers = []
        for request in requests:
            s.sendall(b"%d:%s," % (len(request), request.encode()))
            length = b""
            while not length.endswith(b":"):
                length += f.read(1)
            answers.append(f.read(int(length[:-1]) + 1)[:-1].decode())
        return answers


def tables_tell_what_the_list_has(world):
    host = world.bed.backend_host(2)
    answers = ask(world.ours, 2425, "transport user002@murder.test", "exists user002@murder.test",
                  "exists nosuch@murder.test", "home user002@murder.test", f"here:{host} user002@murder.test",
                  f"here:{host} user001@murder.test", "transport murder.test", "nothing x")
    assert answers == [f"OK lmtp:inet:[{host}]:24", "OK ok", "NOTFOUND ", f"OK {host}",
                       f"OK lmtp:inet:[{world.bed.backend_host(1)}]:24", "NOTFOUND ", "NOTFOUND ",
                       "PERM no such table"], answers
    with socket.create_connection((world.ours, 2425), WAIT_SECONDS) as s:
        s.sendall(b"get user002@murder.test\nget nosuch@murder.test\n")
        f = s.makefile("rb")
        said = [f.readline().decode().strip() for _ in range(2)]
    assert said == [f"200 lmtp:inet:[{host}]:24", "500 not%20found"], said
    conf = f"{world.bed.folder}/postmap"
    os.makedirs(conf, exist_ok=True)
    write(f"{conf}/main.cf", "compatibility_level = 3.6\n")
    done = subprocess.run(["postmap", "-c", conf, "-q", "user002@murder.test", f"tcp:{world.ours}:2425"],
                          stdout=subprocess.PIPE, text=True, timeout=WAIT_SECONDS)
    assert done.stdout.strip() == f"lmtp:inet:[{host}]:24", done


def flows_while_its_user_moves(world, name, lines, messages):
    """What Postfix took is there once in the end, and nobody gets a bounce."""
    with Postfix(f"{world.bed.folder}/{name}", f"{world.net}.103", lines) as mta:
        mark = uuid.uuid4().hex[:8]
        sent = [f"{mark}-{n}" for n in range(messages)]
        with Moving(world, pause_for(messages)) as moving:
            for subject in sent:
                while mta.send(["user002@murder.test"], subject):
                    time.sleep(0.2)        # told to come again, which a client of an MTA does
        mta.until(lambda: set(sent) <= set(world.subjects("user002")), "all mail", WAIT_SECONDS + messages)
        found = [subject for subject in world.subjects("user002") if subject.startswith(f"{mark}-")]
        log = mta.whole_log()
        print(f"     {name}: {messages} messages, {moving.moves} moves ({moving.broken} broken off), "
              f"{log.count('status=deferred')} deferred, "
              f"0 lost, {len(found) - len(set(found))} doubled", flush=True)
        moving.check()
        assert len(found) == messages, f"{len(found)} of {messages}"
        assert "status=bounced" not in log, log[-2000:]


def flows_through_the_frontend(world, messages):
    flows_while_its_user_moves(world, "postfix-e", printed(world, "--frontend", f"{world.ours}:24"), messages)


def flows_directly_to_backends(world, messages):
    """The message may be under way to where its user was: that is no bounce either. If he comes back meanwhile, his old
    server takes it before the move is told, which breaks the move off: it is made again, and nothing is lost."""
    lines = printed(world).replace("static:NAME:PASSWORD", "static:mailproxy:pw-mailproxy")
    flows_while_its_user_moves(world, "postfix-f", lines, messages)


def server_without_an_address_is_temporary(world):
    """The list says where the mailbox is: that its server cannot be found is no reason to send mail back."""
    master, user = Mupdate(f"{world.net}.1"), "ghost"
    master.ok("ACTIVATE", f"user.{user}", "nowhere.invalid!default", f"{user}\tlrswipkxtecdan\t")
    lines = printed(world).replace("static:NAME:PASSWORD", "static:mailproxy:pw-mailproxy")
    try:
        with Postfix(f"{world.bed.folder}/postfix-h", f"{world.net}.103", lines) as mta:
            assert mta.send([f"{user}@murder.test"], uuid.uuid4().hex) == {}
            mta.until(lambda: "status=" in mta.whole_log(), "an end of the delivery")
            assert "dsn=4.4.4, status=deferred" in mta.whole_log(), mta.log()
    finally:
        master.ok("DELETE", f"user.{user}")
        master.close()


def tables_are_temporary_without_the_master(world):
    """Nobody is told to be unknown, neither by the tables nor by a Postfix that asks them; who is known is found."""
    names = ["exists nosuch@murder.test", "transport nosuch@murder.test", "home nosuch@murder.test"]
    world.bed.stop("master")
    try:
        world.until(lambda: ask(world.ours, 2425, names[0])[0].startswith("TEMP"), "TEMP of a stale list")
        answers = ask(world.ours, 2425, *names, "exists user001@murder.test")
        assert [answer[:4] for answer in answers] == ["TEMP", "TEMP", "TEMP", "OK o"], answers
        with socket.create_connection((world.ours, 2425), WAIT_SECONDS) as s:
            s.sendall(b"get nosuch@murder.test\n")
            assert s.makefile("rb").readline().startswith(b"400 ")
        with Postfix(f"{world.bed.folder}/postfix-g", f"{world.net}.103",
                     printed(world, "--frontend", f"{world.ours}:24")) as mta:
            refused = mta.send(["nosuch@murder.test", "user001@murder.test"], uuid.uuid4().hex)
            assert list(refused) == ["nosuch@murder.test"] and refused["nosuch@murder.test"][0] in (450, 451), refused
    finally:
        world.bed.start("master")
    world.until(lambda: ask(world.ours, 2425, names[0]) == ["NOTFOUND "], "NOTFOUND of a live list")


FLOWS = [flows_through_the_frontend, flows_directly_to_backends]
TESTS = [tables_tell_what_the_list_has, tables_are_temporary_without_the_master, through_the_frontend, directly_to_backends,
         on_a_backend, server_without_an_address_is_temporary]


def run(report, world, a):
    """All tests; without Postfix they are skipped."""
    if not shutil.which("postfix"):
        return report.skips("postfix", "Postfix is not installed (bench/interop/murder install)")
    for test in TESTS:
        report.check(f"postfix/{test.__name__}", test, world)
    for test in FLOWS:
        report.check(f"postfix/{test.__name__}", test, world, a.messages)
