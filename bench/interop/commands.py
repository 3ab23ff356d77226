"""Commands beyond the drive, what operators rely on, and mail clients as users have them, on a real murder.

user001, user003 and team01, team03 live on backend1, user002, user004 and team02, team04 on backend2.
"""
import glob
import imaplib
import os
import re
import shutil
import socket
import ssl
import subprocess
import time
import zlib

from bed import Bed
from drive import message
from wire import Lost, Session

WAIT_SECONDS = 60


def wait_for(condition, what):
    """Until it holds; gives what the condition gave."""
    end = time.monotonic() + WAIT_SECONDS
    while not (found := condition()):
        assert time.monotonic() < end, f"no {what} in {WAIT_SECONDS} s"
        time.sleep(0.05)
    return found


def ok(answer):
    """An OK, or the test fails."""
    assert answer.status == "OK", (answer.command, answer.lines)
    return answer


def refused(answer, *parts):
    """A NO with all of these in it."""
    assert answer.status == "NO" and all(part in answer.tagged for part in parts), (answer.command, answer.lines)


def subjects(session, box):
    """The subjects in a mailbox, in order."""
    ok(session.command(f"EXAMINE {box}"))
    lines = ok(session.command("UID FETCH 1:* (BODY.PEEK[HEADER.FIELDS (SUBJECT)])")).named("FETCH")
    ok(session.command("UNSELECT"))
    return [re.search(rb"Subject: (.*)\r", line).group(1).decode() for line in lines if b"Subject" in line]


# ---------------------------------------------------------------- MAILBOXID
MAILBOX_ID = re.compile(rb"MAILBOXID \(([A-Za-z0-9_-]+)\)[ )]")


def mailbox_ids_are_true(bed):
    """MAILBOXID with items for which Cyrus opens the mailbox, which tells it from freed memory; by LIST, too."""
    s = bed.session("user001")
    ids = {}
    for box, n in (("INBOX", 1), ("INBOX.Sent", 1), ("team01", 1), ("team02", 2)):
        direct = bed.session("user001", address=bed.backend(n))
        [line] = ok(direct.command(f"STATUS {box} (MAILBOXID)")).named("STATUS")
        ids[box.encode()] = MAILBOX_ID.search(line).group(1)
        direct.close()
    assert len(set(ids.values())) == 4, ids
    for _ in range(10):
        for box, told in ids.items():
            for items in ("MESSAGES MAILBOXID UNSEEN", "MAILBOXID UIDVALIDITY", "SIZE mailboxid"):
                [line] = ok(s.command(f"STATUS {box.decode()} ({items})")).named("STATUS")
                assert MAILBOX_ID.search(line).group(1) == told and len(MAILBOX_ID.findall(line)) == 1, (line, told)
        answer = ok(s.command('LIST "" (INBOX "INBOX.%" "team0%") RETURN (STATUS (MESSAGES MAILBOXID))'))
        lines = answer.named("STATUS")
        assert len(lines) == len([line for line in answer.named("LIST") if b"NonExistent" not in line]) >= 9, answer.lines
        assert all(b"MESSAGES " in line and len(MAILBOX_ID.findall(line)) == 1 for line in lines), lines
        told = {line.split()[2]: MAILBOX_ID.search(line).group(1) for line in lines}
        assert ids.items() <= told.items(), (ids, told)
    s.close()


# ---------------------------------------------------------------- COMPRESS
class Deflated:
    """A socket of a compressed connection."""

    def __init__(self, inner):
        self.inner, self.out, self.input = inner, zlib.compressobj(wbits=-15), zlib.decompressobj(-15)

    def sendall(self, data):
        """As a socket's."""
        self.inner.sendall(self.out.compress(data) + self.out.flush(zlib.Z_SYNC_FLUSH))

    def recv(self, _):
        """As a socket's; a block may hold nothing yet."""
        while got := self.inner.recv(65536):
            if plain := self.input.decompress(got):
                return plain
        return b""

    def settimeout(self, seconds):
        """As a socket's."""
        self.inner.settimeout(seconds)

    def close(self):
        """As a socket's."""
        self.inner.close()


