"""LMTP beside the real Cyrus frontend, its outages, and mail that flows while things move.

The Cyrus frontend stands at .101 and rookeryd at .102, both before the same three backends, which keep
duplicates, so that a message that comes twice is seen twice.
"""
import base64
import contextlib
import os
import re
import shutil
import signal
import smtplib
import socket
import time
import uuid

import postfix
from bed import Bed, signalled
from daemon import Daemon, wait_for, write
from moving import Moving, pause_for

WAIT_SECONDS = 60
USERS = 6


class Lmtp:
    """A raw client. Every wait has a deadline."""

    def __init__(self, address, port=24, lhlo=True):
        self.socket = socket.socket(socket.AF_UNIX if address.startswith("/") else socket.AF_INET)
        self.socket.settimeout(WAIT_SECONDS)
        self.socket.connect(address if address.startswith("/") else (address, port))
        self.file = self.socket.makefile("rb")
        self.greeting = self.reply()
        if lhlo:
            self.offer = self.say("LHLO client.test")

    def reply(self):
        """One reply, its lines joined by newlines; empty at the end of the connection."""
        lines = []
        while True:
            line = self.file.readline()
            lines.append(line.decode("latin-1").rstrip("\r\n"))
            if line[3:4] != b"-":
                return "\n".join(lines)

    def send(self, data):
        """Bytes as they are."""
        self.socket.sendall(data if isinstance(data, bytes) else data.encode())

    def say(self, *commands):
        """Sends commands in one piece; the reply, or a list of them."""
        self.send("".join(f"{command}\r\n" for command in commands))
        replies = [self.reply() for _ in commands]
        return replies[0] if len(replies) == 1 else replies

    def begin(self, recipients, sender="<sender@murder.test>"):
        """MAIL, RCPTs and DATA in one piece; their replies."""
        return self.say(f"MAIL FROM:{sender}", *[f"RCPT TO:<{to}>" for to in recipients], "DATA")

    def deliver(self, recipients, data=None):
        """A whole message: the replies to RCPT and to the message."""
        told = self.begin(recipients)
        if not told[-1].startswith("354"):
            return told[1:-1], [told[-1]]
        self.send(data or message())
        return told[1:-1], [self.reply() for reply in told[1:-1] if reply.startswith("2")]

    def login(self, user, password):
        """AUTH PLAIN."""
        word = base64.b64encode(f"\0{user}\0{password}".encode()).decode()
        return self.say(f"AUTH PLAIN {word}")

    def close(self):
        """Without a word."""
        self.file.close()
        self.socket.close()


def message(name=None, body="hello\r\n"):
    """A message with its end."""
    name = name or uuid.uuid4().hex
    return (f"From: sender@murder.test\r\nSubject: {name}\r\nMessage-ID: <{name}@lmtp.test>\r\n"
            f"Date: Mon, 05 Jan 2026 10:00:00 +0000\r\n\r\n{body}.\r\n").encode()


class World:
    """The bed with both frontends."""

    def __init__(self, bed, daemon, net):
        self.bed, self.daemon, self.net = bed, daemon, net
        self.ours, self.cyrus = f"{net}.102", f"{net}.101"

    def lmtp(self, **options):
        """A client of rookeryd."""
        return Lmtp(self.ours, **options)

    def backend(self, n):
        """A client of a backend, logged in."""
        client = Lmtp(self.bed.backend(n))
        assert client.login("mailproxy", "pw-mailproxy").startswith("235")
        return client

    def subjects(self, user, box="INBOX"):
        """The subjects in a mailbox, asked through rookeryd."""
        s = self.bed.session(user, address=self.ours)
        s.command(f"SELECT {box}")
        lines = s.command("FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)])").lines
        s.command("LOGOUT")
        s.close()
        found = [re.search(rb"Subject: (\S+)", line) for line in lines]
        return [match.group(1).decode() for match in found if match]

    def until(self, condition, what):
        """Polls."""
        wait_for(condition, what)

    def times(self, user, name, box="INBOX"):
        """How often a message is there."""
        return self.subjects(user, box).count(name)


