"""Where rookeryd answers differently on purpose. Each entry cites the rule, says why, and knows the one right answer.

An entry matches by configuration, session name and command (regular expressions). Its rule is a numbered bug in the
study of Cyrus' behaviour that the project keeps ("9.n"), an invariant of ARCHITECTURE.md, or an RFC of its table.
`expect` is a regular expression that the normalised answer, its lines joined by newlines, must match whole, or a
function that makes the answer out of Cyrus', of what was asked, and of what the session did before: `before` are pairs
of exchanges, Cyrus' and ours. The answer must be this one, to the line, also where Cyrus gives another one or the same:
the first entry that matches a command decides.
"""
import re

import normalise

# What a frontend of ours does not show although Cyrus' does.
CAPABILITIES_LEFT_OUT = {
    "SCAN": "removed by Cyrus after 3.6, whose imapd dies of one that finds something",
    "XMOVE": "removed by Cyrus after 3.6",
    "X-REPLICATION": "private to a backend",
    "X-SIEVE-MAILBOX": "private to a backend",
    "AUTH=SCRAM-SHA-256": "sasl_pwcheck_method: backend needs the password itself",
    "AUTH=SCRAM-SHA-256-PLUS": "the same",
    "AUTH=DIGEST-MD5": "not served: obsolete (RFC 6331)",
}
# What a frontend of ours shows behind a login although Cyrus 3.6's does not.
CAPABILITIES_MORE = {
    "UNAUTHENTICATE": "RFC 8437, answered by the frontend",
    "INPROGRESS": "RFC 9585, told by the frontend to who waits",
}
# All that is told before login, beside INPROGRESS; Cyrus tells everything at once.
CAPABILITIES_BEFORE_LOGIN = re.compile("IMAP4rev1|LITERAL[+]|ID|ENABLE|STARTTLS|LOGINDISABLED|SASL-IR|AUTH=.*|MUPDATE=.*")


def capabilities(line):
    """The words that a line tells; none if it tells of no capabilities."""
    found = normalise.CAPABILITIES.search(line)
    return set(found.group(1).decode().split()) if found else set()


def capabilities_after_login(theirs):
    """What is told behind a login, where Cyrus tells this: nothing of logging in."""
    words = {word for word in theirs if not word.startswith("AUTH=")}
    return words - set(CAPABILITIES_LEFT_OUT) | set(CAPABILITIES_MORE)


def with_capabilities(line, words):
    """The line, telling these."""
    return normalise.CAPABILITIES.sub(b"CAPABILITY " + b" ".join(sorted(word.encode() for word in words)), line)


def shown_capabilities(expected, seen, _):
    """What is told before a login concerns only logging in; behind it, what Cyrus tells but for the lists above."""
    lines = normalise.exchange(expected)
    for n, theirs in enumerate(map(capabilities, lines)):
        words = capabilities_after_login(theirs)
        if any(word.startswith("AUTH=") for word in theirs) and seen.command == "CAPABILITY":
            words = {word for word in theirs - set(CAPABILITIES_LEFT_OUT) if CAPABILITIES_BEFORE_LOGIN.fullmatch(word)}
            words.add("INPROGRESS")
        lines[n] = with_capabilities(lines[n], words) if theirs else lines[n]
    return lines


def logged_in_again(_, __, before):
    """As behind the first login of the session."""
    return [with_capabilities(line, capabilities_after_login(theirs))
            for line in normalise.exchange(before[0][0]) if (theirs := capabilities(line))]


CLOSED, ENABLED = b"* OK [CLOSED]", re.compile(rb"\* ENABLED( CONDSTORE| QRESYNC)+")


def has_selected(before):
    """Whether a mailbox is selected behind these: a SELECT that fails leaves none (RFC 9051 section 6.3.2)."""
    selected = False
    for _, seen in before:
        verb, has_arguments = seen.command.split(" ")[0].upper(), " " in seen.command
        if verb in ("SELECT", "EXAMINE") and has_arguments:
            selected = seen.status == "OK"
        elif verb in ("CLOSE", "UNSELECT", "UNAUTHENTICATE"):
            selected = selected and seen.status != "OK"
    return selected


def selected_told_closed(expected, _, before):
    """CLOSED in front wherever the old mailbox was, and no ENABLED without an ENABLE of the client."""
    lines = [line for line in normalise.exchange(expected) if line != CLOSED and not ENABLED.fullmatch(line)]
    return [CLOSED, *lines] if has_selected(before) else lines


