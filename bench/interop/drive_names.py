"""The drive, continued: the LIST family, subscriptions, annotations, quotas, placement and names.

Only in the configurations that lay names out differently; a further backend or TLS change nothing here.
"""


def q(name):
    """A quoted name."""
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'


def say(session, *lines):
    """Commands one after the other."""
    for line in lines:
        session.command(line)


def prepare(d):
    """Special uses, subscriptions to what is elsewhere, and a mailbox of somebody else that may be seen."""
    n = d.names
    s = d.open("user002", "shares")
    s.group = "shares"
    say(s, f"SETACL INBOX user003 lr", f"CREATE {q(n.mine('Open'))}", f"SETACL {q(n.mine('Open'))} user003 lrs", "LOGOUT")
    s.close()
    s = d.open("user003", "prepare")
    s.group = "prepare"
    say(s, f"CREATE {q(n.mine('Arch'))} (USE (\\Archive))", f"CREATE {q(n.mine('Arch2'))} (USE (\\Archive))",
        f"CREATE {q(n.mine('Bogus'))} (USE (\\Bogus))", f"CREATE {q(n.shared('Used'))} (USE (\\Sent))",
        f'SETMETADATA {q(n.mine("Sent"))} (/private/specialuse "\\\\Sent")',
        f'SETMETADATA {q(n.mine("Trash"))} (/private/specialuse "\\\\Trash")',
        f"CREATE {q(n.mine('Deep', 'Deeper', 'Deepest'))}",
        *[f"SUBSCRIBE {q(x)}" for x in (n.shared("team02"), n.shared("team04", "docs"), n.mine("Deep", "Deeper", "Deepest"),
                                        n.other("user002", "Open"), n.other("user004"))],
        f"SUBSCRIBE {q(n.mine('nosuch'))}", f"UNSUBSCRIBE {q(n.mine('nosuch'))}", "SUBSCRIBE", "UNSUBSCRIBE", "LOGOUT")
    s.close()


def extended(d):
    """LIST with every selection and return option, alone and together; several patterns; XLIST."""
    n, s = d.names, d.open("user003", "extended")
    s.group = "extended"
    mine = q(n.mine("%"))
    # team03 itself has more messages with Cyrus, whose MOVE to another server is a COPY
    team = q(n.shared("team0%", "docs"))
    say(s, *[f'LIST {options} "" {pattern}' for options in (
        "()", "(SUBSCRIBED)", "(SUBSCRIBED RECURSIVEMATCH)", "(SPECIAL-USE)", "(SPECIAL-USE SUBSCRIBED)", "(RECURSIVEMATCH)",
        "(VENDOR.CMU-DAV)", "(VENDOR.FM-INCLUDE-NONEXISTENT)", "(SUBSCRIBED BOGUS)") for pattern in ('"*"', '"%"', team)],
        *[f'LIST "" {pattern} RETURN ({options})' for options in (
            "", "SUBSCRIBED", "CHILDREN", "SPECIAL-USE", "MYRIGHTS", "STATUS (MESSAGES UIDNEXT)", "STATUS (BOGUS)",
            "METADATA (/private/comment)", "METADATA (/private/specialuse /shared/comment)",
            "SUBSCRIBED CHILDREN SPECIAL-USE", "SUBSCRIBED MYRIGHTS", "STATUS (UNSEEN) MYRIGHTS SUBSCRIBED",
            "STATUS (MESSAGES) SPECIAL-USE", "BOGUS") for pattern in (mine, team, f"(INBOX {team} {q(n.other('%'))})", q(n.shared("team02%")))],
        'LIST (SUBSCRIBED) "" "*" RETURN (CHILDREN)', 'LIST (SUBSCRIBED) "" "*" RETURN (SPECIAL-USE)',
        'LIST (SUBSCRIBED) "" "*" RETURN (STATUS (MESSAGES))', 'LIST (SUBSCRIBED) "" "*" RETURN (MYRIGHTS)',
        'LIST (SPECIAL-USE) "" "*" RETURN (SPECIAL-USE)', 'LIST (SPECIAL-USE) "" "*" RETURN (SUBSCRIBED)',
        'LIST (METADATA (DEPTH 1)) "" INBOX RETURN (METADATA (/private))', 'LIST "" ()', 'LIST "" (INBOX INBOX)',
        f'LIST {q(n.mine("Deep") + n.sep)} ("%" "Deeper{n.sep}%")', f'LIST {q(n.mine("Deep") + n.sep)} "*" RETURN (SUBSCRIBED)',
        'XLIST "" "*"', 'XLIST "" "%"', f'XLIST "" {mine}', f'XLIST "" {team}', 'XLIST "" ""', "XLIST",
        *[f'LIST "" {q(x)}' for x in (n.other("%"), n.other("%", "%"), n.other("user002", "*"), n.other("user002"),
                                      n.other("nosuch", "%"), "*%", "%*", n.mine("*") + "%", n.shared("team01") + n.sep,
                                      n.mine("Deep", "%", "Deepest"), "inbox" + n.sep + "deep", "user", "Other Users",
                                      "Shared Folders", "Shared Folders" + n.sep, "Alt Folders", "DELETED*")], "LOGOUT")
    s.close()


