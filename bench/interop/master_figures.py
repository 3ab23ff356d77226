#!/usr/bin/env python3
"""Figures of our MUPDATE master, and of Debian's in the same run where it can.

  master_figures.py BINARIES [--net 127.0.26] [--seconds 5] [--clients 5000] [--names 1200000] [--theirs 30]
      [--large 10000000]            0 leaves a part out

The load is one Python process with epoll: what it reports is at least what the master can do.
"""
import argparse
import itertools
import os
import selectors
import shutil
import statistics
import subprocess
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from bed import Bed, missing  # noqa: E402
from figures import READY_SECONDS, cpu, memory, names, run, settled_memory  # noqa: E402
from master_client import PASSWORD, Client, Master, quoted  # noqa: E402

CHANGES = 400
# Of a shard, with some to spare.
RECEIVE_BUFFERS = 3000
AS_CYRUS = ["setpriv", "--reuid=cyrus", "--regid=mail", "--init-groups"]
# A step that takes longer is ended and said so.
MOST_SECONDS = 150


def latency(address, changes=CHANGES):
    """Milliseconds from the write of an ACTIVATE to its push at a subscriber, and to its OK."""
    pushed, answered = [], []
    with Client(address) as writer, Client(address) as stream:
        stream.ok("UPDATE")
        for n in range(changes):
            begun = time.perf_counter()
            tag = writer.begin("ACTIVATE", f"user.latency{n % 50}", "be1!p", f"latency\tl{n}\t")
            writer.end(tag)
            answered.append(time.perf_counter() - begun)
            stream.row()
            pushed.append(time.perf_counter() - begun)
    return [[1000 * q for q in (statistics.median(x), statistics.quantiles(x, n=100)[98])] for x in (pushed, answered)]


def rate(address, connections, seconds):
    """Acknowledged ACTIVATEs a second, one in flight on each connection."""
    chosen, done = selectors.EpollSelector(), 0
    clients = [Client(address, timeout=60) for _ in range(connections)]

    def send(number, count):
        line = b"t%d ACTIVATE " % count + b" ".join(
            [quoted(f"user.c{number}.n{count % 100}"), quoted("be1!p"), quoted(f"c\tl{count}\t")]) + b"\r\n"
        clients[number].socket.send(line)

    for number, client in enumerate(clients):
        chosen.register(client.socket, selectors.EVENT_READ, number)
        send(number, 0)
    begun = time.perf_counter()
    while time.perf_counter() - begun < seconds:
        for key, _ in chosen.select(1):
            answer = clients[key.data].socket.recv(4096)
            assert b" OK " in answer, answer
            done += 1
            send(key.data, done)
    took = time.perf_counter() - begun
    for client in clients:
        client.close()
    return done / took