def compressed(session):
    """The session, compressed from here on."""
    ok(session.command("COMPRESS DEFLATE"))
    session.socket = Deflated(session.socket)
    return session


def compressed_client_is_served_as_any_other(bed, tls):
    s = bed.session(name="deflate")
    if tls:
        s.starttls(bed.tls(), bed.address)
    compressed(s.login("user001", bed.password("user001")))
    refused(s.command("COMPRESS DEFLATE"), b"COMPRESSIONACTIVE")
    big = message("compressed", size=2_000_000)
    ok(s.command("APPEND team02 {}", big, sync=False))
    ok(s.command("SELECT team02"))
    got = ok(s.command("FETCH * BODY.PEEK[]")).named("FETCH")[0]
    assert big in got, f"{len(got)} bytes"
    ok(s.command("STORE * +FLAGS.SILENT (\\Deleted)"))
    ok(s.command("EXPUNGE"))
    ok(s.command("SELECT INBOX"))
    for _ in range(50):
        ok(s.command("FETCH 1 (FLAGS)"))
    ok(s.command("LOGOUT"))
    s.close()


def garbage_in_a_compressed_connection_ends_it(bed):
    s = bed.session("user001")
    ok(s.command("COMPRESS DEFLATE"))
    s.send(b"\xff" * 512)
    try:
        while s.line(WAIT_SECONDS):
            pass
    except Lost as lost:
        assert "TimeoutError" not in str(lost), "not closed"
    s.close()


def backend_is_asked_for_compression(bed):
    traced = f"{bed.folder}/backend1/conf/log/user001"
    os.makedirs(traced, exist_ok=True)
    shutil.chown(traced, "cyrus")
    s = bed.session("user001")
    big = message("to a compressed backend", size=500_000)
    for box in ("team01", "team02"):
        ok(s.command(f"APPEND {box} {{}}", big))
        ok(s.command(f"SELECT {box}"))
        assert big in ok(s.command("FETCH * BODY.PEEK[]")).named("FETCH")[0]
        ok(s.command("STORE * +FLAGS.SILENT (\\Deleted)"))
        ok(s.command("EXPUNGE"))
    ok(s.command("LOGOUT"))
    s.close()

    def asked():
        return any(b"RKZ COMPRESS DEFLATE" in open(path, "rb").read() for path in glob.glob(f"{traced}/*"))
    try:
        wait_for(asked, "COMPRESS in the backend's telemetry")
    finally:
        shutil.rmtree(traced)


# ---------------------------------------------------------------- moving by administrators
def user_is_moved_by_xfer_and_rename(bed):
    admin, one, two = bed.session("cyrus"), bed.backend_host(1), bed.backend_host(2)
    before = subjects(bed.session("user003"), "INBOX")
    for command in (f"XFER user.user003 {two}", f"RENAME user.user003 user.user003 {one}!default",
                    f"XFER user.user003 {two} default", f"RENAME user.user003 user.user003 {one}!"):
        ok(admin.command(command))
        server = two if two in command else one
        s = bed.session("user003")
        assert subjects(s, "INBOX") == before, command
        ok(s.command("APPEND INBOX {}", message("after a move")))
        before.append("after a move")
        s.close()
        direct = Session(bed.backend(2 if server == two else 1)).login("user003", bed.password("user003"))
        ok(direct.command("STATUS INBOX (MESSAGES)"))
        direct.close()
    refused(admin.command(f"RENAME user.user003 user.user003 {one}!"), b"ALREADYEXISTS")
    admin.close()


