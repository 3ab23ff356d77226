"""Who may deliver by LMTP and how: AUTH checked at a server, STARTTLS, extensions, and what `rookery_lmtp_verify` does.

Passwords are checked by the backends (`sasl_pwcheck_method: backend`), the deliverer is an administrator, who has no
home: so the servers of `serverlist` are asked.
"""
import shutil
import smtplib
import subprocess
import uuid

import lmtp_addresses
from bed import Bed
from beside import Beside, within
from lmtp import SCRIPT, Lmtp, World, message, normal

WAIT_SECONDS = 60
AUTH_PORT = 2424


class Frontend(Beside):
    """With a service beside `lmtpd -a` whose clients have to log in."""

    def write_configuration(self, method="backend", more=()):
        super().write_configuration(method, ["client_timeout: 4s", "rookery_lmtp_envelope_timeout: 8s", *more])
        with open(self.conf("cyrus.conf")) as f:
            services = f.read()
        line = f'  lmtpauth cmd="lmtpd" listen="{self.address}:{AUTH_PORT}" proto="tcp4"\n'
        with open(self.conf("cyrus.conf"), "w") as f:
            f.write(services.replace("SERVICES {\n", "SERVICES {\n" + line))


def guest(world):
    """A client who has to log in."""
    return Lmtp(world.ours, AUTH_PORT)


def delivers(client, recipients=("user001", "user002")):
    """A message to all of them, which arrives."""
    rcpts, ends = client.deliver(list(recipients))
    assert all(reply.startswith("250") for reply in [*rcpts, *ends]), (rcpts, ends)


# ---------------------------------------------------------------- AUTH
def password_is_checked_at_a_server(world):
    client = guest(world)
    assert "AUTH PLAIN LOGIN" in client.offer, client.offer
    assert client.say("MAIL FROM:<>") == "430 Authentication required"
    assert client.login("cyrus", "wrong").startswith("535")
    assert client.login("user001", "pw-user001").startswith("535"), "a user may deliver"
    assert client.login("cyrus", "pw-cyrus").startswith("235")
    delivers(client)


def mechanism_login_and_cancel(world):
    client = guest(world)
    assert client.say("AUTH LOGIN").startswith("334")
    assert client.say("*").startswith("501")
    assert client.say("AUTH LOGIN").startswith("334")
    assert client.say("Y3lydXM=").startswith("334")
    assert client.say("cHctY3lydXM=").startswith("235")
    delivers(client)


def pipelined_behind_auth_waits_for_it(world):
    client = guest(world)
    replies = client.say("AUTH PLAIN AGN5cnVzAHB3LWN5cnVz", "MAIL FROM:<>", "RCPT TO:<user001>", "RSET")
    assert [reply[:3] for reply in replies] == ["235", "250", "250", "250"], replies


def no_server_to_ask_is_no_wrong_password(world):
    for n in (1, 2):
        world.bed.stop(f"backend{n}", kill=True)
    try:
        assert guest(world).login("cyrus", "pw-cyrus").startswith("454 4.7.0")
    finally:
        for n in (1, 2):
            world.bed.start(f"backend{n}")

    def works():
        client = guest(world)
        assert client.login("cyrus", "pw-cyrus").startswith("235")
        delivers(client)
    within(WAIT_SECONDS, works)


def one_dead_server_of_two_is_passed_over(world):
    world.bed.stop("backend1", kill=True)
    try:
        client = guest(world)
        assert client.login("cyrus", "pw-cyrus").startswith("235")
        delivers(client, ["user002"])
    finally:
        world.bed.start("backend1")
    within(WAIT_SECONDS, lambda: delivers(world.lmtp(), ["user001"]))


# ---------------------------------------------------------------- STARTTLS
def smtplib_delivers_over_starttls(world):
    tls = world.bed.tls()
    tls.check_hostname = False
    name = uuid.uuid4().hex
    client = smtplib.LMTP(world.ours, AUTH_PORT)
    client.sock.settimeout(WAIT_SECONDS)
    client.ehlo("mta.test")
    assert client.has_extn("starttls") and client.has_extn("auth")
    client.starttls(context=tls)
    client.ehlo("mta.test")
    assert not client.has_extn("starttls")
    client.login("cyrus", "pw-cyrus")
    big = message(name, ("z" * 76 + "\r\n") * 40_000)[:-3]
    assert client.sendmail("a@b.c", ["user001", "user002"], big) == {}
    client.quit()
    assert [world.times(user, name) for user in ("user001", "user002")] == [1, 1]


def password_in_the_clear_is_not_taken(world):
    world.bed.restart(more=["allowplaintext: no"])
    try:
        client = guest(world)
        assert "AUTH" not in client.offer and "STARTTLS" in client.offer, client.offer
        assert client.login("cyrus", "pw-cyrus").startswith("504")
        assert client.say("STARTTLS").startswith("220")
        tls = world.bed.tls()
        tls.check_hostname = False
        client.socket = tls.wrap_socket(client.socket)
        client.file = client.socket.makefile("rb")
        offer = client.say("LHLO x")
        assert "AUTH PLAIN LOGIN" in offer and "STARTTLS" not in offer, offer
        assert client.login("cyrus", "pw-cyrus").startswith("235")
        delivers(client)
    finally:
        world.bed.restart()


