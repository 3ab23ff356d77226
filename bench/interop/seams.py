"""One namespace over unequal servers, and layouts that the drive does not have, beside a Cyrus frontend.

user001, user003 and team01, team03 live on backend1, user002, user004 and team02, team04 on backend2.
"""
import re
import shutil

import differences
import normalise
from bed import Bed
from beside import Beside
from commands import ok, refused, wait_for
from drive import message
from wire import Session


# ---------------------------------------------------------------- unequal servers
def is_alive(pid):
    """Whether a process runs."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def again(bed, instance):
    """Restarts an instance; a process that still has the old options must not take a connection of the new one."""
    pids = bed.pids(instance)
    bed.stop(instance)
    wait_for(lambda: not any(map(is_alive, pids)), f"end of {instance}")
    bed.start(instance)


def restarted(bed, instance, **options):
    """A backend with these options; one that is None is gone."""
    path = bed.murder_conf(instance)
    with open(path) as f:
        lines = [x for x in f.read().splitlines() if x.split(":")[0] not in options]
    with open(path, "w") as f:
        f.write("\n".join([*lines, *(f"{key}: {value}" for key, value in options.items() if value)]) + "\n")
    again(bed, instance)


def offered(ours, user="user001"):
    """What a new session of a user is offered, once it has spoken with both backends."""
    s = ours.session(user)
    for box in ("team01", "team02"):
        ok(s.command(f"STATUS {box} (MESSAGES)"))
    s.close()
    s = ours.session(user)
    words = ok(s.command("CAPABILITY")).named("CAPABILITY")[0].split()
    s.close()
    return {word.decode() for word in words[2:]}


def move_and_status(ours):
    """MOVE on the server that lacks it, and LIST with STATUS over both."""
    s, host = ours.session("user001"), ours.session("user001")
    for n in range(4):
        ok(s.command("APPEND INBOX.Work (\\Flagged) {}", message(f"shim {n}")))
    ok(s.command("SELECT INBOX.Work"))
    uids = [int(x) for x in ok(s.command("UID SEARCH SUBJECT shim")).named("SEARCH")[0].split()[2:]]
    ok(s.command(f"UID STORE {uids[3]} +FLAGS.SILENT (\\Deleted)"))
    answer = ok(s.command(f"UID MOVE {uids[0]}:{uids[1]} INBOX.Trash"))
    code = re.search(rb"\* OK \[COPYUID \d+ (\S+) (\S+)\]", answer.lines[0])
    assert code and code.group(1) in (b"%d:%d" % (uids[0], uids[1]), b"%d,%d" % (uids[0], uids[1])), answer.lines
    gone = [line for line in answer.lines if re.match(rb"\* \d+ EXPUNGE", line)]
    assert len(gone) == 2 and not answer.named("FETCH"), answer.lines
    left = ok(s.command("UID SEARCH SUBJECT shim")).named("SEARCH")[0].split()[2:]
    assert [int(x) for x in left] == uids[2:], (left, uids)
    ok(s.command("ENABLE QRESYNC"))
    answer = ok(s.command("MOVE * INBOX.Trash"))
    assert answer.named("VANISHED") and not answer.named("EXPUNGE"), answer.lines
    refused(s.command("MOVE 1 INBOX.Nosuch"), b"TRYCREATE")
    ok(host.command("SELECT INBOX.Trash"))
    seen = ok(host.command(f"UID FETCH {code.group(2).decode()} (FLAGS)")).named("FETCH")
    assert len(seen) == 2 and all(b"\\Flagged" in line and b"\\Deleted" not in line for line in seen), seen
    ok(host.command("STORE 1:* +FLAGS.SILENT (\\Deleted)"))
    ok(host.command("EXPUNGE"))
    told = ok(s.command('LIST "" (INBOX "INBOX.%" "team0%") RETURN (STATUS (MESSAGES UIDNEXT) SUBSCRIBED)'))
    assert len(told.named("STATUS")) == len(told.named("LIST")) >= 9, told.lines
    assert b"without data" not in told.tagged, told.tagged
    for line in told.named("STATUS"):
        name = line.split()[2].decode()
        alone = ok(host.command(f"STATUS {name} (MESSAGES UIDNEXT)")).named("STATUS")
        assert alone == [line], (alone, line)
    for session in (s, host):
        session.close()


def older_server_among_newer(bed, ours):
    """A server loses commands (that it still has), and gets them back: what is offered follows at once."""
    before = offered(ours)
    assert {"MOVE", "LIST-STATUS", "ESEARCH"} <= before, before
    move_and_status(ours)
    restarted(bed, "backend1", suppress_capabilities="MOVE LIST-STATUS ESEARCH WITHIN")
    assert before - offered(ours) == {"ESEARCH", "WITHIN"}, before ^ offered(ours)
    move_and_status(ours)
    restarted(bed, "backend1", suppress_capabilities="MOVE UIDPLUS")
    assert before - offered(ours) == {"MOVE", "UIDPLUS"}, before ^ offered(ours)
    s = ours.session("user001")
    ok(s.command("SELECT INBOX"))
    refused(s.command("MOVE 1 INBOX.Trash"), b"CANNOT", b"UIDPLUS")
    s.close()
    restarted(bed, "backend1", suppress_capabilities=None)
    assert offered(ours) == before, offered(ours) ^ before


def server_with_another_layout_is_named(bed, ours):
    """A client asks for NAMESPACE: servers that lay names out otherwise are logged, with what must be the same."""
    def said():
        with open(ours.conf("rookeryd.log"), errors="replace") as f:
            return [line for line in f if "altnamespace, unixhierarchysep" in line]
    for user in ("user001", "user002"):
        s = ours.session(user)
        ok(s.command("NAMESPACE"))
        ok(s.command("STATUS team01 (MESSAGES)"))
        ok(s.command("STATUS team02 (MESSAGES)"))
        s.close()
    assert not said(), said()
    restarted(bed, "backend1", altnamespace="yes")
    s = ours.session("user002")
    told = ok(s.command("NAMESPACE")).lines
    assert told[0] == b'* NAMESPACE (("INBOX." ".")) (("user." ".")) (("" "."))', told
    wait_for(lambda: s.command("STATUS team01 (MESSAGES)").status != "OK" and said(), "server in the log")
    assert all("backend1" in line for line in said()), said()
    s.close()
    restarted(bed, "backend1", altnamespace="no")


PUSH = "XAPPLEPUSHSERVICE aps-version 2 aps-account-id a aps-device-token b aps-subtopic com.apple.mobilemail mailboxes (INBOX team02)"


def home_alone_decides_of_push_notifications(bed, ours):
    """backend1 has them and backend2 has not: told to whose home the one is, and asked of it."""
    before = {user: offered(ours, user) for user in ("user001", "user002")}
    assert not any("XAPPLEPUSHSERVICE" in words for words in before.values()), before
    restarted(bed, "backend1", aps_topic="com.example.mail", event_notifier="log", event_groups="message applepushservice")
    for user, is_offered in (("user001", True), ("user002", False)):
        assert offered(ours, user) ^ before[user] == ({"XAPPLEPUSHSERVICE"} if is_offered else set()), user
        for select in ("UNSELECT", "SELECT INBOX", "SELECT team01", "SELECT team02"):
            s = ours.session(user)
            s.command(select)
            answer = s.command(PUSH)
            assert answer.status == ("OK" if is_offered else "BAD"), (user, select, answer.lines)
            assert any(b"aps-topic\" \"com.example.mail" in line for line in answer.lines) == is_offered, answer.lines
            s.close()
    restarted(bed, "backend1", aps_topic=None, event_notifier=None, event_groups=None)
    assert offered(ours, "user001") == before["user001"]


def idle_where_the_server_has_none(bed, ours):
    """Both frontends ask backend1 now and then, which has no IDLE; backend2 tells by itself."""
    restarted(bed, "backend1", imapidlepoll="0")
    frontends(bed, ours, "imapidlepoll: 1")
    for frontend in (bed, ours):
        for user, box, asked in (("user001", "team01", True), ("user001", "team02", False)):
            s, other = frontend.session(user), frontend.session("user003")
            ok(s.command(f"SELECT {box}"))
            s.send(b"i IDLE\r\n")
            s.until_match(r"^\+ idling" if asked else r"^\+", 60)
            ok(other.command(f"APPEND {box} {{}}", message("news")))
            s.until_match(r"EXISTS", 60)
            s.send(b"DONE\r\n")
            assert s.until_match("^i ", 60)[-1].startswith(b"i OK"), box
            ok(s.command("NOOP"))
            s.close()
            other.close()
    restarted(bed, "backend1", imapidlepoll=None)
    frontends(bed, ours)


# ---------------------------------------------------------------- messages of many servers
def message_is_put_together(_, ours):
    """CATENATE with parts of messages on both servers, in a mailbox of either; a large part goes through unseen."""
    s = ours.session("user001")
    big = message("a large part", size=3_000_000)
    ok(s.command("APPEND team02 {}", big))
    ok(s.command("APPEND INBOX {}", message("a small part", body="small body")))
    uids = {}
    for box, subject in (("team02", "a large part"), ("INBOX", "a small part")):
        answer = ok(s.command(f"EXAMINE {box}"))
        validity = re.search(rb"UIDVALIDITY (\d+)", b" ".join(answer.lines)).group(1).decode()
        uid = ok(s.command(f'UID SEARCH SUBJECT "{subject}"')).named("SEARCH")[0].split()[-1].decode()
        uids[box] = f";UIDVALIDITY={validity}/;UID={uid}"
    header, body = big.split(b"\r\n\r\n", 1)
    small = message("a small part", body="small body").split(b"\r\n\r\n", 1)[1]
    host = "frontend" + ours.backend_host(1).removeprefix("backend1")
    for box in ("team01", "team02", "INBOX.Work"):
        for root in ("", f"imap://{host}"):
            answer = ok(s.command(f'APPEND {box} (\\Seen) CATENATE (URL "{root}/team02{uids["team02"]}/;SECTION=HEADER" TEXT {{}} '
                                  f'URL "{root}/INBOX{uids["INBOX"]}/;SECTION=TEXT" URL "/team02{uids["team02"]}/;SECTION=TEXT/;PARTIAL=0.70")',
                                  b"begin\r\n", sync=box != "team02"))
            assert b"[APPENDUID" in answer.tagged, answer.tagged
            ok(s.command(f"EXAMINE {box}"))
            got = ok(s.command("FETCH * (FLAGS BODY.PEEK[])")).named("FETCH")[0]
            assert header + b"\r\n\r\nbegin\r\n" + small + body[:70] in got and b"\\Seen" in got, got[:2000]
    ok(s.command(f'APPEND team01 CATENATE (URL "/team02{uids["team02"]}")'))
    ok(s.command("EXAMINE team01"))
    assert big in ok(s.command("FETCH * BODY.PEEK[]")).named("FETCH")[0]
    for wrong in ("/team02/;UID=99999", f"/team02{uids['team02'].replace('UIDVALIDITY=', 'UIDVALIDITY=1')}", "/user.user002/;UID=1", "http://x/"):
        refused(s.command(f'APPEND team01 CATENATE (URL "{wrong}" TEXT {{}})', b"more", sync=False), b"BADURL")
        ok(s.command("NOOP"))
    s.close()


def rare_verbs_reach_their_server(_, ours):
    """What no frontend knows goes to the selected mailbox's server, and its answer comes back; without one it is BAD."""
    s = ours.session("user001")
    assert s.command("XNOSUCH a b").status == "BAD"
    for box in ("INBOX", "team02"):
        ok(s.command(f"SELECT {box}"))
        told = s.command("XNOSUCH a b")
        assert told.status == "BAD" and b"Unrecognized" in told.tagged, told.lines
        ok(s.command("XSTATS"))
        ok(s.command("NOOP"))
    answer = s.command('XAPPLEPUSHSERVICE aps-version 2 aps-account-id 0 aps-device-token 1 aps-subtopic com.apple.mobilemail mailboxes (INBOX)')
    assert answer.status in ("NO", "BAD", "OK"), answer.lines
    ok(s.command("NOOP"))
    s.close()


