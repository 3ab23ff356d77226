"""ManageSieve through rookeryd and through the Cyrus frontend beside it."""
import base64
import re
import shutil
import subprocess

from bed import Bed
from beside import Beside, FreshUser, Line, Stopped, plain, scram_messages, within

WAIT_SECONDS = 60
LITERAL = re.compile(rb"\{(\d+)\}$")
STATUS = re.compile(rb"(OK|NO|BYE)([ (]|$)")
SCRIPT = b'require "fileinto";\r\nif header :contains "subject" "lmtp" { fileinto "INBOX.Sent"; }\r\n'


class Sieve(Line):
    """A ManageSieve client that sees every line."""

    def __init__(self, bed, port=4190, address=None):
        super().__init__(address or bed.address, port)
        self.greeting = self.reply()

    def whole_line(self):
        """A line with its literals."""
        whole = b""
        while True:
            line = self.line()
            whole += line
            found = LITERAL.search(line)
            if not found:
                return whole
            whole += b"\n" + self.exactly(int(found.group(1)))

    def reply(self):
        """All lines up to the one with the status."""
        lines = []
        while True:
            lines.append(self.whole_line())
            if STATUS.match(lines[-1]):
                return lines

    def command(self, text):
        """Sends a command and gives its reply back."""
        self.send(text)
        return self.reply()

    def ok(self, text):
        """The same, which must be OK."""
        lines = self.command(text)
        assert lines[-1].startswith(b"OK"), (text, lines)
        return lines[:-1]

    def login(self, user, password=None, authzid=""):
        """AUTHENTICATE PLAIN; the status line."""
        return self.command(f'AUTHENTICATE "PLAIN" "{plain(authzid, user, password or "pw-" + user)}"')[-1]

    def put(self, name, script, verb="PUTSCRIPT"):
        """A script as a literal."""
        head = f'{verb} "{name}" ' if name else f"{verb} "
        return self.command(head.encode() + b"{%d+}\r\n" % len(script) + script + b"\r\n")


# ---------------------------------------------------------------- both frontends, line by line

RIGHT, WRONG = plain("", "user001", "pw-user001"), plain("", "user001", "wrong")
DIALOGUES = {
    "before the login": ["NOOP", 'NOOP "a"', b"NOOP {1+}\r\nx\r\n", "CAPABILITY", "LISTSCRIPTS", "noop", "XYZ",
                         'GETSCRIPT "a"', 'AUTHENTICATE "XX"', "LOGOUT"],
    "authenticate": [f'AUTHENTICATE "PLAIN" "{WRONG}"', 'AUTHENTICATE "PLAIN"', '"*"', 'AUTHENTICATE "LOGIN"',
                     b"{12+}\r\ndXNlcjAwMQ==\r\n", f'"{base64.b64encode(b"pw-user001").decode()}"', "CAPABILITY",
                     f'AUTHENTICATE "PLAIN" "{RIGHT}"', "LISTSCRIPTS", "LOGOUT"],
    "scripts": [b"authenticate {5+}\r\nPLAIN {%d+}\r\n%s\r\n" % (len(RIGHT), RIGHT.encode()), "LISTSCRIPTS",
                'HAVESPACE "main" 100', 'HAVESPACE "main" 4294967295',
                b'PUTSCRIPT "main" {%d+}\r\n%s\r\n' % (len(SCRIPT), SCRIPT), b'PUTSCRIPT "bad" {5+}\r\nxyz;;\r\n',
                b"CHECKSCRIPT {5+}\r\nkeep;\r\n", 'CHECKSCRIPT "keep;"', "LISTSCRIPTS", 'SETACTIVE "main"', "LISTSCRIPTS",
                'GETSCRIPT "main"', b"GETSCRIPT {4+}\r\nmain\r\n", 'RENAMESCRIPT "main" "other"', 'DELETESCRIPT "other"',
                'SETACTIVE ""', 'DELETESCRIPT "other"', 'DELETESCRIPT "none"', 'PUTSCRIPT "a/b" "keep;"',
                'NOOP "x"', "NOOP", b'PUTSCRIPT "big" {40000+}\r\n' + b"# comment\r\n" * 3636 + b"keep\r\n",
                "LISTSCRIPTS", "UNAUTHENTICATE", "LISTSCRIPTS", f'AUTHENTICATE "PLAIN" "{RIGHT}"', "LISTSCRIPTS",
                "LOGOUT"],
    "for another": [f'AUTHENTICATE "PLAIN" "{plain("user001", "user002", "pw-user002")}"',
                    f'AUTHENTICATE "PLAIN" "{plain("user002", "cyrus", "pw-cyrus")}"', "CAPABILITY", "LISTSCRIPTS",
                    "LOGOUT"],
    "malformed": [f'AUTHENTICATE "PLAIN" "{RIGHT}"', 'GETSCRIPT "a', 'PUTSCRIPT "a" {5}', 'NOOP "x" ', "LOGOUT"],
}
# Lines that differ, each with its reason.
DIFFERENCES = [
    (rb'^"IMPLEMENTATION" ', "says who it is"),
    (rb'^"SASL" ', "sasl_pwcheck_method: backend needs the password itself, so no SCRAM and DIGEST-MD5"),
    (rb'^"SIEVE" "(?!fileinto)', "before the login ours is what all servers offer, in another order of words"),
]