# ---------------------------------------------------------------- beside Cyrus
SCRIPT = [
    "NOOP", "VRFY user001", "RSET", "BDAT 5 LAST", "HELO x", "DATA", "RCPT TO:<user001>", "MAIL FROM:a@b.c",
    "MAIL FROM:<a@b.c> BODY=8BITMIME SIZE=100", "MAIL FROM:<a@b.c>", "RCPT TO:<user001>", "RCPT TO:<user002+Sent>",
    "RCPT TO:<USER003@anywhere.test>", "RCPT TO:<nosuch>", "RCPT TO:<+team02>", "RCPT TO:<+nosuch>",
    "RCPT TO:user001", "RCPT TO:<user001> NOTIFY=NEVER", "RCPT TO:<user001> IGNOREQUOTA", "RCPT TO:<user 001>",
    "STARTTLS x", "RSET", "MAIL FROM:<>", "RCPT TO:<user001+Work.Projects@murder.test>", "DATA",
]


# Malformed commands, parameters and addresses. RSET behind a refused MAIL: Cyrus holds it for taken (9.39).
ODD = [
    "LHLO", "EXPN a", "HELP", "XYZ", "", "NOOP x", "QUIT x", "RSET x", "VRFY", "DATA x", "MAIL", "MAIL FROM:",
    "MAIL FROM:<a@b.c", "MAIL FROM:<a@b.c> SIZE=x", "RSET", "MAIL FROM:<a@b.c> FOO=1", "RSET",
    "MAIL FROM:<a@b.c> BODY=x", "RSET", "mail from:<a@b.c>", "RSET", "MAIL FROM:<a@b.c> AUTH=<>", "RCPT", "RCPT TO:",
    "RCPT TO:<>", "rcpt to: <user001>", "RCPT TO:<@r.test:user001>", "RCPT TO:<user001@>", "RCPT TO:<user001+>",
    "RCPT TO:<user001++x>", "RCPT TO:<+>", "RCPT TO:<+user.user001>", "RCPT TO:<user.user001>", "RCPT TO:<user001> FOO",
    "RCPT TO:<user001>x", 'RCPT TO:<"user 001">', "RCPT TO:<user001\\>>", "AUTH", "STARTTLS", "RSET", "AUTH PLAIN AHg=",
    "MAIL FROM:<user001> AUTH=user001", "RCPT TO:<+team01>", "RCPT TO:<+team01.docs>", "RCPT TO:<postmaster>",
    "RCPT TO:<USER001+Sent@x.y>", "MAIL FROM:<a@b>",
]
ODD_DIFFERENT = {
    "NOOP x": "a text is allowed (RFC 5321 section 4.1.1.9)", "rcpt to: <user001>": "as MAIL, a space is taken",
    "RCPT TO:<user001\\>>": "a quoted > does not end a path", "AUTH PLAIN AHg=": "who is trusted is not asked",
}


def normal(reply):
    """Without what differs from run to run."""
    reply = re.sub(r"SESSIONID=<[^>]*>", "SESSIONID", reply)
    return re.sub(r"[a-z0-9]+\.n\d+", "HOST", reply)


def answers_are_those_of_cyrus(world):
    ours, theirs = world.lmtp(), Lmtp(world.cyrus)
    for command in SCRIPT:
        here, there = normal(ours.say(command)), normal(theirs.say(command))
        assert here == there, (command, here, there)
    for client in (ours, theirs):
        client.send(message())
    here, there = normal(ours.reply()), normal(theirs.reply())
    assert here == there, (here, there)
    assert ours.say("QUIT") == theirs.say("QUIT")
    assert ours.reply() == "" and theirs.reply() == ""


def odd_commands_are_answered_as_by_cyrus(world):
    ours, theirs = world.lmtp(), Lmtp(world.cyrus)
    for command in ODD:
        here, there = normal(ours.say(command)), normal(theirs.say(command))
        assert (here == there) != (command in ODD_DIFFERENT), (command, here, there)


def offer_is_that_of_cyrus_and_trace(world):
    def words(client):
        return {re.sub(r"^250[- ]", "", line) for line in normal(client.offer).split("\n")[1:]}
    ours, theirs = words(world.lmtp()), words(Lmtp(world.cyrus))
    # EXTERNAL is offered by Cyrus to who is logged in already.
    assert ours - theirs == {"TRACE"} and theirs - ours <= {"AUTH EXTERNAL"}, (ours, theirs)


def mail_after_a_refused_mail_is_taken(world):
    """Cyrus says 503 Nested MAIL (9.39)."""
    client = world.lmtp()
    assert client.say("MAIL FROM:<a@b.c> BODY=BINARYMIME").startswith("501 5.5.4")
    assert client.say("MAIL FROM:<a@b.c>").startswith("250")
    client.close()


