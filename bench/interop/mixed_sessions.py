"""IMAP before backends of different releases: what is offered, and what both sides of every command come to."""
import re

from commands import mailbox_ids_are_true, ok, refused, wait_for
from drive import message

OLD_QUOTA = {"X-QUOTA=STORAGE", "X-QUOTA=MESSAGE", "X-QUOTA=X-ANNOTATION-STORAGE", "X-QUOTA=X-NUM-FOLDERS"}
# What a server says and a frontend does not: between servers, its own, or not built (IMAP4rev2).
NOT_TOLD = {"X-REPLICATION", "X-REPLICATION-ARCHIVE", "X-SIEVE-MAILBOX", "SCAN", "XMOVE", "IMAP4rev2", "JMAPACCESS"}
OWN = {"UNAUTHENTICATE", "LITERAL+", "INPROGRESS"}
USERS = ("user001", "user002")
BOXES = ("team01", "team02")


def words(session):
    """What CAPABILITY says."""
    return {word.decode() for word in ok(session.command("CAPABILITY")).named("CAPABILITY")[0].split()[2:]}


def offered(bed, user):
    """What a new session is offered, once one has spoken with both backends."""
    s = bed.session(user)
    for box in BOXES:
        ok(s.command(f"STATUS {box} (MESSAGES)"))
    s.close()
    s = bed.session(user)
    told = words(s)
    s.close()
    return told


def of_servers(bed, user):
    """What each server offers the same user."""
    sessions = [bed.session(user, address=bed.backend(n)) for n in (1, 2)]
    told = [words(s) for s in sessions]
    for s in sessions:
        s.close()
    return told


def is_true(bed, told, user):
    """Whether it is what all offer and what is ours; of limits the lowest."""
    servers = of_servers(bed, user)
    limits = [word for each in servers for word in each if word.startswith("APPENDLIMIT=")]
    lowest = min(limits, key=lambda word: int(word.partition("=")[2]))
    common = {x for x in servers[0] & servers[1] if not x.startswith("APPENDLIMIT=")}
    wanted = common - NOT_TOLD | OWN | {lowest}
    assert told == wanted, (told - wanted, wanted - told)
    return True


def picture(session, box):
    """A mailbox as a client sees it: its messages."""
    ok(session.command(f"EXAMINE {box}"))
    lines = ok(session.command("UID FETCH 1:* (INTERNALDATE RFC822.SIZE ENVELOPE BODY.PEEK[])")).named("FETCH")
    ok(session.command("UNSELECT"))
    return lines


def capabilities_are_what_all_offer(bed):
    for user in USERS:
        assert is_true(bed, offered(bed, user), user)


GUEST = {"IMAP4rev1", "LITERAL+", "ID", "ENABLE", "SASL-IR", "INPROGRESS", "AUTH=PLAIN", "AUTH=LOGIN"}


def told_of(line):
    """The words of a CAPABILITY code."""
    return {word.decode() for word in re.search(rb"\[CAPABILITY ([^\]]*)\]", line).group(1).split()}


def capabilities_of_each_phase(bed):
    """Before the login our own, by greeting and command alike, STARTTLS until there is TLS; behind it what all offer, with
    TLS and without, by code and command alike. No server's AUTH=, MUPDATE= or LITERAL- is told."""
    context = bed.tls() if "--tls" in bed.layout.options else None
    for user in USERS:
        common = offered(bed, user)
        for secured in (False, True) if context else (False,):
            s = bed.session()
            guest = GUEST | ({"STARTTLS"} if context else set())
            assert told_of(s.greeting) == words(s) and guest == {x for x in words(s) if not x.startswith("MUPDATE=")}, s.greeting
            if secured:
                assert s.starttls(context, bed.address).status == "OK"
                assert words(s) == told_of(s.greeting) - {"STARTTLS"}, words(s)
            answer = ok(s.command(f'LOGIN "{user}" "{bed.password(user)}"'))
            assert told_of(answer.tagged) == words(s) == common, (words(s) ^ common, answer.tagged)
            assert [x for x in common if x.startswith("MUPDATE=")] == [f"MUPDATE=mupdate://{master(bed)}/"], common
            s.close()


def master(bed):
    """`mupdate_server` of the frontend."""
    with open(bed.conf("imapd.conf")) as f:
        return re.search(r"^mupdate_server: (\S+)", f.read(), re.M).group(1)


def code(answer, name):
    """The words of a response code, wherever it stands."""
    found = re.search(rb"\[%s ([^\]]*)\]" % name.encode(), b"\n".join(answer.lines))
    assert found, answer.lines
    return [word.decode() for word in found.group(1).split()]


