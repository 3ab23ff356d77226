"""The drive: every IMAP command of a frontend, on one backend and with the mailbox on another.

Each scenario is a function of a `Drive`; every command becomes one comparison with the real Cyrus
frontend. user001 and team01, team03 live on backend1, user002 and team02, team04 on backend2.
"""
import base64

import drive_names
from wire import Session

DATE = '"05-Jan-2026 10:00:00 +0000"'


def message(subject, body="hello", size=0):
    """A small message; `size` pads the body."""
    text = (f"From: Ann <a@murder.test>\r\nTo: Bob <b@murder.test>\r\nSubject: {subject}\r\n"
            f"Date: Mon, 05 Jan 2026 10:00:00 +0000\r\nMessage-ID: <{subject.replace(' ', '.')}@murder.test>\r\n"
            f"\r\n{body}\r\n")
    lines = max(0, size - len(text)) // 72
    return (text + ("x" * 70 + "\r\n") * lines).encode()


class Names:
    """How names look from outside in a configuration."""

    def __init__(self, options):
        self.alt = "--altns" in options
        self.sep = "/" if "--unixhs" in options else "."

    def mine(self, *parts):
        """A folder of the user."""
        return self.sep.join(parts if self.alt else ("INBOX", *parts))

    def shared(self, *parts):
        """A shared folder."""
        return self.sep.join(("Shared Folders", *parts) if self.alt else parts)

    def other(self, *parts):
        """A folder of somebody else."""
        return self.sep.join(("Other Users" if self.alt else "user", *parts))

    def admin(self, *parts):
        """As an administrator names it."""
        return self.sep.join(parts)


class Drive:
    """Sessions of one run, recorded."""

    def __init__(self, bed):
        self.bed, self.record, self.names = bed, [], Names(bed.options)
        self.domain = "--virtdomains" in bed.options
        self.tls = bed.tls() if "--tls" in bed.options else None

    def open(self, user=None, name=None, **kw):
        """A recorded session; LOGIN is recorded, too."""
        s = Session(self.bed.address, name=name or user or "anybody", record=self.record, **kw)
        if user:
            s.group = "login"
            s.command(f'LOGIN "{user}" "{self.bed.password(user)}"')
        return s

    def run(self):
        """All scenarios in order; returns the record."""
        for scenario in SCENARIOS:
            if scenario is tls_and_starttls and not self.tls:
                continue
            if scenario in drive_names.SCENARIOS and (self.tls or self.bed.backends > 2):
                continue
            try:
                scenario(self)
            except Exception as e:
                raise RuntimeError(f"scenario {scenario.__name__}: {e}") from e
        return self.record


def q(name):
    """A quoted name."""
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def before_login(d):
    """Greeting, capabilities, wrong passwords, what is refused before login."""
    s = d.open(name="fresh")
    s.group = "before login"
    for line in ("CAPABILITY", "NOOP", 'ID ("name" "prove")', "SELECT INBOX", "LIST \"\" *", "NOSUCHCOMMAND",
                 "LOGIN user001 wrong", "LOGIN nobody pw-user001", "AUTHENTICATE NOSUCH", "LOGIN user001",
                 "LOGIN user001 pw-user001", "LOGIN user001 pw-user001", "CAPABILITY", "LOGOUT"):
        s.command(line)
    s.close()


def plain(authzid, user, password):
    """A SASL PLAIN message in base64."""
    return base64.b64encode(f"{authzid}\0{user}\0{password}".encode()).decode()


