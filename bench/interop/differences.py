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
    "SCAN": "removed by Cyrus after 3.6",
    "XMOVE": "removed by Cyrus after 3.6",
    "X-REPLICATION": "private to a backend",
    "X-SIEVE-MAILBOX": "private to a backend",
    "AUTH=SCRAM-SHA-256": "sasl_pwcheck_method: backend needs the password itself",
    "AUTH=SCRAM-SHA-256-PLUS": "the same",
    "AUTH=DIGEST-MD5": "not served: obsolete (RFC 6331)",
}
# What a frontend of ours shows although Cyrus 3.6's does not.
CAPABILITIES_MORE = {"UNAUTHENTICATE": "RFC 8437, answered by the frontend"}
# Told once every server of the list was seen: one that was not may take less.
CAPABILITIES_LATER = {"APPENDLIMIT=4294967295"}
# All that is told before login; Cyrus tells everything at once.
CAPABILITIES_BEFORE_LOGIN = re.compile("IMAP4rev1|LITERAL[+]|ID|ENABLE|STARTTLS|LOGINDISABLED|SASL-IR|AUTH=.*")


def capabilities(exchange):
    """The set that an answer tells, and the normalised answer without it."""
    told, rest = set(), []
    for line in normalise.exchange(exchange):
        found = normalise.CAPABILITIES.search(line)
        told |= set(found.group(1).decode().split()) if found else set()
        rest.append(normalise.CAPABILITIES.sub(b"CAPABILITY ...", line))
    return told, rest


def capabilities_as_listed(expected, seen):
    """Equal but for what is left out, and before login but for what concerns only logging in."""
    (theirs, their_rest), (ours, our_rest) = capabilities(expected), capabilities(seen)
    if their_rest != our_rest:
        return f"  around the capabilities: {their_rest} there, {our_rest} here"
    wanted = theirs - set(CAPABILITIES_LEFT_OUT)
    if seen.command != "CAPABILITY":
        wanted = {word for word in wanted if not word.startswith("AUTH=")}     # no use behind a login
    elif any(word.startswith("AUTH=") for word in theirs):
        wanted = {word for word in wanted if CAPABILITIES_BEFORE_LOGIN.fullmatch(word) or word.startswith("MUPDATE=")}
    lost, more = wanted - ours - CAPABILITIES_LATER, ours - wanted - set(CAPABILITIES_MORE)
    return f"  not here: {sorted(lost)}; only here: {sorted(more)}" if lost or more else None


CLOSED, ENABLED = b"* OK [CLOSED]", re.compile(rb"\* ENABLED( CONDSTORE| QRESYNC)+")


def select_tells_closed(expected, seen):
    """Equal but for one CLOSED of ours in front, and for ENABLED without an ENABLE of the client."""
    theirs = [line for line in normalise.exchange(expected) if not ENABLED.fullmatch(line)]
    ours = normalise.exchange(seen)
    if theirs == ours or (CLOSED not in theirs and [CLOSED, *theirs] == ours):
        return None
    return f"  {theirs} there, {ours} here"


COPY_UID = re.compile(rb"(.*\[COPYUID V )([\d:,]+) ([\d:,]+)\]", re.S)
THEIR_COPY_UID = re.compile(rb"TAG OK \[COPYUID V ([\d:,]+)\]")


def numbers(uid_set):
    """How many UIDs a set has."""
    ranges = [[int(end) for end in part.split(b":")] for part in uid_set.split(b",")]
    return sum(part[-1] - part[0] + 1 for part in ranges)


def copy_uid_with_source(expected, seen):
    """The UIDs at the destination as Cyrus tells them, and as many at the source."""
    ours, theirs = COPY_UID.fullmatch(b"\n".join(normalise.exchange(seen))), normalise.exchange(expected)
    if not ours or ours.group(1) != b"TAG OK [COPYUID V ":
        return "  no COPYUID here"
    return copied_alike(theirs, ours.group(2), ours.group(3))