def shared_mailbox_stays_on_a_server_that_would_abort(bed):
    admin, two = bed.session("cyrus"), bed.backend_host(2)
    refused(admin.command(f"XFER team01 {two}"), b"CANNOT", b"3.6")
    refused(admin.command(f"RENAME team01 team01 {two}!default"), b"CANNOT", b"3.6")
    ok(admin.command("STATUS team01 (MESSAGES)"))
    user = bed.session("user001")
    refused(user.command(f"XFER INBOX {two}"), b"Permission denied")
    for verb in ("SYNCGET USER x", "MUPDATEPUSH INBOX", "UNDUMP INBOX", "LOCALDELETE INBOX.Trash"):
        refused(user.command(verb), b"Permission denied")
    user.close()
    admin.close()


# ---------------------------------------------------------------- REPLACE
def message_is_replaced(bed, box):
    s = bed.session("user002")
    ok(s.command("APPEND INBOX.Drafts {}", message("draft one")))
    ok(s.command("SELECT INBOX.Drafts"))
    uid = ok(s.command("UID SEARCH SUBJECT \"draft one\"")).named("SEARCH")[0].split()[-1].decode()
    answer = ok(s.command(f"UID REPLACE {uid} {box} (\\Draft) {{}}", message("draft two")))
    assert any(b"[APPENDUID" in line for line in answer.lines), answer.lines
    assert [line for line in answer.lines if b"EXPUNGE" in line], answer.lines
    assert ok(s.command("UID SEARCH SUBJECT \"draft one\"")).named("SEARCH") == [b"* SEARCH"]
    assert subjects(bed.session("user002"), box)[-1] == "draft two"
    refused(s.command(f"UID REPLACE {uid} {box} {{}}", message("draft three"), sync=False), b"NONEXISTENT")
    ok(s.command("APPEND INBOX.Drafts {}", message("draft four")))
    ok(s.command("NOOP"))
    ok(s.command(f"REPLACE * {box} {{}}", message("draft five"), sync=False))
    assert ok(s.command("UID SEARCH SUBJECT \"draft four\"")).named("SEARCH") == [b"* SEARCH"]
    refused(s.command("REPLACE * nosuch.box {}", message("nowhere"), sync=False))
    s.close()


# ---------------------------------------------------------------- URLAUTH
def url_is_authorized_and_fetched(bed, box):
    """By its owner, from a frontend that has never seen it; then its key is taken back."""
    s, host = bed.session("user001"), "frontend" + bed.backend_host(1).removeprefix("backend1")
    rump = f"imap://user001@{host}/{box}/;uid=1/;section=TEXT;urlauth=user+user001"
    made = ok(s.command(f'GENURLAUTH "{rump}" INTERNAL')).named("GENURLAUTH")[0]
    url = re.search(rb'"(.*)"', made).group(1).decode()
    assert url.startswith(rump + ":internal:"), made
    ok(s.command(f"EXAMINE {box}"))
    text = ok(s.command("UID FETCH 1 BODY.PEEK[TEXT]")).named("FETCH")[0].split(b"\r\n", 1)[1].rpartition(b")")[0]
    t = bed.session("user001")
    assert ok(t.command(f'URLFETCH "{url}"')).named("URLFETCH") == [
        b'* URLFETCH "%s" {%d}\r\n%s' % (url.encode(), len(text), text)]
    other = bed.session("user002")
    assert ok(other.command(f'URLFETCH "{url}"')).named("URLFETCH") == [b'* URLFETCH "%s" NIL' % url.encode()]
    ok(t.command(f"RESETKEY {box}"))
    assert ok(t.command(f'URLFETCH "{url}" "imap://elsewhere/x/;uid=1"')).named("URLFETCH") == [
        b'* URLFETCH "%s" NIL' % url.encode(), b'* URLFETCH "imap://elsewhere/x/;uid=1" NIL']
    ok(t.command("RESETKEY"))
    for each in (s, t, other):
        each.close()


# ---------------------------------------------------------------- what operators put up
def put(bed, path, text):
    """A file of the frontend's configuration directory."""
    path = bed.conf(f"conf/{path}")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w") as f:
        f.write(text)
    return path