def normal(lines):
    """Without what differs between equal servers, what has a reason to, and the text of a NO, which is free."""
    lines = [re.sub(rb'^NO( \([^)]*\))? ["{].*', rb"NO\1", x, flags=re.S) for x in lines]
    return [x for x in lines if not any(re.search(rx, x) for rx, _ in DIFFERENCES)]


def spoken(bed, lines):
    """Every line with what came back for it."""
    s = Sieve(bed)
    heard = [("greeting", normal(s.greeting))]
    for text in lines:
        s.send(text)
        first = s.whole_line()
        is_sasl = re.match(rb'AUTHENTICATE|["{]', text if isinstance(text, bytes) else text.encode(), re.I)
        if is_sasl and not STATUS.match(first):
            heard.append((text, [first]))              # a challenge
            continue
        rest = [] if STATUS.match(first) else s.reply()
        heard.append((text, normal([first, *rest])))
    assert s.ends() == b"", s.buffer
    s.close()
    return heard


def same_as_cyrus(cyrus, rookery, name):
    for (text, a), (_, b) in zip(spoken(cyrus, DIALOGUES[name]), spoken(rookery, DIALOGUES[name])):
        assert a == b, f"{str(text)[:80]}: cyrus {a}, here {b}"


# ---------------------------------------------------------------- clients

def capabilities_are_the_servers(bed):
    """Behind the login those of the user's server, but for what is the frontend's."""
    direct = Sieve(bed, address=bed.backend(1))
    assert direct.login("user001").startswith(b"OK")
    s = Sieve(bed)
    assert s.login("user001").startswith(b"OK")
    own = (b'"IMPLEMENTATION"', b'"STARTTLS"', b'"SASL"')
    def lines(x):
        return sorted(line for line in x.command("CAPABILITY") if not line.startswith(own))
    assert lines(direct) == lines(s)
    s.command("LOGOUT"), direct.command("LOGOUT")
    fresh = Sieve(bed)
    words = {x.split(b" ")[0]: set(x.split(b'"')[3].split()) for x in fresh.greeting if x.count(b'"') == 4}
    theirs = {x.split(b" ")[0]: set(x.split(b'"')[3].split()) for x in direct.greeting if x.count(b'"') == 4}
    assert words[b'"SIEVE"'] == theirs[b'"SIEVE"'], "what was seen at the servers is what the greeting tells"


def starttls_before_and_behind_the_login(bed):
    tls = bed.tls()
    tls.check_hostname = False
    s = Sieve(bed)
    assert b'"STARTTLS"' in s.greeting
    s.ok("STARTTLS")
    s.secure(tls, bed.address)
    assert b'"STARTTLS"' not in s.reply()
    assert s.login("user001").startswith(b"OK")
    s.ok("LISTSCRIPTS")
    s.command("LOGOUT")
    s = Sieve(bed)
    assert s.login("user002").startswith(b"OK")
    s.ok("STARTTLS")
    s.secure(tls, bed.address)
    assert b'"OWNER" "user002"' in s.reply()
    s.ok("LISTSCRIPTS")
    s.command("LOGOUT")


def pipelined_commands_are_all_answered(bed):
    s = Sieve(bed)
    s.send(f'AUTHENTICATE "PLAIN" "{RIGHT}"\r\nNOOP "1"\r\nLISTSCRIPTS\r\nPUTSCRIPT "p" {{5+}}\r\nkeep;\r\n'
           'GETSCRIPT "p"\r\nDELETESCRIPT "p"\r\nLOGOUT\r\n'.encode())
    seen = [s.reply() for _ in range(7)]
    assert all(x[-1].startswith(b"OK") for x in seen), seen
    assert seen[4][0] == b"{5}\nkeep;", seen[4]