def copied_with_source(expected, seen, _):
    """Cyrus' COPYUID with the source set, whose UIDs are the numbers in the mailboxes of the drive."""
    words = seen.command.split(" ")
    source = words[2 if words[0] == "UID" else 1].encode()
    told = lambda line: re.sub(rb"\[COPYUID V ([\d:,]+)\]", rb"[COPYUID V %s \1]" % source, line)
    return [told(line) for line in normalise.exchange(expected)]


def moved_across(expected, seen, _):
    """RFC 6851 section 4.3: COPYUID, EXPUNGE, OK, and nothing of the flag that was set on the way."""
    copied = copied_with_source(expected, seen, _)[-1]
    return [copied.replace(b"TAG OK", b"* OK"), b"* 1 EXPUNGE", b"TAG OK"]


ROW = re.compile(rb'(\* X?LIST) \(([^)]*)\) ("[./]") ("(?:[^"\\]|\\.)*"|[^ ]+)( .*)?', re.S)
DATA = re.compile(rb'\* (?:STATUS|METADATA|MYRIGHTS) ("(?:[^"\\]|\\.)*"|[^ ]+) ')
# The special uses that user003 has set, by the last part of the name.
SPECIAL_USES = {b"Arch": b"\\Archive", b"Sent": b"\\Sent", b"Trash": b"\\Trash"}
# Subscribed by user003, who may not see it.
INVISIBLE = re.compile(rb'"?(user\.|Other Users/)user004"?')
PLACES = {b"\\NonExistent", b"\\Noselect"}


class Row:
    """One row of a LIST."""

    def __init__(self, found):
        self.word, flags, self.separator, self.name, self.behind = found.groups()
        self.flags = set(flags.split())

    def line(self):
        """As it is normalised."""
        flags = b" ".join(sorted(self.flags))
        return b"%s (%s) %s %s%s" % (self.word, flags, self.separator, self.name, self.behind or b"")

    def is_own(self):
        """Whether it is a mailbox of the user himself, one level below his root."""
        return re.fullmatch(rb"INBOX\.\w+" if self.separator == b'"."' else rb"\w+", self.name) is not None


def matching(pattern, separator):
    """A LIST pattern as a regular expression."""
    level = b"[^%s]*" % re.escape(separator.strip(b'"'))
    return re.compile(re.escape(pattern.encode()).replace(b"%", level).replace(rb"\*", b".*"))


def rows_of(lines):
    """The rows among lines, each once."""
    return [Row(ROW.fullmatch(line)) for line in dict.fromkeys(lines) if ROW.fullmatch(line)]


def answer(rows, lines, tagged):
    """An answer of these rows and of the data among the lines that are about mailboxes with a row."""
    mailboxes = {row.name for row in rows if not row.flags & PLACES}
    data = [line for line in dict.fromkeys(lines) if (told := DATA.match(line)) and told.group(1) in mailboxes]
    return sorted([row.line() for row in rows] + data) + [tagged]


def one_list(expected, _, __):
    """Cyrus' rows, each once, and data of mailboxes only."""
    lines = normalise.exchange(expected)
    return answer(rows_of(lines), lines, lines[-1])


def special_list(expected, seen, _):
    """The same, with all special uses of the user, and of a selection by subscription what is subscribed."""
    lines = normalise.exchange(expected)
    rows = rows_of(lines)
    if not rows:
        return lines
    for row in rows:
        if row.is_own() and (use := SPECIAL_USES.get(row.name.removeprefix(b"INBOX."))):
            row.flags.add(use)
    if seen.command.startswith("LIST (SUBSCRIBED"):
        rows = subscribed(rows, seen)
    if "NONEXISTENT" in seen.command:        # what is no mailbox is told where a pattern names it
        pattern = matching(seen.command.split('"')[3], rows[0].separator)
        rows = [row for row in rows if b"\\NonExistent" not in row.flags or pattern.fullmatch(row.name.strip(b'"'))]
    return answer(rows, lines, lines[-1])


def subscribed(rows, seen):
    """Of these rows what is subscribed, where a pattern takes in what is below; and what is subscribed but invisible."""
    if not seen.command.split('"')[3].endswith("*"):
        return rows
    rows = [row for row in rows if b"\\Subscribed" in row.flags]
    for row in rows:
        if row.flags & PLACES:                 # what is not there is not said to have no children
            row.flags.discard(b"\\HasNoChildren")
    if seen.command.split('"')[3] == "*":
        separator = rows[0].separator
        name = b"user.user004" if separator == b'"."' else b'"Other Users/user004"'
        rows.append(Row(ROW.fullmatch(b"* LIST (\\NonExistent \\Subscribed) " + separator + b" " + name)))
    return rows