def authenticate(d):
    """SASL PLAIN and LOGIN, with and without initial response, cancelled, wrong, as somebody else."""
    b = lambda text: base64.b64encode(text.encode()).decode()
    conversations = [
        ("AUTHENTICATE PLAIN " + plain("", "user001", "pw-user001"),),
        ("AUTHENTICATE PLAIN " + plain("user001", "user001", "pw-user001"),),
        ("AUTHENTICATE PLAIN", plain("", "user002", "pw-user002")),
        ("AUTHENTICATE LOGIN", b("user001"), b("pw-user001")),
        ("AUTHENTICATE PLAIN " + plain("", "user001", "wrong"),),
        ("AUTHENTICATE PLAIN " + plain("user002", "cyrus", "pw-cyrus"),),
        ("AUTHENTICATE PLAIN " + plain("user002", "user001", "pw-user001"),),
        ("AUTHENTICATE PLAIN", "*"),
        ("AUTHENTICATE PLAIN", "not base64!"),
    ]
    for n, (command, *answers) in enumerate(conversations):
        s = d.open(name=f"sasl{n}")
        s.group = "authenticate"
        tag = s.tag()
        exchange = new_exchange(d, s, command)
        s.send(f"{tag} {command}\r\n".encode())
        for answer in answers:
            if s.until(exchange, tag, continuation=True):
                s.send(answer.encode() + b"\r\n")
        s.until(exchange, tag)
        s.command('LIST "" ' + d.names.mine("Work"))
        s.command("LOGOUT")
        s.close()


def new_exchange(d, s, command):
    """An exchange that the scenario reads itself."""
    from wire import Exchange
    d.record.append(Exchange(s.group, s.name, command))
    return d.record[-1]


def listing(d):
    """LIST, LSUB and their wildcards, references, return options; NAMESPACE."""
    n, s = d.names, d.open("user001", "list")
    s.group = "list"
    x = n.sep
    for line in ("NAMESPACE", 'LIST "" ""', 'LIST "" "*"', 'LIST "" "%"', f'LIST "" "{n.mine("%")}"',
                 f'LIST "" {q(n.shared("%"))}', f'LIST {q(n.shared("team01") + x)} "%"', f'LIST {q(n.other(""))} "%"',
                 f'LIST "" {q(n.shared("team%"))}', f'LIST "" {q(n.shared("team%", "docs"))}', 'LIST "" INBOX',
                 'LIST "" inbox', f'LIST "" {q(n.mine("Work"))}', f'LIST "" {q(n.mine("*Proj*"))}', 'LIST "" "nosuch*"',
                 f'LIST "" {q("*" + x + "docs")}', 'LIST "" ("INBOX" %s)' % q(n.shared("team0%")),
                 f'LIST "" "%{x}%"', 'LIST "" "*" RETURN (CHILDREN)', 'LIST "" "*" RETURN (SUBSCRIBED CHILDREN)',
                 'LIST (SUBSCRIBED) "" "*"', 'LIST (SUBSCRIBED RECURSIVEMATCH) "" "%"',
                 'LIST "" "%" RETURN (STATUS (MESSAGES UNSEEN UIDNEXT))',
                 'LIST "" ("INBOX" %s) RETURN (MYRIGHTS)' % q(n.shared("team%")), 'LIST (SPECIAL-USE) "" "*"',
                 'LIST "" "*" RETURN (SPECIAL-USE)',
                 'LSUB "" "*"', 'LSUB "" "%"', f'LSUB "" {q(n.mine("%"))}', f"SUBSCRIBE {q(n.shared('team02'))}",
                 "SUBSCRIBE nosuch.box", 'LSUB "" "*"', f"UNSUBSCRIBE {q(n.mine('Drafts'))}", 'LSUB "" "*"',
                 'LIST (SUBSCRIBED) "" "*"', f"SUBSCRIBE {q(n.mine('Drafts'))}", f"UNSUBSCRIBE {q(n.shared('team02'))}",
                 "LIST", 'LIST ""', 'LIST (BOGUS) "" *', 'LIST "" * RETURN (BOGUS)'):
        s.command(line)
    s.command('LIST "" {}', b"%")
    s.command('LIST "" {}', b"INBOX", sync=False)
    s.command("LOGOUT")
    s.close()


