"""LIST and its family with the user's home away, SUBSCRIBE of what is elsewhere, and where new mailboxes go."""
import concurrent.futures
import contextlib
import hashlib
import os
import shutil
import signal
import threading
import time

from bed import Bed, signalled
from beside import Beside
from daemon import ARGON2
from lmtp import Lmtp

# Each look at a server that hangs takes as long; one that lives must answer within it on a busy machine.
# How long the frontend waits for a server: of one that is well longer than a busy machine takes, and short where one
# that hangs is waited for again and again.
WAIT_SECONDS = 60
HANG_SECONDS = 4
MODES = ["random", "freespace-most", "freespace-percent-most", "freespace-percent-weighted", "freespace-percent-weighted-delta"]


def configured(bed, *more, method="backend", wait=WAIT_SECONDS):
    """The frontend with these lines more."""
    bed.stop_frontend()
    bed.write_configuration(method, [f"rookery_fan_out_timeout: {wait}s", f"client_timeout: {wait}s", *more])
    bed.start_frontend()


@contextlib.contextmanager
def away(bed, instance, how):
    """A backend is killed, or stopped so that it still takes connections, and comes back."""
    stopped = []
    if how == "hangs":
        stopped = bed.freeze(instance)
    else:
        bed.stop(instance, kill=True)
    try:
        yield
    finally:
        if how == "hangs":
            signalled(stopped, signal.SIGCONT)
        else:
            bed.start(instance)


def lines(answer, keyword="LIST"):
    """The rows of an answer in one order."""
    return sorted(answer.named(keyword))


def home_away(bed, how):
    """user001's home is away: rows stand, subscriptions and special uses are the last known, in every
    session; user003, of whom nothing was heard, is told that it is for now."""
    configured(bed, wait=HANG_SECONDS if how == "hangs" else WAIT_SECONDS)      # a frontend that has heard of nobody yet
    sessions = [bed.session("user001") for _ in range(4)]
    stranger = bed.session("user003")
    first = sessions[0]
    assert first.command("STATUS team02 (MESSAGES)").status == "OK"             # it has a connection to the other server
    first.command('SETMETADATA INBOX.Sent (/private/specialuse "\\\\Sent")')
    assert first.command("SUBSCRIBE team02").status == "OK"
    asked = ['LSUB "" "*"', 'LSUB "" "INBOX.%"', 'LIST (SUBSCRIBED) "" "*"', 'LIST (SPECIAL-USE) "" "*"', 'LIST "" "*"']
    before = [first.command(line) for line in asked]
    assert all(answer.status == "OK" for answer in before) and b"\\Sent" in b"".join(before[3].lines)
    pairs = list(zip(asked, before))
    if how == "hangs":                     # that the copy is everybody's is seen where nobody waits
        sessions, pairs = sessions[:1], [pairs[0], pairs[2]]
    with away(bed, "backend1", how):
        for s in sessions:
            for line, was in pairs:
                answer = s.command(line)
                word = line.split()[0]
                names = lambda told: sorted(row.split(b'"." ')[1] for row in told.named(word))
                assert answer.status == "OK", (line, answer.lines)
                assert names(answer) == names(was), (line, answer.lines, was.lines)
                if word == "LIST":
                    assert lines(answer) == lines(was), (line, answer.lines, was.lines)
                if line != asked[-1]:
                    assert b"backend1" in answer.tagged, answer.tagged
        for line in ("SUBSCRIBE team03", "UNSUBSCRIBE team02")[:len(sessions)]:
            assert b" NO [UNAVAILABLE]" in first.command(line).tagged, line
        answer = first.command('LIST "" (INBOX "team0%") RETURN (STATUS (MESSAGES))')
        assert answer.status == "OK" and b"without data of server backend1" in answer.tagged, answer.lines
        assert len(answer.named("LIST")) == 5 and len(answer.named("STATUS")) == 2, answer.lines
        for line in ('LSUB "" "*"', 'LIST (SUBSCRIBED) "" "*"')[:len(sessions)]:
            answer = stranger.command(line)
            assert b" NO [UNAVAILABLE]" in answer.tagged and len(answer.lines) == 1, answer.lines
        answer = stranger.command('LIST "" "INBOX*"')
        assert answer.status == "OK" and len(answer.named("LIST")) >= 6, answer.lines
    deadline = time.monotonic() + 60
    while b"NO [UNAVAILABLE]" in stranger.command('LSUB "" "*"').tagged:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    for s in [*sessions, stranger]:
        s.close()


