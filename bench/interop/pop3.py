"""POP3 through rookeryd and through the Cyrus frontend beside it."""
import poplib
import re
import shutil

from bed import Bed
from beside import Beside, FreshUser, Line, Stopped, plain, scram_messages, within
from drive import message

WAIT_SECONDS = 60


class Pop(Line):
    """A POP3 client that sees every line."""

    def __init__(self, bed, tls=None, port=110, address=None):
        super().__init__(address or bed.address, port, tls)
        self.greeting = self.line()

    def command(self, text, multi=False):
        """The reply, with the lines of a multi-line one."""
        self.send(text)
        first = self.line()
        lines = [first]
        while multi and first.startswith(b"+OK") and lines[-1] != b".":
            lines.append(self.line())
        return b"\n".join(lines)

    def login(self, user, password=None):
        """USER and PASS."""
        assert self.command(f"USER {user}").startswith(b"+OK")
        return self.command(f"PASS {password or 'pw-' + user.split('+')[0]}")


# ---------------------------------------------------------------- both frontends, line by line

DIALOGUES = {
    "before the login": ["CAPA", "NOOP", "LIST", "XYZ", "CAPA x", "QUIT x", "QUIT"],
    "user and pass": ["PASS x", "USER", "USER %a", "USER user001", "USER user002", "USER user001", "PASS wrong",
                      "PASS pw-user001", "USER user001", "PASS pw-user001", "STAT", "LIST", "UIDL", "TOP 1 0", "RETR 2",
                      "NOOP", "DELE 1", "RSET", "LAST", "CAPA", "USER x", "QUIT"],
    "odd": ["APOP user001 0123456789abcdef0123456789abcdef", "APOP", "STLS x", "AUTH PLAIN =", "AUTH XX",
            "USER  user001", "RSET", "DELE 1", "PASS", "", "QUIT"],
    "auth": ["AUTH", "AUTH NONE", "AUTH PLAIN", "*", "AUTH PLAIN", "!", "AUTH LOGIN", "dXNlcjAwMQ==", "*",
             "AUTH LOGIN", "dXNlcjAwMQ==", "cHctdXNlcjAwMQ==", "STAT", "QUIT"],
    "initial response": [f"AUTH PLAIN {plain('', 'user002', 'wrong')}", f"auth plain {plain('', 'user002', 'pw-user002')}",
                         "STAT", "QUIT"],
    "for another": [f"AUTH PLAIN {plain('user001', 'user002', 'pw-user002')}",
                    f"AUTH PLAIN {plain('user002', 'cyrus', 'pw-cyrus')}", "STAT", "QUIT"],
    "folder": ["USER user001+Sent", "PASS pw-user001", "STAT", "QUIT"],
    "no such folder": ["USER user001+Nowhere", "PASS pw-user001", "QUIT"],
}
MULTI = re.compile(r"^(CAPA|LIST|UIDL|TOP|RETR|AUTH)( |$)")

# Lines that differ, each with its reason.
DIFFERENCES = [
    (r"^SASL ", "sasl_pwcheck_method: backend needs the password itself, so no SCRAM and DIGEST-MD5"),
    (r"^(SCRAM-SHA-256|DIGEST-MD5)$", "the same, in the list of AUTH"),
    (r"^IMPLEMENTATION ", "says who it is"),
]
DIFFERENT_REPLIES = {
    ("odd", "APOP user001 0123456789abcdef0123456789abcdef"): "no source of passwords here has them as they are",
    ("odd", "APOP"): "the same",
    ("no such folder", "PASS pw-user001"): "Cyrus says of a mailbox that is not there that it exists already",
    ("auth", "!"): "Cyrus takes it for a response and says authentication failure or bad protocol; ours is bad protocol",
}


def normal(reply):
    """Without what differs between equal servers, and what has a reason to."""
    lines = re.sub(rb"SESSIONID=<[^>]*>", b"SESSIONID", reply).decode("latin-1").split("\n")
    return [x for x in lines if not any(re.search(rx, x) for rx, _ in DIFFERENCES)]