def scripts_come_back_as_they_were(bed):
    """Bytes of any kind, and a script that reads like commands."""
    s = Sieve(bed)
    assert s.login("user001").startswith(b"OK")
    for script in (b"# \xc3\xa4 LOGOUT\r\nkeep;\r\n", b"/* UNAUTHENTICATE\r\nLOGOUT\r\nSTARTTLS\r\n*/ keep;",
                   b"# x\r\n" * 6000 + b"keep;"):
        assert s.put("bytes", script)[-1].startswith(b"OK")
        got = s.ok('GETSCRIPT "bytes"')
        assert got[0].split(b"\n", 1)[1] == script
    s.ok('DELETESCRIPT "bytes"')
    s.command("LOGOUT")


def unauthenticate_leaves_the_server(bed):
    s = Sieve(bed)
    for user in ("user001", "user002"):
        assert s.login(user).startswith(b"OK")
        assert f'"OWNER" "{user}"'.encode() in s.ok("CAPABILITY")
        assert s.put(f"of-{user}", b"keep;")[-1].startswith(b"OK")
        assert s.ok("LISTSCRIPTS") == [f'"of-{user}"'.encode()]
        s.ok(f'DELETESCRIPT "of-{user}"')
        s.ok("UNAUTHENTICATE")
        assert s.command("LISTSCRIPTS")[-1].startswith(b"NO")
    s.command("LOGOUT")


def scram_from_a_passwd_file(bed):
    """The server's last word comes with the OK."""
    bed.use_passwd_file("user001")
    try:
        s = Sieve(bed)
        first, final = scram_messages("user001", "pw-user001")
        s.send(f'AUTHENTICATE "SCRAM-SHA-256" "{first}"')
        answer, verify = final(s.whole_line().split(b"\n")[1])
        last = s.command(f'"{answer}"')[-1]
        verify(re.match(rb'OK \(SASL "([^"]*)"\)', last).group(1))
        s.ok("LISTSCRIPTS")
        s.command("LOGOUT")
    finally:
        bed.restart()


def sieve_connect_uploads_and_lists(bed):
    """Debian's client, where it is installed."""
    tool = shutil.which("sieve-connect")
    assert tool, "sieve-connect is not installed"
    script = f"{bed.folder}/rookery/script.sieve"
    with open(script, "wb") as f:
        f.write(SCRIPT)
    base = [tool, "--server", bed.address, "--port", "4190", "--user", "user001", "--passwordfd", "0",
            "--notlsverify", "--nosrv"]
    def run(*words):
        done = subprocess.run([*base, *words], input=b"pw-user001\n", stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=WAIT_SECONDS)
        assert done.returncode == 0, done.stdout
        return done.stdout
    run("--localsieve", script, "--remotesieve", "connect", "--upload")
    assert b'"connect"' in run("--list")
    run("--remotesieve", "connect", "--delete")


# ---------------------------------------------------------------- referrals

def referrals_where_they_are_allowed(bed):
    bed.restart(more=["sieve_allowreferrals: yes"])
    try:
        for text in ("LISTSCRIPTS", 'PUTSCRIPT "a" "keep;"'):
            s = Sieve(bed)
            assert s.login("user002").startswith(b"OK")
            host = bed.backend_host(2)
            assert s.command("NOOP") == [b'OK "Done"'], "as Cyrus, which refers at any other command"
            assert s.command(text) == [f'BYE (REFERRAL "sieve://{host}") "Try Remote."'.encode()]
            assert s.ends() == b""
    finally:
        bed.restart()


# ---------------------------------------------------------------- the list

def fresh_inbox_is_found(bed, new=[40]):
    """An INBOX that was made a moment ago, at another frontend."""
    new[0] += 1
    with FreshUser(bed, f"user{new[0]:03}") as user:
        s = Sieve(bed)
        reply = s.login(user)
        s.close()
    assert reply.startswith(b"OK"), reply


def missing_inbox_is_no(bed):
    """Whose password is known elsewhere: at a home that is not there nobody could check it."""
    bed.use_passwd_file("user047")
    try:
        s = Sieve(bed)
        assert s.login("user047") == b'NO "Mailbox does not exist"'
        s.ok("NOOP")
        s.command("LOGOUT")
    finally:
        bed.restart()