RARE = ["XSNIPPETS ((INBOX 0 (1))) UTF-8 TEXT body", "XRUNANNOTATOR 1", "XCONVSORT (REVERSE ARRIVAL) (CONVERSATIONS) UTF-8 ALL",
        "XCONVMULTISORT (REVERSE ARRIVAL) (POSITION (1 10)) UTF-8 ALL", "XCONVUPDATES (ARRIVAL) (1) UTF-8 ALL", "XCONVMETA (1) (UNSEEN)",
        "XCONVFETCH (1) 0 (UID)", "XMEID 1", "XSTATS", "RECONSTRUCT INBOX", "RECONSTRUCT INBOX RECURSIVE", "XWARMUP INBOX (INDEX)",
        "XWARMUP INBOX (INDEX CONVERSATIONS ANNOTATIONS FOLDERSTATUS STATUSCACHE SEARCH)", "XWARMUP INBOX", "GETJMAPACCESS",
        "SETUSERGROUP user001 group:x", "GETUSERGROUP group:x", "NOTIFY NONE", "NOTIFY SET (selected (MessageNew MessageExpunge))",
        "UIDBATCHES 10", 'XLIST "" "INBOX"', "XMOVE 1", "XFER INBOX x", "LOGIN a b", "AUTHENTICATE PLAIN", "STARTTLS"]