def selected_state(d):
    """SELECT and all that is forwarded, on the home backend and on the other."""
    n = d.names
    for name, box in (("here", "INBOX"), ("there", n.shared("team02"))):
        s = d.open("user001", f"selected {name}")
        s.group = f"selected {name}"
        for line in (f"SELECT {q(box)}", "FETCH 1:2 (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE)", "FETCH 1 BODY",
                     "FETCH 1 BODYSTRUCTURE", "FETCH 1 BODY.PEEK[]", "FETCH 2 (BODY.PEEK[HEADER] BODY.PEEK[TEXT])",
                     "FETCH 1 BODY.PEEK[HEADER.FIELDS (SUBJECT FROM)]", "FETCH 1 BODY.PEEK[]<10.20>",
                     "UID FETCH 1:* (FLAGS)", "FETCH 1 RFC822.HEADER", 'SEARCH SUBJECT "message 2"', "UID SEARCH ALL",
                     "SEARCH RETURN (COUNT MIN MAX) ALL", "SEARCH NOT SEEN", "SORT (REVERSE SUBJECT) US-ASCII ALL",
                     "THREAD REFERENCES US-ASCII ALL", "UID STORE 1 +FLAGS (\\Flagged)", "STORE 2 -FLAGS.SILENT (\\Seen)",
                     "STORE 2 +FLAGS (keyword1)", "NOOP", "CHECK", "FETCH 99 FLAGS", "FETCH", "UID FETCH 1", "STORE 1 FOO (\\Seen)",
                     "UID SEARCH BOGUS", "SELECT", f"EXAMINE {q(box)}", "STORE 1 +FLAGS (\\Seen)", "UNSELECT",
                     "FETCH 1 FLAGS", "UNSELECT", "CLOSE", "EXPUNGE", "CHECK", f"SELECT {q(box)}", "CLOSE"):
            s.command(line)
        s.command("SELECT {}", box)
        s.command("SEARCH SUBJECT {}", b"message 2")
        s.command("SEARCH SUBJECT {} TEXT {}", b"message 2", b"Body", sync=False)
        s.command("LOGOUT")
        s.close()


def selecting(d):
    """Changing the mailbox between backends, failures, parameters."""
    n, s = d.names, d.open("user001", "select")
    s.group = "select"
    for line in ("SELECT INBOX", f"SELECT {q(n.shared('team02'))}", "FETCH 1 FLAGS", "SELECT inbox", "FETCH 1 UID",
                 f"SELECT {q(n.shared('team01'))}", f"EXAMINE {q(n.shared('team04', 'docs'))}", "SELECT nosuch", "FETCH 1 FLAGS",
                 f"SELECT {q(n.other('user002'))}", f"SELECT {q(n.mine('Sent'))}", "SELECT INBOX (CONDSTORE)",
                 "FETCH 1 (MODSEQ)", f"SELECT {q(n.shared('team02'))} (CONDSTORE)", "NOOP",
                 f"STATUS INBOX (MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN)",
                 f"STATUS {q(n.shared('team02'))} (MESSAGES UIDNEXT UIDVALIDITY UNSEEN SIZE)",
                 f"STATUS {q(n.shared('team01'))} (MESSAGES)", "STATUS nosuch (MESSAGES)",
                 f"STATUS {q(n.other('user002'))} (MESSAGES)", "STATUS INBOX (BOGUS)", "STATUS INBOX", "SELECT INBOX (BOGUS)",
                 "EXAMINE nosuch", "CLOSE", "NOOP", "LOGOUT"):
        s.command(line)
    s.close()


def enabling(d):
    """ENABLE, and what it makes possible at both backends."""
    n, s = d.names, d.open("user002", "enable")
    s.group = "enable"
    for line in ("ENABLE CONDSTORE QRESYNC", "SELECT INBOX", "FETCH 1:* (FLAGS) (CHANGEDSINCE 1)",
                 "UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)", f"SELECT {q(n.shared('team01'))}",
                 "UID FETCH 1:* (FLAGS) (CHANGEDSINCE 1 VANISHED)", f"SELECT {q(n.shared('team02'))} (QRESYNC (1 1))",
                 "ENABLE BOGUS", "ENABLE", "LOGOUT"):
        s.command(line)
    s.close()


