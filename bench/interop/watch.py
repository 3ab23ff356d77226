"""What rookeryd tells of itself: latency by stage, top, Prometheus, the log of slow commands."""
import json
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request

from bed import signalled
from daemon import Daemon, says, wait_for

METRICS_PORT = 9143


def rookery(bed, daemon, *arguments):
    """The operator's tool, asking this daemon."""
    command = [f"{bed.binaries}/rookery", "-C", daemon.imapd, *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    return done.stdout


def rows(bed, daemon, *arguments):
    """The same, as JSON rows."""
    return [json.loads(line) for line in rookery(bed, daemon, "--json", *arguments).splitlines()]


def commands_are_timed_by_stage(bed):
    """Each command once, by verb and stage, and its wait by backend."""
    with Daemon(bed, {"rookery_metrics_listen": f"{bed.address}:{METRICS_PORT}"}) as daemon:
        s = bed.session("user001")
        says(s.command("SELECT team02"), b" OK")
        for _ in range(20):
            says(s.command("NOOP"), b" OK")
        says(s.command("LIST \"\" *"), b" OK")
        says(s.command("STATUS INBOX (MESSAGES)"), b" OK")
        told = {(row["name"], row["stage"]): row for row in rows(bed, daemon, "latency")}
        for verb, count in {"LOGIN": 1, "SELECT": 1, "NOOP": 20, "LIST": 1, "STATUS": 1}.items():
            assert told[verb, "total"]["count"] == count, (verb, told[verb, "total"])
            assert told[verb, "own"]["count"] == count, (verb, told[verb, "own"])
        noop, own = told["NOOP", "backend"], told["NOOP", "own"]
        assert noop["count"] == 20, noop
        whole, parts = told["NOOP", "total"]["mean_us"], noop["mean_us"] + own["mean_us"]
        assert abs(whole - parts) <= 0.05 * whole + 2, (whole, parts)
        backends = {row["name"] for row in rows(bed, daemon, "latency") if row["kind"] == "backend"}
        assert len(backends) == 3, (backends, "two servers, and the master")
        # Its own shard asks the master for the list once.
        assert told["SLAVE UPDATE", "total"]["count"] == 1, told
        assert any(row["shard"] == 9999 for row in rows(bed, daemon, "top", "--every", "1")[0]["shards"])
        s.close()
        metrics_are_told(bed)
        top(bed, daemon)


def metrics_are_told(bed):
    """To Prometheus, and nothing else to anybody."""
    with urllib.request.urlopen(f"http://{bed.address}:{METRICS_PORT}/metrics", timeout=60) as answer:
        text = answer.read().decode()
    assert 'rookery_command_seconds_count{verb="NOOP",stage="total"} 20' in text, text
    assert 'rookery_sessions{shard="directory"}' in text and 'rookery_refused_clients_total{shard="0"} 0' in text, text
    assert "rookery_list_knowledge 2\n" in text, text
    for line in text.splitlines():
        name, _, value = line.rpartition(" ")
        assert line.startswith("# ") or (name.startswith("rookery_") and float(value) >= 0), line
    try:
        urllib.request.urlopen(f"http://{bed.address}:{METRICS_PORT}/", timeout=60)
        raise AssertionError("another page is there")
    except urllib.error.HTTPError as error:
        assert error.code == 404, error


def top(bed, daemon):
    """A sample without a terminal, and the picture."""
    view = rows(bed, daemon, "top", "--every", "1")[0]
    assert view["status"]["knowledge"] == "live" and view["shards"], view
    for _ in range(2):                         # whoever looked before, and however often
        slowest = [slow["verb"] for slow in rows(bed, daemon, "top", "--every", "1")[0]["slowest"]]
        assert "LOGIN" in slowest, slowest
    picture = f"{bed.folder}/latency.svg"
    rookery(bed, daemon, "latency", "--svg", picture)
    with open(picture) as f:
        text = f.read()
    assert text.startswith("<svg ") and "NOOP (20)" in text, text[:300]


# Longer than a backend of a busy machine takes to end an IDLE.
SLOW_SECONDS = 3


def slow_commands_are_logged(bed):
    """With the id of their session, and whom they waited for."""
    with Daemon(bed, {"rookery_slow_command": str(SLOW_SECONDS)}) as daemon:
        s = bed.session("user001")
        says(s.command("SELECT INBOX"), b" OK")
        s.send(b"i IDLE\r\n")
        while not s.line().startswith(b"+"):
            pass
        time.sleep(SLOW_SECONDS + 0.2)         # what the client takes is no wait for the backend
        s.send(b"DONE\r\n")
        while not s.line().startswith(b"i OK"):
            pass
        assert "slow command: IDLE" not in daemon.log(), daemon.log()
        stopped = bed.freeze("backend1")
        s.send(b"n NOOP\r\n")
        time.sleep(SLOW_SECONDS + 0.2)
        signalled(stopped, signal.SIGCONT)
        while not s.line().startswith(b"n OK"):
            pass
        wait_for(lambda: "slow command: NOOP" in daemon.log(), "a line in the log")
        line = next(line for line in daemon.log().splitlines() if "slow command: NOOP" in line)
        took = re.search(r" backend (\d+) .*SESSIONID=<", line)
        assert took and int(took[1]) >= 1000 * SLOW_SECONDS, line
        s.close()


TESTS = [commands_are_timed_by_stage, slow_commands_are_logged]
