"""Who a user is and what he may: domains, realms, groups; and what a session knows of itself that the list does not.

Two murders. In each the real Cyrus frontend and rookeryd stand side by side before the same backends; what
concerns names and rights is asked of both and compared line by line.
"""
import fcntl
import os
import re
import shutil
import socket
import threading
import time

import differences
from bed import Bed, murder_module
from daemon import Daemon, says, scram_line, wait_for, write

# A second domain that the sasldb of the murder knows.
OTHER_DOMAIN = "example.org"
# A user that every Debian has, in the group of its name.
SYSTEM_USER = "games"
# Which address of a frontend.
HOME, OTHER, NOBODY = 0, 1, 2


class Twin:
    """A murder with Cyrus' frontend, and rookeryd beside it."""

    def __init__(self, report, a, name, options):
        self.report, self.name = report, name
        self.folder = f"{a.folder}/identity-{name}"
        shutil.rmtree(self.folder, ignore_errors=True)
        self.bed = Bed(self.folder, a.net, options, 2, "rookery", a.binaries)
        # By the names of their addresses: in the domain of the servers, in another that has users, in one of nobody.
        self.theirs, self.ours = ([f"{a.net}.{octet + n}" for n in range(3)] for octet in (101, 104))
        services = "".join(f'  imap{n} cmd="imapd" listen="{address}:143" proto="tcp4"\n'
                           for n, address in enumerate(self.ours))
        # A configdirectory of its own: both would serve the kick socket.
        self.own = f"{self.folder}/ours"
        self.daemon = lambda more=None: Daemon(
            self.bed, {"configdirectory": f"{self.own}/conf"} | (more or {}), services, folder=self.own)

    def __enter__(self):
        bed = self.bed
        names = {HOME: f"frontend2.{server_domain(bed.net)}", OTHER: f"mail.{OTHER_DOMAIN}", NOBODY: "mail.nowhere.test"}
        name_addresses({one[n]: name for one in (self.theirs, self.ours) for n, name in names.items()
                        if one[n] != self.theirs[HOME]})
        try:
            bed.murder("up", self.folder, "--net", bed.net, "--backends", "2", *bed.options)
            bed.murder("seed", self.folder, "--users", "2", "--shared", "2", "--messages", "1")
            bed.stop("frontend")
            path = f"{self.folder}/frontend/cyrus.conf"
            with open(path) as f:
                line = next(x for x in f if x.startswith("  imap cmd="))
            with open(path) as f:
                text = f.read()
            more = [line.replace("  imap ", f"  imap{n} ").replace(self.theirs[HOME], self.theirs[n])
                    for n in (OTHER, NOBODY)]
            with open(path, "w") as f:
                f.write(text.replace(line, "".join([line, *more])))
            bed.start("frontend")
            os.makedirs(f"{self.own}/conf/socket")
            for path in ("conf", "conf/socket"):
                shutil.chown(f"{self.own}/{path}", "cyrus", "mail")
        except BaseException:
            bed.murder("down", self.folder)
            raise
        return self

    def __exit__(self, *_):
        self.bed.murder("down", self.folder)

    def admin(self, *commands):
        """Through Cyrus' frontend, each OK; ours knows of it, though Cyrus' master tells it five seconds later."""
        s = self.bed.session("cyrus", address=self.theirs[HOME])
        for command in commands:
            answer = s.command(command)
            assert answer.status == "OK", (command, answer.tagged)
        s.close()
        s = self.bed.session("cyrus", address=self.ours[HOME])
        s.command("STATUS no-such-mailbox (MESSAGES)")
        s.close()

    def compare(self, what, user, commands, at=HOME, expect=None):
        """The same session through both; one test a command. `expect` are the statuses that Cyrus must give, so
        that two wrong answers are not taken for right."""
        records = []
        for address in (self.theirs[at], self.ours[at]):
            record = []
            s = self.bed.session(address=address, name=what, record=record)
            for command in (f'LOGIN "{user}" "{self.bed.password(user)}"', *commands):
                if s.command(command).status != "OK" and len(record) == 1:
                    break
            s.close()
            records.append(record)
        statuses = [x.status for x in records[0]]
        if expect and statuses != expect:
            self.report.fails(f"{self.name}/{what}", f"  Cyrus says {statuses}, expected {expect}: "
                              f"{[x.tagged for x in records[0]]}")
        if len(records[0]) != len(records[1]):
            self.report.fails(f"{self.name}/{what}", f"  {[x.tagged for x in records[1]]} here, {[x.tagged for x in records[0]]} there")
        before = list(zip(*records))
        for n, (theirs, ours) in enumerate(before):
            name, why = f"{self.name}/{what} {n}: {ours.command}", differences.judge(self.name, theirs, ours, before[:n])
            self.report.passes(name) if why is None else self.report.fails(name, why)


