"""Makes two runs comparable: what may differ between equal servers is replaced, nothing else."""
import re

# Numbers and texts that a server chooses anew in every run.
SUBSTITUTIONS = [
    (rb"UIDVALIDITY \d+", rb"UIDVALIDITY V"),
    (rb"APPENDUID \d+", rb"APPENDUID V"),
    (rb"COPYUID \d+", rb"COPYUID V"),
    (rb"MAILBOXID \([^)]*\)", rb"MAILBOXID (M)"),
    (rb"HIGHESTMODSEQ \d+", rb"HIGHESTMODSEQ N"),
    (rb"MODSEQ \(\d+\)", rb"MODSEQ (N)"),
    (rb'INTERNALDATE "(?!05-Jan-2026)[^"]*"', rb'INTERNALDATE "D"'),
    (rb'(DELETED[./][^"]*?)[./][0-9A-F]{8}', rb"\1.T"),
    (rb"EMAILID \([^)]*\)", rb"EMAILID (E)"),
    (rb"THREADID \([^)]*\)", rb"THREADID (T)"),
]
# Human text behind the status (and code) of a response is free (RFC 9051 section 7.1).
STATUS_TEXT = re.compile(rb"^((?:a\d+|\*) (?:OK|NO|BAD|BYE|PREAUTH))( \[[^\]]*\])?( .*)?$", re.S)
LIST_LINE = re.compile(rb"^\* (LIST|LSUB|XLIST) \(([^)]*)\)(.*)$", re.S)
CAPABILITIES = re.compile(rb"CAPABILITY ([^\]\r\n]+)")
# Told when the server likes, outside of SELECT: a NOOP later shows the sum.
UNSOLICITED = re.compile(rb"^\* \d+ (EXISTS|RECENT)$")
# RFC 9051 leaves the order of these free.
UNORDERED = re.compile(rb"^\* (LIST|LSUB|XLIST|STATUS|METADATA|ACL|MYRIGHTS|QUOTA|QUOTAROOT) ")


def capability_set(line):
    """Capabilities in one order."""
    return CAPABILITIES.sub(lambda m: b"CAPABILITY " + b" ".join(sorted(m.group(1).split())), line)


def one_line(line):
    """One response."""
    for pattern, by in SUBSTITUTIONS:
        line = re.sub(pattern, by, line)
    line = capability_set(line)
    if line.startswith(b"+"):
        return b"+"
    found = LIST_LINE.match(line)
    if found:
        return b"* %s (%s)%s" % (found.group(1), b" ".join(sorted(found.group(2).split())), found.group(3))
    found = STATUS_TEXT.match(line)
    if found:
        tag = b"TAG" + found.group(1)[found.group(1).index(b" "):] if not line.startswith(b"*") else found.group(1)
        return tag + (found.group(2) or b"")
    return line


def exchange(ex):
    """The comparable lines of an exchange."""
    select = ex.command.upper().startswith(("SELECT", "EXAMINE"))
    lines = [one_line(line) for line in ex.lines if select or not UNSOLICITED.match(line)]
    free = sorted(line for line in lines if UNORDERED.match(line))
    return free + [line for line in lines if not UNORDERED.match(line)]


def difference(reference, seen):
    """None when equal, else a text of two columns."""
    a, b = exchange(reference), exchange(seen)
    if a == b:
        return None
    out = [f"  cyrus  | {line.decode(errors='replace')[:400]}" for line in a if line not in b]
    out += [f"  here   | {line.decode(errors='replace')[:400]}" for line in b if line not in a]
    return "\n".join(out or ["  same lines in another order or number: "
                             f"{[x[:60] for x in a]} / {[x[:60] for x in b]}"])