def subscriptions(d):
    """LSUB and its wildcards, what is not there any more, RLSUB and RLIST."""
    n, s = d.names, d.open("user003", "subscriptions")
    s.group = "subscriptions"
    say(s, *[f'LSUB {reference} {pattern}' for reference, pattern in (
        ('""', '"*"'), ('""', '"%"'), ('""', q(n.mine("%"))), ('""', q(n.shared("%"))), ('""', q(n.shared("team0%"))),
        ('""', q(n.other("%"))), ('""', q(n.other("*"))), ('""', '"nosuch"'), ('""', '""'), (q(n.mine("Deep") + n.sep), '"%"'),
        ('""', q(n.mine("Deep", "%"))), ('""', "inbox"), ('""', q("*" + n.sep + "docs")))],
        f"CREATE {q(n.mine('Gone'))}", f"SUBSCRIBE {q(n.mine('Gone'))}", f"DELETE {q(n.mine('Gone'))}",
        f'LSUB "" {q(n.mine("G*"))}', f'LIST (SUBSCRIBED) "" {q(n.mine("G*"))}', f"UNSUBSCRIBE {q(n.mine('Gone'))}",
        f'LSUB "" {q(n.mine("G*"))}', f"UNSUBSCRIBE {q(n.other('user004'))}", f"SUBSCRIBE {q(n.other('user001'))}",
        f'LSUB "" {q(n.other("*"))}', f"UNSUBSCRIBE {q(n.other('user001'))}", "LSUB", 'LSUB ""', "LOGOUT")
    s.close()


def annotations(d):
    """GETMETADATA and SETMETADATA with options; several entries; the server's; ANNOTATEMORE."""
    n, s = d.names, d.open("user003", "annotations")
    s.group = "annotations"
    long = "x" * 200
    say(s, f'SETMETADATA INBOX (/private/comment "{long}")', "GETMETADATA INBOX /private/comment",
        "GETMETADATA (MAXSIZE 100) INBOX /private/comment", "GETMETADATA (MAXSIZE 1000) INBOX /private/comment",
        "GETMETADATA (DEPTH 1) INBOX /private", "GETMETADATA (DEPTH 0) INBOX /private/comment",
        "GETMETADATA (DEPTH infinity) INBOX /private/comment", "GETMETADATA (DEPTH 5) INBOX /private", "GETMETADATA (BOGUS 1) INBOX /x",
        'SETMETADATA INBOX (/private/comment "a" /shared/comment "b")', "GETMETADATA INBOX (/private/comment /shared/comment)",
        'SETMETADATA INBOX (/bogus/comment "a")', 'SETMETADATA INBOX (/private/nosuch "a")', "GETMETADATA INBOX /private/nosuch",
        'SETMETADATA nosuch (/private/comment "a")', f'SETMETADATA {q(n.other("user004"))} (/private/comment "a")',
        f'SETMETADATA {q(n.other("user002", "Open"))} (/private/comment "mine")',
        f"GETMETADATA {q(n.other('user002', 'Open'))} /private/comment", "GETMETADATA nosuch /private/comment",
        f"GETMETADATA {q(n.other('user004'))} /private/comment", 'SETMETADATA INBOX (/private/comment NIL /shared/comment NIL)',
        'SETMETADATA "" (/private/comment "mine")', 'GETMETADATA "" /private/comment', 'GETMETADATA "" /shared/nosuch',
        'SETMETADATA "" (/private/comment NIL)', 'SETMETADATA "" (/shared/comment "x")', "SETMETADATA INBOX ()", "SETMETADATA INBOX",
        "GETMETADATA INBOX", "GETMETADATA INBOX ()", 'GETANNOTATION INBOX "/comment" "value.priv"',
        'SETANNOTATION INBOX "/comment" ("value.priv" "old")', 'GETANNOTATION INBOX "/comment" "value.priv"',
        'GETANNOTATION INBOX ("/comment" "/check") ("value.priv" "value.shared")', 'GETANNOTATION INBOX "/*" "value"',
        'SETANNOTATION INBOX "/comment" ("value.priv" NIL)', 'GETANNOTATION nosuch "/comment" "value"',
        'SETANNOTATION nosuch "/comment" ("value.priv" "x")', "GETANNOTATION INBOX", "SETANNOTATION INBOX", "LOGOUT")
    s.close()