def motd_and_shutdown_are_told(bed):
    s, admin = bed.session("user001"), bed.session("cyrus")
    ok(s.command("SELECT INBOX"))
    motd, down = put(bed, "msg/motd", "back at noon\n"), None
    try:
        def told():
            t = bed.session()
            t.send(b"x NOOP\r\n")
            line = t.line()
            t.close()
            return line == b"* OK [ALERT] back at noon"
        wait_for(told, "message of the day")
        down = put(bed, "msg/shutdown", "maintenance\nsecond line\n")

        def sent_away():
            try:
                return b"* BYE [ALERT] maintenance" in s.command("NOOP").lines
            except Lost:
                return True
        wait_for(sent_away, "BYE")
        ok(admin.command("NOOP"))
    finally:
        for path in (motd, down):
            if path:
                os.unlink(path)
    wait_for(lambda: bed_takes(bed), "login after the shutdown")
    admin.close()


def bed_takes(bed):
    """Whether a user may work."""
    try:
        s = bed.session("user001")
        taken = s.command("NOOP").status == "OK"
        s.close()
        return taken
    except Lost:
        return False


def telemetry_is_written_without_passwords(bed):
    folder = bed.conf("conf/log/user004")
    os.makedirs(folder, exist_ok=True)
    shutil.chown(folder, "cyrus")
    try:
        def text():
            s = bed.session("user004")
            ok(s.command("SELECT INBOX"))
            ok(s.command("FETCH 1 BODY.PEEK[]"))
            ok(s.command("UNAUTHENTICATE"))
            ok(s.command('LOGIN "user004" "%s"' % bed.password("user004")))
            ok(s.command("LOGOUT"))
            s.close()
            return "".join(open(path, errors="replace").read() for path in glob.glob(f"{folder}/imap-*"))
        said = wait_for(text, "telemetry")
        said = wait_for(lambda: (t := text()) and "UNAUTHENTICATE" in t and t, "telemetry of a whole session")
        for part in ("---------- user004", "SELECT INBOX", "* 1 FETCH (BODY[]", "Body of message 1"):
            assert part in said, (part, said[-800:])
        assert bed.password("user004") not in said, said
    finally:
        shutil.rmtree(folder)


def logins_are_limited_by_user_and_host(bed):
    """The frontend runs with maxlogins_per_user: 3."""
    taken = [bed.session("user001") for _ in range(3)]
    s = bed.session()
    refused(s.command('LOGIN user001 "%s"' % bed.password("user001")), b"Too many open connections (4 of 3 for user001)")
    ok(s.command('LOGIN user002 "%s"' % bed.password("user002")))
    taken.pop().close()
    t = bed.session()
    wait_for(lambda: t.command('LOGIN user001 "%s"' % bed.password("user001")).status == "OK", "place")
    for each in (*taken, s, t):
        each.close()