def appending(d):
    """APPEND in all its forms, to the home, to another backend, while something is selected."""
    n, s = d.names, d.open("user001", "append")
    s.group = "append"
    for box in (n.mine("Trash"), n.shared("team02"), n.shared("team01")):
        s.command(f"APPEND {q(box)} {{}}", message("plain append"))
        s.command(f"APPEND {q(box)} (\\Flagged keyword1) {{}}", message("flags"), sync=False)
        s.command(f"APPEND {q(box)} (\\Seen) {DATE} {{}}", message("flags and date"))
        s.command(f"APPEND {q(box)} {DATE} {{}}", message("date"), sync=False)
        s.command(f"APPEND {q(box)} {{}}", message("large", size=100_000))
        s.command(f"APPEND {q(box)} {{}}", message("larger without asking", size=100_000), sync=False)
        s.command(f"APPEND {q(box)} (\\Seen) {{}} (\\Draft) {{}}", message("multi one"), message("multi two"), sync=False)
        s.command(f"APPEND {q(box)} {{}} {{}}", message("multi three"), message("multi four"))
        s.command(f"APPEND {q(box)} CATENATE (TEXT {{}} TEXT {{}})", message("catenate"), b"more\r\n", sync=False)
        s.command(f"SELECT {q(box)}")
        s.command("FETCH 1:* (FLAGS RFC822.SIZE INTERNALDATE BODY.PEEK[HEADER.FIELDS (SUBJECT)])")
        s.command(f"APPEND {q(box)} {{}}", message("into the selected"))
        s.command("NOOP")
        s.command("SEARCH ALL")
    s.command("APPEND {} {}", n.mine("Trash"), message("name as literal"))
    s.command("APPEND nosuch.box {}", message("nowhere"))
    s.command(f"APPEND {q(n.other('user002'))} {{}}", message("not allowed"))
    s.command("APPEND nosuch.box {}", message("nowhere"), sync=False)
    s.command("NOOP")
    s.command(f"APPEND {q(n.shared('team02'))} {{}}", b"")
    s.command("APPEND")
    s.command("NOOP")
    s.command("LOGOUT")
    s.close()


def copying(d):
    """COPY and UID COPY inside a backend and across, with keywords; ranges, nothing to copy."""
    n, s = d.names, d.open("user001", "copy")
    s.group = "copy"
    for line in ("SELECT INBOX", "STORE 2 +FLAGS (\\Answered keyword2)", f"COPY 1 {q(n.mine('Drafts'))}",
                 f"UID COPY 2:3 {q(n.mine('Drafts'))}", f"COPY 1:2 {q(n.shared('team04'))}",
                 f"UID COPY 2,4:5 {q(n.shared('team04'))}", "COPY 1 nosuch.box", f"COPY 1 {q(n.other('user002'))}",
                 f"COPY 99 {q(n.mine('Drafts'))}", f"COPY 99 {q(n.shared('team04'))}", f"UID COPY 99 {q(n.mine('Drafts'))}",
                 "COPY 1", "NOOP", f"SELECT {q(n.shared('team04'))}", "FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE)",
                 "FETCH 6:* (BODY.PEEK[])", f"COPY 6 {q(n.mine('Drafts'))}", f"COPY 1 {q(n.shared('team04', 'docs'))}",
                 f"EXAMINE {q(n.shared('team04'))}", f"COPY 7 {q(n.mine('Drafts'))}",
                 f"SELECT {q(n.mine('Drafts'))}", "FETCH 1:* (UID FLAGS RFC822.SIZE)", "LOGOUT"):
        s.command(line)
    s.close()


def moving(d):
    """MOVE and UID MOVE inside a backend and across; EXPUNGE and UID EXPUNGE."""
    n, s = d.names, d.open("user002", "move")
    s.group = "move"
    for line in (f"SELECT {q(n.mine('Sent'))}", f"MOVE 1 {q(n.mine('Trash'))}", f"UID MOVE 2 {q(n.mine('Trash'))}",
                 "MOVE 1 nosuch.box", "UID SEARCH ALL", "STORE 1 +FLAGS.SILENT (\\Deleted)", "STORE 2 +FLAGS (\\Deleted)",
                 "UID EXPUNGE 3", "EXPUNGE", "EXPUNGE", "UID SEARCH ALL", f"SELECT {q(n.mine('Trash'))}", "UID SEARCH ALL",
                 f"MOVE 1 {q(n.shared('team03'))}", f"UID MOVE 2 {q(n.shared('team03'))}", "UID SEARCH UNDELETED",
                 f"SELECT {q(n.shared('team03'))}", "UID FETCH 6:* (FLAGS INTERNALDATE RFC822.SIZE)", "LOGOUT"):
        s.command(line)
    s.close()
    s = d.open("user002", "move examined")
    s.group = "move"
    for line in (f"EXAMINE {q(n.mine('Sent'))}", f"MOVE 1 {q(n.shared('team03'))}", "FETCH 1 (UID)", "LOGOUT"):
        s.command(line)
    s.close()