OF_MESSAGES = ["SORT (DATE) UTF-8 ALL", "UID SORT (REVERSE SUBJECT) UTF-8 ALL", "SORT RETURN (MIN COUNT) (DATE) UTF-8 ALL",
               "THREAD REFERENCES UTF-8 ALL", "UID THREAD REFS UTF-8 ALL", "UID EXPUNGE 999", "UID XMOVE 999 INBOX.Trash", "UID CHECK", "FETCH 1",
               "STORE 1", "SEARCH", "SORT", "THREAD", "COPY 1", "UID COPY 1 INBOX.Nosuch"]


def counted(answer):
    """What an XSTATS counts, without the numbers."""
    return [re.sub(rb"\d+", b"N", line) for line in ok(answer).lines if line.startswith(b"* XSTATS ")]


def rare_verbs_answer_as_one_server_does(bed, ours):
    """Where Cyrus' frontend has nothing to answer from: as the server of the user and his mailbox, asked directly."""
    direct, s, wrong = Session(bed.backend(1)).login("user001", bed.password("user001")), ours.session("user001"), []
    for command in [*RARE, "EXAMINE INBOX", *RARE, *OF_MESSAGES]:
        one, other = direct.command(command), s.command(command)
        if command == "XSTATS":                # counts what this server's process has done
            assert counted(one) == counted(other) != [], (one.lines, other.lines)
            continue
        if text := normalise.difference(one, other):
            wrong.append(f"{command}\n{text}")
        for one in (direct, s):            # who says nothing but what is none is sent away
            ok(one.command("NOOP"))
    for one in (direct, s):
        one.close()
    assert not wrong, "\n" + "\n".join(wrong)