def idle_clients(a, folder, count):
    """What logged-in clients cost, KiB each: what the later ones of so many add to a master that serves the first fifth."""
    with Master(a.binaries, folder, f"{a.net}.9") as master:
        clients = [master.client(timeout=60) for _ in range(count // 5)]
        for _ in range(RECEIVE_BUFFERS):            # each has its page from its first use on
            clients[0].ok("NOOP")
        before = settled_memory(master.process.pid)
        clients += [master.client(timeout=60) for _ in range(count - len(clients))]
        more = count - count // 5
        cost = (settled_memory(master.process.pid) - before) * 1024 / more
        for client in clients:
            client.close()
        return cost


def backend(folder, count, master):
    """A backend's mailboxes.db with so many mailboxes, made by Debian's own converter, and its imapd.conf."""
    for sub in ("conf/db", "conf/lock", "conf/proc", "spool"):
        os.makedirs(f"{folder}/{sub}", exist_ok=True)
    with open(f"{folder}/flat", "w") as f:
        for user, n in names(count):
            f.write(f"Nuser\x1f{user}\x1ffolder{n}\t%(T e I {user}-{n} P default V 1 C 1 F 1 M 1795972498 "
                    f"A %({user} lrswipkxtecdan))\n")
    conf = f"{folder}/imapd.conf"
    with open(conf, "w") as f:
        f.write(f"configdirectory: {folder}/conf\npartition-default: {folder}/spool\ndefaultpartition: default\n"
                f"servername: be1\nproxyservers: proxy\nmupdate_server: {master}\nmupdate_authname: postman\n"
                f"mupdate_username: postman\nmupdate_password: {PASSWORD}\n")
    shutil.chown(folder, "cyrus")
    for place, folders, files in os.walk(folder):
        for name in folders + files:
            shutil.chown(f"{place}/{name}", "cyrus")
    subprocess.run([*AS_CYRUS, "/usr/lib/cyrus/bin/cvt_cyrusdb", "-C", conf, f"{folder}/flat", "flat",
                    f"{folder}/conf/mailboxes.db", "twoskip"], check=True, stdout=subprocess.DEVNULL)
    os.unlink(f"{folder}/flat")
    return conf


def pushed(program, conf, master, most):
    """`ctl_mboxlist -m`: seconds until it ended or was ended, its and our master's seconds of CPU."""
    masters = (lambda: cpu(master.process.pid)) if master else (lambda: 0)
    before, began = masters(), time.perf_counter()
    tool = subprocess.Popen([*AS_CYRUS, program, "-C", conf, "-m"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                            stderr=subprocess.DEVNULL)
    end, own, done = began + most, 0.0, False
    while time.perf_counter() < end:
        ended = os.waitid(os.P_PID, tool.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        own = max(own, cpu(tool.pid))
        if ended:
            done = True
            break
        time.sleep(0.02)
    took = time.perf_counter() - began
    if not done:
        tool.kill()
    tool.wait()
    return took, own, masters() - before, done


def dumped(client):
    """UPDATE to its OK: seconds, octets, entries."""
    began, octets, entries, tail = time.perf_counter(), 0, 0, b""
    client.socket.settimeout(120)
    client.send(b"u1 UPDATE\r\n")
    while b"u1 OK" not in tail:
        got = client.socket.recv(1 << 20)
        if not got:
            raise RuntimeError("the dump was cut short")
        octets += len(got)
        entries += got.count(b"\nu1 ")
        tail = tail[-100:] + got[-100:]
    return time.perf_counter() - began, octets, entries


def others_wait(address, pid):
    """What another client's NOOP takes while the whole list goes out and while nothing does: ms, median and longest."""
    taken = []
    with Client(address, timeout=120) as client:
        for is_busy in (False, True):
            child = 0
            if is_busy and not (child := os.fork()):
                os.nice(5)                      # the reader of the dump gives way to who measures
                try:
                    with Client(address, timeout=120) as reader:
                        dumped(reader)
                finally:
                    os._exit(0)
            times, end = [], time.perf_counter() + 1
            while not (times and (os.waitpid(child, os.WNOHANG)[0] if child else time.perf_counter() > end)):
                begun, before = time.perf_counter(), waited(pid)
                client.ok("NOOP")
                # A processor that others have is not the master's slice.
                times.append(time.perf_counter() - begun - (waited(pid) - before))
                time.sleep(0.0005)
            taken.append([1000 * x for x in (statistics.median(times), max(times))])
    return taken


def waited(pid):
    """Seconds that the directory shard's thread was ready and had no processor."""
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/comm") as f:
            if not f.read().startswith("directory"):
                continue
        with open(f"/proc/{pid}/task/{task}/schedstat") as f:
            return int(f.read().split()[1]) / 1e9
    return 0


def followed(binaries, folder, address, master):
    """A slave of ours: seconds to its first list, and from a kill -9 to serving a live list again; its memory."""
    slave = Master(binaries, folder, address, options={
        "mupdate_server": master.address, "mupdate_authname": "postman", "mupdate_username": "postman",
        "mupdate_password": PASSWORD, "mupdate_retry_delay": "1", "rookery_accept_empty_list": "yes"})
    slave.words = lambda: [x for x in Master.words(slave) if x != "-m"]
    try:
        first = slave.start(READY_SECONDS)
        time.sleep(3)                           # its copy is written behind
        size = memory(slave.process.pid)
        slave.kill()
        again = slave.start(READY_SECONDS)
        return first, again, size
    finally:
        slave.kill()


def of_size(a, folder, ours, count):
    """What a list of a size costs: memory, opening, dump, a slave."""
    size = memory(ours.process.pid)
    ours.kill()
    took = ours.start(READY_SECONDS)
    print(f"ours, {count} mailboxes: {size:.0f} MiB, {memory(ours.process.pid):.0f} after a restart; READY {took:.2f} s "
          f"after kill -9", flush=True)
    with ours.client(timeout=120) as client:
        took, octets, entries = dumped(client)
    print(f"ours, {count} mailboxes: dump of {octets / 2 ** 20:.0f} MiB in {took:.1f} s ({entries} lines)", flush=True)
    (still, still_max), (busy, busy_max) = others_wait(ours.address, ours.process.pid)
    print(f"ours, {count} mailboxes: another client's NOOP takes {busy:.2f} ms while the dump goes out, {busy_max:.2f} ms at "
          f"most ({still:.2f} and {still_max:.2f} ms while none does)", flush=True)
    first, again, size = followed(a.binaries, f"{folder}/slave{count}", f"{a.net}.8", ours)
    print(f"ours, {count} mailboxes: a new slave is live after {first:.1f} s, again {again:.2f} s after kill -9; it has "
          f"{size:.0f} MiB", flush=True)


def pushes(a, folder):
    """A backend's list pushed by our tool and by Debian's to our master; what a list of that size costs."""
    place = f"{folder}/push"
    os.makedirs(place)
    shutil.copy(f"{a.binaries}/ctl_mboxlist", f"{folder}/ctl_mboxlist")
    with Master(a.binaries, f"{place}/ours", f"{a.net}.9") as ours:
        conf = backend(f"{place}/be1", a.names, ours.address)
        took, own, masters, done = pushed(f"{folder}/ctl_mboxlist", conf, ours, MOST_SECONDS)
        print(f"our ctl_mboxlist -m, {a.names} mailboxes: {took:.1f} s{'' if done else ' and not at its end'} (CPU: tool "
              f"{own:.1f} s, master {masters:.1f} s)", flush=True)
        took, own, _, done = pushed(f"{folder}/ctl_mboxlist", conf, ours, MOST_SECONDS)
        print(f"our ctl_mboxlist -m again, nothing to do: {took:.1f} s (CPU {own:.1f} s)", flush=True)
        of_size(a, place, ours, a.names)
    with Master(a.binaries, f"{place}/theirs", f"{a.net}.9") as ours:
        took, own, masters, done = pushed("/usr/lib/cyrus/bin/ctl_mboxlist", conf, ours, a.theirs)
        with ours.client(timeout=120) as client:
            entries = dumped(client)[2]
        print(f"Debian's ctl_mboxlist -m on our master: {entries} mailboxes in {took:.1f} s (CPU: tool {own:.1f} s, master "
              f"{masters:.1f} s){'' if done else f', the whole would take {took * a.names / max(entries, 1):.0f} s'}", flush=True)


def large(a, folder):
    """A list that only our own tool makes quickly enough: `ctl_mboxlist -u -L` into a master's store."""
    place = f"{folder}/large"
    ours = Master(a.binaries, place, f"{a.net}.9")
    store = f"{place}/conf/rookery-master"
    os.makedirs(store)
    began = time.perf_counter()
    tool = subprocess.Popen([f"{a.binaries}/ctl_mboxlist", "-C", f"{place}/imapd.conf", "-u", "-L", "-f", store],
                            stdin=subprocess.PIPE)
    lines = (f"user.{user}.folder{n}\t16 be{n % 8}!default {user}\tlrswipkxtecdan\t\n" for user, n in names(a.large))
    while chunk := "".join(itertools.islice(lines, 10_000)):
        tool.stdin.write(chunk.encode())
    tool.stdin.close()
    assert tool.wait() == 0
    print(f"our ctl_mboxlist -u, {a.large} mailboxes: {time.perf_counter() - began:.1f} s", flush=True)
    ours.own()
    try:
        took = ours.start(READY_SECONDS)
        print(f"ours, {a.large} mailboxes: READY after {took:.2f} s", flush=True)
        of_size(a, place, ours, a.large)
    finally:
        ours.kill()


def debians(a, folder):
    """The same of Debian's master, in a murder of its own, with Debian's tool and with ours."""
    first, second, third = a.net.split(".")
    net = f"{first}.{second}.{(int(third) + 100) % 256}"
    bed = Bed(folder, net)
    try:
        bed.murder("up", folder, "--net", net, "--backends", "0", "--no-frontend", "--no-log")
        if a.seconds:
            figures("Debian's", f"{net}.1", a.seconds, 3)     # it pushes after 5 s
        if not a.names:
            return
        shutil.copy(f"{a.binaries}/ctl_mboxlist", f"{folder}/ctl_mboxlist")
        conf = backend(f"{folder}/be1", a.names, f"{net}.1")
        for whose, program in (("Debian's", "/usr/lib/cyrus/bin/ctl_mboxlist"), ("our", f"{folder}/ctl_mboxlist")):
            took, own, _, done = pushed(program, conf, None, a.theirs)
            with Client(f"{net}.1", timeout=120) as client:
                seconds, _, entries = dumped(client)
                client.ok("LOGOUT")
            print(f"{whose} ctl_mboxlist -m on Debian's master: {entries} mailboxes in {took:.1f} s (CPU of the tool {own:.1f} s)"
                  f"{'' if done else f', the whole would take {took * a.names / max(entries, 1):.0f} s'}; dump of them in "
                  f"{seconds:.1f} s", flush=True)
            bed.stop("master")
            os.unlink(f"{folder}/master/conf/mailboxes.db")
            bed.start("master")
    finally:
        bed.murder("down", folder)


def figures(name, address, seconds, changes):
    """Rates and latency of one master."""
    for connections in (1, 10, 100):
        print(f"{name}: {rate(address, connections, seconds):8.0f} ACTIVATE/s with {connections} connections", flush=True)
    pushed, answered = latency(address, changes)
    print(f"{name}: to the OK p50 {answered[0]:.2f} ms p99 {answered[1]:.2f} ms; to the subscriber p50 {pushed[0]:.2f} ms "
          f"p99 {pushed[1]:.2f} ms", flush=True)


def measure(a, folder):
    """Everything, in order."""
    if a.seconds:
        with Master(a.binaries, f"{folder}/ours", f"{a.net}.9") as ours:
            figures("ours", ours.address, a.seconds, CHANGES)
    if a.clients:
        print(f"ours: {idle_clients(a, f'{folder}/clients', a.clients):.1f} KiB each for {a.clients} logged-in clients",
              flush=True)
    if a.names and not missing():
        pushes(a, folder)
    if a.large:
        large(a, folder)
    if (a.seconds or a.names) and not missing():
        debians(a, f"{folder}/debian")


def main():
    """Runs it."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("binaries")
    p.add_argument("--net", default="127.0.26")
    p.add_argument("--seconds", type=float, default=5)
    p.add_argument("--clients", type=int, default=5000)
    p.add_argument("--names", type=int, default=1_200_000, help="mailboxes of the pushed backend")
    p.add_argument("--theirs", type=float, default=30, help="seconds that Debian's ctl_mboxlist may push")
    p.add_argument("--large", type=int, default=10_000_000, help="mailboxes of the large list")
    run(p, measure)


if __name__ == "__main__":
    main()