def swaks_delivers_with_tls_and_auth(world):
    """Debian's client, where it is installed."""
    tool = shutil.which("swaks")
    assert tool, "swaks is not installed"
    name = uuid.uuid4().hex
    base = [tool, "--protocol", "LMTP", "--server", world.ours, "--from", "a@b.c", "--to", "user001,user002",
            "--header", f"Subject: {name}", "--hide-all"]
    for more in (["--port", "24"],
                 ["--port", str(AUTH_PORT), "--tls", "--auth", "PLAIN", "--auth-user", "cyrus",
                  "--auth-password", "pw-cyrus", "--pipeline"]):
        done = subprocess.run([*base, *more], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=WAIT_SECONDS)
        assert done.returncode == 0, (more, done.returncode, done.stdout)
    assert [world.times(user, name) for user in ("user001", "user002")] == [2, 2]


# ---------------------------------------------------------------- extensions
def trace_is_taken_and_kept_from_who_does_not_know_it(world):
    client = world.lmtp()
    assert client.say("TRACE not an id").startswith("501 5.5.4")
    assert client.say("TRACE my-id.1").endswith("TRACEID=<my-id.1>")
    delivers(client)


class Full:
    """A user whose mailbox takes nothing meanwhile."""

    def __init__(self, world, user):
        self.world, self.name = world, f"user.{user}"
        self.admin = world.bed.session("cyrus", address=world.ours)

    def __enter__(self):
        assert self.admin.command(f"SETQUOTA {self.name} (STORAGE 0)").status == "OK"

    def __exit__(self, *_):
        assert self.admin.command(f"SETQUOTA {self.name} ()").status == "OK"
        self.admin.close()


def ignorequota_reaches_the_server(world):
    with Full(world, "user004"):
        client, name = world.lmtp(), uuid.uuid4().hex
        rcpts, ends = client.deliver(["user004"], message(name))
        told = rcpts[0] if not rcpts[0].startswith("2") else ends[0]
        assert told.startswith("452 4.2.2"), (rcpts, ends)
        client = world.lmtp()
        client.say("MAIL FROM:<a@b.c>", "RCPT TO:<user004> IGNOREQUOTA")
        assert client.say("DATA").startswith("354")
        client.send(message(name))
        assert client.reply().startswith("250")
    assert world.times("user004", name) == 1


# ---------------------------------------------------------------- rookery_lmtp_verify: list
def verified_by_the_list(world):
    """RCPT is answered as Cyrus' frontend does, what the servers say comes behind the message."""
    world.bed.restart(more=["rookery_lmtp_verify: list"])
    try:
        ours, theirs = world.lmtp(), Lmtp(world.cyrus)
        for command in SCRIPT:
            here, there = normal(ours.say(command)), normal(theirs.say(command))
            assert here == there, (command, here, there)
        ours.close(), theirs.close()
        with Full(world, "user004"):
            name = uuid.uuid4().hex
            told = [client.deliver(["user004", "nosuch", "user002"], message(name))
                    for client in (world.lmtp(), Lmtp(world.cyrus))]
            for rcpts, ends in told:
                assert [reply[:3] for reply in rcpts] == ["250", "550", "250"], rcpts
                assert [reply[:9] for reply in ends] == ["452 4.2.2", "250 2.1.5"], ends
        assert world.times("user002", name) == 2
        world.bed.stop("backend1", kill=True)
        try:
            rcpts, ends = world.lmtp().deliver(["user001", "user002"])
            assert [reply[:3] for reply in rcpts] == ["250", "250"], rcpts
            assert [reply[:9] for reply in ends] == ["451 4.4.3", "250 2.1.5"], ends
        finally:
            world.bed.start("backend1")
    finally:
        world.bed.restart()
    within(WAIT_SECONDS, lambda: delivers(world.lmtp(), ["user001"]))


TESTS = [password_is_checked_at_a_server, mechanism_login_and_cancel, pipelined_behind_auth_waits_for_it,
         smtplib_delivers_over_starttls, swaks_delivers_with_tls_and_auth,
         trace_is_taken_and_kept_from_who_does_not_know_it, ignorequota_reaches_the_server,
         password_in_the_clear_is_not_taken, verified_by_the_list, one_dead_server_of_two_is_passed_over,
         no_server_to_ask_is_no_wrong_password]


def run(report, a):
    """A murder with both frontends."""
    folder = f"{a.folder}/lmtpauth"
    shutil.rmtree(folder, ignore_errors=True)
    options = ["--tls", "--no-log", "--set", "backend:duplicatesuppression=no"]
    with Bed(folder, a.net, options) as cyrus:
        beside = Frontend(cyrus, a.binaries)
        beside.restart()
        try:
            for test in TESTS:
                report.check(f"lmtpauth/{test.__name__}", test, World(beside, None, a.net))
        finally:
            beside.stop_frontend()
    lmtp_addresses.run(report, a)
