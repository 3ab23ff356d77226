"""A standard client, imaplib, through the frontend: what users do, checked by what must come out."""
import imaplib
import re
import time

from drive import message
from wire import Session

TIMEOUT = 20


def connect(bed, user):
    """A logged-in imaplib client."""
    c = imaplib.IMAP4(bed.address, 143, TIMEOUT)
    c.login(user, bed.password(user))
    return c


def ok(answer):
    """The data of an OK."""
    kind, data = answer
    assert kind == "OK", answer
    return data


def fetch_body(c, number):
    """The whole message."""
    return ok(c.fetch(str(number), "(BODY.PEEK[])"))[0][1]


def code(c, name):
    """The value of a response code of the last command."""
    return c.response(name)[1][0]


def message_goes_in_and_comes_out(bed, box):
    c = connect(bed, "user001")
    ok(c.select(box))
    sent = message("round trip", size=300_000)
    ok(c.append(box, r"(\Flagged)", '"05-Jan-2026 10:00:00 +0000"', sent))
    ok(c.noop())
    newest = ok(c.search(None, "ALL"))[0].split()[-1].decode()
    assert fetch_body(c, newest) == sent
    assert rb"\Flagged" in ok(c.fetch(newest, "(FLAGS)"))[0]
    c.logout()


def copy_across_tells_both_uid_sets(bed):
    c = connect(bed, "user001")
    ok(c.select("INBOX"))
    ok(c.uid("STORE", "3", "+FLAGS", r"(\Answered marked)"))
    c.untagged_responses.clear()
    ok(c.uid("COPY", "1,3", "team02"))
    sets = code(c, "COPYUID").split()
    assert len(sets) == 3, f"COPYUID has {sets}"
    assert sets[1] in (b"1,3",), sets
    source = [fetch_body(c, n) for n in (1, 3)]
    ok(c.select("team02"))
    first, last = re.fullmatch(rb"(\d+):(\d+)", sets[2]).groups()
    data = [x for x in ok(c.uid("FETCH", f"{first.decode()}:{last.decode()}", "(FLAGS BODY.PEEK[])")) if isinstance(x, tuple)]
    assert [x[1] for x in data] == source
    assert b"marked" in data[1][0] and rb"\Answered" in data[1][0], data[1][0]
    c.logout()


def move_across_moves(bed):
    c = connect(bed, "user002")
    ok(c.select("INBOX"))
    before = ok(c.uid("SEARCH", None, "ALL"))[0].split()
    body = fetch_body(c, 1)
    c.untagged_responses.clear()
    ok(c.uid("MOVE", before[0].decode(), "team01"))
    assert ok(c.uid("SEARCH", None, "ALL"))[0].split() == before[1:]
    ok(c.select("team01"))
    newest = ok(c.search(None, "ALL"))[0].split()[-1].decode()
    assert fetch_body(c, newest) == body
    c.logout()


def copy_of_nothing_across_is_no_append(bed):
    c = connect(bed, "user001")
    ok(c.select("INBOX"))
    ok(c.status("team02", "(MESSAGES)"))
    before = c.status("team02", "(MESSAGES)")[1]
    kind, _ = c.uid("COPY", "9999", "team02")
    assert kind in ("OK", "NO"), kind
    assert c.status("team02", "(MESSAGES)")[1] == before
    c.logout()


def folder_lives_from_create_to_delete(bed, parent):
    c = connect(bed, "user001")
    box = f"{parent}.Imaplib"
    ok(c.create(box))
    ok(c.subscribe(box))
    assert box.encode() in ok(c.list('""', box))[0]
    ok(c.append(box, None, None, message("in")))
    assert b"MESSAGES 1" in ok(c.status(box, "(MESSAGES)"))[0]
    ok(c.rename(box, box + "2"))
    assert c.status(box, "(MESSAGES)")[0] == "NO"
    ok(c.delete(box + "2"))
    assert ok(c.list('""', box + "2")) == [None]
    ok(c.unsubscribe(box))
    c.logout()


def expunge_renumbers(bed):
    c = connect(bed, "user003")
    ok(c.select("INBOX"))
    ok(c.store("1:2", "+FLAGS.SILENT", r"(\Deleted)"))
    assert ok(c.expunge()) == [b"1", b"1"]
    assert ok(c.search(None, "ALL"))[0] == b"1 2 3"
    ok(c.close())
    c.logout()


def mailbox_made_at_a_backend_is_found_at_once(bed):
    """A new name is known after a barrier, not only after the master's next push."""
    admin = Session(bed.backend(1), name="admin").login("cyrus", bed.password("cyrus"))
    user = bed.session("user001")
    for n in range(5):
        made = admin.command(f"CREATE user.user001.Fresh{n}")
        assert made.status == "OK", made.tagged
        seen = user.command(f"SELECT INBOX.Fresh{n}")
        assert seen.status == "OK", seen.tagged
    admin.close()
    user.close()


def change_at_a_backend_is_listed_soon(bed):
    """The slave applies a push within 100 ms; Cyrus' master itself may take 5 s to push."""
    user = bed.session("user001")
    admin = Session(bed.backend(1), name="admin").login("cyrus", bed.password("cyrus"))
    assert admin.command("CREATE user.user001.Pushed").status == "OK"
    end = time.monotonic() + 8
    while not user.command('LIST "" INBOX.Pushed').named("LIST"):
        assert time.monotonic() < end, "not listed in 8 s"
        time.sleep(0.05)
    user.close()
    admin.close()


def long_pipeline_is_answered_in_order(bed):
    s = bed.session("user001")
    s.command("SELECT INBOX")
    tags = [s.tag() for _ in range(200)]
    s.send(b"".join(f"{tag} FETCH 1 (UID FLAGS)\r\n".encode() for tag in tags))
    for tag in tags:
        while True:
            line = s.line()
            if not line.startswith(b"*"):
                assert line.startswith(tag.encode() + b" OK"), line
                break
    s.close()


def byte_by_byte_input_is_the_same(bed):
    s = bed.session("user001")
    for byte in b"b1 SELECT INBOX\r\nb2 FETCH 1 (UID)\r\nb3 APPEND INBOX.Trash {5+}\r\nA: b\n\r\nb4 NOOP\r\n":
        s.send(bytes([byte]))
    seen = s.until_match("^b4 ", 60)
    assert any(x.startswith(b"b1 OK") for x in seen) and any(x.startswith(b"b4 OK") for x in seen), seen
    s.close()


def run(report, bed, _):
    """All of them; what real Cyrus 3.6.1 cannot do is skipped with it."""
    for box in ("INBOX.Trash", "team02"):
        report.check(f"clients/message_goes_in_and_comes_out in {box}", message_goes_in_and_comes_out, bed, box)
    for parent in ("INBOX", "team02"):
        report.check(f"clients/folder_lives_from_create_to_delete in {parent}", folder_lives_from_create_to_delete, bed, parent)
    for test in (expunge_renumbers, mailbox_made_at_a_backend_is_found_at_once, change_at_a_backend_is_listed_soon,
                 long_pipeline_is_answered_in_order, byte_by_byte_input_is_the_same):
        report.check(f"clients/{test.__name__}", test, bed)
    for test, why in ((copy_across_tells_both_uid_sets, "9.13: COPYUID without the source set"),
                      (move_across_moves, "9.14: MOVE across is a COPY"),
                      (copy_of_nothing_across_is_no_append, "9.40: an unfinished APPEND is sent")):
        if bed.frontend == "cyrus":
            report.known_cyrus(f"clients/{test.__name__}", why, test, bed)
        else:
            report.check(f"clients/{test.__name__}", test, bed)
