//! What the servers of the rows are asked behind them.

use super::*;

#[test]
fn what_all_servers_call_malformed_is_bad() {
    let asked = || {
        let mut host = host(r#""" "team0%" RETURN (STATUS (BOGUS))"#);
        host.wants();
        let query = host.task.walk.as_ref().and_then(Walk::poll_query).unwrap();
        let page = page(&host, &[], &query, usize::MAX);
        host.news(News::Page(&page));
        host.news(News::Backend(Ok(BackendId(1))));
        host.news(News::Backend(Ok(BackendId(2))));
        host
    };
    let mut all = asked();
    all.says(1, "RK2 BAD Invalid Status attributes bogus\r\n");
    let wants = all.says(2, "RK3 BAD Invalid Status attributes bogus\r\n");
    assert_eq!(wants, ["C> A1 BAD Invalid Status attributes bogus\r\n", "done"]);
    let mut one = asked();
    one.says(1, "RK2 BAD Invalid Status attributes bogus\r\n");
    let wants = one.says(2, "RK3 OK Completed\r\n");
    assert_eq!(wants, ["C> A1 OK Completed without data of server backend1\r\n", "done"]);
}

#[test]
fn status_comes_from_all_servers_of_rows_and_names_the_dead() {
    let mut told = Vec::new();
    let lines = run(host(r#""" "%" RETURN (STATUS (MESSAGES))"#), &[], usize::MAX, |host, want| match want {
        "backend backend1" => host.news(News::Backend(Ok(BackendId(1)))),
        "backend backend2" => host.news(News::Backend(Err(Unavailable))),
        "B1> RK2 LIST \"\" (\"%\") RETURN (STATUS (MESSAGES))\r\n" => {
            told.push("asked");
            let mut wants = host.says(1, "* LIST (\\HasChildren) \".\" INBOX\r\n");
            wants.extend(host.says(1, "* STATUS INBOX (MESSAGES 5)\r\n"));
            wants.extend(host.says(1, "RK2 OK Completed\r\n"));
            wants
        }
        want if want.starts_with("Wake") => Vec::new(),
        want => panic!("unexpected {want}"),
    });
    assert_eq!(told, ["asked"]);
    assert_eq!(
        lines[3..],
        ["* STATUS INBOX (MESSAGES 5)", "A1 OK Completed without data of server backend2"]
    );
}

#[test]
fn server_that_says_nothing_is_given_up_and_named() {
    let mut host = host(r#""" "team%" RETURN (STATUS (MESSAGES))"#);
    host.wants();
    let query = host.task.walk.as_ref().and_then(Walk::poll_query).unwrap();
    let page = page(&host, &[], &query, usize::MAX);
    host.news(News::Page(&page));
    host.news(News::Backend(Ok(BackendId(1))));
    host.news(News::Backend(Ok(BackendId(2))));
    assert!(host.says(2, "RK3 OK Completed\r\n").is_empty());
    let answer = "C> A1 OK Completed without data of server backend1\r\n";
    assert_eq!(host.news(News::Time), ["abandon B1", answer, "done"]);
}

#[test]
fn parent_that_is_no_mailbox_has_no_status() {
    let shared = [("user.user003", "backend1", "user001\tlr\t")];
    let lines =
        run(host(r#""" "us%" RETURN (STATUS (MESSAGES))"#), &shared, usize::MAX, |_, want| panic!("{want}"));
    assert_eq!(lines, [r#"* LIST (\NonExistent \HasChildren) "." user"#, "A1 OK Completed"]);
    let answer = |host: &mut Host<ListTask>, want: &str| match want {
        "backend backend1" => host.news(News::Backend(Ok(BackendId(1)))),
        want if want.starts_with("B1> ") => {
            let mut wants = host.says(1, "* STATUS user (MESSAGES 5)\r\n");
            wants.extend(host.says(1, "* STATUS {12}\r\nuser.user003 (MESSAGES 4)\r\n"));
            // So Cyrus tells what is below a place that has none itself.
            wants.extend(host.says(1, "* METADATA user.user003.a (\"/shared/x\" NIL)\r\n"));
            wants.extend(host.says(1, "RK2 OK Completed\r\n"));
            wants
        }
        want => panic_unless_wake(want),
    };
    let lines = run(host(r#""" ("us%" "user.%") RETURN (STATUS (MESSAGES))"#), &shared, usize::MAX, answer);
    assert_eq!(lines[2..], ["* STATUS {12}", "user.user003 (MESSAGES 4)", "A1 OK Completed"]);
}

/// A LIST with STATUS where backend2 does not know LIST-STATUS.
fn beside_an_old_server(args: &str) -> Host<ListTask> {
    let mut host = host(args);
    let old = Offer::read(b"IMAP4rev1 LITERAL+ LIST-EXTENDED LIST-METADATA");
    host.backends[1] = Backend::ready_for_test(BackendId(2), b"backend2", old);
    host
}

#[test]
fn server_without_list_status_is_asked_for_one_mailbox_after_another() {
    let host = beside_an_old_server(r#""" ("team0%" "team02*") RETURN (STATUS (MESSAGES))"#);
    let lines = run(host, &[], usize::MAX, |host, want| match want {
        "backend backend1" => host.news(News::Backend(Ok(BackendId(1)))),
        "backend backend2" => host.news(News::Backend(Ok(BackendId(2)))),
        "B1> RK2 LIST \"\" (\"team0%\" \"team02*\") RETURN (STATUS (MESSAGES))\r\n" => {
            let mut wants = host.says(1, "* LIST () \".\" team01\r\n");
            assert_eq!(host.line(1, "* STATUS team01 (MESSAGES 1)\r\n").0, Line::Relay);
            wants.extend(host.says(1, "RK2 OK Completed\r\n"));
            wants
        }
        "B2> RK1000 LIST \"\" \"team0%\"\r\n" => {
            let mut wants = host.says(2, "* LIST (\\HasChildren) \".\" team02\r\n");
            wants.extend(host.says(2, "* LIST (\\Noselect) \".\" team0x\r\n"));
            wants.extend(host.says(2, "RK1000 OK Completed\r\n"));
            wants
        }
        "B2> RK1001 LIST \"\" \"team02*\"\r\n" => {
            let mut wants = host.says(2, "* LIST (\\HasChildren) \".\" team02\r\n");
            wants.extend(host.says(2, "* LIST () \".\" team02.docs\r\n"));
            wants.extend(host.says(2, "RK1001 OK Completed\r\n"));
            wants
        }
        "B2> RK1002 STATUS team02 (MESSAGES)\r\n" => {
            assert_eq!(host.line(2, "* STATUS team02 (MESSAGES 2)\r\n").0, Line::Relay);
            host.says(2, "RK1002 OK Completed\r\n")
        }
        "B2> RK1003 STATUS team02.docs (MESSAGES)\r\n" => host.says(2, "RK1003 NO Permission denied\r\n"),
        other => panic!("{other}"),
    });
    assert_eq!(lines.last().map(String::as_str), Some("A1 OK Completed"));
}

#[test]
fn server_without_list_status_that_dies_is_named() {
    let host = beside_an_old_server(r#""" "team02" RETURN (STATUS (MESSAGES) METADATA (/private/comment))"#);
    let lines = run(host, &[], usize::MAX, |host, want| match want {
        "backend backend2" => host.news(News::Backend(Ok(BackendId(2)))),
        "B2> RK1000 LIST \"\" team02\r\n" => host.news(News::Lost(BackendId(2))),
        other => panic!("{other}"),
    });
    let last = "A1 OK Completed without data of server backend2";
    assert_eq!(lines.last().map(String::as_str), Some(last));
}

#[test]
fn server_without_list_status_is_asked_few_questions_at_a_time() {
    let mut host = beside_an_old_server(r#""" "team02*" RETURN (STATUS (MESSAGES))"#);
    assert_eq!(host.wants().len(), 1, "a page of the list");
    let rows = ListPage {
        entries: vec![ListedEntry {
            entry: entry("team02", "backend2", "anyone\tlrs\t"),
            reserved: false,
            rights: Rights::ALL,
        }],
        next: None,
        knowledge: Knowledge::Live,
    };
    host.news(News::Page(&rows));
    host.news(News::Backend(Ok(BackendId(2))));
    for n in 0..40 {
        assert_eq!(host.line(2, &format!("* LIST () \".\" team02.n{n:02}\r\n")).0, Line::Drop);
    }
    let asked = host.says(2, "RK1000 OK Completed\r\n");
    assert_eq!(asked.len(), 16, "{asked:?}");
    let next = host.says(2, "RK1001 OK Completed\r\n");
    assert_eq!(next, ["B2> RK1017 STATUS team02.n16 (MESSAGES)\r\n"]);
}