def home_that_does_not_subscribe_elsewhere(bed):
    """backend1 has no allowallsubscribe: its NO reaches the client with a hint, but not its NO about its own."""
    s = bed.session("user001")
    answer = s.command("SUBSCRIBE team04")
    assert answer.status == "NO" and b"allowallsubscribe" in answer.tagged and b"backend1" in answer.tagged, answer.tagged
    assert s.command("SUBSCRIBE team03").status == "OK"
    s.close()


def dead_server_is_never_chosen(bed, how):
    """In all modes, with one of two servers away."""
    with away(bed, "backend2", how):
        for mode in MODES:
            configured(bed, f"serverlist_select_mode: {mode}")
            s = bed.session("cyrus")
            for n in range(3):
                name = f"user.placed{mode.replace('-', '')}{n}"
                answer = s.command(f"CREATE {name}")
                assert answer.status == "OK", (mode, answer.tagged)
                where = s.command(f"GETMETADATA {name} /shared/vendor/cmu/cyrus-imapd/server")
                assert b"backend1" in where.named("METADATA")[0], where.lines
            s.close()
    configured(bed)


def first_choice(bed, user):
    """Where every frontend tries to make a user's home first."""
    hosts = [bed.backend_host(n) for n in (1, 2)]
    return max(hosts, key=lambda host: hashlib.sha256(f"{host}\0{user}".encode()).digest()[:8])


def with_autocreate(bed, users, *more):
    """A frontend that knows these users' passwords and gives them a home."""
    path = bed.conf("passwd.names")
    with open(path, "w") as f:
        f.writelines(f"{user}:{ARGON2}\n" for user in [*users, "cyrus", "user001"])
    os.chmod(path, 0o644)
    options = [f"sasl_passwd_file: {path}", "autocreate_quota: 5000", "autocreate_inbox_folders: Drafts | Sent",
               "autocreate_subscribe_folders: Sent", *more]
    configured(bed, *options, method="passwd_file")
    return options


def entered(bed, user):
    """A session of a user of the password file."""
    return bed.session().login(user, "password")


def home_of(session):
    """The server of the INBOX."""
    told = session.command("GETMETADATA INBOX /shared/vendor/cmu/cyrus-imapd/server").named("METADATA")
    return told[0].split(b'"')[-2].decode() if told else None


