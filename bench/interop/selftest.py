"""The comparison itself: equal runs are equal, and a wrong answer is seen."""
import json
import os
import re

import differences
import normalise
from wire import Exchange


def answer(command, *lines):
    """An exchange with these lines."""
    exchange = Exchange("self", "self", command)
    exchange.lines = [line.encode() for line in lines]
    return exchange


def same(a, b):
    """No difference."""
    text = normalise.difference(a, b)
    assert text is None, text


def differs(a, b):
    """A difference."""
    assert normalise.difference(a, b) is not None, (a.lines, b.lines)


def ids_and_texts_are_free():
    same(answer("SELECT x", "* OK [UIDVALIDITY 17] Ok", "a1 OK [READ-WRITE] Completed"),
         answer("SELECT x", "* OK [UIDVALIDITY 18] fine", "a9 OK [READ-WRITE] done"))


def list_order_is_free():
    same(answer("LIST", '* LIST (\\A \\B) "." x', '* LIST () "." y', "a1 OK"), answer("LIST", '* LIST () "." y', '* LIST (\\B \\A) "." x', "a1 OK"))


def missing_list_line_is_seen():
    differs(answer("LIST", '* LIST () "." x', '* LIST () "." y', "a1 OK"), answer("LIST", '* LIST () "." x', "a1 OK"))


def doubled_list_line_is_seen():
    differs(answer("LIST", '* LIST () "." x', "a1 OK"), answer("LIST", '* LIST () "." x', '* LIST () "." x', "a1 OK"))


def other_status_is_seen():
    differs(answer("X", "a1 OK done"), answer("X", "a1 NO done"))


def other_code_is_seen():
    differs(answer("X", "a1 NO [TRYCREATE] no"), answer("X", "a1 NO no"))


def fetched_byte_is_seen():
    differs(answer("FETCH", "* 1 FETCH (BODY[] {2}\r\nab)", "a1 OK"), answer("FETCH", "* 1 FETCH (BODY[] {2}\r\nac)", "a1 OK"))


def fetch_order_is_seen():
    differs(answer("FETCH", "* 1 FETCH (UID 1)", "* 2 FETCH (UID 2)", "a1 OK"),
            answer("FETCH", "* 2 FETCH (UID 2)", "* 1 FETCH (UID 1)", "a1 OK"))


def lost_capability_is_seen():
    differs(answer("CAPABILITY", "* CAPABILITY A B", "a1 OK"), answer("CAPABILITY", "* CAPABILITY A", "a1 OK"))


def exists_in_select_is_seen():
    differs(answer("SELECT x", "* 5 EXISTS", "a1 OK"), answer("SELECT x", "* 6 EXISTS", "a1 OK"))


def listed_difference_must_look_as_listed():
    cyrus = answer("LOCALCREATE x", "a1 OK")
    assert differences.judge("plain", cyrus, answer("LOCALCREATE x", "a1 NO no")) is None
    assert differences.judge("plain", cyrus, answer("LOCALCREATE x", "a1 BAD no")) is not None
    assert differences.judge("plain", cyrus, answer("LOCALCREATE x", "a1 NO [CANNOT] no")) is not None


HERE = os.path.dirname(os.path.abspath(__file__))


def examples():
    """Recorded from real runs: (configuration, Cyrus' exchange, ours, what the session did before)."""
    with open(f"{HERE}/examples.json") as f:
        for configuration, session, command, theirs, ours, before in json.load(f):
            pair = lambda command, *sides: tuple(Exchange.from_json(["", session, command, side]) for side in sides)
            yield configuration, *pair(command, theirs, ours), [pair(*each) for each in before]


def wrong_answers(lines):
    """Answers that are none of what is expected, made of the right one."""
    yield "nothing", []
    yield "a line too many", [b'* LIST () "." stray', *lines]
    yield "the first line twice", [lines[0], *lines]
    yield "another result", [*lines[:-1], re.sub(rb"^(a\d+) (OK|NO|BAD)", lambda m: m[1] + (b" NO" if m[2] == b"OK" else b" OK"), lines[-1])]
    yield "another code", [*lines[:-1], re.sub(rb"^(a\d+ \w+)( \[[^]]*\])?", rb"\1 [ALERT]", lines[-1])]
    for n in range(len(lines)):
        yield f"without line {n}", lines[:n] + lines[n + 1:]
        for word in set(re.findall(rb"[^ ()\[\]]{3,}", normalise.one_line(lines[n]))) - TEXT:
            yield f"line {n} without {word}", [*lines[:n], lines[n].replace(word, b"other", 1), *lines[n + 1:]]


# Words of ours that stand for what is free.
TEXT = {b"TAG"}