def server_domain(net):
    """The domain of the servers' own names."""
    return f"n{net.split('.')[2]}"


def name_addresses(names):
    """Names of addresses in /etc/hosts, marked as the murder's, in the place of older ones."""
    murder = murder_module()
    with open("/etc/hosts") as hosts:
        fcntl.flock(hosts, fcntl.LOCK_EX)
        kept = [x for x in hosts.read().splitlines() if not (murder.MARK in x and x.split()[0] in names)]
        murder.write("/etc/hosts", "\n".join([*kept, *(f"{a}\t{n}\t{murder.MARK}" for a, n in names.items())]) + "\n")


# ---------------------------------------------------------------- domains
LOOK = ['LIST "" *', "MYRIGHTS INBOX", "GETACL INBOX", "NAMESPACE", "STATUS INBOX (MESSAGES)", "EXAMINE INBOX",
        "GETQUOTAROOT INBOX", "FETCH 1 (FLAGS)", "LSUB \"\" *", "MYRIGHTS team01"]


def domains(twin):
    """virtdomains: on. Who names no domain is in that of the address that he came to."""
    user = f"user.user001@{OTHER_DOMAIN}"
    twin.admin(f"CREATE {user} {twin.bed.backend_host(2)}!default", f"CREATE {user.replace('@', '.There@')}")
    # At an address of another domain Cyrus logs in at backends as mailproxy of that domain: compared is what
    # needs no backend.
    twin.compare("domain of the address", "user001", LOOK[:4], OTHER)
    s = twin.bed.session("user001", address=twin.ours[OTHER])
    shown(s, "*", ["INBOX", "INBOX.There"])
    says(s.command("SELECT INBOX"), b" OK")
    assert s.command("GETACL INBOX").lines[0].startswith(b"* ACL INBOX user001@%s " % OTHER_DOMAIN.encode())
    s.close()
    twin.compare("domain that is named", f"user001@{OTHER_DOMAIN}", LOOK)
    twin.compare("default domain", "user001", LOOK)
    twin.compare("default domain that is named", f"user001@{server_domain(twin.bed.net)}", LOOK)
    twin.compare("domain of nobody", "user001", LOOK, NOBODY, expect=["NO"])
    twin.compare("domain that is named to nobody's", f"user001@{OTHER_DOMAIN}", LOOK[:4], NOBODY)
    twin.compare("domain admin", "cyrus", [f'LIST "" "*@{OTHER_DOMAIN}"', f"GETACL {user}"])
    # Cyrus trims the default domain, then gives the user that of the address: he is somebody else.
    s = twin.bed.session(f"user001@{server_domain(twin.bed.net)}", address=twin.ours[OTHER])
    assert "INBOX.Work.Projects" in listed(s, "*"), "not the user who was named"
    s.close()


# ---------------------------------------------------------------- realms, groups, rights
def realms(twin):
    """loginrealms, where user ids have no domain: who may log in. Nobody of a realm can have an INBOX then, for
    Cyrus looks for it in a domain."""
    passwd = f"{twin.own}/passwd"
    users = ("user001", f"user001@{OTHER_DOMAIN}", "user001@murder.test")
    write(passwd, "".join(f"{user}:{scram_line('pw-user001')}\n" for user in users))
    with twin.daemon({"sasl_pwcheck_method": "passwd_file", "sasl_passwd_file": passwd, "sasl_mech_list": "PLAIN"}):
        twin.compare("realm that is taken", users[1], ['LIST "" *', "NAMESPACE", "MYRIGHTS team01", "STATUS team01 (MESSAGES)"])
        twin.compare("realm that is not", users[2], LOOK, expect=["NO"])
        twin.compare("no realm", "user001", LOOK)


