"""Where rookeryd answers differently on purpose. Each entry says why, and what is expected of it.

An entry matches by configuration, session name and command (regular expressions). `expect` is a
regular expression that the normalised answer, its lines joined by newlines, must match whole, or a
function of both exchanges that gives None or what is wrong. "9.n" are the numbered bugs in the study of
Cyrus' behaviour that the project keeps; the others are rules of ARCHITECTURE.md.
"""
import re

import normalise

# What a frontend of ours does not show although Cyrus' does.
CAPABILITIES_LEFT_OUT = {
    "URLAUTH": "9.25: answered by the frontend itself, never right",
    "URLAUTH=BINARY": "9.25",
    "SCAN": "removed by Cyrus after 3.6",
    "XMOVE": "removed by Cyrus after 3.6",
    "XLIST": "superseded by LIST RETURN (SPECIAL-USE)",
    "MAILBOX-REFERRALS": "the mailbox is proxied, not referred to",
    "COMPRESS=DEFLATE": "not served yet",
    "X-REPLICATION": "private to a backend",
    "X-SIEVE-MAILBOX": "private to a backend",
    "LOGINDISABLED": "told only before login",
    "X-QUOTA=STORAGE": "private to a backend", "X-QUOTA=MESSAGE": "private to a backend",
    "X-QUOTA=X-ANNOTATION-STORAGE": "private to a backend", "X-QUOTA=X-NUM-FOLDERS": "private to a backend",
    "AUTH=SCRAM-SHA-256": "sasl_pwcheck_method: backend needs the password itself",
    "AUTH=DIGEST-MD5": "not served: obsolete (RFC 6331)",
}
# What ours may show beside what Cyrus' does.
CAPABILITIES_MORE = {"AUTH=PLAIN", "AUTH=LOGIN", "SASL-IR", "LITERAL+", "ID", "ENABLE", "IDLE", "STARTTLS"}


def capabilities(exchange):
    """The set that an answer tells, None when it tells none."""
    for line in exchange.lines:
        found = normalise.CAPABILITIES.search(line)
        if found:
            return {word for word in found.group(1).decode().split() if not word.startswith("MUPDATE=")}
    return None


def capabilities_as_listed(expected, seen):
    """Equal but for the two tables above."""
    theirs, ours = capabilities(expected), capabilities(seen)
    if expected.status != seen.status:
        return f"  {expected.status} there, {seen.status} here"
    if theirs is None or ours is None:
        return None if seen.status != "OK" or theirs is None or seen.command.startswith(("LOGIN", "AUTH")) else "  none told"
    lost = theirs - ours - set(CAPABILITIES_LEFT_OUT)
    more = ours - theirs - CAPABILITIES_MORE
    return f"  not here: {sorted(lost)}; only here: {sorted(more)}" if lost or more else None


class Known:
    """One listed difference."""

    def __init__(self, command, expect, why, configuration=".*", session=".*"):
        self.command = re.compile(command, re.S)
        self.expect = re.compile(expect, re.S) if isinstance(expect, str) else expect
        self.configuration, self.session, self.why = re.compile(configuration), re.compile(session), why

    def matches(self, configuration, seen):
        """Whether it speaks of this command."""
        return (self.command.fullmatch(seen.command) and self.configuration.fullmatch(configuration)
                and self.session.fullmatch(seen.session))

    def fails(self, expected, seen):
        """None when the answer is as listed."""
        if callable(self.expect):
            return self.expect(expected, seen)
        joined = b"\n".join(normalise.exchange(seen)).decode("latin-1")
        return None if self.expect.fullmatch(joined) else f"  expected {self.expect.pattern}"


SET = r"[\d:,]+"
KNOWN = [
    Known(r"CAPABILITY|LOGIN .*|AUTHENTICATE .*", capabilities_as_listed, "a frontend shows what all backends offer, and its own"),
    Known(r"ID .*", r'\* ID \("name" "Rookery".*\)\nTAG OK', "the answer to ID names the server that gives it"),
    Known(r"LOCAL(CREATE|DELETE) .*|DUMP .*", r"TAG NO.*",
          "verbs by which servers talk to servers are refused to users"),
    Known(r"(UID )?COPY \S+ .*", rf"TAG OK \[COPYUID V {SET} {SET}\]", "9.13: the source set is missing in Cyrus' COPYUID", session="copy"),
    Known(r"(UID )?COPY 99 .*", r"TAG (OK|NO)", "9.40: COPY of no message sends an unfinished APPEND", session="copy"),
    Known(r"(UID )?MOVE \S+ .*team03.*", rf"\* OK \[COPYUID V {SET} {SET}\]\n\* \d+ EXPUNGE\nTAG OK.*",
          "9.14: MOVE across backends is a COPY", session="move"),
    Known(r"UID SEARCH UNDELETED", r"\* SEARCH\nTAG OK", "9.14: what was moved is not there any more", session="move"),
    Known(r"GETMETADATA .*", r"(\* METADATA .*\n)*TAG (OK|NO).*", "9.18: GETMETADATA is broken in Cyrus 3.6.1's frontend"),
    Known(r"SETMETADATA .*", r"TAG (OK|NO).*", "9.18: the backend's answer is told, not ignored"),
    Known(r"SELECT .*|EXAMINE .*", r"(\* OK \[CLOSED\]\n)TAG NO.*", "RFC 9051 section 6.3.2: the old mailbox is closed"),
    Known(r"XLIST .*", r"TAG BAD.*", "not offered"),
    Known(r"GENURLAUTH.*|UNAUTHENTICATE", r"TAG (BAD|NO).*", "9.25, 9.22: not proxied"),
]


def judge(configuration, expected, seen):
    """None when the answers are equal or differ as listed, else what is wrong."""
    text = normalise.difference(expected, seen)
    if text is None:
        return None
    why = ""
    for known in KNOWN:
        if known.matches(configuration, seen):
            wrong = known.fails(expected, seen)
            if wrong is None:
                return None
            why += f"\n  listed as differing ({known.why}), but not like this\n{wrong}"
    return text + why