def special_use_away_from_home_is_told(bed, ours):
    """A folder of user001's own on backend2, where nothing else of his is."""
    admin = Session(bed.backend(2)).login("cyrus", bed.password("cyrus"))
    for command in ("LOCALCREATE user.user001.Away", "MUPDATEPUSH user.user001.Away"):
        ok(admin.command(command))
    ours.settle()
    s = ours.session("user001")
    try:
        ok(s.command('SETMETADATA INBOX.Away (/private/specialuse "\\\\Archive")'))
        for command in ('LIST "" "INBOX.A%"', 'LIST (SPECIAL-USE) "" "*"', 'LIST "" "*" RETURN (SPECIAL-USE)', 'XLIST "" "INBOX.%"'):
            answer = ok(s.command(command))
            row = [line for line in answer.lines if line.endswith(b" INBOX.Away")]
            assert len(row) == 1 and b"\\Archive" in row[0] and b"without data" not in answer.tagged, answer.lines
    finally:
        s.close()
        for command in ("SETACL user.user001.Away cyrus lrswipkxtecda", "DELETE user.user001.Away"):
            ok(admin.command(command))
        admin.close()


# ---------------------------------------------------------------- layouts
def frontends(bed, ours, *options):
    """Both frontends with these options, and what they began with.

    The file stays: Cyrus makes a process whenever all are busy, and that one reads it then."""
    path, keys = bed.murder_conf("frontend"), {x.split(":")[0] for x in options}
    if not hasattr(bed, "frontend_began_with"):
        with open(path) as f:
            bed.frontend_began_with = f.read()
    lines = [x for x in bed.frontend_began_with.splitlines() if x.split(":")[0] not in keys]
    with open(path, "w") as f:
        f.write("\n".join([*lines, *options]) + "\n")
    again(bed, "frontend")
    bed.settle()
    ours.restart(more=options)
    ours.settle()


