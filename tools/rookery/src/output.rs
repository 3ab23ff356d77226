//! How things are shown: aligned tables on a terminal, tab-separated lines when piped, JSON when asked.

use std::io::{self, IsTerminal, StdoutLock, Write};

use serde::Serialize;

/// How the answer is to be printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// For eyes.
    Terminal,
    /// For `cut` and `awk`: no header, a tab between columns.
    Plain,
    /// A JSON value a line.
    Json,
}

impl Form {
    /// The form for standard output.
    pub(crate) fn of(json: bool) -> Form {
        match (json, io::stdout().is_terminal()) {
            (true, _) => Form::Json,
            (false, true) => Form::Terminal,
            (false, false) => Form::Plain,
        }
    }
}

/// Rows that are looked at before the first is printed, for the widths of columns.
const ROWS_MEASURED: usize = 1_000;

/// Characters of the widest column that is aligned; longer cells stand out.
const WIDTH_MAX: usize = 60;

/// Rows under a header.
pub(crate) struct Table<'t, W: Write> {
    out: W,
    form: Form,
    header: &'t [&'t str],
    rows: Vec<Vec<String>>,
    widths: Option<Vec<usize>>,
}

impl<'t, W: Write> Table<'t, W> {
    /// A table with these columns.
    pub(crate) fn new(out: W, form: Form, header: &'t [&'t str]) -> Table<'t, W> {
        Table { out, form, header, rows: Vec::new(), widths: None }
    }

    /// Adds a row; it is printed once the widths are known.
    ///
    /// # Errors
    /// Nobody reads.
    pub(crate) fn row(&mut self, cells: Vec<String>) -> io::Result<()> {
        if self.form != Form::Terminal {
            return writeln!(self.out, "{}", cells.join("\t"));
        }
        if let Some(widths) = &self.widths {
            return write_row(&mut self.out, &cells, widths);
        }
        self.rows.push(cells);
        if self.rows.len() == ROWS_MEASURED {
            self.measure()?;
        }
        Ok(())
    }

    /// Prints what has not been printed.
    ///
    /// # Errors
    /// Nobody reads.
    pub(crate) fn finish(mut self) -> io::Result<()> {
        if self.widths.is_none() && !self.rows.is_empty() {
            self.measure()?;
        }
        self.out.flush()
    }

    fn measure(&mut self) -> io::Result<()> {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            let widest = cells.filter(|width| *width <= WIDTH_MAX).max().unwrap_or(0);
            widest.max(self.header[column].chars().count())
        };
        let widths: Vec<usize> = (0..self.header.len()).map(width).collect();
        let header: Vec<String> = self.header.iter().map(|cell| (*cell).to_owned()).collect();
        write_row(&mut self.out, &header, &widths)?;
        for row in std::mem::take(&mut self.rows) {
            write_row(&mut self.out, &row, &widths)?;
        }
        self.widths = Some(widths);
        Ok(())
    }
}

/// One line, without spaces at its end.
fn write_row(out: &mut impl Write, cells: &[String], widths: &[usize]) -> io::Result<()> {
    let mut line = String::new();
    for (cell, width) in cells.iter().zip(widths) {
        line.push_str(cell);
        let gap = width.saturating_sub(cell.chars().count()) + 2;
        line.extend(std::iter::repeat_n(' ', gap));
    }
    writeln!(out, "{}", line.trim_end())
}

/// Standard output, for many lines.
pub(crate) fn stdout() -> io::BufWriter<StdoutLock<'static>> {
    io::BufWriter::with_capacity(64 * 1024, io::stdout().lock())
}

/// One JSON value in one line.
///
/// # Errors
/// Nobody reads.
pub(crate) fn json(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    writeln!(out)
}

/// Bytes of a server as they may be shown on a terminal: no control characters, no broken text.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// An ACL for eyes: `fred lrswipkxtecdan, anyone p`.
pub(crate) fn shown_acl(acl: &str) -> String {
    let fields: Vec<&str> = acl.split('\t').filter(|field| !field.is_empty()).collect();
    let pairs: Vec<String> = fields.chunks(2).map(|pair| pair.join(" ")).collect();
    shown(pairs.join(", ").as_bytes())
}

/// A number with its digits in threes: `1,200,345`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() * 4 / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 mailbox`, `2 mailboxes`.
pub(crate) fn mailboxes(number: usize) -> String {
    let what = if number == 1 { "mailbox" } else { "mailboxes" };
    format!("{} {what}", grouped(number as u64))
}

/// A time span in its two largest units: `3 d 4 h`.
pub(crate) fn span(seconds: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)];
    let mut left = seconds;
    let mut parts = Vec::new();
    for (name, length) in UNITS {
        let count = left / length;
        left %= length;
        if count > 0 || (name == "s" && parts.is_empty()) {
            parts.push(format!("{count} {name}"));
        } else if !parts.is_empty() {
            break;
        }
        if parts.len() == 2 {
            break;
        }
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(form: Form, rows: &[[&str; 2]]) -> String {
        let mut out = Vec::new();
        let mut table = Table::new(&mut out, form, &["NAME", "SERVER"]);
        for row in rows {
            table.row(row.iter().map(|cell| (*cell).to_owned()).collect()).unwrap();
        }
        table.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn columns_are_aligned_on_a_terminal_and_plain_in_a_pipe() {
        let rows = [["a", "backend1"], ["user.fred", ""]];
        assert_eq!(table(Form::Terminal, &rows), "NAME       SERVER\na          backend1\nuser.fred\n");
        assert_eq!(table(Form::Plain, &rows), "a\tbackend1\nuser.fred\t\n");
        assert_eq!(table(Form::Terminal, &[]), "");
    }

    #[test]
    fn long_tables_are_printed_before_they_end_with_the_widths_of_their_beginning() {
        let many = vec![["ab", "c"]; ROWS_MEASURED + 1];
        let text = table(Form::Terminal, &many);
        assert_eq!(text.lines().count(), ROWS_MEASURED + 2);
        assert!(text.lines().all(|line| line.len() >= "ab    c".len()));
    }

    #[test]
    fn hostile_names_do_not_reach_the_terminal() {
        assert_eq!(shown(b"user.\x1b[31mred\xff"), "user.\u{fffd}[31mred\u{fffd}");
        assert_eq!(shown_acl("fred\tlrs\tanyone\tp\t"), "fred lrs, anyone p");
    }

    #[test]
    fn numbers_and_spans_are_readable() {
        assert_eq!(
            (grouped(0), grouped(999), grouped(1_200_345)),
            ("0".into(), "999".into(), "1,200,345".into())
        );
        assert_eq!(span(0), "0 s");
        assert_eq!(span(61), "1 min 1 s");
        assert_eq!(span(3 * 86_400 + 4 * 3_600 + 59), "3 d 4 h");
        assert_eq!(span(86_400 + 5), "1 d");
        assert_eq!(mailboxes(1), "1 mailbox");
    }
}