def spoken(bed, lines):
    """Every line with what came back for it."""
    s, heard = Pop(bed), []
    in_auth = False
    for text in lines:
        multi = bool(MULTI.match(text.upper())) and not in_auth and not (text.upper().startswith("AUTH") and " " in text)
        reply = s.command(text, multi)
        in_auth = reply.startswith(b"+ ") or reply == b"+"
        heard.append((text, normal(reply)))
    assert s.ends() == b""
    s.close()
    return heard


def same_as_cyrus(cyrus, rookery, name):
    for (text, a), (_, b) in zip(spoken(cyrus, DIALOGUES[name]), spoken(rookery, DIALOGUES[name])):
        if (name, text) not in DIFFERENT_REPLIES:
            assert a == b, f"{text}: cyrus {a}, here {b}"


# ---------------------------------------------------------------- clients

def poplib_reads_and_deletes(bed):
    """A mailbox as the client of Python's library sees it is the one that is at the server."""
    direct, through = poplib.POP3(bed.backend(1), timeout=60), poplib.POP3(bed.address, timeout=60)
    for s in (direct, through):
        s.user("user001"), s.pass_("pw-user001")
        if s is direct:
            seen = s.stat(), s.list()[1], s.uidl()[1], [s.retr(n + 1)[1] for n in range(s.stat()[0])]
            s.quit()
        else:
            assert seen == (s.stat(), s.list()[1], s.uidl()[1], [s.retr(n + 1)[1] for n in range(s.stat()[0])])
            assert s.top(1, 1)[0].startswith(b"+OK")
            s.quit()


def deleted(bed, leave):
    """Messages of user004 before and after a session that deletes one and leaves so."""
    give(bed, "user004")
    s = Pop(bed)
    assert s.login("user004").startswith(b"+OK")
    before = int(s.command("STAT").split()[1])
    assert s.command(f"DELE {before}").startswith(b"+OK")
    leave(s)
    def count():
        again = Pop(bed, address=bed.backend(1))
        reply = again.login("user004")
        assert reply.startswith(b"+OK"), reply
        n = int(again.command("STAT").split()[1])
        again.command("QUIT")
        return n
    return before, within(WAIT_SECONDS, count)


def give(bed, user, text=None):
    """A message more for a user."""
    s = bed.session(user)
    assert s.command("APPEND INBOX {}", text or message("given"), sync=False).status == "OK"
    s.command("LOGOUT")
    s.close()


def quit_deletes(bed):
    before, after = deleted(bed, lambda s: s.command("QUIT"))
    assert after == before - 1, (before, after)


def going_without_quit_deletes_nothing(bed):
    for leave in (lambda s: s.close(), lambda s: (s.socket.shutdown(1), s.ends())):
        before, after = deleted(bed, leave)
        assert after == before, (before, after)


def pipelined_commands_are_all_answered(bed):
    s = Pop(bed)
    s.send(b"USER user001\r\nPASS pw-user001\r\nSTAT\r\nUIDL\r\nNOOP\r\nQUIT\r\n")
    lines = s.ends().split(b"\r\n")
    assert [x[:3] for x in lines[:3]] == [b"+OK"] * 3 and lines[-2] == b"+OK", lines
    assert lines[2].split()[1] == b"5", lines


def tls_from_the_start_and_by_stls(bed):
    tls = bed.tls()
    tls.check_hostname = False
    s = poplib.POP3_SSL(bed.address, 995, context=tls, timeout=60)
    s.user("user001"), s.pass_("pw-user001")
    assert s.stat()[0] == 5
    s.quit()
    s = poplib.POP3(bed.address, timeout=60)
    assert "STLS" in s.capa()
    s.stls(context=tls)
    assert "STLS" not in s.capa() and "USER" in s.capa()
    s.user("user002"), s.pass_("pw-user002")
    assert len(s.list()[1]) == 5
    s.quit()


def large_messages_come_whole(bed):
    """Through splice, and through TLS."""
    text = message("large", size=3_000_000)
    give(bed, "user004", text)
    tls = bed.tls()
    tls.check_hostname = False
    for s in (poplib.POP3(bed.address, timeout=60), poplib.POP3_SSL(bed.address, 995, context=tls, timeout=60)):
        s.user("user004"), s.pass_("pw-user004")
        got = b"\r\n".join(s.retr(s.stat()[0])[1]) + b"\r\n"
        assert got.endswith(text[-2_900_000:].rstrip(b"\r\n") + b"\r\n"), len(got)
        s.quit()