def alike(bed, ours, login, commands):
    """The same session with both frontends; what differs and is not known fails."""
    known = [(command, is_so) for command, whose, is_so, _ in KNOWN if re.fullmatch(whose, login)]
    wrong, sessions, before = [], [], []
    for frontend in (bed, ours):
        user = login.split("+")[0]
        s = Session(frontend.address, name=login)
        answer = s.command(f'LOGIN "{login}" "{bed.password(user)}"')
        assert answer.status == "OK", (frontend.address, login, answer.lines)
        sessions.append(s)
    for command in commands:
        theirs, mine = (s.command(command) for s in sessions)
        text = normalise.difference(theirs, mine)
        if text and not any(re.fullmatch(rx, command) and is_so(theirs, mine, before) for rx, is_so in known):
            wrong.append(f"{login}: {command}\n{text}")
        before.append((theirs, mine))
    for s in sessions:
        s.close()
    assert not wrong, "\n" + "\n".join(wrong)


LISTS = ['LIST "" "*"', 'LIST "" "%"', 'LIST "" "INBOX"', 'LIST "" "INBOX.%"', 'LIST "" "user.%"', 'LIST "" "user.*"', 'LIST "" "team0%"',
         'LIST "" "team*"', 'LIST "user." "%"', 'LIST "INBOX." "*"', 'LIST "team01" ".docs"', 'LIST "INBOX" "%"', 'LIST "nosuch." "*"',
         'LIST "" ""', 'LIST "INBOX." ""', 'LIST "" "user"', "NAMESPACE", 'LSUB "" "*"', 'LSUB "" "%"', 'LSUB "" "user.*"',
         'LIST (SUBSCRIBED) "" "user.*"', 'LIST "" "*" RETURN (SUBSCRIBED)']
REACHES = ["STATUS user.user002 (MESSAGES)", "STATUS team02 (MESSAGES)", "STATUS team01 (MESSAGES)", "EXAMINE team02", "EXAMINE user.user002",
           "EXAMINE INBOX", "MYRIGHTS team02", "MYRIGHTS user.user002", "GETACL INBOX", "SUBSCRIBE team02", "UNSUBSCRIBE team02"]


def rows(answer):
    """The names of the rows."""
    return sorted(re.sub(rb"^\* (LIST|LSUB) \([^)]*\) ", b"", line) for line in normalise.exchange(answer)
                  if line.startswith((b"* LIST", b"* LSUB")))


def same_rows(theirs, mine, _):
    """The same names; attributes are known to differ."""
    return rows(theirs) == rows(mine) and theirs.status == mine.status


def nobody_subscribes(_, mine, __):
    """Here nobody subscribes who has no home."""
    return mine.status == "NO"


def only_rows_of_subscriptions(theirs, mine, _):
    """Cyrus' frontend looks among subscriptions of its own, and has none."""
    return not rows(theirs) and all(b"\\Subscribed" in line for line in mine.named("LIST")) and mine.status == "OK"


def more_rows(theirs, mine, _):
    """All of Cyrus' rows, but for names that are cut at a dot of their domain."""
    return {row for row in rows(theirs) if not row.endswith(b"@example")} <= set(rows(mine)) and mine.status == "OK"


def selected_told_closed(theirs, mine, before):
    """Cyrus' lines, CLOSED where it belongs."""
    return normalise.exchange(mine) == differences.selected_told_closed(theirs, mine, before)


# Of which command, in whose session, how, and why.
KNOWN = [(r"LIST .*", ".*", same_rows, "9.17: special uses in every LIST, as one server tells them"),
         (r"LIST .*", r"user001\+", only_rows_of_subscriptions, "Cyrus' frontend looks among subscriptions of its own"),
         (r"LIST .*", "cyrus", more_rows, "9.40: Cyrus takes user.x@domain and user.x for one, and dots of a domain for separators"),
         (r"CAPABILITY", ".*", lambda theirs, mine, _: (b"MAILBOX-REFERRALS" in theirs.lines[0]) == (b"MAILBOX-REFERRALS" in mine.lines[0]),
          "a frontend shows what all backends offer, and its own"),
         (r"SELECT .*|EXAMINE .*", ".*", selected_told_closed,
          "RFC 7162 section 3.2.11: CLOSED wherever the old mailbox was"),
         (r"(UN)?SUBSCRIBE .*", "cyrus", nobody_subscribes, "Cyrus keeps subscriptions of who has no home on the frontend itself")]


def namespaces_are_disabled(bed, ours):
    for option in ("disable_user_namespace: yes", "disable_shared_namespace: yes"):
        frontends(bed, ours, option)
        for user in ("user001", "user002", "cyrus"):
            alike(bed, ours, user, [*LISTS, *REACHES])