# ---------------------------------------------------------------- outages

def down_server_is_for_later(bed):
    bed.stop("backend2", kill=True)
    try:
        s = Sieve(bed)
        assert s.login("user002").startswith(b"NO (TRYLATER)")
        assert s.login("user001").startswith(b"OK"), "the others are well"
        s.command("LOGOUT")
    finally:
        bed.start("backend2")
    def works():
        s = Sieve(bed)
        assert s.login("user002").startswith(b"OK")
        s.command("LOGOUT")
    within(WAIT_SECONDS, works)


def server_that_hangs_is_for_later(bed):
    bed.restart(more=["client_timeout: 2s", "rookery_command_timeout: 3s"])
    s = Sieve(bed)
    assert s.login("user002").startswith(b"OK")
    try:
        with Stopped(bed, "backend2"):
            assert s.command("LISTSCRIPTS")[-1].startswith(b"BYE (TRYLATER)"), "a command in flight"
            fresh = Sieve(bed)
            assert fresh.login("user004").startswith(b"NO (TRYLATER)"), "a login"
            fresh.command("LOGOUT")
    finally:
        bed.restart()


def server_that_dies_says_bye(bed):
    s = Sieve(bed)
    assert s.login("user002").startswith(b"OK")
    s.ok("LISTSCRIPTS")
    bed.stop("backend2", kill=True)
    try:
        assert s.reply()[-1].startswith(b"BYE (TRYLATER)")
        assert s.ends() == b""
    finally:
        bed.start("backend2")


def client_that_goes_within_a_script_leaves_none(bed):
    s = Sieve(bed)
    assert s.login("user001").startswith(b"OK")
    s.send(b'PUTSCRIPT "half" {1000+}\r\nkeep;')
    s.close()
    s = Sieve(bed)
    assert s.login("user001").startswith(b"OK")
    assert b'"half"' not in s.ok("LISTSCRIPTS")
    s.command("LOGOUT")


def master_down(bed):
    bed.stop("master")
    try:
        s = Sieve(bed)
        assert s.login("user047").startswith(b"NO (TRYLATER)")
        assert s.login("user001").startswith(b"OK")
        s.ok("LISTSCRIPTS")
        s.command("LOGOUT")
    finally:
        bed.start("master")
    def absence_is_known():
        s = Sieve(bed)
        assert s.login("user047") == b'NO "Authentication Error"'
    within(WAIT_SECONDS, absence_is_known)


def wrong_proxy_password_is_not_the_clients(bed):
    bed.restart(more=["proxy_password: wrong"])
    try:
        s = Sieve(bed)
        assert s.login("user001").startswith(b"NO (TRYLATER)")
        s.close()
    finally:
        bed.restart()


ROOKERY = [capabilities_are_the_servers, starttls_before_and_behind_the_login, pipelined_commands_are_all_answered,
           scripts_come_back_as_they_were, unauthenticate_leaves_the_server, scram_from_a_passwd_file,
           sieve_connect_uploads_and_lists, referrals_where_they_are_allowed, fresh_inbox_is_found, missing_inbox_is_no,
           client_that_goes_within_a_script_leaves_none, wrong_proxy_password_is_not_the_clients,
           down_server_is_for_later, server_that_hangs_is_for_later, server_that_dies_says_bye, master_down]
# What the Cyrus frontend does wrong: a test that it passes sees nothing.
CYRUS_FAILS = [(fresh_inbox_is_found, "it does not ask the master"),
               (pipelined_commands_are_all_answered, "it swallows what is pipelined behind AUTHENTICATE")]
OPTIONS = ["--tls", "--no-log", "--set", "frontend:failedloginpause=0", "--set", "frontend:sieve_allowreferrals=no"]


def run(report, a):
    """A murder with both frontends."""
    folder = f"{a.folder}/sieve"
    shutil.rmtree(folder, ignore_errors=True)
    with Bed(folder, a.net, OPTIONS) as cyrus:
        rookery = Beside(cyrus, a.binaries)
        rookery.restart()
        try:
            for name in DIALOGUES:
                report.check(f"sieve/as cyrus/{name}", same_as_cyrus, cyrus, rookery, name)
            for test, why in CYRUS_FAILS:
                report.known_cyrus(f"sieve/cyrus/{test.__name__}", why, test, cyrus)
            for test in ROOKERY:
                report.check(f"sieve/{test.__name__}", test, rookery)
        finally:
            rookery.stop_frontend()