def groups(twin):
    """group:x, anyone and negative rights on both backends."""
    one, two = twin.bed.backend_host(1), twin.bed.backend_host(2)
    twin.admin(f"CREATE user.{SYSTEM_USER} {one}!default", f"CREATE club1 {one}!default", f"CREATE club2 {two}!default",
               f"CREATE club3 {two}!default", f"CREATE club4 {one}!default",
               *(f"DELETEACL club{n} anyone" for n in (1, 2, 3, 4)),
               f"SETACL club1 group:{SYSTEM_USER} lrsip", f"SETACL club2 group:{SYSTEM_USER} lrswip",
               f"SETACL club2 -{SYSTEM_USER} wp", "SETACL club3 anyone lrs", f"SETACL club3 -group:{SYSTEM_USER} lrs",
               f"SETACL club4 {SYSTEM_USER} lrsw", f"SETACL club4 -group:{SYSTEM_USER} w")
    clubs = [f"{verb} club{n}" for n in (1, 2, 3, 4) for verb in ("MYRIGHTS", "SELECT", "GETACL")]
    twin.compare("member of a group", SYSTEM_USER, ['LIST "" *', 'LIST "" % RETURN (MYRIGHTS)', *clubs])
    twin.compare("member of no group", "user001", ['LIST "" *', *clubs])
    s = twin.bed.session(SYSTEM_USER, address=twin.ours[0])
    for name, rights in (("club1", b"lrsip"), ("club2", b"lrsi"), ("club4", b"lrs")):
        [line] = s.command(f"MYRIGHTS {name}").named("MYRIGHTS")
        assert line.split()[-1] == rights, line
    assert sorted(x.split()[-1] for x in s.command('LIST "" club*').named("LIST")) == [b"club1", b"club2", b"club4"]
    s.close()


# ---------------------------------------------------------------- ID
def client_is_told_to_backends(twin):
    """The client's own ID, his address and the session reach every backend, also one that is connected later."""
    s = twin.bed.session("user001", address=twin.ours[0])
    says(s.command('ID ("name" "Mail \\"Agent\\"" "version" "1.2" "x-originating-ip" "10.9.8.7")'), b" OK")
    says(s.command("SELECT INBOX"), b" OK")
    says(s.command("SELECT team02"), b" OK")
    ids = [told_id(twin, n, rb'"Mail \"Agent\""') for n in (1, 2)]
    assert all(x["version"] == b'"1.2"' for x in ids), ids
    assert {x["x-originating-ip"] for x in ids} == {b'"%s"' % s.socket.getsockname()[0].encode()}, ids
    assert ids[0]["x-session-id"] == ids[1]["x-session-id"], ids
    says(s.command('ID ("name" "Another")'), b" OK")
    for n in (1, 2):
        told_id(twin, n, b'"Another"')
    s.close()


def told_id(twin, backend, name):
    """The ID with this name that user001's connection told a backend, from its telemetry log, which knows the
    user from his login on."""
    folder, found = f"{twin.folder}/backend{backend}/conf/log/user001", []

    def look():
        for path in os.listdir(folder):
            with open(f"{folder}/{path}", "rb") as f:
                ids = re.findall(rb"(?<=[\n<>])RK\S+ ID \((.*?)\)\r?\n", f.read())
            parts = [dict(re.findall(rb'"((?:[^"\\]|\\.)*)" ("(?:[^"\\]|\\.)*"|NIL)', x)) for x in ids]
            found.extend(x for x in parts if x.get(b"name") == name)
        return found
    wait_for(look, f"ID with {name} at backend{backend}")
    return {field.decode().lower(): value for field, value in found[-1].items()}


# ---------------------------------------------------------------- what a session did
class Cut:
    """A way to the master that can be cut, or be left open without anything coming through."""

    def __init__(self, at, to):
        self.to, self.open, self.silent, self.sockets = to, True, threading.Event(), []
        self.listener = socket.create_server(at, backlog=32)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        """Two threads a connection."""
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            if not self.open:
                client.close()
                continue
            server = socket.create_connection(self.to)
            self.sockets += [client, server]
            for pair in ((client, server), (server, client)):
                threading.Thread(target=self.pass_on, args=pair, daemon=True).start()

    def pass_on(self, source, destination):
        """Until one of them ends."""
        try:
            while data := source.recv(65536):
                while self.silent.is_set():
                    time.sleep(0.02)
                destination.sendall(data)
        except OSError:
            pass
        for end in (source, destination):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        """Ends what there is and refuses what comes."""
        self.open = False
        for end in self.sockets:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self.sockets.clear()

    def mend(self):
        """Everything comes through again."""
        self.open = True
        self.silent.clear()


