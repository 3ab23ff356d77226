use super::*;
use crate::imap::backend::Backend;
use crate::imap::grammar::copy_args;
use crate::imap::testing::{Host, entry, found};
use crate::proxy::Unavailable;

const ACL: &str = "user001\tlrswipkxtecda\t";
const FETCHES: &str = "B1> RK0 FETCH 1:2 (UID FLAGS INTERNALDATE BODY.PEEK[])\r\n";

fn host(action: Action, by: By, args: &str) -> Host<CopyTask> {
    let args = copy_args(args.as_bytes()).unwrap();
    Host::new(CopyTask::new(action, by, &args)).select("user.user001")
}

/// A copy of two messages to team02 on backend 2, up to the FETCH.
fn across(action: Action) -> Host<CopyTask> {
    let mut host = host(action, By::Sequence, "1:2 team02");
    assert_eq!(host.wants(), ["find team02"]);
    let mut wants = host.news(found("team02", "backend2", "anyone\tlrsip\t"));
    if action == Action::Move {
        assert_eq!(wants, ["find user.user001"]);
        wants = host.news(found("user.user001", "backend1", ACL));
    }
    assert_eq!(wants, ["backend backend2"]);
    let mut wants = host.news(News::Backend(Ok(BackendId(2))));
    if action == Action::Move {
        assert_eq!(wants, ["intend 1:2"], "kept before anything is copied");
        wants = host.news(News::Intended);
    }
    assert_eq!(wants, [FETCHES]);
    host
}

fn first_message(host: &mut Host<CopyTask>) {
    let head = "* 1 FETCH (UID 7 FLAGS (\\Recent \\Seen $Forwarded) INTERNALDATE \"21-Nov-2026 21:01:30 +0000\" BODY[] {293}\r\n";
    let append = "B2> RK1 APPEND team02 (\\Seen $Forwarded) \"21-Nov-2026 21:01:30 +0000\" {293}\r\n";
    assert_eq!(host.says(1, head), [append]);
    assert_eq!(host.line(1, "bytes of the body\r\n").0, Line::Hold, "no byte before the destination agreed");
    assert_eq!(host.says(2, "+ go ahead\r\n"), ["forward B1 B2 293"]);
    assert!(host.says(1, ")\r\n").is_empty());
}

fn second_message(host: &mut Host<CopyTask>) {
    let head = "* 2 FETCH (FLAGS () INTERNALDATE \" 1-Nov-2026 21:01:30 +0000\" BODY[] {5}\r\n";
    let append = "B2>  () \" 1-Nov-2026 21:01:30 +0000\" {5+}\r\n";
    assert_eq!(host.says(1, head), [append, "forward B1 B2 5"]);
    assert!(host.says(1, " UID 9)\r\n").is_empty());
}

fn both_messages(action: Action) -> Host<CopyTask> {
    let mut host = across(action);
    first_message(&mut host);
    second_message(&mut host);
    assert_eq!(host.says(1, "RK0 OK Completed\r\n"), ["B2> \r\n"]);
    host
}

#[test]
fn same_server_gets_the_command_with_the_client_s_tag() {
    let mut host = host(Action::Move, By::Uid, "4 INBOX.Sent");
    assert_eq!(host.wants(), ["find user.user001.Sent"]);
    assert_eq!(host.news(found("user.user001.Sent", "backend1", ACL)), ["B1> A1 UID MOVE 4 INBOX.Sent\r\n"]);
    assert_eq!(host.line(1, "* 4 EXPUNGE\r\n").0, Line::Relay);
    assert_eq!(host.line(1, "A1 OK Completed\r\n"), (Line::Relay, vec!["done".to_owned()]));
}

