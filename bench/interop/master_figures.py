#!/usr/bin/env python3
"""Figures of our MUPDATE master, and of Debian's in the same run where it can.

  master_figures.py BINARIES [--net 127.0.26] [--seconds 5] [--clients 5000] [--names 1000000]

The load is one Python process with epoll: what it reports is at least what the master can do.
"""
import argparse
import os
import resource
import selectors
import shutil
import statistics
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from bed import MURDER, missing  # noqa: E402
from master_client import Client, Master, quoted  # noqa: E402

CHANGES = 400


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


def memory(pid):
    """Proportional resident memory, MiB."""
    with open(f"/proc/{pid}/smaps_rollup") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("Pss:")) / 1024


def idle_clients(master, count):
    """What logged-in clients cost, KiB each."""
    before, clients = memory(master.process.pid), []
    for _ in range(count):
        clients.append(master.client(timeout=60))
    cost = (memory(master.process.pid) - before) * 1024 / count
    for client in clients:
        client.close()
    return cost


def reopening(master, names):
    """Seconds from a kill -9 to READY with so many names."""
    writer, batch = master.client(timeout=120), 250
    begun = time.perf_counter()
    for n in range(0, names, batch):
        lines = [b"t%d ACTIVATE " % k + b" ".join(
            [quoted(f"user.u{k // 6:07d}.folder{k % 6}"), quoted(f"be{k % 8}!default"), quoted(f"u{k // 6:07d}\tlrswipkxtecdan\t")])
            for k in range(n, n + batch)]
        writer.send(b"\r\n".join(lines) + b"\r\n")
        for _ in lines:
            assert b" OK " in writer.raw_line()
    pushed = time.perf_counter() - begun
    size = memory(master.process.pid)
    master.kill()
    return pushed, master.start(), size


def figures(name, address, seconds, changes):
    """Rates and latency of one master."""
    for connections in (1, 10, 100):
        print(f"{name}: {rate(address, connections, seconds):8.0f} ACTIVATE/s with {connections} connections", flush=True)
    pushed, answered = latency(address, changes)
    print(f"{name}: to the OK p50 {answered[0]:.2f} ms p99 {answered[1]:.2f} ms; to the subscriber p50 {pushed[0]:.2f} ms "
          f"p99 {pushed[1]:.2f} ms", flush=True)


def main():
    """Runs it."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("binaries")
    p.add_argument("--net", default="127.0.26")
    p.add_argument("--seconds", type=float, default=5)
    p.add_argument("--clients", type=int, default=5000)
    p.add_argument("--names", type=int, default=1_000_000)
    a = p.parse_args()
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    folder = tempfile.mkdtemp(prefix="figures-", dir="/tmp")
    os.chmod(folder, 0o755)
    try:
        with Master(os.path.abspath(a.binaries), f"{folder}/ours", f"{a.net}.9") as ours:
            figures("ours", ours.address, a.seconds, CHANGES)
            if a.clients:
                print(f"ours: {idle_clients(ours, a.clients):.1f} KiB each for {a.clients} logged-in clients", flush=True)
            if a.names:
                pushed, took, size = reopening(ours, a.names)
                print(f"ours: {a.names} names pushed in {pushed:.1f} s, {size:.0f} MiB, READY {took:.2f} s after kill -9",
                      flush=True)
        if not missing():
            net = f"{a.net.rsplit('.', 1)[0]}.{int(a.net.rsplit('.', 1)[1]) + 100}"
            os.system(f"{MURDER} up {folder}/debian --net {net} --backends 0 --no-frontend --no-log </dev/null >/dev/null 2>&1")
            try:
                figures("Debian's", f"{net}.1", a.seconds, 3)     # it pushes after 5 s
            finally:
                os.system(f"{MURDER} down {folder}/debian </dev/null >/dev/null 2>&1")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