def flags_of(session, box, uid):
    """Flags and date of a message."""
    ok(session.command(f"EXAMINE {box}"))
    [line] = ok(session.command(f"UID FETCH {uid} (FLAGS INTERNALDATE)")).named("FETCH")
    ok(session.command("UNSELECT"))
    flags = set(re.search(rb"FLAGS \(([^)]*)\)", line).group(1).split()) - {b"\\Recent"}
    return flags, re.search(rb'INTERNALDATE "([^"]*)"', line).group(1).decode()


DATE = "15-Jan-2026 10:00:00 +0000"


def messages_go_across_both_ways(bed):
    """APPEND, COPY and MOVE from either home to either server: codes, flags, dates, and nothing left behind."""
    for user in USERS:
        s = bed.session(user)
        for box in BOXES:
            answer = ok(s.command(f'APPEND INBOX.Work (\\Flagged $Mixed) "{DATE}" {{}}', message(f"to {box}")))
            [_, first] = code(answer, "APPENDUID")
            [_, second] = code(ok(s.command(f'APPEND INBOX.Work (\\Answered) "{DATE}" {{}}', message(f"too to {box}"))), "APPENDUID")
            ok(s.command("SELECT INBOX.Work"))
            [_, source, target] = code(ok(s.command(f"UID COPY {first},{second} {box}")), "COPYUID")
            assert numbers(source) == [int(first), int(second)] and len(numbers(target)) == 2, (source, target)
            copied = numbers(target)
            moved = s.command(f"UID MOVE {first} {box}")
            [_, source, target] = code(ok(moved), "COPYUID")
            assert source == first and len(moved.named("EXPUNGE")) == 1, moved.lines
            assert not ok(s.command(f"UID SEARCH UID {first}")).named("SEARCH")[0].split()[2:]
            ok(s.command("UNSELECT"))
            assert flags_of(s, box, copied[0]) == ({b"\\Flagged", b"$Mixed"}, DATE)
            assert flags_of(s, box, copied[1]) == ({b"\\Answered"}, DATE)
            assert flags_of(s, box, target) == ({b"\\Flagged", b"$Mixed"}, DATE)
            ok(s.command(f"SELECT {box}"))
            [_, source, target] = code(ok(s.command(f"UID MOVE {copied[0]}:{copied[1]} INBOX.Trash")), "COPYUID")
            assert numbers(source) == copied and len(numbers(target)) == 2, (source, target)
            ok(s.command("UNSELECT"))
            refused(bed_copy(s, box), b"TRYCREATE")
        s.close()


def long_messages_go_across(bed):
    """backend2 has `literalminus`, and takes no long literal that it was not asked about: 3.10 and newer say LITERAL-.

    3.6 and 3.8 say LITERAL+ all the same, and answer NO [TOOBIG] to every client that believes them.
    """
    if bed.version(2) < (3, 10):
        return
    for user in USERS:
        s = bed.session(user)
        for box in BOXES:
            long = message(f"long to {box}", size=200_000)
            for sync in (True, False):
                [_, uid] = code(ok(s.command("APPEND INBOX.Work {}", long, sync=sync)), "APPENDUID")
                ok(s.command(f"APPEND {box} {{}}", long, sync=sync))
            ok(s.command("SELECT INBOX.Work"))
            [_, _, copy] = code(ok(s.command(f"UID MOVE {uid} {box}")), "COPYUID")
            ok(s.command(f"SELECT {box}"))
            assert long in ok(s.command(f"UID FETCH {copy} BODY.PEEK[]")).named("FETCH")[0]
            ok(s.command("UNSELECT"))
        s.close()


def bed_copy(session, box):
    """A copy to where nothing is."""
    ok(session.command(f"SELECT {box}"))
    answer = session.command("COPY 1 INBOX.Nosuch")
    ok(session.command("UNSELECT"))
    return answer


def numbers(text):
    """A set as it counts."""
    found = []
    for part in text.split(","):
        first, _, last = part.partition(":")
        low, high = int(first), int(last or first)
        found += range(low, high + 1) if low <= high else range(low, high - 1, -1)
    return found


QUERIES = ["STATUS {} (MESSAGES UIDNEXT UIDVALIDITY UNSEEN HIGHESTMODSEQ SIZE)", "EXAMINE {}",
           "SEARCH RETURN (COUNT MIN MAX ALL) SUBJECT message", "UID SEARCH 1:2",
           "SORT (REVERSE ARRIVAL SUBJECT) UTF-8 1:5", "UID THREAD REFERENCES UTF-8 1:5", "UID SORT RETURN (ALL COUNT) (DATE) UTF-8 1:5",
           "FETCH 1:3 (UID FLAGS BODYSTRUCTURE ENVELOPE RFC822.SIZE INTERNALDATE)", "UID FETCH 1:* (FLAGS MODSEQ)",
           "FETCH 1 (BINARY.SIZE[1] EMAILID THREADID SAVEDATE PREVIEW)", "UNSELECT", "GETQUOTAROOT {}",
           "MYRIGHTS {}", 'GETMETADATA {} (/shared/comment)']