def quotas(d):
    """GETQUOTA and SETQUOTA of an administrator, on one server and over several; GETQUOTAROOT."""
    n, s = d.names, d.open("cyrus", "quotas")
    s.group = "quotas"
    user = lambda *parts: q(n.admin("user", *parts))
    two = d.bed.backend_host(2)
    say(s, f"SETQUOTA {user('user003')} (STORAGE 10000 MESSAGE 500)", f"GETQUOTA {user('user003')}", f"GETQUOTAROOT {user('user003', 'Sent')}",
        f"SETQUOTA {user('user003')} (BOGUS 5)", f"SETQUOTA {user('user003')} (STORAGE)", f"SETQUOTA {user('user003')} (STORAGE -5)",
        f"GETQUOTA {user('nosuch')}", "GETQUOTA nosuch", f"GETQUOTA {user('user004')}", f"GETQUOTAROOT {user('user004')}",
        f"SETQUOTA {user('user003')} ()", f"GETQUOTA {user('user003')}", f"SETQUOTA {q(n.admin('team01'))} (STORAGE 5000)",
        f"GETQUOTAROOT {q(n.admin('team01', 'docs'))}", f"CREATE {q(n.admin('spread'))} {two}!default",
        f"CREATE {q(n.admin('spread', 'there'))} (SERVER {d.bed.backend_host(1)})", f"SETQUOTA {q(n.admin('spread'))} (STORAGE 5)",
        f"GETQUOTA {q(n.admin('spread'))}", f"DELETE {q(n.admin('spread', 'there'))}", f"DELETE {q(n.admin('spread'))}",
        "GETQUOTA", "SETQUOTA", f"SETQUOTA {user('user003')}", "GETQUOTAROOT", "LOGOUT")
    s.close()


def placement(d):
    """CREATE with a server, a partition, a type, an id; below a parent; where it may not."""
    n, s = d.names, d.open("cyrus", "placement")
    s.group = "placement"
    one, two = d.bed.backend_host(1), d.bed.backend_host(2)
    a = lambda *parts: q(n.admin(*parts))
    say(s, f"CREATE {a('user', 'user030')} (SERVER {two} PARTITION default)", f"CREATE {a('user', 'user030', 'Sub')}",
        f"CREATE {a('user', 'user030', 'There')} {one}!default", f"CREATE {a('user', 'user030', 'Typed')} (TYPE EMAIL)",
        f"CREATE {a('user', 'user031')} {two}!nosuchpartition", f"CREATE {a('user', 'user031')} (SERVER {one})",
        f"CREATE {a('user', 'user031')} (SERVER {two})", f"CREATE {a('user', 'user031', 'Deep', 'er')}",
        f"CREATE {a('placed')} (SERVER {two})", f"CREATE {a('placed', 'below')}", f"GETACL {a('placed', 'below')}",
        f"STATUS {a('user', 'user030', 'Sub')} (MESSAGES)", f'LIST "" {a("user", "user03*")}', f'LIST "" {a("placed*")}',
        f"CREATE {a('user', 'user032')} ()", "CREATE \"\"",
        f"DELETE {a('placed', 'below')}", f"DELETE {a('placed')}", f"DELETE {a('user', 'user030', 'There')}", f"DELETE {a('user', 'user030')}",
        f"DELETE {a('user', 'user031')}", f'LIST "" {a("user", "user03*")}', "LOGOUT")
    s.close()
    s = d.open("user003", "placement of a user")
    s.group = "placement"
    say(s, f"CREATE {q(n.mine('P'))} {two}!default", f"CREATE {q(n.mine('P'))} (SERVER {two})", f"CREATE {q(n.mine('P'))} default",
        f"CREATE {q(n.mine('P'))} (TYPE EMAIL)", f"CREATE {q(n.shared('team02', 'P'))}", f'LIST "" {q(n.shared("team02", "*"))}',
        f"DELETE {q(n.shared('team02', 'P'))}", f"DELETE {q(n.mine('P'))}", f"CREATE {q(n.other('user002', 'Open', 'P'))}",
        f"CREATE {q(n.shared('nosuch', 'P'))}", f"CREATE {q(n.mine('DELETED'))}", f"DELETE {q(n.mine('DELETED'))}", "LOGOUT")
    s.close()