def quoted_local_part_is_known(world):
    """Cyrus takes the quotes for a part of the name (9.39)."""
    name = uuid.uuid4().hex
    rcpts, ends = world.lmtp().deliver(['"user001"@x.test'], message(name))
    assert rcpts[0].startswith("250") and ends[0].startswith("250"), (rcpts, ends)
    assert world.times("user001", name) == 1


def smtplib_delivers_to_three_backends(world):
    name = uuid.uuid4().hex
    client = smtplib.LMTP(world.ours, 24)
    client.timeout = WAIT_SECONDS
    refused = client.sendmail("a@b.c", ["user001", "user002", "user003", "nosuch"], message(name)[:-3])
    client.quit()
    assert list(refused) == ["nosuch"] and refused["nosuch"][0] == 550, refused
    assert [world.times(f"user00{n}", name) for n in (1, 2, 3)] == [1, 1, 1]


# ---------------------------------------------------------------- one end of message
ENDS = [b"a\n.\n", b"a\r\n\r.\r\n", b"a\r\n.\r\r\n", b"a\r\n.\n", b"b" * 8189 + b".\r\n"]
NO_ENDS = [b"b" * 8188 + b".\r\n", b"b" * 8190 + b".\r\n", b"a\r\n..\r\n", b"a\r.\r\n"]
HEAD = b"From: a@b.c\r\nSubject: %s\r\n\r\n"


def is_ended(client, data):
    """Whether what was sent behind DATA is answered before the real end comes."""
    client.begin(["user001"])
    client.send(HEAD % uuid.uuid4().hex.encode() + data)
    client.socket.settimeout(0.7)
    try:
        return client.file.peek(1)[:1] == b"2"
    except TimeoutError:
        return False
    finally:
        client.close()


def backend_ends_messages_as_is_known(world):
    """What the frontend is built on, asked of a real backend."""
    for data in ENDS:
        assert is_ended(world.backend(1), data), data[-12:]
    for data in NO_ENDS:
        assert not is_ended(world.backend(1), data), data[-12:]


def frontend_ends_messages_as_the_backend(world):
    for data in ENDS[:4]:
        assert is_ended(world.lmtp(), data), data[-12:]
    for data in NO_ENDS + ENDS[4:]:
        assert not is_ended(world.lmtp(), data), data[-12:]


def what_a_backend_could_misread_is_refused(world):
    client = world.lmtp()
    for body in (b"a\0b", b"b" * 8189 + b".", b"b" * 8189 + b".\r\nMAIL FROM:<x@y.z>"):
        name = uuid.uuid4().hex
        client.begin(["user001", "user002"])
        client.send(HEAD % name.encode() + body + b"\r\n.\r\n")
        assert [client.reply()[:9] for _ in range(2)] == ["554 5.6.0"] * 2
        assert client.say("NOOP").startswith("250")
        assert world.times("user001", name) == 0
    name = uuid.uuid4().hex
    assert client.deliver(["user001"], message(name, "b" * 8188 + ".\r\n"))[1][0].startswith("250")
    assert world.times("user001", name) == 1


def mta_that_goes_before_its_dot_delivers_nothing(world):
    name = uuid.uuid4().hex
    for ending in ("close", "reset"):
        client = world.lmtp()
        client.begin(["user001", "user002"])
        client.send(HEAD % name.encode() + b"half a message\r\n.")
        time.sleep(0.3)
        if ending == "reset":
            client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
    time.sleep(0.7)
    assert [world.times(user, name) for user in ("user001", "user002")] == [0, 0]


def mta_that_half_closes_gets_its_replies(world):
    client = world.lmtp(lhlo=False)
    name = uuid.uuid4().hex
    client.send(b"LHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<user001>\r\nDATA\r\n")
    assert [client.reply()[:3] for _ in range(4)] == ["250", "250", "250", "354"]
    client.send(message(name))
    client.socket.shutdown(socket.SHUT_WR)
    assert client.reply().startswith("250") and client.reply() == ""
    assert world.times("user001", name) == 1


# ---------------------------------------------------------------- outages
def dead_backend_costs_its_own_recipients(world):
    world.bed.stop("backend2", kill=True)
    try:
        client = world.lmtp()
        name = uuid.uuid4().hex
        rcpts, ends = client.deliver(["user001", "user002", "user003"], message(name))
        assert [reply[:9] for reply in rcpts] == ["250 2.1.5", "451 4.4.3", "250 2.1.5"], rcpts
        assert [reply[:3] for reply in ends] == ["250", "250"], ends
    finally:
        world.bed.start("backend2")
    wait_for(lambda: client.deliver(["user002"])[0][0].startswith("250"), "backend2 to take mail again")


