"""`rookery demo` as somebody tries it, without root: the lines that it prints, and what a mail program does with it."""
import imaplib
import os
import re
import shutil
import subprocess

SECONDS = 60
MESSAGE = b"From: a@example.com\r\nSubject: hello\r\n\r\nbody\r\n"


class Demo:
    """One, on a port of its own, as a user who may write nowhere that the demo would."""

    def __init__(self, binaries, folder):
        self.errors = open(f"{folder}/demo-errors", "w+")
        program = shutil.copy(f"{binaries}/rookery", f"{folder}/rookery-demo")
        user = [] if os.geteuid() else ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        self.process = subprocess.Popen([*user, program, "demo", "--listen", "127.0.0.1:0"], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=self.errors, text=True, cwd="/")
        self.text = ""
        while "Return ends it" not in self.text:
            line = self.process.stdout.readline()
            assert line, self.text + self.complaints()
            self.text += line
        self.host, self.port = re.search(r"IMAP at (\S+) port (\d+)", self.text).groups()
        self.users = dict(re.findall(r"user (\w+), password (\S+),", self.text))
        self.lines = [line.strip() for line in self.text.partition("Try:\n")[2].splitlines()[:-1]]

    def complaints(self):
        self.errors.seek(0)
        return self.errors.read()

    def end(self):
        """Return; its exit status."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.process.wait(SECONDS)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.errors.close()


def is_ok(answer):
    assert answer[0] == "OK", answer
    return answer[1]


def messages(session, mailbox):
    return int(re.search(rb"MESSAGES (\d+)", is_ok(session.status(mailbox, "(MESSAGES)"))[0]).group(1))


def the_lines_that_it_prints_work(demo):
    assert len(demo.lines) == 3, demo.text
    said = [subprocess.run(line, shell=True, capture_output=True, text=True, timeout=SECONDS) for line in demo.lines]
    assert all(done.returncode == 0 for done in said), said
    assert "team" in said[0].stdout and "Subject: " in said[1].stdout and "'OK'" in said[2].stdout, said


def a_mail_program_works_with_it(demo):
    """Each user stores, finds, marks, copies and moves mail, into the shared folder too: for one it is on another server."""
    assert len(demo.users) == 2, demo.users
    for user, password in demo.users.items():
        session = imaplib.IMAP4(demo.host, int(demo.port), timeout=SECONDS)
        session.login(user, password)
        before = messages(session, "team")
        is_ok(session.create("INBOX.Drafts"))
        is_ok(session.subscribe("INBOX.Drafts"))
        assert b"INBOX.Drafts" in is_ok(session.lsub())[0]
        is_ok(session.select("INBOX"))
        is_ok(session.append("INBOX", "\\Seen", None, MESSAGE))
        uids = is_ok(session.uid("SEARCH", None, "SUBJECT", "hello"))[0].split()
        assert uids, user
        is_ok(session.uid("STORE", uids[-1], "+FLAGS", "(\\Flagged)"))
        [(_, text), _] = is_ok(session.uid("FETCH", uids[-1], "(FLAGS BODY.PEEK[])"))
        assert text == MESSAGE, text
        is_ok(session.uid("COPY", uids[-1], "team"))
        is_ok(session.uid("MOVE", uids[-1], "team"))
        is_ok(session.uid("COPY", "1", "INBOX.Drafts"))
        assert messages(session, "team") == before + 2, user
        is_ok(session.rename("INBOX.Drafts", "INBOX.Old"))
        is_ok(session.delete("INBOX.Old"))
        session.logout()


def it_ends_without_a_complaint(demo):
    assert demo.end() == 0
    assert demo.complaints() == ""


def run(report, a):
    """All of it in one."""
    with Demo(a.binaries, a.folder) as demo:
        for test in (the_lines_that_it_prints_work, a_mail_program_works_with_it, it_ends_without_a_complaint):
            report.check(f"demo/{test.__name__}", test, demo)
