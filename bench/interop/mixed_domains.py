"""Users of another domain, each on a release of his own, and of two domains that see each other where they may."""
import re
import uuid

from commands import ok, subjects, wait_for
from drive import message
from lmtp import Lmtp
from mixed_mail import mail
from mixed_sessions import code
from pop3 import Pop
from wire import Session

# Of the default domain user003 lives on backend1 and user004 on backend2; of this one the other way round.
HOMES = (("user003@example.org", 2), ("user004@example.org", 1))
NAME = re.compile(rb'\* LIST \(([^)]*)\) "[./]" ("[^"]*"|\S+)')


def users_of_another_domain(bed):
    """They are made by an administrator where he says, and have their own mailboxes, mail and maildrop."""
    admin = bed.session("cyrus")
    for user, n in HOMES:
        ok(admin.command(f"CREATE user.{user} {bed.backend_host(n)}!default"))
        ok(admin.command(f"SETACL user.{user} user002 lrs"))
    admin.close()
    for user, n in HOMES:
        s = bed.session(user)
        ok(s.command("CREATE INBOX.Work"))
        [_, uid] = code(ok(s.command("APPEND INBOX (\\Flagged) {}", message("domain"))), "APPENDUID")
        ok(s.command("SELECT INBOX"))
        code(ok(s.command(f"UID COPY {uid} INBOX.Work")), "COPYUID")
        ok(s.command("UNSELECT"))
        assert subjects(s, "INBOX.Work") == ["domain"]
        direct = bed.session(user, address=bed.backend(n))
        assert subjects(direct, "INBOX.Work") == ["domain"]
        namesake = bed.session(user.partition("@")[0])
        assert "domain" not in subjects(namesake, "INBOX")
        for session in (s, direct, namesake):
            session.close()
        subject = f"mail {uuid.uuid4()}"
        lmtp = Lmtp(bed.address)
        told, done = lmtp.deliver([user, "nobody-here@example.org"], mail(subject))
        assert [reply[:3] for reply in told] == ["250", "550"] and [reply[:3] for reply in done] == ["250"], (told, done)
        lmtp.close()
        wait_for(lambda user=user, subject=subject: subject in subjects(bed.session(user), "INBOX"), f"mail of {user}")
        pop = Pop(bed)
        told = [pop.login(user, bed.password(user)), pop.command("STAT")]
        assert told[0].startswith(b"+OK") and told[1].startswith(b"+OK 2 "), told
        assert pop.command("QUIT").startswith(b"+OK")
        pop.socket.close()


def what_is_listed_is_there(bed):
    """Every name that LIST tells is one that STATUS knows, of whatever domain; others are seen where domains may cross."""
    crosses = "crossdomains=yes" in bed.layout.options
    for user in ("user001", "user002", *(user for user, _ in HOMES)):
        s = Session(bed.address).login(user, bed.password(user))
        told = [NAME.match(line).groups() for line in ok(s.command('LIST "" "*"')).named("LIST")]
        names = [name.decode() for flags, name in told if b"NonExistent" not in flags and b"Noselect" not in flags]
        for name in names:
            ok(s.command(f"STATUS {name} (MESSAGES)"))
        foreign = [name for name in names if "@" in name and not name.startswith(("INBOX", '"INBOX'))]
        assert bool(foreign) == crosses, (user, names)
        if crosses and user == "user002":
            assert len([name for name in foreign if "example.org" in name or "example^org" in name]) >= 2, names
        s.close()


TESTS = [users_of_another_domain, what_is_listed_is_there]