def users_get_a_home(bed, whose):
    """At their first login, where every frontend would put them, once, with folders and quota; a user with a home
    and one who is not meant are left alone."""
    users = [f"{whose}{n}" for n in range(6)]
    with_autocreate(bed, [*users, f"{whose}outsider"], "autocreate_users: user001 " + " ".join(users))
    for user in users[:5]:
        s = entered(bed, user)
        assert s.command("SELECT INBOX").status == "OK", user
        assert home_of(s) == first_choice(bed, user), (user, home_of(s))
        if whose == "made":
            assert len(s.command('LIST "" "*"').named("LIST")) >= 3
            assert len(s.command('LSUB "" "*"').named("LSUB")) == 2
            assert any(b"STORAGE 0 5000" in line or b"5000" in line for line in s.command("GETQUOTAROOT INBOX").lines)
        assert s.command(f"CREATE user.{user}x").status == "NO", "still an administrator"
        s.close()
    answers = []

    def enter():
        s = entered(bed, users[5])
        answer, end = s.command("SELECT INBOX"), time.monotonic() + 60
        while b"NO [UNAVAILABLE]" in answer.tagged and time.monotonic() < end:      # another one's login just makes it
            time.sleep(0.1)
            answer = s.command("SELECT INBOX")
        answers.append((answer.status, home_of(s) if answer.status == "OK" else answer.tagged))
        s.close()
    threads = [threading.Thread(target=enter) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert answers == [("OK", first_choice(bed, users[5]))] * 4, answers
    s = entered(bed, f"{whose}outsider")
    assert s.command("SELECT INBOX").status == "NO"
    s.close()
    configured(bed)


def no_home_on_a_dead_server(bed, how):
    """Users whose first choice is away get their home on the other server."""
    users = [user for user in (f"moved{n}" for n in range(50)) if first_choice(bed, user) == bed.backend_host(2)][:2]
    with away(bed, "backend2", how):
        with_autocreate(bed, users)
        for user in users:
            s = entered(bed, user)
            assert s.command("SELECT INBOX").status == "OK" and home_of(s) == bed.backend_host(1)
            s.close()
    configured(bed)


def first_mail_while_a_server_is_dead(bed, whose):
    """The first mails of users whose first choice is away, by two frontends at once, make their home on the other
    server, once: when that one is back, logins and mails find it where it is."""
    users = [user for user in (f"{whose}{n}" for n in range(80)) if first_choice(bed, user) == bed.backend_host(2)][:3]

    def mailed(frontend, user):
        client = Lmtp(frontend.address)
        try:
            return client.deliver([user])
        finally:
            client.close()

    def mail(frontend, user):
        end = time.monotonic() + 60
        while "2" != (told := mailed(frontend, user))[1][0][:1]:
            assert told[0][0].startswith("4") and time.monotonic() < end, told
            time.sleep(0.2)
    other = Beside(bed, bed.binaries)
    try:
        with away(bed, "backend2", "is dead"):
            options = with_autocreate(bed, users, "autocreate_post: yes")
            other.write_configuration("passwd_file", options)
            other.start_frontend()
            with concurrent.futures.ThreadPoolExecutor(2 * len(users)) as pool:
                for job in [pool.submit(mail, frontend, user) for user in users for frontend in (bed, other)]:
                    job.result()
        for user in users:
            for frontend in (bed, other):
                s = entered(frontend, user)
                told = s.command("STATUS INBOX (MESSAGES)")
                assert told.named("STATUS") == [b"* STATUS INBOX (MESSAGES 2)"], told.lines
                assert home_of(s) == bed.backend_host(1), home_of(s)
                s.close()
            rcpt, data = mailed(other, user)
            assert data[0].startswith("250"), (rcpt, data)
    finally:
        other.stop_frontend()
    configured(bed)


TESTS = [
    ("home is dead", home_away, "is dead"),
    ("home hangs", home_away, "hangs"),
    ("server to create on is dead", dead_server_is_never_chosen, "is dead"),
    ("users get a home from an administrator", users_get_a_home, "made"),
    ("no home on a dead server", no_home_on_a_dead_server, "is dead"),
    ("first mail while a server is dead, by an administrator", first_mail_while_a_server_is_dead, "mailed"),
]


def run(report, a):
    """One murder whose backend1 does not subscribe to what is elsewhere."""
    folder = f"{a.folder}/names-{a.frontend}"
    for left in (folder, f"{folder}-strict"):
        shutil.rmtree(left, ignore_errors=True)
    with Bed(folder, a.net, ["--set", "backend2:allowallsubscribe=yes"], 2, a.frontend, a.binaries) as bed:
        configured(bed)
        for name, test, how in TESTS:
            report.check(f"names/{name}", test, bed, how)
    strict = ["--set", "backend1:allowallsubscribe=no", "--set", "backend:autocreate_quota=5000"]
    with Bed(f"{folder}-strict", a.net, strict, 2, a.frontend, a.binaries) as bed:
        report.check("names/users get a home by the backend's own autocreate", users_get_a_home, bed, "auto")
        report.check("names/first mail while a server is dead, by the backend's own autocreate",
                     first_mail_while_a_server_is_dead, bed, "posted")
        report.check("names/home does not subscribe to what is elsewhere", home_that_does_not_subscribe_elsewhere, bed)