def listed(s, pattern):
    """The names that LIST shows."""
    answer = s.command(f'LIST "" {pattern}')
    assert answer.status == "OK", (pattern, answer.tagged)
    return sorted(x.split()[-1].decode() for x in answer.named("LIST"))


def shown(s, pattern, expected):
    """LIST shows these and no others."""
    names = listed(s, pattern)
    assert names == expected, (pattern, names, expected)


def deeds_behind(twin, way, stop, other):
    """CREATE, RENAME and DELETE while the frontend hears nothing of its master: OK, and the session sees them."""
    name = f"INBOX.{other}"
    with twin.daemon({"mupdate_server": f"{way.listener.getsockname()[0]}:3905"}) as daemon:
        s = twin.bed.session("user001", address=twin.ours[0])
        says(s.command("SELECT INBOX"), b" OK")
        stop()
        try:
            says(s.command(f"CREATE {name}"), b" OK")
            shown(s, f"{name}*", [name])
            says(s.command(f"APPEND {name} {{}}", b"Subject: x\r\n\r\ny\r\n"), b" OK")
            answer = s.command(f"STATUS {name} (MESSAGES)")
            assert b"MESSAGES 1" in answer.lines[0], answer.lines
            says(s.command(f"CREATE {name}.Below"), b" OK")
            shown(s, f"{name}*", [name, f"{name}.Below"])
            says(s.command(f"RENAME {name} {name}New"), b" OK")
            shown(s, f"{name}*", [f"{name}New", f"{name}New.Below"])
            says(s.command(f"SELECT {name}New"), b" OK")
            says(s.command("FETCH 1 (UID)"), b" OK")
            says(s.command("SELECT INBOX.Trash"), b" OK")
            for below in (f"{name}New.Below", f"{name}New"):
                says(s.command(f"DELETE {below}"), b" OK")
            shown(s, f"{name}*", [])
            assert s.command(f"SELECT {name}New").status == "NO"
            says(s.command("DELETE INBOX.Work.Projects"), b" OK")       # the list has it
            shown(s, "INBOX.Work*", ["INBOX.Work"])
            stranger = twin.bed.session("user001", address=twin.ours[0])
            shown(stranger, "INBOX.Work*", ["INBOX.Work", "INBOX.Work.Projects"])
            stranger.close()
        finally:
            way.mend()
        wait_for(lambda: is_live(twin), f"a live list: {daemon.log()}")
        for session in (s, twin.bed.session("user001", address=twin.ours[0])):
            shown(session, "INBOX.Work*", ["INBOX.Work"])
            shown(session, f"{name}*", [])
        says(s.command("CREATE INBOX.Work.Projects"), b" OK")
        shown(s, "INBOX.Work*", ["INBOX.Work", "INBOX.Work.Projects"])
        s.close()


def is_live(twin):
    """A name that is nowhere is known to be nowhere."""
    s = twin.bed.session("user001", address=twin.ours[0])
    answer = s.command("SELECT INBOX.NoSuch")
    s.close()
    return b"UNAVAILABLE" not in answer.tagged


def deeds_with_the_way_cut(twin):
    way = Cut((f"{twin.bed.net}.105", 3905), (f"{twin.bed.net}.1", 3905))
    deeds_behind(twin, way, way.cut, "Cut")
    way.listener.close()


def deeds_with_a_silent_master(twin):
    """The barrier takes longer than an OK waits."""
    way = Cut((f"{twin.bed.net}.106", 3905), (f"{twin.bed.net}.1", 3905))
    deeds_behind(twin, way, way.silent.set, "Silent")
    way.listener.close()


def deletion_that_no_master_hears_of(twin):
    """delete_mode: immediate. Cyrus 3.6.1 does not tell the master; the session that deleted knows."""
    change_backend(twin, "backend1", "delete_mode: immediate")
    with twin.daemon():
        s = twin.bed.session("user001", address=twin.ours[0])
        says(s.command("CREATE INBOX.Quick"), b" OK")
        shown(s, "INBOX.Quick", ["INBOX.Quick"])
        says(s.command("DELETE INBOX.Quick"), b" OK")
        shown(s, "INBOX.Quick", [])
        assert s.command("SELECT INBOX.Quick").status == "NO"
        other = twin.bed.session("user001", address=twin.ours[0])
        shown(other, "INBOX.Quick", ["INBOX.Quick"])
        answer = other.command("SELECT INBOX.Quick")
        assert answer.status == "NO", answer.tagged
        says(s.command("CREATE INBOX.Quick"), b" OK")
        shown(s, "INBOX.Quick", ["INBOX.Quick"])
        says(s.command("SELECT INBOX.Quick"), b" OK")
        s.close()
        other.close()