def acls_and_quotas(d):
    """ACL commands and quotas, at home and elsewhere, allowed and not."""
    n, s = d.names, d.open("user001", "acl")
    s.group = "acl"
    for line in ("GETACL INBOX", "SETACL INBOX user002 lrs", "GETACL INBOX", "SETACL INBOX user002 +i", "GETACL INBOX",
                 "SETACL INBOX user002 -s", "GETACL INBOX", f"MYRIGHTS {q(n.shared('team02'))}", "MYRIGHTS INBOX",
                 "LISTRIGHTS INBOX user002", "DELETEACL INBOX user002", "GETACL INBOX", f"GETACL {q(n.shared('team02'))}",
                 f"SETACL {q(n.shared('team02'))} user002 lrs", f"MYRIGHTS {q(n.other('user002'))}", "GETACL nosuch",
                 "SETACL INBOX user002 lrsq", "SETACL INBOX user002", f"GETQUOTA INBOX", "GETQUOTAROOT INBOX",
                 f"GETQUOTAROOT {q(n.mine('Work'))}", f"GETQUOTAROOT {q(n.shared('team02'))}", "GETQUOTAROOT nosuch",
                 "SETQUOTA INBOX (STORAGE 10)", "LOGOUT"):
        s.command(line)
    s.close()


def metadata(d):
    """GETMETADATA and SETMETADATA of own mailboxes and the server."""
    n, s = d.names, d.open("user001", "metadata")
    s.group = "metadata"
    server = "/shared/vendor/cmu/cyrus-imapd/server"
    for line in (f"GETMETADATA INBOX {server}", f"GETMETADATA {q(n.shared('team02'))} {server}", f'GETMETADATA "" /shared/admin',
                 'SETMETADATA INBOX (/private/comment "mine")', f"GETMETADATA INBOX (/private/comment {server})",
                 "GETMETADATA INBOX /private/comment", f"GETMETADATA nosuch {server}",
                 'SETMETADATA INBOX (/private/comment NIL)', "GETMETADATA INBOX /private/comment", "LOGOUT"):
        s.command(line)
    s.close()


def folders(d):
    """CREATE below a parent, DELETE, RENAME on one backend, and what the next command sees."""
    n, s = d.names, d.open("user001", "folders")
    s.group = "folders"
    new, newer, there = n.mine("New"), n.mine("Newer"), n.shared("team02", "fromuser")
    for line in (f"CREATE {q(new)}", f"CREATE {q(new)}", f"SELECT {q(new)}", "UNSELECT", f"SUBSCRIBE {q(new)}",
                 f'LIST "" {q(new + "*")}', f"RENAME {q(new)} {q(newer)}", f'LIST "" {q(new + "*")}', f"STATUS {q(newer)} (MESSAGES)",
                 f"CREATE {q(n.mine('New', 'Deep', 'Deeper'))}", f'LIST "" {q(new + "*")}', f'LIST "" {q(n.mine("%"))}',
                 f"DELETE {q(n.mine('New', 'Deep', 'Deeper'))}", f'LIST "" {q(new + "*")}', f"DELETE {q(newer)}", f"DELETE {q(newer)}",
                 f"STATUS {q(newer)} (MESSAGES)", f"CREATE {q(there)}", f'LIST "" {q(n.shared("team02*"))}', f"SELECT {q(there)}",
                 f"APPEND {q(there)} (\\Seen) {{}}", "NOOP", f"RENAME {q(there)} {q(there + '2')}", f"DELETE {q(there + '2')}",
                 f'LIST "" {q(n.shared("team02*"))}', "CREATE " + q(n.shared("toplevel")), f"RENAME {q(n.mine('Work'))} {q(n.shared('team02', 'moved'))}",
                 "DELETE INBOX", f"DELETE {q(n.shared('team02'))}", "RENAME nosuch nosuch2", "CREATE", "DELETE", "RENAME x",
                 f"CREATE {q(n.mine('Slash') + n.sep)}", f"DELETE {q(n.mine('Slash'))}", f"UNSUBSCRIBE {q(new)}",
                 f"CREATE {q(n.mine('Entw&APw-rfe'))}", f'LIST "" {q(n.mine("Entw%"))}', f"DELETE {q(n.mine('Entw&APw-rfe'))}",
                 "CREATE " + q(n.mine("bad&name")), "LOGOUT"):
        if "{}" in line:
            s.command(line, message("in a new folder"))
        else:
            s.command(line)
    s.close()


