"""POP3, LMTP and ManageSieve before backends of different releases."""
import uuid

from commands import ok, subjects, wait_for
from lmtp import Lmtp
from pop3 import Pop
from sieve import Sieve

USERS = ("user001", "user002")


def maildrops_of_both(bed):
    """The same dialogue as with the server itself."""
    for user, n in zip(USERS, (1, 2)):
        told = []
        for address in (bed.address, bed.backend(n)):
            pop = Pop(bed, address=address)
            assert pop.login(user).startswith(b"+OK")
            told.append([pop.command("STAT"), pop.command("LIST", multi=True), pop.command("UIDL", multi=True),
                         pop.command("RETR 1", multi=True), pop.command("TOP 2 0", multi=True)])
            assert pop.command("QUIT").startswith(b"+OK")
            pop.socket.close()
        assert told[0] == told[1], told


def script(bed, subject):
    """A script that files mail of a subject."""
    folder = bed.layout.outside("INBOX.Sent")
    return f'require "fileinto";\r\nif header :contains "subject" "{subject}" {{ fileinto "{folder}"; }}\r\n'.encode()


def mail(subject):
    """A message with its end, with an id of its own."""
    return (f"From: a@murder.test\r\nSubject: {subject}\r\nMessage-ID: <{uuid.uuid4()}@mixed>\r\n\r\nbody\r\n.\r\n")


def one_message_for_both(bed):
    """A recipient on each server, a folder, and one that is nowhere."""
    subject = f"mail {uuid.uuid4()}"
    lmtp = Lmtp(bed.address)
    told, done = lmtp.deliver(["user001", "user002", "user001+Work", "nobody-here"], mail(subject))
    assert [reply[:3] for reply in told] == ["250", "250", "250", "550"], told
    assert [reply[:3] for reply in done] == ["250"] * 3, done
    lmtp.close()
    for user in USERS:
        wait_for(lambda user=user: subject in subjects(bed.session(user), "INBOX"), f"mail of {user}")


def offered_by_lmtp(bed):
    """What is said of itself is what it can."""
    lmtp = Lmtp(bed.address)
    direct = [Lmtp(bed.backend(n)) for n in (1, 2)]
    for other in direct:
        assert {"PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES"} <= words(other), other.offer
    assert {"PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES"} <= words(lmtp), lmtp.offer
    for session in (lmtp, *direct):
        session.close()


def words(lmtp):
    """The keywords of an LHLO."""
    return {line[4:].split()[0] for line in lmtp.offer.split("\n")}


def scripts_of_both(bed):
    """A script is put, read, switched on, and files mail; then it is gone."""
    for user in USERS:
        sieve = Sieve(bed)
        assert sieve.login(user).startswith(b"OK")
        sieve.ok("CAPABILITY")
        assert sieve.command('PUTSCRIPT "wrong" "xyz;;"')[-1].startswith(b"NO")
        reply = sieve.put("mixed", script(bed, "filed"))
        assert reply[-1].startswith(b"OK"), reply
        sieve.ok('SETACTIVE "mixed"')
        assert any(b'"mixed" ACTIVE' in line for line in sieve.ok("LISTSCRIPTS"))
        assert any(script(bed, "filed").strip() in line for line in sieve.ok('GETSCRIPT "mixed"'))
        subject = f"filed {uuid.uuid4()}"
        lmtp = Lmtp(bed.address)
        assert [reply[:3] for reply in lmtp.deliver([user], mail(subject))[1]] == ["250"]
        lmtp.close()
        wait_for(lambda user=user, subject=subject: subject in subjects(bed.session(user), "INBOX.Sent"), f"filed mail of {user}")
        assert sieve.command('DELETESCRIPT "mixed"')[-1].startswith(b"NO")
        sieve.ok('SETACTIVE ""')
        sieve.ok('RENAMESCRIPT "mixed" "other"')
        sieve.ok('DELETESCRIPT "other"')
        sieve.ok("LOGOUT")
        sieve.socket.close()


def sieve_offers_what_both_have(bed):
    """SIEVE extensions before and after the login are those of every server."""
    def extensions(lines):
        line = next(line for line in lines if line.startswith(b'"SIEVE"'))
        return set(line.split(b'"')[3].split())
    servers = [extensions(Sieve(bed, address=bed.backend(n)).greeting) for n in (1, 2)]
    for user in USERS:
        s = bed.session(user)
        ok(s.command("NOOP"))
        s.close()
        sieve = Sieve(bed)
        assert sieve.login(user).startswith(b"OK")
        sieve.socket.close()
    told = extensions(Sieve(bed).greeting)
    assert told and told <= servers[0] & servers[1], (told - servers[0], told - servers[1])


TESTS = [maildrops_of_both, one_message_for_both, offered_by_lmtp, scripts_of_both, sieve_offers_what_both_have]