def copied_alike(theirs, source, destination):
    """Compares a COPYUID with Cyrus'."""
    their_set = THEIR_COPY_UID.fullmatch(theirs[-1])
    if not their_set or their_set.group(1) != destination or numbers(source) != numbers(destination):
        return f"  {theirs[-1]} there, source {source} and destination {destination} here"
    return None


MOVED = re.compile(rb"\* OK \[COPYUID V ([\d:,]+) ([\d:,]+)\]\n\* \d+ EXPUNGE\nTAG OK")


def moved_across(expected, seen):
    """RFC 6851 section 4.3: COPYUID, EXPUNGE, OK, and nothing of the flag that was set on the way."""
    ours = MOVED.fullmatch(b"\n".join(normalise.exchange(seen)))
    return copied_alike(normalise.exchange(expected), *ours.groups()) if ours else "  not a move"


def once(expected, seen):
    """Cyrus' lines, each once."""
    theirs = list(dict.fromkeys(normalise.exchange(expected)))
    return None if theirs == normalise.exchange(seen) else "  other lines"


def one_place_without_status(expected, seen):
    """Cyrus' lines; the place above the shared folders once, and without a STATUS."""
    theirs = [line for line in normalise.exchange(expected) if not line.startswith(b'* STATUS "Shared Folders" (')]
    place = b'* LIST (\\HasChildren \\NonExistent) "/" "Shared Folders"'
    if theirs.count(place) == 2:
        theirs.remove(place)
    return None if theirs == normalise.exchange(seen) else "  other lines"


def own_metadata(expected, seen):
    """Cyrus' lines, and the value that the client set before (none behind NIL)."""
    theirs, ours = normalise.exchange(expected), normalise.exchange(seen)
    more = [line for line in ours if line not in theirs]
    told = [b'* METADATA INBOX ("/private/comment" "mine")', b'* METADATA INBOX ("/private/comment" NIL)']
    alike = len(more) == 1 and more[0] in told and [line for line in ours if line in theirs] == theirs
    return None if alike else "  other lines"


def same_user_in_two_domains(expected, seen):
    """Cyrus' lines, but the user of the domain has his child, and his namesake of no domain is there."""
    mine, namesake = (b'* LIST (\\%s) "." user.user001' + domain for domain in (b"@example.org", b""))
    theirs = [mine % b"HasChildren" if line == mine % b"HasNoChildren" else line for line in normalise.exchange(expected)]
    if seen.command.endswith(" *"):
        theirs.append(namesake % b"HasChildren")
    return None if sorted(theirs) == sorted(normalise.exchange(seen)) else "  other lines"


ROW = re.compile(rb'(\* X?LIST) \(([^)]*)\) "." (.*)', re.S)
DATA = re.compile(rb'\* (?:STATUS|METADATA|MYRIGHTS) ("(?:[^"\\]|\\.)*"|[^ ]+) ')
SPECIAL = re.compile(rb" ?\\(Archive|Drafts|Flagged|Important|Junk|Sent|Snoozed|Trash)\b")
PLACE, GONE, SUBSCRIBED = re.compile(rb"\\(NonExistent|Noselect)"), re.compile(rb"\\NonExistent"), re.compile(rb"\\Subscribed")


def rows(exchange, selects_subscribed):
    """The rows of a LIST without special uses, and data of mailboxes that have one; each once. Of a selection by
    subscription only what is subscribed and there."""
    lines = normalise.exchange(exchange)
    found = [(row, line) for line in lines if (row := ROW.match(line))]
    there = {row.group(3).split(b" (CHILDINFO")[0] for row, _ in found if not PLACE.search(row.group(2))}
    kept = set()
    for row, line in found:
        if not selects_subscribed or (SUBSCRIBED.search(row.group(2)) and not GONE.search(row.group(2))):
            attributes = b" ".join(sorted(SPECIAL.sub(b"", row.group(2)).split()))
            kept.add(b"%s (%s) %s" % (row.group(1), attributes, row.group(3)))
    data = {line for line in lines if (told := DATA.match(line)) and told.group(1) in there}
    return kept, data, lines[-1]


