"""LIST and its family with the user's home away, SUBSCRIBE of what is elsewhere, and where new mailboxes go."""
import contextlib
import os
import signal
import time

from bed import Bed

FAN_OUT_SECONDS = 2
MODES = ["random", "freespace-most", "freespace-percent-most", "freespace-percent-weighted", "freespace-percent-weighted-delta"]


def configured(bed, *more):
    """The frontend with these lines more."""
    bed.stop_frontend()
    bed.write_configuration(more=[f"rookery_fan_out_timeout: {FAN_OUT_SECONDS}s", "client_timeout: 2s", *more])
    bed.start_frontend()


@contextlib.contextmanager
def away(bed, instance, how):
    """A backend is killed, or stopped so that it still takes connections, and comes back."""
    stopped = bed.pids(instance) if how == "hangs" else []
    if how == "hangs":
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
    else:
        bed.stop(instance, kill=True)
    try:
        yield
    finally:
        if how == "hangs":
            for pid in stopped:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        else:
            bed.start(instance)


def lines(answer, keyword="LIST"):
    """The rows of an answer in one order."""
    return sorted(answer.named(keyword))


def home_away(bed, how):
    """user001's home is away: rows stand, subscriptions and special uses are the last known, in every
    session; user003, of whom nothing was heard, is told that it is for now."""
    sessions = [bed.session("user001") for _ in range(4)]
    stranger = bed.session("user003")
    first = sessions[0]
    first.command('SETMETADATA INBOX.Sent (/private/specialuse "\\\\Sent")')
    assert first.command("SUBSCRIBE team02").status == "OK"
    asked = ['LSUB "" "*"', 'LSUB "" "INBOX.%"', 'LIST (SUBSCRIBED) "" "*"', 'LIST (SPECIAL-USE) "" "*"', 'LIST "" "*"']
    before = [first.command(line) for line in asked]
    assert all(answer.status == "OK" for answer in before) and b"\\Sent" in b"".join(before[3].lines)
    with away(bed, "backend1", how):
        for s in sessions:
            for line, was in zip(asked, before):
                answer = s.command(line)
                word = line.split()[0]
                names = lambda told: sorted(row.split(b'"." ')[1] for row in told.named(word))
                assert answer.status == "OK", (line, answer.lines)
                assert names(answer) == names(was), (line, answer.lines, was.lines)
                if word == "LIST":
                    assert lines(answer) == lines(was), (line, answer.lines, was.lines)
                if line != asked[-1]:
                    assert b"backend1" in answer.tagged, answer.tagged
        for line in ("SUBSCRIBE team03", "UNSUBSCRIBE team02"):
            assert b" NO [UNAVAILABLE]" in first.command(line).tagged, line
        answer = first.command('LIST "" (INBOX "team0%") RETURN (STATUS (MESSAGES))')
        assert answer.status == "OK" and b"without data of server backend1" in answer.tagged, answer.lines
        assert len(answer.named("LIST")) == 5 and len(answer.named("STATUS")) == 2, answer.lines
        for line in ('LSUB "" "*"', 'LIST (SUBSCRIBED) "" "*"'):
            answer = stranger.command(line)
            assert b" NO [UNAVAILABLE]" in answer.tagged and len(answer.lines) == 1, answer.lines
        answer = stranger.command('LIST "" "INBOX*"')
        assert answer.status == "OK" and len(answer.named("LIST")) >= 6, answer.lines
    deadline = time.monotonic() + 60
    while b"NO [UNAVAILABLE]" in stranger.command('LSUB "" "*"').tagged:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    for s in [*sessions, stranger]:
        s.close()


def home_that_does_not_subscribe_elsewhere(bed):
    """backend1 has no allowallsubscribe: its NO reaches the client with a hint, but not its NO about its own."""
    s = bed.session("user001")
    answer = s.command("SUBSCRIBE team04")
    assert answer.status == "NO" and b"allowallsubscribe" in answer.tagged and b"backend1" in answer.tagged, answer.tagged
    assert s.command("SUBSCRIBE team03").status == "OK"
    s.close()


def dead_server_is_never_chosen(bed, how):
    """In all modes, with one of two servers away."""
    with away(bed, "backend2", how):
        for mode in MODES:
            configured(bed, f"serverlist_select_mode: {mode}")
            s = bed.session("cyrus")
            for n in range(3):
                name = f"user.placed{mode.replace('-', '')}{n}"
                answer = s.command(f"CREATE {name}")
                assert answer.status == "OK", (mode, answer.tagged)
                where = s.command(f"GETMETADATA {name} /shared/vendor/cmu/cyrus-imapd/server")
                assert b"backend1" in where.named("METADATA")[0], where.lines
            s.close()
    configured(bed)


TESTS = [
    ("home is dead", home_away, "is dead"),
    ("home hangs", home_away, "hangs"),
    ("server to create on is dead", dead_server_is_never_chosen, "is dead"),
]


def run(report, a):
    """One murder whose backend1 does not subscribe to what is elsewhere."""
    folder = f"{a.folder}/names-{a.frontend}"
    with Bed(folder, a.net, ["--set", "backend2:allowallsubscribe=yes"], 2, a.frontend, a.binaries) as bed:
        configured(bed)
        for name, test, how in TESTS:
            report.check(f"names/{name}", test, bed, how)
    with Bed(f"{folder}-strict", a.net, ["--set", "backend1:allowallsubscribe=no"], 2, a.frontend, a.binaries) as bed:
        report.check("names/home does not subscribe to what is elsewhere", home_that_does_not_subscribe_elsewhere, bed)