def normal(line):
    """Without times, and without what tells of a first look."""
    if b"RECENT" in line:
        return b""
    if b"CONDSTORE enabled by" in line:         # a frontend has enabled it before
        return b""
    return re.sub(rb"\(?\d+\.\d+ sec(s\))?|^a\d+ |RECENT|\\Recent ?|in \d+\.\d+ secs", b"", line)


def answers_are_the_server_s_own(bed):
    """What one server serves is told as it tells it."""
    for user in USERS:
        for box, n in (("team01", 1), ("team02", 2)):
            ours, theirs = bed.session(user), bed.session(user, address=bed.backend(n))
            for query in QUERIES:
                told = [s.command(query.format(box)) for s in (ours, theirs)]
                lines = [sorted(filter(None, map(normal, answer.lines))) for answer in told]
                assert lines[0] == lines[1], (query, lines)
            ours.close()
            theirs.close()


def one_list_of_all(bed):
    """LIST with data of every mailbox, each as STATUS tells it."""
    for user in USERS:
        s = bed.session(user)
        told = ok(s.command('LIST "" (INBOX "INBOX.%" "team0%") RETURN (STATUS (MESSAGES UIDNEXT HIGHESTMODSEQ) SUBSCRIBED MYRIGHTS)'))
        boxes = [line for line in told.named("LIST") if b"NonExistent" not in line]
        assert len(told.named("STATUS")) == len(boxes) == len(told.named("MYRIGHTS")) >= 9, told.lines
        for line in told.named("STATUS"):
            name = line.split()[2].decode()
            alone = ok(s.command(f"STATUS {name} (MESSAGES UIDNEXT HIGHESTMODSEQ)")).named("STATUS")
            assert alone == [line], (alone, line)
        s.close()


def changes_are_told_to_who_enabled_it(bed):
    """QRESYNC: VANISHED, CHANGEDSINCE, and the gap told by SELECT, on both servers in turns."""
    for user in USERS:
        s, other = bed.session(user), bed.session("user003")
        assert b"QRESYNC" in ok(s.command("ENABLE QRESYNC CONDSTORE")).named("ENABLED")[0]
        for box in BOXES:
            for n in range(3):
                ok(other.command(f"APPEND {box} {{}}", message(f"gap {n}")))
            known = ok(s.command(f"SELECT {box}"))
            validity, modseq = code(known, "UIDVALIDITY")[0], code(known, "HIGHESTMODSEQ")[0]
            last = int(code(known, "UIDNEXT")[0]) - 1
            ok(other.command(f"SELECT {box}"))
            ok(other.command(f"UID STORE {last - 1} +FLAGS.SILENT (\\Deleted)"))
            ok(other.command("EXPUNGE"))
            ok(other.command(f"UID STORE {last} +FLAGS.SILENT ($Gap)"))
            ok(other.command("UNSELECT"))
            news = ok(s.command("NOOP"))
            assert [line for line in news.lines if line == b"* VANISHED %d" % (last - 1)] or wait_for(
                lambda gone=last - 1: b"* VANISHED %d" % gone in ok(s.command("NOOP")).lines, "VANISHED"), news.lines
            changed = ok(s.command(f"UID FETCH 1:* (FLAGS) (CHANGEDSINCE {modseq} VANISHED)"))
            assert len(changed.named("FETCH")) == 1 and b"$Gap" in changed.named("FETCH")[0], changed.lines
            ok(s.command("UNSELECT"))
            again = ok(s.command(f"SELECT {box} (QRESYNC ({validity} {modseq}))"))
            assert any(line == b"* VANISHED (EARLIER) %d" % (last - 1) for line in again.lines), again.lines
            assert any(b"$Gap" in line for line in again.named("FETCH")), again.lines
            ok(s.command("UNSELECT"))
        s.close()
        other.close()