def special_rows(exchange):
    """Mailboxes and their special uses."""
    found = [row for line in normalise.exchange(exchange) if (row := ROW.match(line))]
    return {(row.group(3), use) for row in found for use in SPECIAL.findall(row.group(2))}


def rows_as_listed(expected, seen):
    """The same rows and data, and at least the special uses that Cyrus tells."""
    selects = "(SUBSCRIBED" in seen.command.split('"')[0]
    (their_rows, their_data, theirs), (our_rows, our_data, ours) = rows(expected, selects), rows(seen, selects)
    if selects:                            # Cyrus' rows of what is not subscribed bring data, too
        their_data &= our_data
    lost = special_rows(expected) - special_rows(seen)
    if their_rows != our_rows or their_data != our_data or theirs != ours or lost:
        return (f"  only there: {their_rows - our_rows} {their_data - our_data} {lost}, only here: {our_rows - their_rows} "
                f"{our_data - their_data}; {theirs} and {ours}")
    return None


def rows_but_parents(expected, seen):
    """As `rows_as_listed`, without the rows of parents that are no mailboxes."""
    theirs, ours = rows(expected, False), rows(seen, False)
    more = {row for row in theirs[0] if PLACE.search(row)}
    return None if theirs[0] - more == ours[0] else f"  {theirs[0] ^ ours[0]}"


def by_use(_, seen):
    """What has the use is found, and what has none is not."""
    ours = normalise.exchange(seen)[-1]
    return None if ours.startswith(b"TAG NO" if "Nosuch" in seen.command else b"TAG OK") else f"  {ours}"


def rows_with_subscriptions(expected, seen):
    """The rows, but for what they say of subscriptions."""
    without = lambda found: {SUBSCRIBED.sub(b"", row).replace(b" )", b")") for row in found[0]}
    theirs, ours = without(rows(expected, False)), without(rows(seen, False))
    return None if theirs == ours else f"  {theirs ^ ours}"


def with_metadata(expected, seen):
    """Cyrus' lines, and METADATA of the backend, whose LONGENTRIES is passed on."""
    told = lambda exchange: [line for line in normalise.exchange(exchange) if not line.startswith(b"* METADATA")]
    theirs, ours = told(expected), told(seen)
    long = re.sub(rb" \[METADATA LONGENTRIES \d+\]", b"", ours[-1])
    told_at_all = len(normalise.exchange(seen)) > len(ours) or long != ours[-1]
    return None if theirs[:-1] == ours[:-1] and theirs[-1] == long and told_at_all else f"  {theirs} there, {ours} here"


def unauthenticated(expected, seen):
    """Behind an UNAUTHENTICATE that Cyrus does not know somebody else logs in here, and sees his own INBOX."""
    ours = normalise.exchange(seen)
    return None if ours[-1].startswith(b"TAG OK") else f"  {ours[-1]}"


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