def subscribed_below(expected, _, __):
    """Cyrus' rows; the deepest mailbox is subscribed."""
    lines = normalise.exchange(expected)
    rows = rows_of(lines)
    for row in rows:
        row.flags |= {b"\\Subscribed"} if row.name.endswith(b"Deepest") else set()
    return answer(rows, lines, lines[-1])


def rows_and_refused(_, seen, before):
    """The rows of the same pattern as they were before, and the BAD of the server that was asked for the item."""
    plain = re.sub(r"RETURN .*", "RETURN ()", seen.command)
    rows = next(special_list(*pair, ()) for pair in before if pair[1].command == plain)
    return [*rows[:-1], b"TAG BAD"]


def without_leftovers(expected, _, __):
    """Cyrus' lines but for the untagged BAD that answers the rest of an earlier command."""
    return [line for line in normalise.exchange(expected) if line != b"* BAD"]


def same_user_in_two_domains(expected, seen, _):
    """Cyrus' lines, but the user of the domain has his child, and his namesake of no domain is there."""
    mine, namesake = (b'* LIST (\\%s) "." user.user001' + domain for domain in (b"@example.org", b""))
    lines = normalise.exchange(expected)
    rows = [mine % b"HasChildren" if line == mine % b"HasNoChildren" else line for line in lines[:-1]]
    rows += [namesake % b"HasChildren"] if seen.command.endswith(" *") else []
    return sorted(rows) + lines[-1:]


LONG = b'* METADATA INBOX ("/private/comment" "%s")' % (b"x" * 200)
METADATA = {
    "GETMETADATA INBOX /private/comment": [LONG, b"TAG OK"],
    "GETMETADATA (MAXSIZE 100) INBOX /private/comment": [b"TAG OK [METADATA LONGENTRIES 200]"],
    "GETMETADATA (MAXSIZE 1000) INBOX /private/comment": [LONG, b"TAG OK"],
    "GETMETADATA (DEPTH 0) INBOX /private/comment": [LONG, b"TAG OK"],
    "GETMETADATA (DEPTH infinity) INBOX /private/comment": [LONG, b"TAG OK"],
    "GETMETADATA (DEPTH 1) INBOX /private": [
        LONG[:-1] + b"".join(b' "/private%s" NIL' % entry for entry in (
            b"/thread", b"/specialuse", b"/sort", b"/checkperiod", b"/check", b"")) + b")", b"TAG OK"],
    "GETMETADATA INBOX (/private/comment /shared/comment)": [
        b'* METADATA INBOX ("/shared/comment" "b" "/private/comment" "a")', b"TAG OK"],
    "GETMETADATA INBOX /private/nosuch": [b'* METADATA INBOX ("/private/nosuch" NIL)', b"TAG OK"],
    'GETMETADATA "user.user002.Open" /private/comment': [
        b'* METADATA user.user002.Open ("/private/comment" "mine")', b"TAG OK"],
    'GETMETADATA "Other Users/user002/Open" /private/comment': [
        b'* METADATA "Other Users/user002/Open" ("/private/comment" "mine")', b"TAG OK"],
}


def backend_metadata(expected, seen, _):
    """What the backend has."""
    return METADATA.get(seen.command, normalise.exchange(expected))


def own_comment(expected, _, before):
    """Cyrus' lines, and the comment that the client set, or none once he took it away."""
    is_gone = any(seen.command == "SETMETADATA INBOX (/private/comment NIL)" for _, seen in before)
    lines = normalise.exchange(expected)
    value = b"NIL" if is_gone else b'"mine"'
    return sorted([b'* METADATA INBOX ("/private/comment" %s)' % value, *lines[:-1]]) + lines[-1:]


def opened(permanent, last):
    """An empty mailbox, as SELECT and EXAMINE show it."""
    lines = ["* 0 EXISTS", "* 0 RECENT", "* FLAGS (\\Answered \\Flagged \\Draft \\Deleted \\Seen)",
             f"* OK [PERMANENTFLAGS ({permanent})]", "* OK [UIDVALIDITY V]", "* OK [UIDNEXT 1]", "* OK [HIGHESTMODSEQ N]",
             "* OK [MAILBOXID (M)]", "* OK [URLMECH INTERNAL]", "* OK [ANNOTATIONS 65536]", f"TAG OK [{last}]"]
    return [line.encode() for line in lines]


