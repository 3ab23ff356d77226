"""Whom an address means, with virtual domains and the options for shared mailboxes, beside Cyrus' frontend; and a
backend that takes smaller messages than another."""
import re
import shutil
import uuid

from bed import Bed
from beside import Beside
from lmtp import HEAD, Lmtp, World, message, normal

ADDRESSES = [
    "user001", "USER001", "user001@murder.test", "User001@Murder.Test", "user001@other.test", "user001+Sent",
    "user001+Work.Projects@murder.test", "user001+nosuch@murder.test", "nosuch", "nosuch@murder.test", "nosuch@other.test",
    "bb+team01", "bb+team01.docs@murder.test", "BB+team01", "bb", "bb+", "bb+user.user001", "+team01", "bb+Team01",
    "bb+team01.nosuch", "bb+nosuch", "bb+te\\am01", '"user001"@murder.test', "user 001", "user001@", "@murder.test", "@",
    "user.user001", "cyrus", "user001+Sent+x@murder.test", "%", "*", "user00%", "a" * 300, "a@" + "b" * 300 + ".test",
]
DIFFERENT = {
    "bb+te\\am01": "a backslash outside of quotes is no address (RFC 5321)",
    "user001@": "an empty domain is the default one",
    '"user001"@murder.test': "Cyrus takes the quotes for a part of the name (9.39)"}
VARIANTS = {
    "plain": [],
    "catchall": ["lmtp_catchall_mailbox: user003"],
    "fuzzy": ["lmtp_fuzzy_mailbox_match: yes"],
    "case": ["lmtp_downcase_rcpt: no"],
}


def addresses_as_cyrus(world, name):
    """The Cyrus frontend is asked with the same options: its lmtpd reads them at each start."""
    options = ["rookery_lmtp_verify: list", *VARIANTS[name]]
    world.bed.restart(more=options)
    path = f"{world.bed.folder}/frontend/imapd.conf"
    with open(path) as f:
        before = f.read()
    keys = {x.split(":")[0] for x in VARIANTS[name]}
    with open(path, "w") as f:
        f.write("\n".join([x for x in before.splitlines() if x.split(":")[0] not in keys] + VARIANTS[name]) + "\n")
    world.bed.stop("frontend")
    world.bed.start("frontend")
    try:
        ours, theirs = world.lmtp(), Lmtp(world.cyrus)
        for client in (ours, theirs):
            client.say("MAIL FROM:<a@b.c>")
        wrong = []
        for address in ADDRESSES:
            here, there = (normal(client.say(f"RCPT TO:<{address}>")) for client in (ours, theirs))
            if here != there and address not in DIFFERENT:
                wrong.append((address[:40], here, there))
        assert not wrong, "\n".join(map(str, wrong))
    finally:
        with open(path, "w") as f:
            f.write(before)


def delivered_where_the_address_says(world):
    """Mail arrives in the folder of the detail, and in shared mailboxes by `postuser`."""
    world.bed.restart()
    name = uuid.uuid4().hex
    rcpts, ends = world.lmtp().deliver(["bb+team02@murder.test", "user001+Sent@murder.test", "USER002@murder.test"],
                                       message(name))
    assert all(reply.startswith("250") for reply in rcpts + ends), (rcpts, ends)
    assert world.times("user001", name, "team02") == 1
    assert world.times("user001", name, "INBOX.Sent") + world.times("user001", name) == 1
    assert world.times("user002", name) == 1


def smallest_size_is_that_of_its_backend(world):
    """backend2 takes 100,000 bytes: what is larger is refused for its recipients alone, announced or not."""
    world.bed.restart()
    name = uuid.uuid4().hex
    client = world.lmtp()
    replies = client.say("MAIL FROM:<a@b.c> SIZE=300000", "RCPT TO:<user001>", "RCPT TO:<user002>", "RSET")
    assert [reply[:9] for reply in replies[:3]] == ["250 2.1.0", "250 2.1.5", "552 5.2.3"], replies
    told = client.begin(["user001", "user002", "user003"])
    assert told[-1].startswith("354"), told
    client.send(HEAD % name.encode() + (b"x" * 70 + b"\r\n") * 4200 + b".\r\n")
    ends = [client.reply() for _ in range(3)]
    assert [re.sub(r" .*", "", end) for end in ends] == ["250", "552", "250"], ends
    assert [world.times(user, name) for user in ("user001", "user002", "user003")] == [1, 0, 1]
    assert client.deliver(["user002"])[1][0].startswith("250"), "smaller ones are taken"


def size_is_offered_as_by_cyrus(world):
    """`maxmessagesize` without a unit is in bytes."""
    world.bed.restart(more=["maxmessagesize: 100000"])
    offers = [re.search("250-(SIZE .*)", client.offer).group(1)
              for client in (world.lmtp(), Lmtp(world.bed.backend(2)))]
    assert offers == ["SIZE 100000"] * 2, offers
    client = world.lmtp()
    assert client.say("MAIL FROM:<a@b.c> SIZE=100001").startswith("552 5.2.3")
    assert client.say("MAIL FROM:<a@b.c> SIZE=99999").startswith("250")


def run(report, a):
    """A murder with virtual domains."""
    folder = f"{a.folder}/lmtpaddresses"
    shutil.rmtree(folder, ignore_errors=True)
    options = ["--no-log", "--virtdomains", "--set", "frontend:postuser=bb", "--set", "backend:postuser=bb",
               "--set", "backend2:maxmessagesize=100000", "--set", "backend:duplicatesuppression=no"]
    with Bed(folder, a.net, options, 3) as cyrus:
        beside = Beside(cyrus, a.binaries)
        beside.restart()
        world = World(beside, None, a.net)
        try:
            for test in (delivered_where_the_address_says, smallest_size_is_that_of_its_backend,
                         size_is_offered_as_by_cyrus):
                report.check(f"lmtpauth/{test.__name__}", test, world)
            for name in VARIANTS:
                report.check(f"lmtpauth/addresses_as_cyrus {name}", addresses_as_cyrus, world, name)
        finally:
            beside.stop_frontend()