def scram_from_a_passwd_file(bed):
    bed.use_passwd_file("user001")
    try:
        s = Pop(bed)
        assert b"SASL SCRAM-SHA-256 PLAIN" in s.command("CAPA", True)
        first, final = scram_messages("user001", "pw-user001")
        challenge = s.command("AUTH SCRAM-SHA-256 " + first)
        answer, verify = final(challenge.split()[1])
        last = s.command(answer)
        verify(last.split()[1])
        assert s.command("").startswith(b"+OK"), "the login"
        assert s.command("STAT").split()[1] == b"5"
        s.command("QUIT")
    finally:
        bed.restart()


# ---------------------------------------------------------------- the list

def fresh_inbox_is_found(bed, new=[30]):
    """An INBOX that was made a moment ago, at another frontend."""
    new[0] += 1
    with FreshUser(bed, f"user{new[0]:03}") as user:
        s = Pop(bed)
        reply = s.login(user)
        s.close()
    assert reply.startswith(b"+OK"), reply


def missing_inbox_is_temporary_and_makes_none(bed):
    """Whose password is known elsewhere: at a home that is not there nobody could check it."""
    bed.use_passwd_file("user047")
    try:
        s = Pop(bed)
        reply = s.login("user047")
        assert reply == b"-ERR [SYS/TEMP] Unable to open maildrop: Mailbox does not exist", reply
        assert s.command("CAPA", True).startswith(b"+OK")
        s.command("QUIT")
    finally:
        bed.restart()
    admin = bed.session("cyrus")
    assert not admin.command('LIST "" "user.user047"').named("LIST")
    admin.close()


def moved_user_is_found(bed):
    """By XFER, from one server to the other and back."""
    def stat():
        s = Pop(bed)
        reply = s.login("user004")
        assert reply.startswith(b"+OK"), reply
        n = s.command("STAT").split()[1]
        s.command("QUIT")
        return n
    before = stat()
    for there, here in ((2, 1), (1, 2)):
        admin = bed.session("cyrus", address=bed.backend(here))
        answer = admin.command(f"XFER user.user004 {bed.backend_host(there)}")
        assert answer.status == "OK", answer.tagged
        admin.close()
        assert stat() == before


def right_to_read_is_asked_for(bed):
    bed.restart(more=["popuseacl: yes"])
    admin = bed.session("cyrus")
    try:
        assert admin.command("SETACL user.user004 user004 l").status == "OK"
        s = Pop(bed)
        reply = s.login("user004")
        assert reply.startswith(b"-ERR [SYS/PERM]"), reply
        assert admin.command("SETACL user.user004 user004 lrswipkxtecda").status == "OK"
        assert s.login("user004").startswith(b"+OK")
        s.command("QUIT")
    finally:
        admin.command("SETACL user.user004 user004 lrswipkxtecda")
        admin.close()
        bed.restart()


# ---------------------------------------------------------------- the server's own words

def locked_maildrop_is_in_use(bed):
    """The server's code reaches the client; whether it locks is the server's matter."""
    replies = []
    for address in (bed.backend(1), bed.address):
        first, second = Pop(bed, address=address), Pop(bed, address=address)
        assert first.login("user001").startswith(b"+OK")
        replies.append(second.login("user001"))
        first.command("QUIT")
        second.close()
    assert replies[0].split(b"SESSIONID")[0] == replies[1].split(b"SESSIONID")[0], replies


def logins_too_close_are_delayed(bed):
    """popminpoll is backend3's."""
    seen = []
    for _ in range(2):
        s = Pop(bed)
        seen.append(s.login("user003"))
        s.command("QUIT")
    assert seen[-1].startswith(b"-ERR [LOGIN-DELAY]"), seen


# ---------------------------------------------------------------- outages