def failed_logins_are_found_by_fail2ban(bed):
    s = bed.session()
    s.command("LOGIN user001 wrong")
    s.command("AUTHENTICATE PLAIN " + __import__("base64").b64encode(b"\0user002\0wrong").decode())
    s.close()
    lines = wait_for(lambda: [x for x in open(bed.conf("rookeryd.log"), errors="replace") if "badlogin:" in x][1:], "line")
    with open(bed.conf("rookeryd.log"), errors="replace") as f:
        lines = [line for line in f if "badlogin:" in line and "SASL" in line]
    assert all(re.search(r" (\S+/)?imap\[\d+\]: badlogin: \[127\.", line) for line in lines), lines
    path = f"{bed.folder}/fail2ban.log"
    with open(path, "w") as f:
        f.writelines(line.replace("frontend/imap[", "cyrus/imap[") for line in lines)
    done = subprocess.run(["fail2ban-regex", path, "/etc/fail2ban/filter.d/cyrus-imap.conf"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=WAIT_SECONDS)
    counts = re.search(r"(\d+) lines, (\d+) ignored, (\d+) matched, (\d+) missed", done.stdout)
    assert counts and counts.group(3) == str(len(lines)) and counts.group(4) == "0", done.stdout[-1500:]


def one_session_id_joins_frontend_and_backend(bed):
    s = bed.session()
    told = ok(s.command('LOGIN user001 "%s"' % bed.password("user001"))).tagged
    session_id = re.search(rb"SESSIONID=<([^>]+)>", told).group(1).decode()
    ok(s.command("SELECT INBOX"))
    s.close()
    wait_for(lambda: session_id in open(bed.conf("rookeryd.log"), errors="replace").read(), "id in our log")
    traced = f"{bed.folder}/backend1/conf/log/user001"
    os.makedirs(traced, exist_ok=True)
    shutil.chown(traced, "cyrus")
    try:
        def told():
            t = bed.session()
            mine = ok(t.command('LOGIN user001 "%s"' % bed.password("user001"))).tagged
            ok(t.command("SELECT INBOX"))
            ok(t.command("LOGOUT"))
            t.close()
            number = re.search(rb"SESSIONID=<([^>]+)>", mine).group(1)
            return any(number in open(path, "rb").read() for path in glob.glob(f"{traced}/*"))
        wait_for(told, "id in the backend's telemetry")
    finally:
        shutil.rmtree(traced)


# ---------------------------------------------------------------- clients
def run_client(command, text="", home=None):
    """A program to its end, quiet and bounded."""
    environment = {**os.environ, "HOME": home or "/tmp", "TERM": "vt100"}
    return subprocess.run(command, input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=2 * WAIT_SECONDS, env=environment, errors="replace")


def cyradm_manages_users(bed):
    two = bed.backend_host(2)
    script = f"createmailbox user.cyradm {two}!default\nsetquota user.cyradm STORAGE 5000\nlistquota user.cyradm\n" \
             "createmailbox user.cyradm.Sub\nsetaclmailbox user.cyradm cyrus all\nlm user.cyradm*\n" \
             f"renamemailbox user.cyradm user.cyradm {bed.backend_host(1)}!default\nlm user.cyradm*\n" \
             "listquota user.cyradm\ndeletemailbox user.cyradm\nlm user.cyradm*\nquit\n"
    done = run_client(["cyradm", "--user", "cyrus", "--password", bed.password("cyrus"), "--auth", "login", bed.address], script)
    said = done.stdout
    assert said.count("user.cyradm.Sub") >= 2 and said.count("5000") >= 2, said
    direct = Session(bed.backend(1)).login("cyrus", bed.password("cyrus"))
    assert not direct.command('LIST "" user.cyradm').named("LIST")
    direct.close()
    assert "Permission denied" not in said and "rror" not in said, said


def curl_fetches_and_stores(bed):
    base, user = f"imap://{bed.address}", f"user001:{bed.password('user001')}"
    path = f"{bed.folder}/curl.eml"
    sent = message("by curl", size=50_000)
    with open(path, "wb") as f:
        f.write(sent)
    for box in ("INBOX.Trash", "team02"):
        done = run_client(["curl", "-sS", "-u", user, "-T", path, f"{base}/{box}"])
        assert done.returncode == 0, done.stdout
        found = run_client(["curl", "-sS", "-u", user, f"{base}/{box}?SUBJECT%20%22by%20curl%22"])
        number = found.stdout.split()[-1]
        got = run_client(["curl", "-sS", "-u", user, f"{base}/{box};MAILINDEX={number}"])
        assert got.stdout.replace("\r", "") == sent.decode().replace("\r", ""), got.stdout[:300]


def remote_state(bed, boxes):
    """Message-IDs and flags in mailboxes, as user001 sees them."""
    c = imaplib.IMAP4(bed.address, 143, WAIT_SECONDS)
    c.login("user001", bed.password("user001"))
    state = {}
    for box in boxes:
        assert c.select(box, readonly=True)[0] == "OK"
        _, data = c.fetch("1:*", "(FLAGS BODY.PEEK[HEADER.FIELDS (MESSAGE-ID)])")
        for item in data or []:
            if isinstance(item, tuple):
                flags = {f for f in imaplib.ParseFlags(item[0]) if f in (rb"\Seen", rb"\Flagged", rb"\Answered")}
                found = re.search(rb"(?i)message-id: *(<.*?>)", item[1])
                if found:
                    state[box, found.group(1).decode()] = flags
    c.logout()
    return state


LETTERS = {"S": rb"\Seen", "F": rb"\Flagged", "R": rb"\Answered"}


def local_state(folder, boxes, path_of):
    """The same of maildirs."""
    state = {}
    for box in boxes:
        for path in glob.glob(f"{path_of(folder, box)}/cur/*") + glob.glob(f"{path_of(folder, box)}/new/*"):
            with open(path, "rb") as f:
                found = re.search(rb"(?im)^message-id: *(<.*?>)", f.read())
            letters = path.rpartition(":2,")[2] if ":2," in path else ""
            if found:
                state[box, found.group(1).decode()] = {LETTERS[x] for x in letters if x in LETTERS}
    return state


def change_both_sides(bed, folder, path_of, word):
    """New mail, a flag and a deletion, on either side, in mailboxes of two backends."""
    s = bed.session("user001")
    for box in ("team01", "team02"):
        ok(s.command(f"APPEND {box} {{}}", message(f"{word} remote {box}")))
        ok(s.command(f"SELECT {box}"))
        ok(s.command("UID STORE 2 +FLAGS (\\Flagged)"))
        with open(f"{path_of(folder, box)}/new/{word}.{box}", "wb") as f:
            f.write(message(f"{word} local {box}").replace(b"\r\n", b"\n"))
        first = sorted(path for place in ("cur", "new") for path in glob.glob(f"{path_of(folder, box)}/{place}/*")
                       if word not in os.path.basename(path))[0]
        head, _, letters = first.rpartition(":2,") if ":2," in first else (first, "", "")
        os.rename(first, f"{head.replace('/new/', '/cur/')}:2,{''.join(sorted(set(letters) | {'R', 'S'}))}")
    ok(s.command("LOGOUT"))
    s.close()


def converges(bed, folder, boxes, path_of, sync, word):
    """A sync both ways, changes on both sides, and two more: both sides are equal, and nothing is lost."""
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    sync()
    assert local_state(folder, boxes, path_of) == remote_state(bed, boxes)
    change_both_sides(bed, folder, path_of, word)
    sync()
    sync()
    here, there = local_state(folder, boxes, path_of), remote_state(bed, boxes)
    assert here == there, {key: (here.get(key), there.get(key)) for key in {*here, *there} if here.get(key) != there.get(key)}
    for box in ("team01", "team02"):
        for side in ("local", "remote"):
            assert (box, f"<{word}.{side}.{box}@murder.test>") in here, (box, side, sorted(here))


def mbsync_converges(bed):
    folder, boxes = f"{bed.folder}/mbsync", ("INBOX", "team01", "team02")
    path_of = lambda root, box: f"{root}/inbox" if box == "INBOX" else f"{root}/{box}"
    rc = f"{bed.folder}/mbsyncrc"
    with open(rc, "w") as f:
        f.write(f"IMAPAccount m\nHost {bed.address}\nUser user001\nPass {bed.password('user001')}\nSSLType None\n"
                f"AuthMechs LOGIN\nPipelineDepth 20\n\nIMAPStore far\nAccount m\nUseNamespace no\n\nMaildirStore near\nPath {folder}/\n"
                f"Inbox {folder}/inbox\nSubFolders Verbatim\n\nChannel m\nFar :far:\nNear :near:\n"
                "Patterns INBOX team01 team02\nCreate Near\nExpunge Both\nSyncState *\nSync All\n")

    def sync():
        done = run_client(["mbsync", "-c", rc, "-q", "-a"], home=bed.folder)
        assert done.returncode == 0, done.stdout
    converges(bed, folder, boxes, path_of, sync, "mbsync")


def offlineimap_converges(bed):
    folder, boxes = f"{bed.folder}/offlineimap", ("INBOX", "team01", "team02")
    path_of = lambda root, box: f"{root}/{box}"
    rc = f"{bed.folder}/offlineimaprc"
    with open(rc, "w") as f:
        f.write(f"[general]\naccounts = m\nmetadata = {bed.folder}/offlineimap.meta\nui = quiet\n[Account m]\n"
                f"localrepository = near\nremoterepository = far\n[Repository near]\ntype = Maildir\nlocalfolders = {folder}\n"
                f"[Repository far]\ntype = IMAP\nremotehost = {bed.address}\nremoteport = 143\nssl = no\nstarttls = no\n"
                f"auth_mechanisms = LOGIN\nremoteuser = user001\nremotepass = {bed.password('user001')}\n"
                "folderfilter = lambda name: name in ('INBOX', 'team01', 'team02')\n")

    def sync():
        done = run_client(["offlineimap", "-c", rc, "-o"], home=bed.folder)
        assert done.returncode == 0, done.stdout
    converges(bed, folder, boxes, path_of, sync, "offlineimap")


def mutt_copies_and_deletes(bed):
    """In batch: keys are pushed, the terminal is a script's."""
    rc, out = f"{bed.folder}/muttrc", f"{bed.folder}/mutt.out"
    with open(rc, "w") as f:
        f.write(f'set imap_user="user002"\nset imap_pass="{bed.password("user002")}"\nunset ssl_starttls\nunset ssl_force_tls\nset sort=mailbox-order\n'
                f'set folder="imap://{bed.address}/"\nset header_cache=""\nset copy=no\nset delete=yes\nset confirmappend=no\n'
                'set confirmcreate=no\nset mark_old=no\nset wait_key=no\nunset imap_passive\nset move=no\n')
    before = subjects(bed.session("user002"), "team01")
    keys = "<first-entry><copy-message>=team01<enter><last-entry><save-message>=team01<enter><sync-mailbox><exit>"
    inbox = subjects(bed.session("user002"), "INBOX")
    command = f"mutt -n -F {rc} -f imap://{bed.address}/INBOX -e 'push \"{keys}\"'"
    done = run_client(["timeout", str(WAIT_SECONDS), "script", "-qec", command, out], home=bed.folder)
    after, left = subjects(bed.session("user002"), "team01"), subjects(bed.session("user002"), "INBOX")
    assert after == before + [inbox[0], inbox[-1]], (before, after, done.returncode, done.stdout[-800:])
    assert left == inbox[:-1], (inbox, left)


CLIENTS = (cyradm_manages_users, curl_fetches_and_stores, mbsync_converges, offlineimap_converges, mutt_copies_and_deletes)


def run(report, a):
    """On a murder with TLS; the frontend is started anew for what only a configuration shows."""
    folder = f"{a.folder}/commands"
    shutil.rmtree(folder, ignore_errors=True)
    with Bed(folder, a.net, ["--tls"], 2, a.frontend, a.binaries) as bed:
        check = lambda test, *arguments, name="": report.check(
            f"commands/{test.__name__}{name}", test, bed, *arguments)
        for tls in (False, True):
            check(compressed_client_is_served_as_any_other, tls, name=" under TLS" if tls else "")
        for test in (garbage_in_a_compressed_connection_ends_it, shared_mailbox_stays_on_a_server_that_would_abort,
                     motd_and_shutdown_are_told, telemetry_is_written_without_passwords, failed_logins_are_found_by_fail2ban,
                     one_session_id_joins_frontend_and_backend, mailbox_ids_are_true):
            check(test)
        for box in ("INBOX", "INBOX.Drafts", "team01"):
            check(message_is_replaced, box, name=f" by one in {box}")
        for box in ("INBOX", "team02"):
            check(url_is_authorized_and_fetched, box, name=f" in {box}")
        for test in CLIENTS:
            check(test)
        check(user_is_moved_by_xfer_and_rename)
        bed.stop_frontend()
        bed.write_configuration(more=["proxy_compress: yes", "maxlogins_per_user: 3"])
        bed.start_frontend()
        check(backend_is_asked_for_compression)
        check(logins_are_limited_by_user_and_host)
