//! What the home and other servers of the user tell of the rows.

use super::*;
use crate::proxy::HomeCopy;

/// The home server: what user001 subscribed to.
fn home(host: &mut Host<ListTask>, want: &str) -> Vec<String> {
    match want {
        "find user.user001" => host.news(found("user.user001", "backend1", "")),
        "backend backend1" => host.news(News::Backend(Ok(BackendId(1)))),
        "B1> RK0 LSUB \"\" \"*\"\r\n" => {
            for line in [
                r#"(\HasChildren) "." INBOX"#,
                r#"() "." INBOX.Sent"#,
                r#"(\Noselect) "." team02"#,
                r#"(\Noselect) "." gone"#,
            ] {
                assert!(host.says(1, &format!("* LSUB {line}\r\n")).is_empty());
            }
            host.says(1, "RK0 OK Completed\r\n")
        }
        _ => panic!("unexpected {want}"),
    }
}

#[test]
fn subscribed_selection_as_recorded_with_the_lost_one_told() {
    let lines = run(host(r#"(SUBSCRIBED) "" "*""#), &[], usize::MAX, home);
    let rows = [
        r#"* LIST (\Subscribed \HasChildren) "." INBOX"#,
        r#"* LIST (\Subscribed \HasNoChildren) "." INBOX.Sent"#,
        r#"* LIST (\Subscribed \HasChildren) "." team02"#,
        r#"* LIST (\NonExistent \Subscribed) "." gone"#,
        "A1 OK Completed",
    ];
    assert_eq!(lines, rows);
    let lines = run(host(r#"(SUBSCRIBED RECURSIVEMATCH) "" "%""#), &[], usize::MAX, home);
    assert_eq!(lines[0], r#"* LIST (\Subscribed \HasChildren) "." INBOX (CHILDINFO ("SUBSCRIBED"))"#);
    assert_eq!(lines[1], r#"* LIST (\Subscribed \HasChildren) "." team02"#);
    let lines = run(host(r#""" "INBOX*" RETURN (SUBSCRIBED)"#), &[], usize::MAX, home);
    assert_eq!(lines[1], r#"* LIST (\HasNoChildren) "." INBOX.Drafts"#);
    assert_eq!(lines[2], r#"* LIST (\Subscribed \HasNoChildren) "." INBOX.Sent"#);
}

#[test]
fn subscriptions_without_a_home_server_are_unavailable() {
    let mut host = host(r#"(SUBSCRIBED) "" "*""#);
    assert_eq!(host.wants(), ["find user.user001"]);
    assert_eq!(host.news(News::Found(Finding::Unknown)), ["Recall"]);
    let wants = host.news(News::Kept(&HomeCopy::default()));
    assert_eq!(wants, ["C> A1 NO [UNAVAILABLE] Server(s) unavailable to complete operation\r\n", "done"]);
}

/// The home is away; what it told last.
fn away(host: &mut Host<ListTask>, want: &str) -> Vec<String> {
    let names = ["INBOX", "INBOX.Sent", "gone"].map(|name| name.as_bytes().into());
    let special = [((*b"INBOX.Sent").into(), (*b"\\Sent").into())];
    let copy = HomeCopy { subscribed: Some(names.into()), special: Some(special.into()) };
    match want {
        "find user.user001" => host.news(found("user.user001", "backend1", "")),
        "backend backend1" => host.news(News::Backend(Err(Unavailable))),
        "Recall" => host.news(News::Kept(&copy)),
        want => panic!("unexpected {want}"),
    }
}

#[test]
fn home_that_is_away_is_answered_for_by_what_it_told_last() {
    let at_home = |args| {
        let mut host = host(args);
        host.home = Some(b"backend1".to_vec());
        host
    };
    let lines = run(at_home(r#"(SUBSCRIBED) "" "*" RETURN (SPECIAL-USE)"#), &[], usize::MAX, away);
    let rows = [
        r#"* LIST (\Subscribed \HasChildren) "." INBOX"#,
        r#"* LIST (\Subscribed \HasNoChildren \Sent) "." INBOX.Sent"#,
        r#"* LIST (\NonExistent \Subscribed) "." gone"#,
        "A1 OK Completed with what server backend1 told last",
    ];
    assert_eq!(lines, rows);
    let lines = run(at_home(r#"(SPECIAL-USE) "" "*""#), &[], usize::MAX, away);
    assert_eq!(lines, [r#"* LIST (\HasNoChildren \Sent) "." INBOX.Sent"#, rows[3]]);
    let without = |host: &mut Host<ListTask>, want: &str| match want {
        "Recall" => host.news(News::Kept(&HomeCopy::default())),
        want => away(host, want),
    };
    let lines = run(at_home(r#""" INBOX RETURN (SPECIAL-USE)"#), &[], usize::MAX, without);
    assert_eq!(
        lines,
        [r#"* LIST (\HasChildren) "." INBOX"#, "A1 OK Completed without data of server backend1"]
    );
}

#[test]
fn home_that_says_nothing_or_dies_is_as_good_as_away() {
    for news in [News::Time, News::Lost(BackendId(1))] {
        let mut host = host(r#"(SUBSCRIBED) "" "*""#);
        host.wants();
        host.news(found("user.user001", "backend1", ""));
        host.news(News::Backend(Ok(BackendId(1))));
        assert_eq!(host.news(news).last().map(String::as_str), Some("Recall"));
    }
}

#[test]
fn special_uses_are_told_in_every_list_where_that_is_configured() {
    let always = |args| {
        let mut host = host(args);
        host.config.commands.special_use_always = true;
        host
    };
    let lines = run(always(r#""" "INBOX.S%""#), &[], usize::MAX, |host, want| match want {
        "find user.user001" => host.news(found("user.user001", "backend1", "")),
        "backend backend1" => host.news(News::Backend(Ok(BackendId(1)))),
        _ => {
            host.says(1, "* LIST (\\HasNoChildren \\Sent) \".\" INBOX.Sent\r\n");
            host.says(1, "RK1 OK Completed\r\n")
        }
    });
    assert_eq!(lines, [r#"* LIST (\HasNoChildren \Sent) "." INBOX.Sent"#, "A1 OK Completed"]);
    let shared = plain(always(r#""" "team01""#), &[], usize::MAX);
    assert_eq!(shared.len(), 2, "nobody is asked for what is not the user's own");
}

#[test]
fn subscription_in_a_disabled_namespace_is_not_told() {
    let mut host = host(r#"(SUBSCRIBED) "" "*""#);
    Arc::make_mut(&mut host.config.namespace).disable_shared = true;
    host.home = Some(b"backend1".to_vec());
    let names = ["INBOX", "team02", "user.gone"].map(|name| name.as_bytes().into());
    let copy = HomeCopy { subscribed: Some(names.into()), special: None };
    let lines = run(host, &[], usize::MAX, |host, want| match want {
        "Recall" => host.news(News::Kept(&copy)),
        want => away(host, want),
    });
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[1], r#"* LIST (\NonExistent \Subscribed) "." user.gone"#);
}

#[test]
fn parent_without_a_row_tells_of_the_subscription_below() {
    let mut host = host(r#"(SUBSCRIBED RECURSIVEMATCH) "" "%""#);
    host.home = Some(b"backend1".to_vec());
    let names = ["user.joe.work", "user.joe", "team01"].map(|name| name.as_bytes().into());
    let copy = HomeCopy { subscribed: Some(names.into()), special: None };
    let lines = run(host, &[], usize::MAX, |host, want| match want {
        "Recall" => host.news(News::Kept(&copy)),
        want => away(host, want),
    });
    let rows = [
        r#"* LIST (\Subscribed \HasChildren) "." team01"#,
        r#"* LIST (\NonExistent \HasChildren) "." user (CHILDINFO ("SUBSCRIBED"))"#,
    ];
    assert_eq!(lines[..2], rows);
}

#[test]
fn rights_and_special_uses_stand_with_the_rows() {
    let answer = |host: &mut Host<ListTask>, want: &str| match want {
        "find user.user001" => host.news(found("user.user001", "backend1", "")),
        "backend backend1" => host.news(News::Backend(Ok(BackendId(1)))),
        want if want.starts_with("B1> RK1 LIST (SPECIAL-USE)") => {
            host.says(1, "* LIST (\\HasNoChildren \\Sent) \".\" INBOX.Sent\r\n");
            host.says(1, "RK1 OK Completed\r\n")
        }
        want => panic!("unexpected {want}"),
    };
    let lines =
        run(host(r#""" ("INBOX.S%" "team02") RETURN (SPECIAL-USE MYRIGHTS)"#), &[], usize::MAX, answer);
    let rows = [
        r#"* LIST (\HasNoChildren \Sent) "." INBOX.Sent"#,
        "* MYRIGHTS INBOX.Sent lrswipkxtecdan",
        r#"* LIST (\HasChildren) "." team02"#,
        "* MYRIGHTS team02 lrswipkxtecd",
        "A1 OK Completed",
    ];
    assert_eq!(lines, rows);
}

#[test]
fn home_is_looked_up_anew_for_every_list_that_asks_it() {
    let args = list_args(b"(SUBSCRIBED) \"\" *").unwrap();
    let mut host = Host::new(ListTask::new(Word::List, &args));
    host.home = Some(b"backend1".to_vec());
    assert_eq!(host.wants(), ["find user.user001"]);
    assert_eq!(host.news(found("user.user001", "backend2", "")), ["backend backend2"], "he was moved");
    let mut unknown = Host::new(ListTask::new(Word::List, &args));
    unknown.home = Some(b"backend1".to_vec());
    unknown.wants();
    assert_eq!(unknown.news(News::Found(Finding::Unknown)), ["backend backend1"]);
}

/// A folder of the user's own that lies on another server than his home.
const AWAY: &[(&str, &str, &str)] = &[("user.user001.Away", "backend2", "user001\tlrswipkxtecdan\t")];

fn with_a_folder_away(told: &str) -> Vec<String> {
    let told = told.to_owned();
    let asked = host(r#""" "INBOX.%" RETURN (SPECIAL-USE)"#);
    run(asked, AWAY, usize::MAX, move |host, want| match want {
        "backend backend2" if told.is_empty() => host.news(News::Backend(Err(Unavailable))),
        "backend backend2" => host.news(News::Backend(Ok(BackendId(2)))),
        "find user.user001" => host.news(found("user.user001", "backend1", "")),
        "backend backend1" => host.news(News::Backend(Ok(BackendId(1)))),
        "B1> RK1 LIST (SPECIAL-USE) \"\" \"*\" RETURN (SPECIAL-USE)\r\n" => {
            let mut wants = host.says(1, "* LIST (\\Sent) \".\" INBOX.Sent\r\n");
            wants.extend(host.says(1, "RK1 OK Completed\r\n"));
            wants
        }
        "B2> RK1 LIST (SPECIAL-USE) \"\" \"*\" RETURN (SPECIAL-USE)\r\n" => {
            let mut wants = host.says(2, "* LIST (\\Archive) \".\" INBOX.Away\r\n");
            wants.extend(host.says(2, &told));
            wants
        }
        want => panic_unless_wake(want),
    })
}

#[test]
fn special_use_of_a_folder_away_from_home_is_told_by_its_server() {
    let lines = with_a_folder_away("RK1 OK Completed\r\n");
    assert!(lines.contains(&r#"* LIST (\HasNoChildren \Archive) "." INBOX.Away"#.to_owned()), "{lines:?}");
    assert!(lines.contains(&r#"* LIST (\HasNoChildren \Sent) "." INBOX.Sent"#.to_owned()), "{lines:?}");
    assert_eq!(lines.last().map(String::as_str), Some("A1 OK Completed"));
}

#[test]
fn folder_whose_server_is_away_has_a_row_and_the_server_is_named() {
    for told in ["", "RK1 NO no\r\n"] {
        let lines = with_a_folder_away(told);
        assert_eq!(lines.iter().filter(|line| line.contains("INBOX.Away")).count(), 1, "{lines:?}");
        let last = "A1 OK Completed without data of server backend2";
        assert_eq!(lines.last().map(String::as_str), Some(last));
    }
}