BY_USE = {
    'STATUS "\\\\Sent" (MESSAGES)': [b"* STATUS {5}\r\n\\Sent (MESSAGES 5)", b"TAG OK"],
    'SELECT "\\\\Trash"': opened("\\Answered \\Flagged \\Draft \\Deleted \\Seen \\*", "READ-WRITE"),
    "UID SEARCH ALL": [b"* SEARCH", b"TAG OK"],
    'EXAMINE "\\\\Archive"': [CLOSED, *opened("", "READ-ONLY")],
    'APPEND "\\\\Archive" {}': [b"+", b"TAG OK [APPENDUID V 1]"],
    'COPY 1 "\\\\Archive"': [b"TAG OK [COPYUID V 1 2]"],
}


def found_by_use(expected, seen, _):
    """The mailbox that has the use; a use that none has finds none."""
    return BY_USE.get(seen.command, normalise.exchange(expected))


def archived(expected, _, before):
    """What was put into the mailbox that has the use is there."""
    is_use = lambda seen: seen.command.startswith(("APPEND", "COPY")) and seen.status == "OK"
    count = sum(is_use(seen) for _, seen in before)
    return [line.replace(b"MESSAGES 0", b"MESSAGES %d" % count) for line in normalise.exchange(expected)]


INBOX_OF_ANOTHER = [
    "* 5 EXISTS", "* 0 RECENT", "* FLAGS (\\Answered \\Flagged \\Draft \\Deleted \\Seen)",
    "* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Draft \\Deleted \\Seen \\*)]", "* OK [UNSEEN 3]", "* OK [UIDVALIDITY V]",
    "* OK [UIDNEXT 6]", "* OK [HIGHESTMODSEQ N]", "* OK [MAILBOXID (M)]", "* OK [URLMECH INTERNAL]", "* OK [ANNOTATIONS 65536]",
    "TAG OK [READ-WRITE]"]


def inbox_of_another(expected, seen, before):
    """The INBOX of user002 at the end of the drive, once it is he."""
    is_another = any(seen.command == "UNAUTHENTICATE" for _, seen in before)
    return [line.encode() for line in INBOX_OF_ANOTHER] if is_another else selected_told_closed(expected, seen, before)


class Known:
    """One listed difference."""

    def __init__(self, rule, command, expect, why, configuration=".*", session=".*"):
        self.rules, self.command = rule.split("; "), re.compile(command, re.S)
        self.expect = re.compile(expect, re.S) if isinstance(expect, str) else expect
        self.configuration, self.session, self.why = re.compile(configuration), re.compile(session), why

    def matches(self, configuration, seen):
        """Whether it speaks of this command."""
        return (self.command.fullmatch(seen.command) and self.configuration.fullmatch(configuration)
                and self.session.fullmatch(seen.session))

    def fails(self, expected, seen, before=()):
        """None when the answer is as listed."""
        ours = normalise.exchange(seen)
        if not callable(self.expect):
            joined = b"\n".join(ours).decode("latin-1")
            return None if self.expect.fullmatch(joined) else f"  expected {self.expect.pattern}"
        right = self.expect(expected, seen, before)
        if right == ours:
            return None
        return f"  only expected: {[x for x in right or () if x not in ours]}, only here: {[x for x in ours if x not in (right or ())]}"


