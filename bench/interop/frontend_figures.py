#!/usr/bin/env python3
"""Figures of a whole frontend with a large list, behind our own master.

  frontend_figures.py BINARIES [--net 127.0.93] [--names 10000000] [--folders 10000] [--lists 20]

How long it takes from its start to a live list: with the whole list from the master, with its own copy and what changed
meanwhile, after a kill -9; what it weighs; and what LIST costs for one user of many and for one with many folders.
"""
import argparse
import imaplib
import itertools
import os
import statistics
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from figures import READY_SECONDS, cpu, memory, names, run  # noqa: E402
from master_client import PASSWORD, Master  # noqa: E402

MANY = "many"


def rows(a, server):
    """Lines for `ctl_mboxlist -u`: six mailboxes a user, and one user with many folders."""
    line = "{}\t16 {}!default {}\tlrswipkxtecdan\t\n"
    yield line.format(f"user.{MANY}", server, MANY)
    for n in range(a.folders):
        yield line.format(f"user.{MANY}.box{n:05d}", server, MANY)
    for user, n in names(a.names):
        yield line.format(f"user.{user}.folder{n}" if n else f"user.{user}", server, user)


def filled(a, folder, server):
    """A master that has the list."""
    master = Master(a.binaries, folder, f"{a.net}.9")
    store = f"{folder}/conf/rookery-master"
    os.makedirs(store)
    tool = subprocess.Popen([f"{a.binaries}/ctl_mboxlist", "-C", f"{folder}/imapd.conf", "-u", "-L", "-f", store],
                            stdin=subprocess.PIPE)
    lines = rows(a, server)
    while chunk := "".join(itertools.islice(lines, 10_000)):
        tool.stdin.write(chunk.encode())
    tool.stdin.close()
    assert tool.wait() == 0
    master.own()
    master.start(READY_SECONDS)
    return master


class Frontend(Master):
    """`rookeryd` with one IMAP service; passwords are the scripted backend's to take."""

    def __init__(self, a, folder, master):
        super().__init__(a.binaries, folder, f"{a.net}.8", port=1143, options={
            "sasl_pwcheck_method": "backend", "sasl_mech_list": "PLAIN LOGIN", "proxy_authname": "proxy",
            "proxy_password": "password", "mupdate_server": master.address, "mupdate_authname": "postman",
            "mupdate_username": "postman", "mupdate_password": PASSWORD, "mupdate_retry_delay": "1",
            "rookery_shards": "1"})
        with open(f"{folder}/cyrus.conf", "w") as f:
            f.write('START {\n}\nSERVICES {\n  imap cmd="imapd" listen="%s:1143" proto="tcp4"\n}\nEVENTS {\n}\n' % self.address)
        self.binary = f"{a.binaries}/rookeryd"

    def words(self):
        return [self.binary, "-D", "-C", f"{self.folder}/imapd.conf", "-M", f"{self.folder}/cyrus.conf",
                "-p", f"{self.folder}/conf/pid"]

    def imap(self, user):
        client = imaplib.IMAP4(self.address, 1143, timeout=READY_SECONDS)
        client.login(user, "password")
        return client

    def live_after(self, wanted):
        """Seconds from a start until LIST shows a name, and the CPU that took."""
        begun = time.perf_counter()
        ready = self.start(READY_SECONDS)
        while time.perf_counter() < begun + READY_SECONDS:
            try:
                client = self.imap(MANY)
                status, lines = client.list('""', wanted)
                client.shutdown()
                if status == "OK" and lines != [None]:
                    return ready, time.perf_counter() - begun, cpu(self.process.pid)
            except (imaplib.IMAP4.error, OSError):
                pass
            time.sleep(0.01)
        raise RuntimeError(f"{wanted} does not come: {self.log()}")


def listing(frontend, user, count):
    """LIST "" *: names, octets, milliseconds by the clock and of CPU."""
    client, took = frontend.imap(user), []
    client.list('""', "*")
    before = cpu(frontend.process.pid)
    for _ in range(count):
        begun = time.perf_counter()
        _, lines = client.list('""', "*")
        took.append(time.perf_counter() - begun)
    spent = (cpu(frontend.process.pid) - before) / count
    client.logout()
    return len(lines), sum(len(x) for x in lines), 1000 * statistics.median(took), 1000 * spent


def tell(what, ready, live, spent):
    print(f"{what}: ready after {ready:.2f} s, its list live after {live:.2f} s (CPU {spent:.2f} s)", flush=True)


def figures(a, folder):
    """Everything, in order."""
    server = f"{a.net}.11:1143"
    backend = subprocess.Popen([f"{a.binaries}/rookery-bench", "serve", "backend", "--protocol", "imap",
                                "--listen", server], stdout=subprocess.DEVNULL)
    master = frontend = None
    try:
        master = filled(a, f"{folder}/master", server)
        os.makedirs(f"{folder}/frontend")
        frontend = Frontend(a, f"{folder}/frontend", master)
        tell(f"{a.names} mailboxes, the whole list from the master", *frontend.live_after("INBOX"))
        time.sleep(5)                               # its copy is written behind
        print(f"{a.names} mailboxes: {memory(frontend.process.pid):.0f} MiB", flush=True)
        frontend.kill()
        with master.client() as client:
            client.ok("ACTIVATE", f"user.{MANY}.new", f"{server}!default", f"{MANY}\tlrswipkxtecdan\t")
        tell("its own copy and what changed, after kill -9", *frontend.live_after("new"))
        for user, count in (("u0000007", a.lists * 50), (MANY, a.lists)):
            shown, octets, took, spent = listing(frontend, user, count)
            print(f'LIST "" * of {user}: {shown} names, {octets / 1024:.1f} KiB, {took:.2f} ms, {spent:.2f} ms of CPU',
                  flush=True)
    finally:
        for process in (frontend, master):
            if process is not None and process.process is not None:
                process.kill()
        backend.kill()
        backend.wait()


def main():
    """Runs it."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("binaries")
    p.add_argument("--net", default="127.0.93")
    p.add_argument("--names", type=int, default=10_000_000)
    p.add_argument("--folders", type=int, default=10_000)
    p.add_argument("--lists", type=int, default=20)
    run(p, figures)


if __name__ == "__main__":
    main()