def administering(d):
    """An administrator: namespace, lists, creating at a chosen server, quotas, ACLs."""
    n, s = d.names, d.open("cyrus", "admin")
    s.group = "admin"
    one, two = d.bed.backend_host(1), d.bed.backend_host(2)
    u = lambda *parts: q(n.admin("user", *parts))
    for line in ("NAMESPACE", 'LIST "" "%"', f'LIST "" {u("%")}', f'LIST "" {u("*")}', 'LIST "" *', 'LSUB "" *',
                 f"CREATE {u('user020')} {two}!default", f"CREATE {u('user020', 'Sub')}", f"CREATE {u('user021')} (SERVER {one})",
                 f"CREATE {u('user022')} (SERVER nosuchserver)", f'LIST "" {u("user02*")}', f"SETQUOTA {u('user020')} (STORAGE 5000)",
                 f"GETQUOTA {u('user020')}", f"GETQUOTAROOT {u('user020', 'Sub')}", f"SETACL {u('user020')} cyrus lrswipkxtecda",
                 f"GETACL {u('user020')}", f"SELECT {u('user020')}", "UNSELECT", f"SELECT {u('user001')}",
                 f"SETACL {q(n.admin('team02'))} user003 lr", f"GETACL {q(n.admin('team02'))}", f"DELETEACL {q(n.admin('team02'))} user003",
                 f"GETACL {q(n.admin('team02'))}", f"RENAME {u('user020', 'Sub')} {u('user020', 'Sub2')}", f"DELETE {u('user020', 'Sub2')}",
                 f"DELETE {u('user020')}", f"DELETE {u('user021')}", f"SETQUOTA {u('nosuch')} (STORAGE 5)", f'LIST "" {u("user02*")}',
                 f"CREATE {u('user023')}", f"CREATE {u('user023', 'Sub')}", f'LIST "" {u("user023*")}', f"STATUS {u('user023', 'Sub')} (MESSAGES)",
                 f"DELETE {u('user023')}", f'LIST "" {u("user023*")}',
                 f"CREATE {q(n.admin('newtop'))} {two}!default", f"SETACL {q(n.admin('newtop'))} anyone lrs", f"GETACL {q(n.admin('newtop'))}",
                 "LOGOUT"):
        s.command(line)
    s.close()


def server_verbs(d):
    """Verbs by which servers talk to servers, and unknown ones."""
    n, s = d.names, d.open("user001", "verbs")
    s.group = "verbs"
    for line in ("LOCALCREATE " + q(n.mine("Local")), "LOCALDELETE " + q(n.mine("Trash")), "DUMP INBOX",
                 "NOSUCHCOMMAND", "SELECT INBOX", "NOSUCHCOMMAND", "GENURLAUTH", "LOGOUT"):
        s.command(line)
    s.close()


def unauthenticating(d):
    """UNAUTHENTICATE, and somebody else logs in."""
    s = d.open("user001", "unauthenticate")
    s.group = "unauthenticate"
    for line in ("SELECT INBOX", "UNAUTHENTICATE", "LOGIN user002 pw-user002", "SELECT INBOX", "LOGOUT"):
        s.command(line)
    s.close()


