"""The comparison itself: equal runs are equal, and a wrong answer is seen."""
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


def closed_is_allowed_once_and_in_front():
    cyrus = answer("SELECT x", "* ENABLED CONDSTORE", "* 5 EXISTS", "a1 OK [READ-WRITE] Completed")
    judge = lambda *lines: differences.judge("plain", cyrus, answer("SELECT x", *lines))
    assert judge("* OK [CLOSED] Ok", "* 5 EXISTS", "a1 OK [READ-WRITE] done") is None
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
    assert judge("a1 OK [COPYUID 9 1,3 6:7] Completed") is None
    assert judge("a1 OK [COPYUID 9 1 6:7] Completed") is not None
    assert judge("a1 OK [COPYUID 9 1:2 6:8] Completed") is not None
    assert judge("a1 NO no") is not None


def capability_that_is_not_listed_is_seen():
    cyrus = answer("LOGIN a b", "a1 OK [CAPABILITY IMAP4rev1 ACL SCAN] in")
    judge = lambda line: differences.judge("plain", cyrus, answer("LOGIN a b", line))
    assert judge("a1 OK [CAPABILITY ACL IMAP4rev1] in") is None
    assert judge("a1 OK [CAPABILITY IMAP4rev1] in") is not None
    assert judge("a1 OK [CAPABILITY ACL IMAP4rev1 IDLE] in") is not None
    assert judge("a1 OK in") is not None
    assert judge("a1 NO in") is not None


TESTS = [ids_and_texts_are_free, list_order_is_free, missing_list_line_is_seen, doubled_list_line_is_seen, other_status_is_seen,
         other_code_is_seen, fetched_byte_is_seen, fetch_order_is_seen, lost_capability_is_seen, exists_in_select_is_seen,
         listed_difference_must_look_as_listed, closed_is_allowed_once_and_in_front, source_set_of_copy_must_fit,
         capability_that_is_not_listed_is_seen]


def run(report):
    """All of them."""
    for test in TESTS:
        report.check(f"self/{test.__name__}", test)