def dead_backend_in_the_middle_of_data(world):
    client = world.lmtp()
    name = uuid.uuid4().hex
    told = client.begin(["user001", "user002", "user003"])
    assert told[-1].startswith("354"), told
    client.send(HEAD % name.encode() + b"x" * 70 + b"\r\n")
    time.sleep(0.2)
    world.bed.stop("backend2", kill=True)
    try:
        for _ in range(200):
            client.send(b"y" * 998 + b"\r\n")
        client.send(b".\r\n")
        ends = [client.reply()[:3] for _ in range(3)]
    finally:
        world.bed.start("backend2")
    assert ends == ["250", "451", "250"], ends
    assert [world.times(f"user00{n}", name) for n in (1, 2, 3)] == [1, 0, 1]


def silent_backend_costs_its_own_recipients(world):
    pids = world.bed.freeze("backend3")
    try:
        client = world.lmtp()
        rcpts, ends = client.deliver(["user003", "user001"])
        assert [reply[:9] for reply in rcpts] == ["451 4.4.3", "250 2.1.5"], rcpts
        assert ends[0].startswith("250"), ends
    finally:
        signalled(pids, signal.SIGCONT)
    wait_for(lambda: client.deliver(["user003"])[0][0].startswith("250"), "backend3 to take mail again")


def unknown_user_is_not_bounced_without_the_master(world):
    """Cyrus' frontend says 550 (9: unknown users bounce on a stale list)."""
    world.bed.stop("master")
    try:
        wait_for(lambda: world.lmtp().deliver(["nosuch"])[0][0].startswith("451"), "451 of a stale list")
        rcpts, ends = world.lmtp().deliver(["user001"])
        assert rcpts[0].startswith("250") and ends[0].startswith("250"), "mail of who is known waits"
    finally:
        world.bed.start("master")
    wait_for(lambda: world.lmtp().deliver(["nosuch"])[0][0].startswith("550"), "550 of a live list")


def full_mailbox_is_told_by_its_backend(world):
    admin = world.bed.session("cyrus", address=world.ours)
    assert admin.command("SETQUOTA user.user004 (STORAGE 1)").status == "OK"
    try:
        client = world.lmtp()
        big = message(body="z" * 70 + "\r\n" * 1)
        big = big[:-3] + (b"z" * 76 + b"\r\n") * 40 + b".\r\n"
        replies = [client.deliver(["user004", "user001"], big) for _ in range(3)][-1]
        told = replies[0][0] if not replies[0][0].startswith("2") else replies[1][0]
        assert told.startswith("452 4.2.2"), replies
        assert replies[1][-1].startswith("250"), replies
    finally:
        assert admin.command("SETQUOTA user.user004 ()").status == "OK"
        admin.close()


# ---------------------------------------------------------------- moves
def mail_flows_while_its_user_moves(world, messages):
    """Each message that was taken is there once, whatever moved meanwhile."""
    taken, late, deadline = set(), [], time.monotonic() + WAIT_SECONDS + messages
    with Moving(world, pause_for(messages)) as moving:
        client = world.lmtp()
        for n in range(messages):
            name = f"move{uuid.uuid4().hex}"
            while True:
                assert time.monotonic() < deadline, f"{len(taken)} of {messages} delivered"
                rcpts, ends = client.deliver(["user002", "user001"], message(name))
                assert rcpts[1].startswith("250") and ends[-1].startswith("250"), (rcpts, ends)
                assert not rcpts[0].startswith("5") and not ends[0].startswith("5"), (rcpts, ends)
                if rcpts[0].startswith("2") and ends[0].startswith("2"):
                    break
                late.append(rcpts[0] if not rcpts[0].startswith("2") else ends[0])
                time.sleep(0.05)
            taken.add(name)
    moving.check()
    found = [subject for subject in world.subjects("user002") if subject.startswith("move")]
    lost, doubled = taken - set(found), len(found) - len(set(found))
    print(f"     {messages} messages, {moving.moves} moves ({moving.broken} broken off), {len(late)} told to come "
          f"again, {len(lost)} lost, {doubled} doubled", flush=True)
    assert not lost and not doubled, (len(lost), doubled, late[:5])


# ---------------------------------------------------------------- who may deliver
def only_admins_deliver_where_nobody_is_trusted(world):
    client = world.lmtp(port=2424)
    assert "AUTH PLAIN" in client.offer
    assert client.say("MAIL FROM:<a@b.c>") == "430 Authentication required"
    assert client.login("user001", "pw-user001").startswith("535"), "a user may deliver"
    assert client.login("mailproxy", "wrong").startswith("535")
    assert client.login("mailproxy", "pw-mailproxy").startswith("235")
    rcpts, ends = client.deliver(["user001"])
    assert rcpts[0].startswith("250") and ends[0].startswith("250"), (rcpts, ends)
    assert client.login("mailproxy", "pw-mailproxy").startswith("503")