def idling(d):
    """IDLE at home and elsewhere; a push arrives, DONE ends it, something else is refused."""
    n = d.names
    for name, box in (("here", "INBOX"), ("there", n.shared("team02"))):
        s = d.open("user001", f"idle {name}")
        s.group = "idle"
        s.command(f"SELECT {q(box)}")
        exchange = new_exchange(d, s, "IDLE")
        tag = s.tag()
        s.send(f"{tag} IDLE\r\n".encode())
        s.until(exchange, tag, continuation=True)
        other = d.bed.session("user001" if box == "INBOX" else "user002")
        other.command(f"APPEND {q(box)} {{}}", message("pushed"))
        other.close()
        exchange.lines += s.until_match(r"^\* \d+ EXISTS", 60)
        s.send(b"DONE\r\n")
        s.until(exchange, tag)
        s.command("FETCH * (UID)")
        exchange = new_exchange(d, s, "IDLE, then not DONE")
        tag = s.tag()
        s.send(f"{tag} IDLE\r\n".encode())
        s.until(exchange, tag, continuation=True)
        s.send(b"NONSENSE\r\n")
        s.until(exchange, tag)
        s.command("LOGOUT")
        s.close()


def pipelining(d):
    """Commands sent in one packet are answered in order, over two backends."""
    n, s = d.names, d.open("user002", "pipeline")
    s.group = "pipeline"
    commands = ["NOOP", f"STATUS {q(n.shared('team01'))} (MESSAGES)", f"SELECT {q(n.shared('team01'))}", "NOOP", "FETCH 1 (UID)",
                "FETCH 2 (UID)", "UID SEARCH ALL", f'LIST "" {q(n.shared("team01"))}', f"SELECT {q(n.shared('team02'))}", "FETCH 1 UID",
                "UNSELECT", "CAPABILITY", "LOGOUT"]
    batch = [(s.tag(), command) for command in commands]
    s.send("".join(f"{tag} {command}\r\n" for tag, command in batch).encode())
    for tag, command in batch:
        s.until(new_exchange(d, s, command), tag)
    s.close()


def tls_and_starttls(d):
    """STARTTLS and the port that speaks TLS at once."""
    s = d.open(name="starttls")
    s.group = "tls"
    s.starttls(d.tls, d.bed.address)
    for line in ("CAPABILITY", "STARTTLS", "LOGIN user001 pw-user001", "SELECT INBOX", "FETCH 1 (BODY.PEEK[])", "LOGOUT"):
        s.command(line)
    s.close()
    s = d.open(name="imaps", port=993, tls=d.tls)
    s.group = "tls"
    for line in ("CAPABILITY", "LOGIN user002 pw-user002", f"SELECT {q(d.names.shared('team01'))}", "FETCH 1 (BODY.PEEK[])"):
        s.command(line)
    s.command(f"APPEND {q(d.names.shared('team01'))} {{}}", message("over tls", size=200_000))
    s.command("LOGOUT")
    s.close()


def domains(d):
    """virtdomains: users and folders of another domain; the default domain spelled out."""
    if not d.domain:
        return
    admin = d.open("cyrus", "domain admin")
    admin.group = "virtdomains"
    two = d.bed.backend_host(2)
    for line in (f"CREATE user.user001@example.org (SERVER {two})", "CREATE user.user001.Sub@example.org", "CREATE news@example.org",
                 "SETACL news@example.org anyone lrs", 'LIST "" *', 'LIST "" "*@example.org"', "GETACL user.user001@example.org"):
        admin.command(line)
    admin.close()
    for user in ("user001@example.org", "user001@murder.test", "USER001"):
        s = d.open(name=f"domain {user}")
        s.group = "virtdomains"
        s.command(f'LOGIN "{user}" pw-user001')
        for line in ("NAMESPACE", 'LIST "" *', "SELECT INBOX", "STATUS INBOX (MESSAGES)", "GETACL INBOX", "LOGOUT"):
            s.command(line)
        s.close()


SCENARIOS = [before_login, authenticate, listing, selected_state, selecting, enabling, appending, copying, moving,
             acls_and_quotas, metadata, folders, administering, *drive_names.SCENARIOS, idling, pipelining,
             tls_and_starttls, domains,
             unauthenticating, server_verbs]        # last: Cyrus does what some of them say