KNOWN = [
    Known("RFC 2971 section 3.2", r"ID .*", r'\* ID \("name" "Rookery" "version" "[\d.]+"\)\nTAG OK',
          "the answer names the server that gives it"),
    Known("invariant 17", r"LOCAL(CREATE|DELETE) .*", r"TAG NO", "verbs by which servers talk to servers are refused to users"),
    Known("RFC 8437 section 2", r"UNAUTHENTICATE", r"TAG OK", "Cyrus 3.6 does not know it", session="unauthenticate"),
    Known("RFC 8437 section 2", r"LOGIN user002 .*", logged_in_again, "behind it somebody else may log in", session="unauthenticate"),
    Known("RFC 8437 section 2", r"SELECT INBOX", inbox_of_another, "and sees his own INBOX", session="unauthenticate"),
    Known("RFC 9051 section 6.2.2", r"AUTHENTICATE PLAIN", r"\+\nTAG BAD", "invalid base64 is BAD", session="sasl8"),
    Known("invariant 16", r"CAPABILITY|LOGIN .*|AUTHENTICATE .*", shown_capabilities, "a frontend shows what all backends offer, and its own"),
    Known("RFC 9051 section 5.1", r'LIST "" inbox', r'\* LIST \(\\HasChildren\) "\." INBOX\nTAG OK', "INBOX is INBOX in any case",
          configuration="(?!unix).*"),
    Known("RFC 9051 section 5.1", r'LIST "" inbox', r'\* LIST \(\\HasNoChildren\) "/" INBOX\nTAG OK', "INBOX is INBOX in any case",
          configuration="unix"),
    Known("invariant 18", r'LIST "" "%" RETURN \(STATUS .*', one_list,
          "Cyrus tells a place once a backend, each time with the STATUS of a mailbox below", configuration="unix", session="list"),
    Known("invariant 18", r'LIST "" "%"', one_list, "Cyrus lists DELETED twice", session="admin"),
    Known("9.40", r'LIST "" (\*|"\*@example.org")', same_user_in_two_domains,
          "Cyrus takes user.x@domain and user.x for one, and sees no child before the domain",
          configuration="domains(-on)?", session="domain admin"),
    Known("invariant 19", r'(SELECT "\\\\Trash"|EXAMINE "\\\\Archive")', found_by_use, "a special use names a mailbox, as with one server",
          session="special use"),
    Known("RFC 7162 section 3.2.11; invariant 15; invariant 16", r"SELECT .*|EXAMINE .*", selected_told_closed,
          "CLOSED wherever the old mailbox was; parameters are judged by the server; ENABLED answers ENABLE only"),
    Known("9.34", r"APPEND .*user002.? \{\}", r"TAG NO", "what is not visible is refused before the message is asked for",
          session="append"),
    Known("invariant 6", r"CREATE .* \(SERVER nosuchserver\)", r"TAG NO \[UNAVAILABLE\]", "the same text, with its code", session="admin"),
    Known("RFC 9051 section 2.2.2", r'LOGOUT|LIST "" .* RETURN \(METADATA .*', without_leftovers,
          "Cyrus takes the rest of a refused SETQUOTA or LIST for a command", session="acl|extended", configuration="(?!unix).*"),
    Known("RFC 9051 section 2.2.2", r"LOGOUT", without_leftovers, "the same", session="acl", configuration="unix"),
    Known("9.40", r"COPY 99 .*team04.*", r"TAG NO", "COPY of no message sends an unfinished APPEND", session="copy"),
    Known("9.13", r"(UID )?COPY \S+ .*", copied_with_source, "the source set is missing in Cyrus' COPYUID", session="copy"),
    Known("9.14", r"(UID )?MOVE \d .*team03.*", moved_across, "MOVE across backends is a COPY", session="move"),
    Known("9.14", r"MOVE 1 .*team03.*", r"TAG NO \[CANNOT\]", "Cyrus copies from a mailbox that was EXAMINEd", session="move examined"),
    Known("9.14", r"UID SEARCH UNDELETED", r"\* SEARCH\nTAG OK", "what was moved is not there any more", session="move"),
    Known("invariant 15", r"LIST .* RETURN \(STATUS \(BOGUS\)\)", rows_and_refused, "what STATUS items there are the backends know",
          session="extended"),
    Known("invariant 19", r'LIST ".+" "\*" RETURN \(SUBSCRIBED\)', subscribed_below, "Cyrus' frontend applies the reference twice",
          session="extended"),
    Known("9.17; invariant 18; RFC 5258 section 3.1", r"(X?LIST|RLIST) .*", special_list,
          "special uses in every LIST, as one server tells them (specialusealways); each row once; no data of what is no mailbox; "
          "LIST (SUBSCRIBED) of Cyrus' frontend tells of what is not subscribed", session="extended|subscriptions|names|referring.*"),
    Known("invariant 19", r'(STATUS|APPEND|COPY 1) "\\\\.*|UID SEARCH ALL', found_by_use, "a special use names a mailbox, as with one server",
          session="special use"),
    Known("invariant 19", r"STATUS \S*Arch\S* .*", archived, "what was put there by its use is there", session="special use"),
    Known("9.18", r"GETMETADATA .*", backend_metadata, "Cyrus 3.6.1's frontend does not ask the backend", session="annotations"),
    Known("9.18", r"GETMETADATA INBOX .*/private/comment.*", own_comment, "Cyrus 3.6.1's frontend does not ask the backend",
          session="metadata"),
    Known("invariant 18", r'(STATUS|SUBSCRIBE) "Alt Folders".*', r"TAG NO", "Cyrus takes the prefix alone for the INBOX",
          session="names", configuration="unix"),
]


def judge(configuration, expected, seen, before=()):
    """None when the answer is as listed or, where nothing is listed, as Cyrus'; else what is wrong."""
    known = next((known for known in KNOWN if known.matches(configuration, seen)), None)
    if known is None:
        return normalise.difference(expected, seen)
    wrong = known.fails(expected, seen, before)
    if wrong is None:
        return None
    return f"{normalise.difference(expected, seen) or '  as Cyrus'}\n  but listed as differing ({', '.join(known.rules)}: {known.why})\n{wrong}"