def every_listed_difference_can_fail():
    unseen = list(differences.KNOWN)
    for configuration, theirs, ours, before in examples():
        said = f"{configuration}/{ours.session}: {ours.command}"
        assert differences.judge(configuration, theirs, ours, before) is None, said
        decides = next(known for known in differences.KNOWN if known.matches(configuration, ours))
        unseen = [known for known in unseen if known is not decides]
        for what, lines in [("Cyrus' answer", theirs.lines), *wrong_answers(ours.lines)]:
            wrong = Exchange.from_json(["", ours.session, ours.command, []])
            wrong.lines = lines
            if normalise.exchange(wrong) != normalise.exchange(ours):
                assert differences.judge(configuration, theirs, wrong, before), f"{said}: {what} is taken for right"
    assert not unseen, f"no example of {[(known.rules, known.command.pattern) for known in unseen]}"


def every_listed_difference_cites_a_rule():
    with open(f"{HERE}/../../ARCHITECTURE.md") as f:
        text = f.read()
    invariants = re.search(r"## Invariants\n(.*?)\n## ", text, re.S).group(1)
    known = {f"invariant {n}" for n in re.findall(r"^(\d+)\. ", invariants, re.M)} | {f"9.{n}" for n in range(1, 45)}
    rfcs = {f"RFC {n}" for n in re.findall(r"^\| (\d+) \|", text, re.M)}
    for each in differences.KNOWN:
        for rule in each.rules:
            cited = re.fullmatch(r"(RFC \d+) section [\d.]+", rule)
            assert rule in known or (cited and cited.group(1) in rfcs), f"{each.command.pattern} cites {rule}"


def closed_is_allowed_once_and_in_front():
    cyrus = answer("SELECT x", "* ENABLED CONDSTORE", "* 5 EXISTS", "a1 OK [READ-WRITE] Completed")
    before = [(answer("SELECT y", "a0 OK"),) * 2]
    judge = lambda *lines: differences.judge("plain", cyrus, answer("SELECT x", *lines), before)
    assert judge("* OK [CLOSED] Ok", "* 5 EXISTS", "a1 OK [READ-WRITE] done") is None
    assert judge("* 5 EXISTS", "a1 OK [READ-WRITE] done") is not None
    assert judge("* 5 EXISTS", "* OK [CLOSED] Ok", "a1 OK [READ-WRITE] done") is not None
    assert judge("* OK [CLOSED] Ok", "* OK [CLOSED] Ok", "* 5 EXISTS", "a1 OK [READ-WRITE] done") is not None
    assert judge("* OK [CLOSED] Ok", "* 6 EXISTS", "a1 OK [READ-WRITE] done") is not None


def source_set_of_copy_must_fit():
    cyrus = answer("COPY 1:2 x", "a1 OK [COPYUID 9 6:7] Completed")
    cyrus.session = "copy"

    def judge(line):
        ours = answer("COPY 1:2 x", line)
        ours.session = "copy"
        return differences.judge("plain", cyrus, ours)
    assert judge("a1 OK [COPYUID 9 1:2 6:7] Completed") is None
    assert judge("a1 OK [COPYUID 9 1,3 6:7] Completed") is not None
    assert judge("a1 OK [COPYUID 9 1:2 6:8] Completed") is not None
    assert judge("a1 NO no") is not None


def capability_that_is_not_listed_is_seen():
    cyrus = answer("LOGIN a b", "a1 OK [CAPABILITY IMAP4rev1 ACL SCAN] in")
    judge = lambda line: differences.judge("plain", cyrus, answer("LOGIN a b", line))
    assert judge("a1 OK [CAPABILITY ACL IMAP4rev1 INPROGRESS UNAUTHENTICATE] in") is None
    assert judge("a1 OK [CAPABILITY IMAP4rev1 INPROGRESS UNAUTHENTICATE] in") is not None
    assert judge("a1 OK [CAPABILITY ACL IMAP4rev1 IDLE INPROGRESS UNAUTHENTICATE] in") is not None
    assert judge("a1 OK in") is not None
    assert judge("a1 NO in") is not None


TESTS = [ids_and_texts_are_free, list_order_is_free, missing_list_line_is_seen, doubled_list_line_is_seen, other_status_is_seen,
         other_code_is_seen, fetched_byte_is_seen, fetch_order_is_seen, lost_capability_is_seen, exists_in_select_is_seen,
         listed_difference_must_look_as_listed, every_listed_difference_can_fail, every_listed_difference_cites_a_rule,
         closed_is_allowed_once_and_in_front, source_set_of_copy_must_fit,
         capability_that_is_not_listed_is_seen]


def run(report):
    """All of them."""
    for test in TESTS:
        report.check(f"self/{test.__name__}", test)