def by_special_use(d):
    """A special use names the mailbox that has it, here and with the other server's mailbox selected."""
    n, s = d.names, d.open("user003", "special use")
    s.group = "special use"
    use = lambda name: q("\\" + name)
    say(s, f"STATUS {use('Sent')} (MESSAGES)", f"SELECT {use('Trash')}", "UID SEARCH ALL", f"EXAMINE {use('Archive')}",
        f"SELECT {q(n.shared('team02', 'docs'))}", f"STATUS {use('Sent')} (MESSAGES)", f"STATUS {use('Nosuch')} (MESSAGES)",
        f"SELECT {use('Nosuch')}")
    s.command(f"APPEND {use('Archive')} {{}}", b"Subject: x\r\n\r\nx\r\n")
    say(s, f"STATUS {q(n.mine('Arch'))} (MESSAGES)", "SELECT INBOX", f"COPY 1 {use('Archive')}",
        f"STATUS {q(n.mine('Arch'))} (MESSAGES)", "LOGOUT")
    s.close()


def referring(d):
    """Who asks for remote mailboxes is referred to them, for the rest of the session."""
    n, s = d.names, d.open("user003", "referring")
    s.group = "referrals"
    there, text = q(n.shared("team02", "docs")), b"Subject: x\r\n\r\nx\r\n"
    say(s, f'RLIST "" {q(n.shared("team02%"))}', "SELECT INBOX", f"EXAMINE {there}", f"STATUS {there} (MESSAGES)", "SELECT nosuch",
        f"DELETE {q(n.mine('Trash'))}", f"CREATE {q(n.mine('Referred'))}", f"RENAME {q(n.mine('Referred'))} {q(n.mine('Referred2'))}",
        f"SETACL {q(n.mine('Referred2'))} user001 l", "GETACL INBOX", f"SUBSCRIBE {there}", f'LIST (REMOTE) "" {there}',
        f'RLSUB "" {there}', f"UNSUBSCRIBE {there}", f"SELECT {q(n.mine('Entw&APw-rfe'))}")
    s.command(f"APPEND {there} {{}}", text)
    s.command(f"APPEND {there} {{}}", text, sync=False)
    say(s, "NOOP", "LOGOUT")
    s.close()
    s = d.open("cyrus", "referring an administrator")
    s.group = "referrals"
    user = q(n.admin("user", "user003", "Referred2"))
    say(s, f'LIST (REMOTE) "" {user}', f"SETACL {user} user001 lr", f"DELETEACL {user} user001",
        f"CREATE {q(n.admin('user', 'user003', 'Referred3'))}", f"CREATE {q(n.admin('referred'))} (SERVER {d.bed.backend_host(2)})",
        f"DELETE {user}", "LOGOUT")
    s.close()


def odd_names(d):
    """Spaces, quotes, wildcards, modified UTF-7, the other layout's words, the other separator."""
    n, s = d.names, d.open("user003", "names")
    s.group = "names"
    other = "." if n.sep == "/" else "/"
    for name in ("a b", "Entw&APw-rfe", "&ZeVnLIqe-", "a&-b", "bad&x-", "(paren)", "tilde~x", "a*b", "a%b", "user", "INBOX", "Shared Folders",
                 "Other Users", "Alt Folders", "x" * 200, f"a{other}b", "#calendars", "trailing" + n.sep):
        box = q(n.mine(name))
        say(s, f"CREATE {box}", f'LIST "" {box}', f"STATUS {box} (MESSAGES)", f"SUBSCRIBE {box}", f'LSUB "" {box}', f"UNSUBSCRIBE {box}",
            f"DELETE {box}")
    say(s, 'LIST "" "*"', "LOGOUT")
    s.close()


SCENARIOS = [prepare, extended, subscriptions, annotations, quotas, placement, by_special_use, referring, odd_names]
