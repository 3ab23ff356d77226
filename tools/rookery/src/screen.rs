//! What of a text fits on a terminal.

/// The lines that sections, with an empty line between two, have room for: long lines are cut, and of the
/// longest sections the last lines give way to their number.
pub(crate) fn fitted(text: &str, rows: usize, columns: usize) -> Vec<String> {
    let sections: Vec<Vec<&str>> =
        text.trim_end().split("\n\n").map(|section| section.lines().collect()).collect();
    let room = rows.saturating_sub(sections.len().saturating_sub(1));
    let taken = |most: usize| sections.iter().map(|lines| lines.len().min(most)).sum::<usize>();
    // A title, a line and how many are missing: with less of a section it is of no use.
    let most = (4..=rows).rev().find(|most| taken(*most) <= room).unwrap_or(3);
    let mut all = Vec::new();
    for (n, lines) in sections.iter().enumerate() {
        if n > 0 {
            all.push(String::new());
        }
        let shown = if lines.len() > most { most - 1 } else { lines.len() };
        all.extend(lines[..shown].iter().map(|line| line.chars().take(columns).collect()));
        if shown < lines.len() {
            all.push(format!("... {} more", lines.len() - shown).chars().take(columns).collect());
        }
    }
    all.truncate(rows);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(name: &str, lines: usize) -> String {
        (0..lines).map(|n| format!("{name} {n}\n")).collect()
    }

    #[test]
    fn what_fits_is_whole() {
        let text = format!("head\n\n{}\n{}", section("a", 3), section("b", 2));
        assert_eq!(fitted(&text, 8, 80), ["head", "", "a 0", "a 1", "a 2", "", "b 0", "b 1"]);
    }

    #[test]
    fn longest_sections_give_way_and_say_by_how_much() {
        let text = format!("head\n\n{}\n{}", section("shard", 64), section("b", 4));
        let lines = fitted(&text, 12, 7);
        assert_eq!(lines.len(), 12);
        assert_eq!(lines[..4], ["head", "", "shard 0", "shard 1"]);
        assert_eq!(lines[6..], ["... 60 ", "", "b 0", "b 1", "b 2", "b 3"]);
    }

    #[test]
    fn no_terminal_is_too_small() {
        let text = format!("head\n\n{}\n{}", section("ä", 200), section("b", 300));
        for rows in 0..30 {
            for columns in 0..5 {
                let lines = fitted(&text, rows, columns);
                assert!(lines.len() <= rows && lines.iter().all(|line| line.chars().count() <= columns));
            }
        }
    }
}