def stupid_clients_are_fooled(bed, ours):
    frontends(bed, ours, "foolstupidclients: yes")
    for user in ("user001", "cyrus"):
        alike(bed, ours, user, LISTS)


def references_are_ignored(bed, ours):
    frontends(bed, ours, "ignorereference: yes")
    for user in ("user001", "cyrus"):
        alike(bed, ours, user, LISTS)


def magic_plus_is_taken_off(bed, ours):
    for n in (1, 2):                       # Cyrus' frontend hands the suffix on
        restarted(bed, f"backend{n}", imapmagicplus="yes")
    frontends(bed, ours, "imapmagicplus: yes")
    for login in ("user001+", "user001+dav", "user001+other", "user001"):
        alike(bed, ours, login, [*LISTS, *REACHES])


def calendars_are_hidden(bed, ours):
    frontends(bed, ours)
    admin = Session(bed.backend(1)).login("cyrus", bed.password("cyrus"))
    made = [f"user.user001.{name}" for name in ("#calendars", "#calendars.Default", "#addressbooks", "#drive", "#notifications",
                                                "#jmap", "#sieve", "#other", "Work.#calendars")]
    answers = {name: admin.command(f'CREATE "{name}"').tagged for name in made}
    admin.close()
    ours.settle()
    bed.settle()
    touched = ["#calendars", "#calendars.Default", "#addressbooks", "#other", "Work.#calendars"]
    commands = [*LISTS, 'LIST (VENDOR.CMU-DAV) "" "*"', 'LIST (VENDOR.CMU-DAV) "" "INBOX.%"', 'LIST "" "INBOX.#calendars"', 'LIST "" "INBOX.#cal*"',
                'LIST "" "INBOX.Work.*"', *[f'{verb} "INBOX.{name}"{rest}' for name in touched for verb, rest in (
                    ("STATUS", " (MESSAGES)"), ("EXAMINE", ""), ("MYRIGHTS", ""), ("GETACL", ""), ("SUBSCRIBE", ""))],
                'LSUB "" "*"', 'LIST (SUBSCRIBED) "" "*"', *[f'UNSUBSCRIBE "INBOX.{name}"' for name in touched]]
    try:
        alike(bed, ours, "user001", [*commands, 'LIST (VENDOR.CMU-INCLUDE-DELETED) "" "*"', 'LIST "" "DELETED*"'])
        alike(bed, ours, "cyrus", ['LIST "" "user.user001.*"', 'LIST "" "*"', 'LIST "" "user.user001.#cal*"',
                                   'STATUS "user.user001.#calendars" (MESSAGES)'])
    finally:
        admin = Session(bed.backend(1)).login("cyrus", bed.password("cyrus"))
        for name in reversed(made):
            admin.command(f'SETACL "{name}" cyrus lrswipkxtecda')
            admin.command(f'DELETE "{name}"')
        admin.close()
    assert all(b" OK" in tagged for tagged in answers.values()), answers


REFERRED = ["CAPABILITY", "STATUS team02 (MESSAGES)", "SELECT team02", 'RLIST "" "team0%"', "STATUS team02 (MESSAGES)", "STATUS team01 (MESSAGES)",
            "STATUS INBOX (MESSAGES)", "EXAMINE team02", "SELECT INBOX", "SETACL team02 user003 lr", "RLSUB \"\" \"*\"", "STATUS nosuch (MESSAGES)",
            'LIST "" "team02"', "DELETE nosuch"]


def referral_options_are_kept(bed, ours):
    """To who asks by RLIST, and of STATUS, as the options say."""
    for options in (["proxyd_allow_status_referral: yes"],
                    ["proxyd_allow_status_referral: yes", "proxyd_disable_mailbox_referrals: yes"]):
        frontends(bed, ours, *options)
        alike(bed, ours, "user001", REFERRED)