def down_server_is_temporary(bed):
    bed.stop("backend2", kill=True)
    try:
        s = Pop(bed)
        reply = s.login("user002")
        assert reply.startswith(b"-ERR [SYS/TEMP]"), reply
        assert s.login("user001").startswith(b"+OK"), "the others are well"
        s.command("QUIT")
    finally:
        bed.start("backend2")
    def works():
        s = Pop(bed)
        assert s.login("user002").startswith(b"+OK")
        s.command("QUIT")
    within(WAIT_SECONDS, works)


def server_that_hangs_is_temporary(bed):
    bed.restart(more=["client_timeout: 2s"])
    try:
        with Stopped(bed, "backend2"):
            s = Pop(bed)
            reply = s.login("user002")
            assert reply.startswith(b"-ERR [SYS/TEMP]"), reply
            s.command("QUIT")
    finally:
        bed.restart()


def server_that_dies_ends_the_session(bed):
    s = Pop(bed)
    assert s.login("user002").startswith(b"+OK")
    bed.stop("backend2", kill=True)
    try:
        assert s.ends() == b""
    finally:
        bed.start("backend2")


def master_down(bed):
    """What is known is served; what is not is temporary."""
    bed.stop("master")
    try:
        s = Pop(bed)
        reply = s.login("user047")
        assert reply.startswith(b"-ERR [SYS/TEMP]") and b"does not exist" not in reply, reply
        assert s.login("user001").startswith(b"+OK")
        s.command("QUIT")
        bed.restart(live=False)
        s = Pop(bed)
        assert s.login("user001").startswith(b"+OK"), "from the copy of the list"
        s.command("QUIT")
        bed.stop_frontend()
        shutil.rmtree(f"{bed.folder}/rookery/conf")
        bed.write_configuration()
        bed.start_frontend(live=False)
        s = Pop(bed)
        reply = s.login("user001")
        assert reply.startswith(b"-ERR [SYS/TEMP]"), f"without a list nothing is known: {reply}"
    finally:
        bed.start("master")
    bed.restart()


def wrong_proxy_password_is_not_the_clients(bed):
    bed.restart(more=["proxy_password: wrong"])
    try:
        s = Pop(bed)
        reply = s.login("user001+Sent")
        assert reply.startswith(b"-ERR [SYS/TEMP]"), reply
        assert s.login("user001").startswith(b"+OK"), "his own words are enough for his own maildrop"
        s.command("QUIT")
    finally:
        bed.restart()


ROOKERY = [poplib_reads_and_deletes, quit_deletes, going_without_quit_deletes_nothing,
           pipelined_commands_are_all_answered, tls_from_the_start_and_by_stls, large_messages_come_whole,
           scram_from_a_passwd_file, fresh_inbox_is_found, missing_inbox_is_temporary_and_makes_none,
           right_to_read_is_asked_for, locked_maildrop_is_in_use, wrong_proxy_password_is_not_the_clients,
           moved_user_is_found, logins_too_close_are_delayed, down_server_is_temporary,
           server_that_hangs_is_temporary, server_that_dies_ends_the_session, master_down]
# What the Cyrus frontend does wrong: a test that it passes sees nothing.
CYRUS_FAILS = [(going_without_quit_deletes_nothing, "it sends QUIT for the client"),
               (fresh_inbox_is_found, "it does not ask the master")]
OPTIONS = ["--tls", "--no-log", "--set", "frontend:failedloginpause=0", "--set", "frontend:popsubfolders=yes", "--set", "backend:popsubfolders=yes",
           "--set", "backend3:popminpoll=5m"]


def run(report, a):
    """A murder with both frontends."""
    folder = f"{a.folder}/pop3"
    shutil.rmtree(folder, ignore_errors=True)
    with Bed(folder, a.net, OPTIONS, 3) as cyrus:
        rookery = Beside(cyrus, a.binaries)
        rookery.restart()
        try:
            for name in DIALOGUES:
                report.check(f"pop3/as cyrus/{name}", same_as_cyrus, cyrus, rookery, name)
            for test, why in CYRUS_FAILS:
                report.known_cyrus(f"pop3/cyrus/{test.__name__}", why, test, cyrus)
            for test in ROOKERY:
                report.check(f"pop3/{test.__name__}", test, rookery)
        finally:
            rookery.stop_frontend()