#[test]
fn special_use_is_looked_up_by_the_user_s_home() {
    let mut host = host(Action::Copy, By::Uid, r#"4 "\\Sent""#);
    assert_eq!(host.wants(), ["find user.user001"]);
    assert_eq!(host.news(found("user.user001", "backend1", ACL)), ["B1> A1 UID COPY 4 \"\\\\Sent\"\r\n"]);
}

#[test]
fn copy_between_servers_tells_source_and_destination_uids() {
    let mut host = both_messages(Action::Copy);
    let answer = host.says(2, "RK1 OK [APPENDUID 1795294892 6:7] Completed\r\n");
    assert_eq!(answer, ["C> A1 OK [COPYUID 1795294892 7,9 6:7] Completed\r\n", "done"]);
}

#[test]
fn copy_without_appenduid_is_completed_without_copyuid() {
    let mut host = both_messages(Action::Copy);
    assert_eq!(host.says(2, "RK1 OK Completed\r\n"), ["C> A1 OK Completed\r\n", "done"]);
}

#[test]
fn move_expunges_exactly_what_was_appended() {
    let mut host = both_messages(Action::Move);
    let copied = "copied UIDs 7,9 became UIDVALIDITY 9 UIDs 6:7";
    let store = "B1> RK2 UID STORE 7,9 +FLAGS.SILENT (\\Deleted)\r\n";
    assert_eq!(host.says(2, "RK1 OK [APPENDUID 9 6:7] Completed\r\n"), [copied, store]);
    let copy_uid = "C> * OK [COPYUID 9 7,9 6:7] Completed\r\n";
    assert_eq!(host.says(1, "RK2 OK Completed\r\n"), [copy_uid, "B1> RK2 UID EXPUNGE 7,9\r\n"]);
    assert_eq!(host.line(1, "* 1 EXPUNGE\r\n").0, Line::Relay);
    assert_eq!(host.says(1, "RK2 OK Completed\r\n"), ["Done", "C> A1 OK Completed\r\n", "done"]);
}

#[test]
fn move_removes_nothing_when_the_destination_took_another_number() {
    let mut host = both_messages(Action::Move);
    let wants = host.says(2, "RK1 OK [APPENDUID 9 6] Completed\r\n");
    assert_eq!(wants.len(), 2);
    assert!(wants[0].starts_with("C> A1 NO "), "{wants:?}");
}

#[test]
fn move_without_the_right_to_expunge_copies_nothing() {
    let mut host = host(Action::Move, By::Sequence, "1 team02");
    host.wants();
    host.news(found("team02", "backend2", "anyone\tlrsip\t"));
    let wants = host.news(found("team01", "backend1", "anyone\tlrs\t"));
    assert_eq!(wants, ["C> A1 NO Permission denied\r\n", "done"]);
}

#[test]
fn no_message_means_no_append() {
    let mut host = across(Action::Copy);
    assert_eq!(host.says(1, "RK0 OK Completed (0.000 sec)\r\n"), ["C> A1 OK Completed\r\n", "done"]);
    let mut host = across(Action::Copy);
    let refused = host.says(1, "RK0 NO No matching messages (0.000 sec)\r\n");
    assert_eq!(refused, ["C> A1 NO No matching messages (0.000 sec)\r\n", "done"]);
}

#[test]
fn what_else_the_source_tells_reaches_the_client() {
    let mut host = across(Action::Copy);
    for line in
        ["* 6 EXISTS\r\n", "* 3 FETCH (FLAGS (\\Seen))\r\n", "* VANISHED 4\r\n", "* OK [ALERT] soon\r\n"]
    {
        assert_eq!(host.line(1, line).0, Line::Relay, "{line}");
    }
    assert_eq!(host.line(2, "* 6 EXISTS\r\n").0, Line::Drop);
}

#[test]
fn refusal_before_the_first_byte_keeps_the_destination() {
    let mut host = across(Action::Move);
    let head = "* 1 FETCH (UID 7 FLAGS () INTERNALDATE \"21-Nov-2026 21:01:30 +0000\" BODY[] {293}\r\n";
    host.says(1, head);
    assert_eq!(host.says(2, "RK1 NO [OVERQUOTA] Over quota\r\n"), ["discard B1 293"]);
    assert_eq!(host.line(1, ")\r\n").0, Line::Drop);
    assert_eq!(host.line(1, "* 2 FETCH (UID 8 FLAGS () BODY[] {3}\r\n").0, Line::Drop);
    let answer = host.says(1, "RK0 OK Completed\r\n");
    assert_eq!(answer, ["C> A1 NO [OVERQUOTA] Over quota\r\n", "done"]);
}

#[test]
fn destination_that_dies_in_a_literal_ends_in_no_and_a_drained_source() {
    let mut host = across(Action::Move);
    first_message(&mut host);
    host.says(1, "* 2 FETCH (UID 9 FLAGS () INTERNALDATE \" 1-Nov-2026 21:01:30 +0000\" BODY[] {500}\r\n");
    let broken =
        News::ForwardBroken { from: Side::Backend(BackendId(1)), to: Side::Backend(BackendId(2)), left: 88 };
    assert_eq!(host.news(broken), ["discard B1 88", "abandon B2"]);
    assert!(host.news(News::Lost(BackendId(2))).is_empty());
    assert_eq!(host.line(1, ")\r\n").0, Line::Drop);
    let wants = host.says(1, "RK0 OK Completed\r\n");
    assert_eq!(wants, ["C> A1 NO [UNAVAILABLE] connection to the destination server lost\r\n", "done"]);
}

#[test]
fn body_behind_a_destination_that_dies_before_its_go_ahead_is_thrown_away() {
    let mut host = across(Action::Copy);
    host.says(1, "* 1 FETCH (UID 7 FLAGS () INTERNALDATE \"21-Nov-2026 21:01:30 +0000\" BODY[] {293}\r\n");
    assert_eq!(host.news(News::Lost(BackendId(2))), ["discard B1 293"]);
    assert_eq!(host.line(1, ")\r\n").0, Line::Drop);
    assert_eq!(host.line(1, "* 3 EXISTS\r\n").0, Line::Relay, "what is no body is still told");
    let wants = host.says(1, "RK0 OK Completed\r\n");
    assert_eq!(wants, ["C> A1 NO [UNAVAILABLE] connection to the destination server lost\r\n", "done"]);
}

#[test]
fn early_answer_of_the_destination_abandons_it() {
    let mut host = across(Action::Copy);
    first_message(&mut host);
    assert_eq!(host.says(2, "RK1 NO [OVERQUOTA] Over quota\r\n"), ["abandon B2"]);
    assert_eq!(host.says(1, "RK0 OK Completed\r\n"), ["C> A1 NO [OVERQUOTA] Over quota\r\n", "done"]);
}

#[test]
fn source_that_dies_leaves_no_half_append() {
    let mut host = across(Action::Copy);
    first_message(&mut host);
    let wants = host.news(News::Lost(BackendId(1)));
    assert_eq!(
        wants,
        ["abandon B2", "C> A1 NO [UNAVAILABLE] connection to the source server lost\r\n", "done"]
    );
}

#[test]
fn message_that_vanished_fails_the_copy_and_nothing_is_appended() {
    let mut host = across(Action::Copy);
    first_message(&mut host);
    let gone = "* 2 FETCH (UID 9 FLAGS () INTERNALDATE \" 1-Nov-2026 21:01:30 +0000\" BODY[] NIL)\r\n";
    assert_eq!(host.says(1, gone), ["abandon B2"]);
    let wants = host.says(1, "RK0 OK Completed\r\n");
    assert!(wants[0].starts_with("C> A1 NO "), "{wants:?}");
}

#[test]
fn without_multiappend_each_message_is_an_append_of_its_own() {
    let mut host = across(Action::Copy);
    host.offer(2, b"LITERAL+ UIDPLUS");
    let head = |n| {
        format!("* {n} FETCH (UID {n} FLAGS () INTERNALDATE \"21-Nov-2026 21:01:30 +0000\" BODY[] {{10}}\r\n")
    };
    for n in 1..3 {
        assert_eq!(host.says(1, &head(n)).len(), 1);
        assert_eq!(host.says(2, "+ go ahead\r\n"), ["forward B1 B2 10"]);
        assert_eq!(host.says(1, ")\r\n"), ["B2> \r\n"]);
        assert_eq!(host.line(1, &head(n + 1)).0, Line::Hold);
        assert!(host.says(2, &format!("RK1 OK [APPENDUID 5 {}] Completed\r\n", n + 10)).is_empty());
    }
    let answer = host.says(1, "RK0 OK Completed\r\n");
    assert_eq!(answer, ["C> A1 OK [COPYUID 5 1:2 11:12] Completed\r\n", "done"]);
}

#[test]
fn without_multiappend_a_failure_tells_that_some_may_be_there() {
    let mut host = across(Action::Copy);
    host.offer(2, b"LITERAL+ UIDPLUS");
    let head = "* 1 FETCH (UID 1 FLAGS () INTERNALDATE \"21-Nov-2026 21:01:30 +0000\" BODY[] {10}\r\n";
    assert_eq!(host.says(1, head).len(), 1);
    assert_eq!(host.says(2, "+ go ahead\r\n"), ["forward B1 B2 10"]);
    assert_eq!(host.says(1, ")\r\n"), ["B2> \r\n"]);
    assert!(host.says(2, "RK1 OK [APPENDUID 5 11] Completed\r\n").is_empty());
    let told =
        "C> A1 NO [UNAVAILABLE] connection to the source server lost; some messages may have been copied\r\n";
    assert_eq!(host.news(News::Lost(BackendId(1))), [told, "done"]);
}

#[test]
fn append_that_was_sent_whole_may_be_done_although_the_source_dies() {
    let mut host = across(Action::Copy);
    host.offer(2, b"LITERAL+ UIDPLUS");
    let head = "* 1 FETCH (UID 1 FLAGS () INTERNALDATE \"21-Nov-2026 21:01:30 +0000\" BODY[] {10}\r\n";
    assert_eq!(host.says(1, head).len(), 1);
    assert_eq!(host.says(2, "+ go ahead\r\n"), ["forward B1 B2 10"]);
    assert_eq!(host.says(1, ")\r\n"), ["B2> \r\n"]);
    let told =
        "C> A1 NO [UNAVAILABLE] connection to the source server lost, messages may have been copied\r\n";
    assert_eq!(host.news(News::Lost(BackendId(1))), ["abandon B2", told, "done"]);
}

#[test]
fn destination_that_moves_while_a_body_is_on_its_way_is_looked_for_once_more() {
    let mut host = across(Action::Copy);
    first_message(&mut host);
    assert_eq!(host.says(1, ")\r\n"), Vec::<String>::new());
    assert_eq!(host.says(1, "RK0 OK Completed\r\n"), ["B2> \r\n"]);
    let wants = host.says(2, "RK1 NO Mailbox does not exist\r\n");
    assert!(wants[0].starts_with("find "), "{wants:?}");
}

#[test]
fn refusals_before_anything_is_sent() {
    let mut top = host(Action::Copy, By::Sequence, "1 nosuch");
    top.wants();
    assert_eq!(top.news(News::Found(Finding::Absent)), ["C> A1 NO Mailbox does not exist\r\n", "done"]);
    let mut absent = host(Action::Copy, By::Sequence, "1 INBOX.nosuch");
    absent.wants();
    assert_eq!(absent.news(News::Found(Finding::Absent)).len(), 1, "the parent is asked for");
    let refused = absent.news(found("user.user001", "backend1", "user001\tlrswipkxte\t"));
    assert_eq!(refused, ["C> A1 NO [TRYCREATE] Mailbox does not exist\r\n", "done"]);
    let mut denied = host(Action::Move, By::Sequence, "1 team02.nosuch");
    denied.wants();
    denied.news(News::Found(Finding::Absent));
    let refused = denied.news(found("team02", "backend2", "anyone\tlrswi\t"));
    assert_eq!(refused, ["C> A1 NO Mailbox does not exist\r\n", "done"]);
    let mut unknown = host(Action::Copy, By::Sequence, "1 nosuch");
    unknown.wants();
    let refused = unknown.news(News::Found(Finding::Unknown));
    assert_eq!(refused, ["C> A1 NO [UNAVAILABLE] mailbox temporarily unavailable\r\n", "done"]);
    let mut down = host(Action::Copy, By::Sequence, "1 team02");
    down.wants();
    down.news(News::Found(Finding::Active(entry("team02", "backend2", ""))));
    let refused = down.news(News::Backend(Err(Unavailable)));
    assert_eq!(refused, ["C> A1 NO [UNAVAILABLE] Server(s) unavailable to complete operation\r\n", "done"]);
}

#[test]
fn move_from_an_examined_mailbox_copies_nothing() {
    let mut host = host(Action::Move, By::Sequence, "1 team02").read_only();
    host.wants();
    let wants = host.news(found("team02", "backend2", "anyone\tlrsip\t"));
    assert_eq!(wants, ["C> A1 NO [CANNOT] the mailbox is selected read-only\r\n", "done"]);
}

#[test]
fn mark_that_we_set_is_not_told_and_what_others_set_is() {
    let mut host = both_messages(Action::Move);
    host.says(2, "RK1 OK [APPENDUID 9 6:7] Completed\r\n");
    assert_eq!(host.line(1, "* 1 FETCH (FLAGS (\\Deleted \\Seen) UID 7)\r\n").0, Line::Drop);
    assert_eq!(host.line(1, "* 3 FETCH (FLAGS (\\Deleted) UID 12)\r\n").0, Line::Relay);
    host.says(1, "RK2 OK Completed\r\n");
    assert_eq!(host.line(1, "* 2 FETCH (FLAGS (\\Deleted) UID 9 MODSEQ (77))\r\n").0, Line::Drop);
}

#[test]
fn refused_expunge_takes_the_marks_back_but_not_those_of_others() {
    let mut host = across(Action::Move);
    first_message(&mut host);
    let head =
        "* 2 FETCH (UID 9 FLAGS (\\Deleted) INTERNALDATE \" 1-Nov-2026 21:01:30 +0000\" BODY[] {5}\r\n";
    host.says(1, head);
    host.says(1, ")\r\n");
    host.says(1, "RK0 OK Completed\r\n");
    let copied = "copied UIDs 7,9 became UIDVALIDITY 9 UIDs 6:7";
    let store = "B1> RK2 UID STORE 7 +FLAGS.SILENT (\\Deleted)\r\n";
    assert_eq!(host.says(2, "RK1 OK [APPENDUID 9 6:7] Completed\r\n"), [copied, store]);
    assert_eq!(host.says(1, "RK2 OK Completed\r\n").len(), 2);
    let restore = "B1> RK2 UID STORE 7 -FLAGS.SILENT (\\Deleted)\r\n";
    assert_eq!(host.says(1, "RK2 NO Permission denied\r\n"), [restore]);
    let wants = host.says(1, "RK2 OK Completed\r\n");
    assert_eq!(
        wants,
        ["C> A1 NO messages were copied, but the source server did not remove them\r\n", "done"]
    );
}

#[test]
fn destination_that_moved_is_asked_at_its_new_server() {
    let mut across = across(Action::Copy);
    across.says(1, "* 1 FETCH (UID 7 FLAGS () INTERNALDATE \"21-Nov-2026 21:01:30 +0000\" BODY[] {293}\r\n");
    across.says(2, "RK1 NO [TRYCREATE] Mailbox does not exist\r\n");
    across.line(1, ")\r\n");
    assert_eq!(across.says(1, "RK0 OK Completed\r\n"), ["find team02"]);
    assert_eq!(
        across.news(found("team02", "backend1", "")),
        ["B1> A1 COPY 1:2 team02\r\n"],
        "it came to the selected server"
    );
    let mut relayed = host(Action::Copy, By::Sequence, "1:2 team02");
    relayed.wants();
    relayed.news(found("team02", "backend1", ""));
    assert_eq!(relayed.says(1, "A1 NO [TRYCREATE] Mailbox does not exist\r\n"), ["find team02"]);
    assert_eq!(relayed.news(found("team02", "backend2", "")), ["backend backend2"]);
    assert_eq!(relayed.news(News::Backend(Ok(BackendId(2)))), [FETCHES]);
}

#[test]
fn list_that_agrees_with_the_destination_makes_its_word_the_answer() {
    let mut relayed = host(Action::Copy, By::Sequence, "1:2 team02");
    relayed.wants();
    relayed.news(found("team02", "backend1", ""));
    relayed.says(1, "A1 NO [TRYCREATE] Mailbox does not exist\r\n");
    let wants = relayed.news(found("team02", "backend1", ""));
    assert_eq!(wants, ["C> A1 NO [TRYCREATE] Mailbox does not exist\r\n", "done"]);
}

#[test]
fn who_keeps_the_copy_waiting_is_known() {
    let mut host = across(Action::Copy);
    let (source, destination) = (BackendId(1), BackendId(2));
    assert!(host.task.awaits(source) && !host.task.awaits(destination));
    host.says(1, "* 1 FETCH (UID 7 FLAGS () INTERNALDATE \"21-Nov-2026 21:01:30 +0000\" BODY[] {293}\r\n");
    assert!(!host.task.awaits(source) && host.task.awaits(destination), "its go-ahead");
    host.says(2, "+ go ahead\r\n");
    assert!(!host.task.awaits(source) && !host.task.awaits(destination), "who forwards sees what moves");
    assert_eq!(host.task.forwards_to(source), Some(destination));
    host.says(1, ")\r\n");
    host.says(1, "RK0 OK Completed\r\n");
    assert!(!host.task.awaits(source) && host.task.awaits(destination), "the end of the APPEND");
}

/// A move to INBOX.Sent on a server without MOVE, up to the FETCH.
fn within(by: By, set: &str) -> Host<CopyTask> {
    let mut host = host(Action::Move, by, &format!("{set} INBOX.Sent"));
    let old = Offer::read(b"IMAP4rev1 LITERAL+ UIDPLUS");
    host.backends[0] = Backend::ready_for_test(BackendId(1), b"backend1", old);
    assert_eq!(host.wants(), ["find user.user001.Sent"]);
    assert_eq!(host.news(found("user.user001.Sent", "backend1", ACL)), ["find user.user001"]);
    assert_eq!(host.news(found("user.user001", "backend1", ACL)), [format!("intend {set}")]);
    let verb = if by == By::Uid { "UID FETCH" } else { "FETCH" };
    let fetch = format!("B1> RK0 {verb} {set} (UID FLAGS INTERNALDATE)\r\n");
    assert_eq!(host.news(News::Intended), [fetch]);
    host
}

const GATHERED: &str = "* 1 FETCH (UID 7 FLAGS (\\Seen) INTERNALDATE \"21-Nov-2026 21:01:30 +0000\")\r\n";
const GATHERED_DELETED: &str =
    "* 2 FETCH (UID 9 FLAGS (\\Deleted) INTERNALDATE \"21-Nov-2026 21:01:30 +0000\")\r\n";

/// Both messages are copied.
fn copied_within() -> Host<CopyTask> {
    let mut host = within(By::Sequence, "1:2");
    assert_eq!(host.line(1, GATHERED).0, Line::Drop);
    assert_eq!(host.line(1, "* 5 FETCH (UID 12 FLAGS () MODSEQ (9))\r\n").0, Line::Relay, "not asked for");
    assert_eq!(host.line(1, GATHERED_DELETED).0, Line::Drop);
    assert_eq!(host.says(1, "RK0 OK Completed\r\n"), ["B1> RK1 UID COPY 7,9 INBOX.Sent\r\n"]);
    let copied = "copied UIDs 7,9 became UIDVALIDITY 5 UIDs 1:2";
    let wants = host.says(1, "RK1 OK [COPYUID 5 7,9 1:2] Completed\r\n");
    assert_eq!(wants, [copied, "B1> RK2 UID STORE 7 +FLAGS.SILENT (\\Deleted)\r\n"]);
    host
}

#[test]
fn server_without_move_copies_and_expunges_those_uids_alone() {
    let mut host = copied_within();
    let copy_uid = "C> * OK [COPYUID 5 7,9 1:2] Completed\r\n";
    assert_eq!(host.says(1, "RK2 OK Completed\r\n"), [copy_uid, "B1> RK2 UID EXPUNGE 7,9\r\n"]);
    assert_eq!(host.line(1, "* VANISHED 7,9\r\n").0, Line::Relay);
    assert_eq!(host.says(1, "RK2 OK Completed\r\n"), ["Done", "C> A1 OK Completed\r\n", "done"]);
}

#[test]
fn refused_expunge_takes_back_only_marks_of_its_own() {
    let mut host = copied_within();
    host.says(1, "RK2 OK Completed\r\n");
    let restore = "B1> RK2 UID STORE 7 -FLAGS.SILENT (\\Deleted)\r\n";
    assert_eq!(host.says(1, "RK2 NO Permission denied\r\n"), [restore]);
    let answer = host.says(1, "RK2 OK Completed\r\n");
    assert!(answer[0].starts_with("C> A1 NO messages were copied"), "{answer:?}");
}

#[test]
fn refused_copy_removes_nothing() {
    let mut host = within(By::Uid, "7:9");
    host.says(1, GATHERED);
    host.says(1, "RK0 OK Completed\r\n");
    let answer = host.says(1, "RK1 NO [OVERQUOTA] Over quota\r\n");
    assert_eq!(answer, ["C> A1 NO [OVERQUOTA] Over quota\r\n", "done"]);
}

#[test]
fn copy_of_another_number_of_messages_removes_nothing() {
    let mut host = within(By::Uid, "7:9");
    host.says(1, GATHERED);
    host.says(1, GATHERED_DELETED);
    host.says(1, "RK0 OK Completed\r\n");
    let answer = host.says(1, "RK1 OK [COPYUID 5 7 1] Completed\r\n");
    assert!(answer[0].starts_with("C> A1 NO messages were copied, but their number"), "{answer:?}");
}

#[test]
fn saved_result_is_moved_and_no_message_is_no_copy() {
    let mut host = within(By::Uid, "$");
    assert_eq!(host.says(1, "RK0 OK Completed\r\n"), ["C> A1 OK Completed\r\n", "done"]);
}

#[test]
fn destination_that_is_elsewhere_meanwhile_is_looked_for_once_more() {
    let mut host = within(By::Uid, "7");
    host.says(1, GATHERED);
    host.says(1, "RK0 OK Completed\r\n");
    assert_eq!(host.says(1, "RK1 NO [TRYCREATE] Mailbox does not exist\r\n"), ["find user.user001.Sent"]);
    assert_eq!(host.news(found("user.user001.Sent", "backend2", ACL)), ["find user.user001"]);
    assert_eq!(host.news(found("user.user001", "backend1", ACL)), ["backend backend2"]);
}

#[test]
fn connection_lost_in_the_copy_says_that_it_may_be_done() {
    let mut host = within(By::Uid, "7");
    host.says(1, GATHERED);
    host.says(1, "RK0 OK Completed\r\n");
    let answer = host.news(News::Lost(BackendId(1)));
    assert!(answer[0].contains("may have been copied"), "{answer:?}");
}

#[test]
fn source_that_its_server_misses_is_being_moved_and_not_absent() {
    let asked = || {
        let mut host = within(By::Uid, "7");
        host.says(1, GATHERED);
        host.says(1, "RK0 OK Completed\r\n");
        host.says(1, "RK1 NO Mailbox does not exist\r\n");
        let destination = host.news(found("user.user001.Sent", "backend1", ACL));
        assert_eq!(destination, ["find user.user001"]);
        host
    };
    let missing = host_answer(asked(), found("user.user001", "backend2", ACL));
    assert_eq!(missing, "C> A1 NO [UNAVAILABLE] the selected mailbox is being moved\r\n");
    let unknown = host_answer(asked(), News::Found(Finding::Unknown));
    assert!(unknown.contains("[UNAVAILABLE]"), "{unknown}");
    let here = host_answer(asked(), found("user.user001", "backend1", ACL));
    assert_eq!(here, "C> A1 NO Mailbox does not exist\r\n");
}

fn host_answer(mut host: Host<CopyTask>, news: News<'_>) -> String {
    host.news(news).swap_remove(0)
}
