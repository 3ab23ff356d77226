"""Our master under a real murder: Cyrus backends, a Cyrus slave frontend, Debian's own tools."""
import json
import os
import random
import re
import shutil
import subprocess
import threading
import time

from bed import Bed, murder_module
from daemon import Daemon
from master_client import Client, Gone, Master
from wire import Lost

# A slave waits up to 3 s before it connects again, and Cyrus' compares in its own time.
AGREE_SECONDS = 60


class World:
    """The murder and its master."""

    def __init__(self, report, a, folder):
        self.folder, self.net, self.report = folder, a.net, report
        self.bed = Bed(f"{folder}/bed", a.net, ["--no-master"], 2, "cyrus", a.binaries)
        self.hosts = [self.bed.backend_host(n) for n in (1, 2)]
        self.master = Master(a.binaries, f"{folder}/master", f"{a.net}.1", host="mupdate")
        self.cyrus = murder_module().BIN

    def __enter__(self):
        self.master.start()
        try:
            self.bed.up()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.bed.down()
        self.master.kill()

    def tool(self, instance, program, *words, check=True):
        """A Cyrus tool on an instance; what it printed."""
        done = subprocess.run([f"{os.path.dirname(os.path.abspath(__file__))}/murder", "run", self.bed.folder,
                               instance, program, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, timeout=60)
        assert not check or done.returncode == 0, (program, words, done.returncode, done.stderr)
        return done.stdout

    def dump(self, instance):
        """Live entries of an instance's mailboxes.db: name -> (location, acl)."""
        found = {}
        for name, row in json.loads(self.tool(instance, "ctl_mboxlist", "-d")).items():
            kind = row["mbtype"]
            if "d" in kind[1:] or "i" in kind[1:]:
                continue
            host = row.get("server") or self.hosts[int(instance[-1]) - 1]
            acl = "".join(f"{who}\t{rights}\t" for who, rights in sorted((row.get("acl") or {}).items()))
            state = "RESERVE" if "z" in kind[1:] else "MAILBOX"
            found[name] = (state, f"{host}!{row['partition']}", acl if state == "MAILBOX" else "")
        return found

    def told(self):
        """The master's list, identifiers of ACLs sorted as above."""
        with self.master.client() as client:
            return {name: (state, place, in_order(acl)) for name, (state, place, acl) in client.entries().items()}

    def backends(self):
        """What the backends have together; a mailbox in two places fails."""
        one, two = self.dump("backend1"), self.dump("backend2")
        both = set(one) & set(two)
        assert not both, f"on both backends: {sorted(both)}"
        return one | two

    def agrees(self, seconds=AGREE_SECONDS):
        """Backends, master and the Cyrus slave say the same."""
        end = time.monotonic() + seconds
        while True:
            truth, told, slave = self.backends(), self.told(), self.dump("frontend")
            if same(truth, told) and told == slave:
                return truth
            if time.monotonic() > end:
                raise AssertionError(f"master: {difference(truth, told)}; slave: {difference(told, slave)}")
            time.sleep(0.1)

    def admin(self, n):
        """An administrator on a backend."""
        return self.bed.session("cyrus", address=self.bed.backend(n))

    def push(self, *numbers):
        """`ctl_mboxlist -m` on backends, in this order."""
        for n in numbers:
            self.tool(f"backend{n}", "ctl_mboxlist", "-m")

    def crash(self):
        """kill -9 and start again."""
        self.master.kill()
        self.master.start()


def in_order(acl):
    """An ACL with its identifiers sorted."""
    fields = acl.split("\t")
    return "".join(f"{who}\t{rights}\t" for who, rights in sorted(zip(fields[::2], fields[1::2])))


def same(truth, told):
    """Whether the master was told the truth; 3.6 leaves the partition out when it renames."""
    if truth.keys() != told.keys():
        return False
    at_server = lambda place: place.split("!")[0] + "!"                          # noqa: E731
    for name, (state, place, acl) in told.items():
        its_state, its_place, its_acl = truth[name]
        if (state, acl) != (its_state, its_acl) or place not in (its_place, at_server(its_place)):
            return False
    return True


def difference(one, other):
    """The first few names that differ."""
    names = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    return "same" if not names else "; ".join(f"{x}: {one.get(x)} / {other.get(x)}" for x in names[:4])


def ok(session, line):
    """A command that must succeed."""
    answer = session.command(line)
    assert answer.status == "OK", (line, answer.tagged)


# ---------------------------------------------------------------- nothing breaks
def seeded(world):
    truth = world.agrees()
    assert len(truth) >= 24 + 8, len(truth)
    assert all(state == "MAILBOX" for state, _, _ in truth.values())


def changes_are_everywhere_at_once(world):
    admin = world.admin(1)
    for line in ("CREATE user.user001.Made", "SETACL user.user001.Made user002 lrs",
                 "RENAME user.user001.Made user.user001.Named", "SETACL user.user001.Named cyrus lrx",
                 "DELETE user.user001.Named", "CREATE shared1", "SETACL shared1 anyone lrs"):
        ok(admin, line)
        world.agrees()
    admin.close()


def user_moves_both_ways(world):
    for source, target in ((1, 2), (2, 1)):
        admin = world.admin(source)
        ok(admin, f"XFER user.user001 {world.hosts[target - 1]}")
        admin.close()
        truth = world.agrees()
        places = {place for name, (_, place, _) in truth.items() if name.startswith("user.user001")}
        assert places == {f"{world.hosts[target - 1]}!default"}, places
    reader = world.bed.session("user001")
    assert reader.command("SELECT INBOX").status == "OK"
    assert any(b" 5 EXISTS" in line for line in reader.command("SELECT INBOX").lines), "mail was lost on the way"
    reader.close()


def tool_of_debian(world):
    """-mw says what -m would do, -m does it, then -mw is silent."""
    assert world.tool("backend1", "ctl_mboxlist", "-mw") == ""
    with world.master.client() as client:
        client.ok("DELETE", "user.user001.Sent")
        client.ok("ACTIVATE", "user.user001.Ghost", f"{world.hosts[0]}!default", "user001\tlrs\t")
        client.ok("ACTIVATE", "user.user001.Drafts", f"{world.hosts[0]}!other", "user001\tlrs\t")
    said = world.tool("backend1", "ctl_mboxlist", "-mw").splitlines()
    assert sorted(said) == ["Force Activate: user.user001.Drafts", "Force Activate: user.user001.Sent",
                            "Remove from MUPDATE: user.user001.Ghost"], said
    world.push(1)
    assert world.tool("backend1", "ctl_mboxlist", "-mw") == ""
    world.agrees()


# ---------------------------------------------------------------- the master is killed in the middle
def while_crashing(world, work, crashes=2):
    """Runs `work` while the master is killed and started again."""
    done, failure = threading.Event(), []

    def run():
        try:
            work()
        except Exception as e:                                                   # told by the caller
            failure.append(e)
        finally:
            done.set()

    worker = threading.Thread(target=run, daemon=True)
    worker.start()
    for _ in range(crashes):
        done.wait(random.uniform(0.02, 0.3))
        world.crash()
    assert done.wait(60), "the work hangs"
    if failure:
        raise failure[0]


def commands_while_crashing(world):
    """Backends roll back what the master did not take; -m heals what they cannot."""
    def work(n):
        admin = world.admin(n)
        for k in range(8):
            name = f"crash{n}x{k}"
            for line in (f"CREATE {name}", f"SETACL {name} user001 lrs", f"RENAME {name} {name}r",
                         *([f"DELETE {name}r"] if k % 2 else [])):
                admin.command(line)
        admin.close()

    def both():
        threads = [threading.Thread(target=work, args=(n,)) for n in (1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

    while_crashing(world, both, crashes=3)
    world.push(1, 2)
    world.agrees()


def push_while_crashing(world):
    """A broken -m is run again."""
    while_crashing(world, lambda: world.tool("backend1", "ctl_mboxlist", "-m", check=False))
    world.push(1, 2)
    world.agrees()


def dry_run_while_crashing(world):
    """-mw changes nothing, whatever happens."""
    before = world.told()
    while_crashing(world, lambda: world.tool("backend1", "ctl_mboxlist", "-mw", check=False))
    assert world.told() == before
    world.agrees()


def move_while_crashing(world):
    """To and fro. Repaired as Cyrus wants it: -m on the source, then on the destination; then the move works."""
    for _ in range(2):
        [place] = places_of(world, "user.user002")
        source = world.hosts.index(place.split("!")[0]) + 1
        target = 3 - source

        def move():
            admin = world.admin(source)
            try:
                admin.command(f"XFER user.user002 {world.hosts[target - 1]}")
            except Lost:
                pass                   # what a backend does when its master is gone is its own affair
            admin.close()

        while_crashing(world, move, crashes=1)
        world.push(source, target)
        world.push(source, target)     # -m deletes a left-over copy without telling; the next -m tells
        world.agrees()
        assert len(places_of(world, "user.user002")) == 1
        with world.master.client() as client:
            assert not [x for x in client.entries().values() if x[0] == "RESERVE"]


def places_of(world, user):
    """Where a user's mailboxes are; 3.6 leaves the partition out when it renames."""
    return {place.split("!")[0] for name, (_, place, _) in world.backends().items() if f"{name}.".startswith(f"{user}.")}


# ---------------------------------------------------------------- TLS
def certificates(folder):
    """An authority, a server and a client `postman`, as files under `folder`."""
    os.makedirs(folder, exist_ok=True)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    quiet = dict(check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder)
    subprocess.run(["openssl", "req", "-x509", *key, "-subj", "/CN=test", "-days", "30", "-keyout", "ca.key", "-out",
                    "ca.pem"], **quiet)
    for name, use in (("server", "serverAuth"), ("postman", "clientAuth")):
        with open(f"{folder}/{name}.ext", "w") as f:
            f.write(f"extendedKeyUsage={use}\nbasicConstraints=CA:false\n")
        subprocess.run(["openssl", "req", *key, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out",
                        f"{name}.csr"], **quiet)
        subprocess.run(["openssl", "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
                        "-CAcreateserial", "-days", "30", "-extfile", f"{name}.ext", "-out", f"{name}.pem"], **quiet)
        os.chmod(f"{folder}/{name}.key", 0o644)


def tls_with_a_real_backend(world):
    """Debian's client begins STARTTLS when no password may go in clear; a certificate logs in by EXTERNAL."""
    folder = f"{world.folder}/tls"
    certificates(folder)
    options = {"allowplaintext": "no", "sasl_mech_list": "PLAIN EXTERNAL", "tls_server_cert": f"{folder}/server.pem",
               "tls_server_key": f"{folder}/server.key", "tls_client_ca_file": f"{folder}/ca.pem",
               "tls_client_certs": "optional"}
    with open(world.bed.murder_conf("backend1")) as f:
        lines = [x for x in f.read().splitlines() if not x.startswith("mupdate_server:")]
    with Master(world.bed.binaries, f"{folder}/master", f"{world.net}.3", options=options) as master:
        lines.append(f"mupdate_server: {master.address}:3905")
        shown = [f"tls_client_cert: {folder}/postman.pem", f"tls_client_key: {folder}/postman.key",
                 "force_sasl_client_mech: EXTERNAL"]
        for name, more in (("password", []), ("certificate", shown)):
            conf = f"{folder}/{name}.conf"
            with open(conf, "w") as f:
                f.write("\n".join([*lines, *more]) + "\n")
            for _ in range(10):        # Cyrus' own master dies of the ends of such connections
                said = world.tool("backend1", "ctl_mboxlist", "-C", conf, "-mw")
                assert "Force Activate: user.user001" in said, (name, said, master.log())
        assert master.process.poll() is None, master.log()


# ---------------------------------------------------------------- our frontend, and Debian's master
def our_frontend_follows(world):
    """rookeryd on our master, serving its list on as a slave, with a master of its own beside it."""
    address, folder = f"{world.net}.102", f"{world.folder}/ours"
    os.makedirs(f"{folder}/conf/socket", exist_ok=True)
    world.master.own()
    murder_module().chown_r(folder)
    passwd = f"{world.master.folder}/passwd"
    changes = {"configdirectory": f"{folder}/conf", "sasl_pwcheck_method": "backend", "servername": "ours",
               "mupdate_sasl_pwcheck_method": "passwd_file", "mupdate_sasl_passwd_file": passwd,
               "mupdate_admins": "postman"}
    services = f"""\
  imap cmd="imapd" listen="{address}:143" proto="tcp4"
  mupdate cmd="mupdate" listen="{address}:3905" proto="tcp4"
"""
    daemon = Daemon(world.bed, changes, services, folder=folder)
    with daemon:
        with Client(address) as slave, world.master.client() as master:
            assert slave.greeting[-1][-1].startswith(b"mupdate://"), slave.greeting
            slave_rows = slave.ok("UPDATE")
            master.ok("ACTIVATE", "followed", f"{world.hosts[0]}!default", "anyone\tlrs\t")
            pushed = slave.ok("NOOP")
            assert [row[1:3] for row in pushed] == [[b"MAILBOX", b"followed"]], pushed
            assert len(slave_rows) == len(master.entries()) - 1
            master.ok("DELETE", "followed")
            assert [row[1:3] for row in slave.ok("NOOP")] == [[b"DELETE", b"followed"]]
        with Client(address) as slave:
            assert slave.command("DELETE", "team01")[-1][1:] == [b"BAD", b"read-only session"]
        admin = world.admin(1)
        ok(admin, "CREATE user.user001.Seen")
        user = world.bed.session("user001", address=address)
        ok(user, "STATUS INBOX.Seen (MESSAGES)")
        world.crash()
        ok(user, "STATUS INBOX.Seen (MESSAGES)")
        user.close()
        admin.close()


def session_of_mupdatetest(world, address):
    """What Debian's mupdatetest prints, without what names the server."""
    lines = ['F1 FIND "user.nobody"', 'R1 RESERVE "user.new" "be1!p"', 'R2 RESERVE "user.new" "be2!p"',
             'A1 ACTIVATE "user.new" "be1!p" "new\tlrs\t"', 'F2 FIND "user.new"', 'L1 LIST "be1!"', "B1 NONSENSE",
             "B2 FIND", "B3 FIND atom", "N1 NOOP", 'D1 DELETE "user.new"', 'F3 FIND "user.new"', "U1 UPDATE", "L2 LIST",
             "N2 NOOP"]
    done = subprocess.run([f"{world.cyrus}/mupdatetest", "-m", "PLAIN", "-u", "postman", "-a", "postman", "-w",
                           "pw-postman", address], input="\r\n".join([*lines, "Q01 LOGOUT", ""]), text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    return [normal(line) for line in done.stdout.splitlines() if line.strip() and wanted(line)]


def session_with_debian(world, address):
    """Now and then Debian's master resets a connection that it has just begun to stream on: that is no answer."""
    for _ in range(10):
        lines = session_of_mupdatetest(world, address)
        if not any("Protection error" in line for line in lines):
            break
    return lines


def wanted(line):
    """Ours offers other mechanisms, and COMPRESS or not is seen in the greeting alone."""
    return not re.match(r"S: \* (AUTH|COMPRESS|STARTTLS)|Please enter|C: A01|S: \+", line)


def normal(line):
    """Literals and quoted strings alike, the greeting without names."""
    line = re.sub(r'(\* OK MUPDATE) .*', r"\1", line)
    return re.sub(r'"([^"]*)"', r"\1", re.sub(r"\{\d+\+\}$", "", line))


def flat(lines):
    """What follows a literal stands on the next line: one text for all."""
    text = re.sub(r"\s+", " ", " ".join(lines).replace("S: ", ""))
    return re.sub(r"\* RESUME \w+ ", "", text)       # what our slave continues by is ours alone


def same_session_with_both_masters(world):
    """Debian's master beside ours, under the same tool."""
    net = f"{world.net.rsplit('.', 1)[0]}.{int(world.net.rsplit('.', 1)[1]) + 100}"
    folder = f"{world.folder}/debian"
    world.bed.murder("up", folder, "--net", net, "--backends", "0", "--no-frontend", "--no-log")
    try:
        with Master(world.bed.binaries, f"{world.folder}/empty", f"{net}.2") as ours:
            debian, own = session_with_debian(world, f"{net}.1"), session_of_mupdatetest(world, ours.address)
    finally:
        world.bed.murder("down", folder)
    assert len(debian) > 15, debian
    assert flat(debian) == flat(own), f"\n{flat(debian)}\n{flat(own)}"


TESTS = [seeded, changes_are_everywhere_at_once, user_moves_both_ways, tool_of_debian, commands_while_crashing,
         tls_with_a_real_backend, push_while_crashing, dry_run_while_crashing, move_while_crashing, our_frontend_follows,
         same_session_with_both_masters]


def run(report, a):
    """All of it in one murder."""
    folder = f"{a.folder}/murder"
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    try:
        with World(report, a, folder) as world:
            for test in TESTS:
                report.check(f"master/{test.__name__}", test, world)
    except (RuntimeError, Gone, Lost) as e:
        report.fails("master/murder", f"  test-bed: {e}")