def deleted_mailboxes_are_listed_where_asked(bed, ours):
    frontends(bed, ours, "allowdeleted: yes")
    s = ours.session("user001")
    for name in ("Kept", "Kept.sub"):
        ok(s.command(f"CREATE INBOX.{name}"))
    for name in ("Kept.sub", "Kept"):
        ok(s.command(f"DELETE INBOX.{name}"))
    s.close()
    ours.settle()
    bed.settle()
    for user in ("user001", "cyrus"):
        alike(bed, ours, user, [
            'LIST (VENDOR.CMU-INCLUDE-DELETED) "" "*"', 'LIST (VENDOR.CMU-INCLUDE-DELETED) "" "%"', 'LIST "" "DELETED.*"',
            'LIST (VENDOR.CMU-INCLUDE-DELETED) "" "DELETED.*"', 'LIST (VENDOR.CMU-INCLUDE-DELETED) "" "INBOX*"',
            'LIST (VENDOR.CMU-INCLUDE-DELETED) "" "DELETED.user.*"', 'LIST "" "DELETED.%"'])


def domains_cross(bed, ours):
    """A murder of its own."""
    admin = bed.session("cyrus")
    for name in ("user.user001@example.org", "user.user001.Sub@example.org", "news@example.org"):
        ok(admin.command(f"CREATE {name}"))
    ok(admin.command("SETACL news@example.org anyone lrs"))
    ok(admin.command("SETACL user.user001@example.org user001 lrs"))
    ok(admin.command("SETACL user.user002 user001 lrs"))
    admin.close()
    frontends(bed, ours)
    lists = ['LIST "" "*"', 'LIST "" "%"', 'LIST "" "user.%"', 'LIST "" "user.*"', 'LIST "" "user.user001@*"', 'LIST "" "*@*"', 'LIST "" "INBOX*"',
             'LIST "" "news*"', 'LIST "" "team0%"', "NAMESPACE", 'LSUB "" "*"']
    reaches = [f"{verb} {name}{rest}" for verb, rest in (("STATUS", " (MESSAGES)"), ("EXAMINE", ""), ("MYRIGHTS", "")) for name in (
        "user.user001@example^org", "user.user001@example.org", "user.user002", "user.user002@internal", "news@example^org", "news", "team01",
        '"user.user001@example^org.Sub"', "INBOX.Sub", "INBOX")]
    for user in ("user001", "user001@example.org", "cyrus"):
        alike(bed, ours, user, [*lists, *reaches])
    def listed():
        told = {}
        for user in ("user001", "user001@example.org", "cyrus"):
            s = Session(ours.address, name=user)
            ok(s.command(f'LOGIN "{user}" "{bed.password(user)}"'))
            told[user] = [rows(s.command(line)) for line in ('LIST "" "*"', 'LIST "" "user.*"', 'LIST "" "*@*"')]
            s.close()
        return told
    before = listed()
    for n in (1, 2):
        restarted(bed, f"backend{n}", crossdomains_onlyother="yes")
    frontends(bed, ours, "crossdomains_onlyother: yes")
    assert listed() != before, f"a user's own domain goes unnamed then: {before}"
    for user in ("user001", "user001@example.org", "cyrus"):
        alike(bed, ours, user, [*lists, *reaches])


TESTS = [("an older server among newer ones", older_server_among_newer),
         ("another layout", server_with_another_layout_is_named),
         ("push notifications of the home", home_alone_decides_of_push_notifications),
         ("IDLE where a server has none", idle_where_the_server_has_none), ("CATENATE", message_is_put_together),
         ("special use away from home", special_use_away_from_home_is_told), ("rare verbs", rare_verbs_reach_their_server),
         ("rare verbs and one server", rare_verbs_answer_as_one_server_does), ("disabled namespaces", namespaces_are_disabled),
         ("foolstupidclients", stupid_clients_are_fooled), ("ignorereference", references_are_ignored), ("imapmagicplus", magic_plus_is_taken_off),
         ("deleted mailboxes", deleted_mailboxes_are_listed_where_asked), ("calendars", calendars_are_hidden),
         ("referrals", referral_options_are_kept)]


def beside(report, a, folder, options, tests):
    """One murder with both frontends."""
    shutil.rmtree(folder, ignore_errors=True)
    with Bed(folder, a.net, options, 2) as bed:
        ours = Beside(bed, a.binaries)
        ours.write_configuration()
        ours.start_frontend()
        try:
            for name, test in tests:
                report.check(f"seams/{name}", test, bed, ours)
        finally:
            ours.stop_frontend()


def run(report, a):
    """Two murders, one of them with domains."""
    beside(report, a, f"{a.folder}/seams", [], TESTS)
    cross = ["--virtdomains", "--set", "crossdomains=yes"]
    beside(report, a, f"{a.folder}/seams-domains", cross, [("domains cross", domains_cross)])