# ---------------------------------------------------------------- what servers offer
def told(twin, user):
    """What a session is told that it may use."""
    s = twin.bed.session(user, address=twin.ours[0])
    words = set(s.command("CAPABILITY").lines[0].decode().split())
    s.close()
    return words


def capabilities_are_kept(twin):
    """What a server offered last is known after a restart; one that was never seen counts as Cyrus 3.6."""
    change_backend(twin, "backend2", "suppress_capabilities: XLIST")
    kept = f"{twin.own}/conf/rookery-capabilities"
    if os.path.exists(kept):
        os.unlink(kept)
    with twin.daemon():
        assert "XLIST" in told(twin, "user001"), "a server that was never seen"
        assert "XLIST" not in told(twin, "user002"), "his home does not offer it"
        wait_for(lambda: os.path.exists(kept) and "backend2" in open(kept).read(), "file of capabilities")
    twin.bed.stop("backend2")
    try:
        with twin.daemon():
            words = told(twin, "user001")
            assert "XLIST" not in words and "SORT" in words, "what backend2 offered was forgotten"
        with open(kept, "w") as f:
            f.write("nonsense")
        with twin.daemon() as daemon:
            assert "XLIST" in told(twin, "user001")
            daemon.logged(f"{kept}: damaged")
    finally:
        twin.bed.start("backend2")


def change_backend(twin, name, line):
    """One more line of its configuration."""
    with open(twin.bed.murder_conf(name), "a") as f:
        f.write(line + "\n")
    twin.bed.stop(name)
    twin.bed.start(name)


# ---------------------------------------------------------------- UNIX sockets
def backend_at_a_socket(twin):
    """A server of the list may be a path: logins of who has no home are checked there, and mailboxes made."""
    path = f"{twin.folder}/backend2/conf/socket/imap"
    conf = f"{twin.folder}/backend2/cyrus.conf"
    with open(conf) as f:
        text = f.read()
    line = f'  imapunix cmd="imapd -C {twin.bed.murder_conf("backend2")}" listen="{path}" prefork=0\n'
    with open(conf, "w") as f:
        f.write(text.replace("SERVICES {\n", "SERVICES {\n" + line))
    twin.bed.stop("backend2")
    twin.bed.start("backend2")
    for folder in (twin.folder, f"{twin.folder}/backend2", f"{twin.folder}/backend2/conf", f"{twin.folder}/backend2/conf/socket"):
        os.chmod(folder, 0o755)
    with twin.daemon({"serverlist": path}) as daemon:
        s = twin.bed.session("cyrus", address=twin.ours[0])
        says(s.command("CREATE socketed"), b" OK")
        says(s.command(f"GETACL socketed"), b" OK")
        says(s.command("SELECT socketed"), b" OK")
        s.close()
        twin.bed.stop("backend2")
        s = twin.bed.session(address=twin.ours[0])
        says(s.command("LOGIN cyrus pw-cyrus"), b" NO [UNAVAILABLE]")
        s.close()
        daemon.logged(path)
        twin.bed.start("backend2")


def run(report, a):
    """Everything, in two murders one after the other."""
    with Twin(report, a, "domains-on", ["--virtdomains", "--set", "virtdomains=on", "--set", f"defaultdomain={server_domain(a.net)}"]) as twin:
        with twin.daemon():
            report.check("identity/domains", domains, twin)
    options = ["--telemetry", "--set", f"loginrealms={OTHER_DOMAIN}", "--accounts", SYSTEM_USER]
    with Twin(report, a, "realms", options) as twin:
        with twin.daemon():
            for test in (groups, client_is_told_to_backends):
                report.check(f"identity/{test.__name__}", test, twin)
        for test in (realms, deeds_with_the_way_cut, deeds_with_a_silent_master, capabilities_are_kept,
                     backend_at_a_socket, deletion_that_no_master_hears_of):
            report.check(f"identity/{test.__name__}", test, twin)