def new_commands_where_all_have_them(bed):
    """UIDONLY, UTF8=ACCEPT, SEARCHRES, MULTISEARCH, PARTIAL, REPLACE: work across, or are refused as not offered."""
    told = offered(bed, "user001")
    for user in USERS:
        s = bed.session(user)
        enabled = ok(s.command("ENABLE UIDONLY UTF8=ACCEPT")).lines[0]
        for name in ("UIDONLY", "UTF8=ACCEPT"):
            assert (name.encode() in enabled.split()) == (name in told), (enabled, told)
        if "UIDONLY" in told:
            uids_alone(s)
        s.close()
        s = bed.session(user)
        if "MULTISEARCH" in told:
            found = ok(s.command("ESEARCH IN (mailboxes (INBOX team01 team02)) RETURN (COUNT) ALL")).named("ESEARCH")
            assert len(found) == 3 and {line.split(b'"')[3] for line in found} == {b"INBOX", b"team01", b"team02"}, found
        ok(s.command("SELECT INBOX"))
        if "SEARCHRES" in told:
            ok(s.command("UID SEARCH RETURN (SAVE) 1:2"))
            for box in BOXES:
                assert len(numbers(code(ok(s.command(f"UID COPY $ {box}")), "COPYUID")[2])) == 2
        if "PARTIAL" in told:
            assert len(ok(s.command("UID FETCH 1:* (FLAGS) (PARTIAL -1:-2)")).named("FETCH")) == 2
        if "REPLACE" in told:
            replaced(s)
        s.close()


def uids_alone(s):
    """No number of a message is said or taken any more."""
    ok(s.command("SELECT INBOX"))
    assert all(line.split()[2] == b"UIDFETCH" for line in ok(s.command("UID FETCH 1:* (FLAGS)")).lines[:-1])
    answer = s.command("FETCH 1 (FLAGS)")
    assert answer.status == "BAD" and b"UIDREQUIRED" in answer.tagged, answer.lines
    for box in BOXES:
        [_, uid] = code(ok(s.command("APPEND INBOX {}", message("by its UID"))), "APPENDUID")
        answer = ok(s.command(f"UID MOVE {uid} {box}"))
        assert b"* VANISHED %s" % uid.encode() in answer.lines, answer.lines
        assert not [line for line in answer.lines if re.match(rb"\* \d+ EXPUNGE", line)], answer.lines


def replaced(s):
    """REPLACE by number and by UID, to the same server and to the other."""
    for box in ("INBOX", *BOXES):
        for prefix in ("", "UID "):
            [_, uid] = code(ok(s.command("APPEND INBOX (\\Seen) {}", message("a draft"))), "APPENDUID")
            ok(s.command("NOOP"))
            number = uid if prefix else ok(s.command(f"SEARCH UID {uid}")).named("SEARCH")[0].split()[2].decode()
            answer = ok(s.command(f"{prefix}REPLACE {number} {box} (\\Flagged $Mixed) {{}}", message(f"for {box}")))
            [_, new] = code(answer, "APPENDUID")
            assert len(answer.named("EXPUNGE")) == 1, answer.lines
            assert not ok(s.command(f"UID SEARCH UID {uid}")).named("SEARCH")[0].split()[2:]
            ok(s.command("UNSELECT"))
            assert flags_of(s, box, new)[0] == {b"\\Flagged", b"$Mixed"}
            ok(s.command("SELECT INBOX"))


def waits(s):
    """IDLE, begun."""
    tag = s.tag()
    s.send(f"{tag} IDLE\r\n".encode())
    s.until_match(r"^\+", 60)
    return tag


def news_while_idle(bed):
    """IDLE in a mailbox of either server, for users of either."""
    for user in USERS:
        for box in BOXES:
            s, other = bed.session(user), bed.session("user003")
            ok(s.command(f"SELECT {box}"))
            tag = waits(s)
            ok(other.command(f"APPEND {box} {{}}", message("while idle")))
            s.until_match(r"EXISTS", 60)
            s.send(b"DONE\r\n")
            assert s.until_match(f"^{tag} ", 60)[-1].split()[1] == b"OK"
            s.close()
            other.close()


def hears(session, *patterns):
    """Waits until something untagged came for each pattern, in any order, asking by NOOP."""
    seen = []
    wait_for(lambda: seen.extend(ok(session.command("NOOP")).lines[:-1]) or
             all(any(re.search(x.encode(), line) for line in seen) for x in patterns), f"{patterns}")
    return seen