KNOWN = [
    Known(r"CAPABILITY|LOGIN .*|AUTHENTICATE .*", capabilities_as_listed, "a frontend shows what all backends offer, and its own"),
    Known(r"ID .*", r'\* ID \("name" "Rookery".*\)\nTAG OK', "the answer to ID names the server that gives it"),
    Known(r"LOCAL(CREATE|DELETE) .*|DUMP .*", r"TAG NO.*",
          "verbs by which servers talk to servers are refused to users"),
    Known(r"UNAUTHENTICATE", r"TAG OK", "RFC 8437, which Cyrus 3.6 does not know", session="unauthenticate"),
    Known(r"LOGIN user002 .*|SELECT INBOX", unauthenticated, "the same", session="unauthenticate"),
    Known(r"AUTHENTICATE PLAIN", r"\+\nTAG BAD", "RFC 9051 section 6.2.2: invalid base64 is BAD", session="sasl8"),
    Known(r'LIST "" inbox', r'\* LIST \(\\Has(No)?Children\) "[./]" INBOX\nTAG OK', "INBOX is INBOX in any case"),
    Known(r'LIST "" "%" RETURN \(STATUS .*', one_place_without_status,
          "Cyrus tells it once a backend, each time with the STATUS of a mailbox below", configuration="unix"),
    Known(r'LIST "" "%"', once, "Cyrus lists DELETED twice", session="admin"),
    Known(r'LIST "" (\*|"\*@example.org")', same_user_in_two_domains,
          "Cyrus takes user.x@domain and user.x for one, and sees no child before the domain",
          configuration="domains.*", session="domain admin"),
    Known(r"SELECT .*|EXAMINE .*", select_tells_closed,
          "RFC 7162 section 3.2.11: CLOSED wherever the old mailbox was; ENABLED answers ENABLE only"),
    Known(r"EXAMINE nosuch", r"TAG NO", "the SELECT before it failed, so nothing is selected", session="select"),
    Known(r"ENABLE BOGUS", r"\* ENABLED\nTAG OK", "RFC 5161 section 3.2: ENABLED is the answer, also an empty one"),
    Known(r"APPEND .*user002.? \{\}", r"TAG NO", "what is not visible is refused before the message is asked for",
          session="append"),
    Known(r"CREATE .* \(SERVER nosuchserver\)", r"TAG NO \[UNAVAILABLE\]", "the same text, with its code", session="admin"),
    Known(r"LOGOUT", r"\* BYE\nTAG OK", "Cyrus takes a rest of SETQUOTA for a command", session="acl"),
    Known(r"(UID )?COPY \S+ .*", copy_uid_with_source, "9.13: the source set is missing in Cyrus' COPYUID", session="copy"),
    Known(r"COPY 99 .*team04.*", r"TAG NO", "9.40: COPY of no message sends an unfinished APPEND", session="copy"),
    Known(r"(UID )?MOVE \S+ .*team03.*", moved_across, "9.14: MOVE across backends is a COPY", session="move"),
    Known(r"MOVE 1 .*team03.*", r"TAG NO \[CANNOT\]", "9.14: Cyrus copies from a mailbox that was EXAMINEd", session="move examined"),
    Known(r"UID SEARCH UNDELETED", r"\* SEARCH\nTAG OK", "9.14: what was moved is not there any more", session="move"),
    Known(r"LIST .* RETURN \(.*BOGUS\)+", r"(\* LIST .*\n)*TAG BAD", "what STATUS items there are the backends know",
          session="extended"),
    Known(r'LIST "" ".*\*%"', rows_but_parents, "`*%` is `*`; Cyrus tells of the parents that `%` would", session="extended"),
    Known(r'LIST ".+" "\*" RETURN \(SUBSCRIBED\)', rows_with_subscriptions, "Cyrus' frontend applies the reference twice (4.14)",
          session="extended"),
    Known(r'LIST \(VENDOR.FM-INCLUDE-NONEXISTENT\) .*', rows_but_parents, "what is no mailbox is told where a pattern names it",
          session="extended"),
    Known(r"(X?LIST|RLIST) .*", rows_as_listed, "9.17: special uses in every LIST, as one server tells them (specialusealways); each "
          "row once; no data of what is no mailbox; LIST (SUBSCRIBED) of Cyrus' frontend tells of what is not subscribed",
          session="extended|subscriptions|names|referring.*"),
    Known(r"(SELECT|EXAMINE|STATUS|APPEND|COPY|UID SEARCH) .*", by_use, "3.7: a special use names a mailbox, as it does with one server",
          session="special use"),
    Known(r"GETMETADATA .*", with_metadata, "9.18: Cyrus 3.6.1's frontend does not ask the backend", session="annotations"),
    Known(r'(STATUS|SUBSCRIBE|UNSUBSCRIBE) "Alt Folders".*', r"TAG (NO|OK)", "Cyrus takes the prefix alone for the INBOX",
          session="names"),
    Known(r"GETMETADATA INBOX .*/private/comment.*", own_metadata,
          "9.18: Cyrus 3.6.1's frontend does not ask the backend", session="metadata"),
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