def unix_socket_is_trusted(world):
    client = Lmtp(f"{world.daemon.folder}/conf/rookery-lmtp")
    rcpts, ends = client.deliver(["user001"])
    assert rcpts[0].startswith("250") and ends[0].startswith("250"), (rcpts, ends)


TESTS = [
    answers_are_those_of_cyrus, odd_commands_are_answered_as_by_cyrus, offer_is_that_of_cyrus_and_trace, mail_after_a_refused_mail_is_taken,
    quoted_local_part_is_known, smtplib_delivers_to_three_backends, backend_ends_messages_as_is_known,
    frontend_ends_messages_as_the_backend, what_a_backend_could_misread_is_refused,
    mta_that_goes_before_its_dot_delivers_nothing, mta_that_half_closes_gets_its_replies,
    only_admins_deliver_where_nobody_is_trusted, unix_socket_is_trusted, full_mailbox_is_told_by_its_backend,
    dead_backend_costs_its_own_recipients, dead_backend_in_the_middle_of_data,
    silent_backend_costs_its_own_recipients,
]


@contextlib.contextmanager
def standing(a, part):
    """Both frontends before three backends."""
    folder = f"{a.folder}/{part}"
    shutil.rmtree(folder, ignore_errors=True)
    options = ["--set", "backend:duplicatesuppression=no"]
    with Bed(folder, a.net, options, 3, binaries=a.binaries) as bed:
        with daemon_for(bed, f"{a.net}.102") as daemon:
            yield World(bed, daemon, a.net)


def run(report, a, more):
    """Sets both frontends up, then all tests and `more`."""
    with standing(a, "lmtp") as world:
        for test in TESTS:
            report.check(f"lmtp/{test.__name__}", test, world)
        report.check("lmtp/mail_flows_while_its_user_moves", mail_flows_while_its_user_moves, world, a.messages)
        for test in more:
            report.check(f"lmtp/{test.__name__}", test, world)
        report.check("lmtp/unknown_user_is_not_bounced_without_the_master",
                     unknown_user_is_not_bounced_without_the_master, world)


def run_postfix(report, a):
    """Mail by way of a real Postfix, over a murder of its own."""
    with standing(a, "postfix") as world:
        postfix.run(report, world, a)


def daemon_for(bed, address):
    """rookeryd beside the Cyrus frontend, with a configuration directory of its own."""
    folder = f"{bed.folder}/rookery"
    os.makedirs(f"{folder}/conf/socket", exist_ok=True)
    passwords = f"{folder}/passwd"
    write(passwords, "".join(f"{user}:{sha512('pw-' + user)}\n" for user in ("cyrus", "mailproxy", "user001", "user002",
                                                                              "user003", "user004")))
    services = f"""\
  imap cmd="imapd" listen="{address}:143" proto="tcp4"
  lmtp cmd="lmtpd -a" listen="{address}:24" proto="tcp4"
  lmtpauth cmd="lmtpd" listen="{address}:2424" proto="tcp4"
  lmtpunix cmd="lmtpd" listen="{folder}/conf/rookery-lmtp"
  postmap cmd="rookery-map" listen="{address}:2425" proto="tcp4"
"""
    changes = {"configdirectory": f"{folder}/conf", "sasl_pwcheck_method": "passwd_file",
               "sasl_passwd_file": passwords, "rookery_lmtp_envelope_timeout": "3s", "client_timeout": "3s",
               "lmtpauth_admins": "mailproxy", "servername": f"rookery.n{bed.net.split('.')[2]}",
               "lmtpsocket": None,
               "rookery_map_here": f"lmtp:inet:[{bed.backend_host(1)}]:24"}
    for path in (folder, f"{folder}/conf", f"{folder}/conf/socket"):
        shutil.chown(path, "cyrus")
    daemon = Daemon(bed, changes, services, folder=folder)
    shutil.chown(passwords, "cyrus")
    return daemon


def sha512(password):
    """A `$6$` hash, by openssl: Python's own is gone in newer versions."""
    import subprocess
    done = subprocess.run(["openssl", "passwd", "-6", password], stdout=subprocess.PIPE, check=True, text=True)
    return done.stdout.strip()