def notified_of_both(bed):
    """NOTIFY (RFC 5465): news of mailboxes on both servers, where both have it; else it is no command."""
    is_offered = "NOTIFY" in offered(bed, "user001")
    for user in USERS:
        s, other = bed.session(user), bed.session("user003")
        answer = s.command("NOTIFY SET (selected-delayed (MessageNew (UID FLAGS) MessageExpunge FlagChange)) "
                           "(subtree (team01 team02) (MessageNew MessageExpunge)) (personal (MessageNew MessageExpunge MailboxName))")
        if not is_offered:
            assert answer.status == "BAD" and b"Unrecognized command" in answer.tagged, answer.lines
            continue
        ok(answer)
        ok(s.command("SELECT INBOX"))
        for box in BOXES:
            ok(other.command(f"APPEND {box} {{}}", message("noted")))
        hears(s, "STATUS team01 ", "STATUS team02 ")
        mine = bed.session(user)
        ok(mine.command("APPEND INBOX.Sent {}", message("noted")))
        [_, uid] = code(ok(mine.command("APPEND INBOX {}", message("noted"))), "APPENDUID")
        hears(s, r"STATUS INBOX\.Sent ", rf"FETCH \(FLAGS \(.*\) UID {uid}\)")
        ok(mine.command("CREATE INBOX.Noted"))
        hears(s, r'LIST .* "?INBOX\.Noted')
        ok(mine.command("DELETE INBOX.Noted"))
        hears(s, r'LIST .*\\NonExistent.* "?INBOX\.Noted')
        ok(s.command("NOTIFY NONE"))
        for session in (s, other, mine):
            session.close()


def server_that_restarts_ends_notify(bed):
    """A client whose plan is true no more is told so, and asks anew."""
    if "NOTIFY" not in offered(bed, "user001"):
        return
    for instance in ("backend1", "backend2"):
        s, other = bed.session("user001"), bed.session("user003")
        ok(s.command("NOTIFY SET (mailboxes (team01 team02) (MessageNew MessageExpunge))"))
        bed.stop(instance)
        s.until_match("NOTIFICATIONOVERFLOW", 120)
        bed.start(instance)
        ok(s.command("NOTIFY SET (mailboxes (team01 team02) (MessageNew MessageExpunge))"))
        for box in BOXES:
            ok(other.command(f"APPEND {box} {{}}", message("again")))
        hears(s, "STATUS team01 ", "STATUS team02 ")
        s.close()
        other.close()


def folders_are_made_and_renamed(bed):
    """CREATE with a special use, RENAME, SETACL, SETMETADATA, DELETE: where the parent is, seen at once."""
    for user in USERS:
        s = bed.session(user)
        ok(s.command("CREATE INBOX.Special (USE (\\Archive))"))
        assert any(b"\\Archive" in line for line in ok(s.command('LIST (SPECIAL-USE) "" "*"')).named("LIST"))
        ok(s.command("CREATE INBOX.Archive"))
        ok(s.command("SETMETADATA INBOX.Archive (/private/comment {})", "kept"))
        assert any(b"kept" in line for line in ok(s.command("GETMETADATA INBOX.Archive (/private/comment)")).lines)
        ok(s.command("SETACL INBOX.Archive user003 lrs"))
        assert b"user003 lrs" in ok(s.command("GETACL INBOX.Archive")).lines[0]
        ok(s.command("RENAME INBOX.Archive INBOX.Old"))
        ok(s.command("SELECT INBOX.Old"))
        ok(s.command("UNSELECT"))
        ok(s.command("SUBSCRIBE INBOX.Old"))
        assert any(b"INBOX.Old" in line for line in ok(s.command('LSUB "" "*"')).named("LSUB"))
        ok(s.command("UNSUBSCRIBE INBOX.Old"))
        ok(s.command("DELETE INBOX.Old"))
        refused(s.command("SELECT INBOX.Old"))
        s.close()


def parts_of_messages_are_joined(bed):
    """CATENATE and URLFETCH of what the other server has."""
    for user in USERS:
        s = bed.session(user)
        ok(s.command("SELECT INBOX"))
        for box, other in (BOXES, BOXES[::-1]):
            [line] = ok(s.command(f"STATUS {other} (UIDVALIDITY)")).named("STATUS")
            validity = re.search(rb"UIDVALIDITY (\d+)", line).group(1).decode()
            answer = ok(s.command(f'APPEND {box} CATENATE (TEXT {{}} URL "/{other};UIDVALIDITY={validity}/;UID=1/;SECTION=TEXT")',
                                  b"Subject: joined\r\nFrom: a@b.c\r\n\r\n"))
            code(answer, "APPENDUID")
        s.close()


TESTS = [capabilities_are_what_all_offer, capabilities_of_each_phase, messages_go_across_both_ways, long_messages_go_across, answers_are_the_server_s_own, one_list_of_all,
         changes_are_told_to_who_enabled_it, new_commands_where_all_have_them, news_while_idle, notified_of_both,
         server_that_restarts_ends_notify, mailbox_ids_are_true, folders_are_made_and_renamed, parts_of_messages_are_joined]
