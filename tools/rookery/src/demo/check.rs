//! What `--check` does: two users, two backends, a shared folder, a push.

use std::net::SocketAddr;

use anyhow::{Result, ensure};

use super::client::Client;
use super::{SHARED, USERS};

const MESSAGE: &str = "Subject: check\r\n\r\nall is well\r\n";

/// Runs both users through it.
///
/// # Errors
/// What was not as it should be.
pub(super) fn run(address: SocketAddr) -> Result<()> {
    let [(ann_name, ann_password), (bob, bob_password)] = USERS;
    let mut ann = Client::connect(address, ann_name, ann_password)?;
    let mut bob = Client::connect(address, bob, bob_password)?;
    lists_and_stores(&mut ann)?;
    reaches_across(&mut bob)?;
    is_told(&mut ann, &mut bob)?;
    // Both backends have been seen: what they offer is offered from here on.
    watches(Client::connect(address, ann_name, ann_password)?, &mut ann, &mut bob)?;
    creates(&mut bob)?;
    for client in [&mut ann, &mut bob] {
        client.ok("LOGOUT")?;
    }
    println!("ok: two users, two backends, one shared folder, all through {address}");
    Ok(())
}

fn has(lines: &[String], part: &str) -> Result<()> {
    ensure!(lines.iter().any(|line| line.contains(part)), "{part:?} is missing in {lines:?}");
    Ok(())
}

/// LIST, SELECT, APPEND, FETCH at home.
fn lists_and_stores(client: &mut Client) -> Result<()> {
    let listed = client.ok("LIST \"\" *")?;
    has(&listed, "INBOX")?;
    has(&listed, SHARED)?;
    ensure!(
        !listed.iter().any(|line| line.contains("user.")),
        "another user's mailbox is listed: {listed:?}"
    );
    has(&client.ok("SELECT INBOX")?, "* 1 EXISTS")?;
    has(&client.ok(&append("INBOX"))?, "[APPENDUID ")?;
    has(&client.ok("NOOP")?, "OK")
        .and_then(|()| has(&client.ok("FETCH 2 (BODY.PEEK[TEXT])")?, "all is well"))?;
    has(&client.ok("SEARCH SUBJECT check")?, "* SEARCH 2")
}

fn append(mailbox: &str) -> String {
    format!("APPEND {mailbox} {{{}+}}\r\n{MESSAGE}", MESSAGE.len())
}

/// The shared folder on the other backend: SELECT, COPY from it and to it.
fn reaches_across(client: &mut Client) -> Result<()> {
    client.ok(&format!("SELECT {SHARED}"))?;
    has(&client.ok("FETCH 1 (UID BODY.PEEK[HEADER.FIELDS (SUBJECT)])")?, "Welcome, everybody")?;
    let copied = client.ok("UID COPY 1 INBOX")?;
    has(&copied, "[COPYUID ")?;
    has(&client.ok("STATUS INBOX (MESSAGES)")?, "MESSAGES 2")?;
    client.ok("SELECT INBOX")?;
    has(&client.ok("FETCH 2 (BODY.PEEK[])")?, "Welcome, everybody")?;
    client.ok(&format!("COPY 1 {SHARED}"))?;
    has(&client.ok(&format!("STATUS {SHARED} (MESSAGES)"))?, "MESSAGES 2")?;
    // What was found and saved on one backend goes to the other (RFC 5182).
    client.ok("SEARCH RETURN (SAVE) SUBJECT \"nothing has it\"")?;
    client.ok(&format!("UID COPY $ {SHARED}"))?;
    has(&client.ok(&format!("STATUS {SHARED} (MESSAGES)"))?, "MESSAGES 2")?;
    client.ok("SEARCH RETURN (SAVE) SUBJECT everybody")?;
    has(&client.ok(&format!("UID MOVE $ {SHARED}"))?, "[COPYUID ")?;
    has(&client.ok("STATUS INBOX (MESSAGES)")?, "MESSAGES 1")?;
    has(&client.ok(&format!("STATUS {SHARED} (MESSAGES)"))?, "MESSAGES 3")
}

/// IDLE on one backend hears of what a user of the other does.
fn is_told(listener: &mut Client, other: &mut Client) -> Result<()> {
    listener.ok(&format!("SELECT {SHARED}"))?;
    listener.send("i IDLE", "i IDLE\r\n")?;
    listener.until("+")?;
    other.ok(&append(SHARED))?;
    has(&listener.until("* 4 EXISTS")?, "* 4 EXISTS")?;
    listener.send("DONE", "DONE\r\n")?;
    let end = listener.until("i ")?;
    has(&end, "i OK")
}

/// NOTIFY tells of mailboxes on both backends, unasked (RFC 5465).
fn watches(mut watcher: Client, ann: &mut Client, bob: &mut Client) -> Result<()> {
    let events = "(MessageNew MessageExpunge)";
    let groups = format!("(selected {events}) (personal {events}) (mailboxes {SHARED} {events})");
    let told = watcher.ok(&format!("NOTIFY SET STATUS {groups}"))?;
    has(&told, "* STATUS INBOX (MESSAGES ")?;
    has(&told, &format!("* STATUS {SHARED} (MESSAGES 4 "))?;
    bob.ok(&append(SHARED))?;
    watcher.until(&format!("* STATUS {SHARED} (MESSAGES 5 "))?;
    ann.ok(&append("INBOX"))?;
    watcher.until("* STATUS INBOX (MESSAGES ")?;
    watcher.ok(&format!("SELECT {SHARED}"))?;
    bob.ok(&append(SHARED))?;
    let told = watcher.until("* 6 EXISTS")?;
    ensure!(!told.iter().any(|line| line.contains("STATUS")), "told twice of the selected mailbox: {told:?}");
    watcher.ok("NOTIFY NONE")?;
    ann.ok(&append("INBOX"))?;
    let told = watcher.ok("LOGOUT")?;
    ensure!(!told.iter().any(|line| line.contains("STATUS")), "told after NOTIFY NONE: {told:?}");
    Ok(())
}

/// A mailbox made a moment ago is there, and gone when it is deleted.
fn creates(client: &mut Client) -> Result<()> {
    client.ok("CREATE INBOX.New")?;
    has(&client.ok("LIST \"\" INBOX.%")?, "INBOX.New")?;
    client.ok("SELECT INBOX.New")?;
    client.ok("UNSELECT")?;
    client.ok("DELETE INBOX.New")?;
    let listed = client.ok("LIST \"\" INBOX.%")?;
    ensure!(!listed.iter().any(|line| line.starts_with("* LIST")), "deleted, but listed: {listed:?}");
    Ok(())
}
