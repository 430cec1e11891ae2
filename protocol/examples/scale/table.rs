//! Tables, as text and as Markdown.

use std::fmt::Write;

/// Columns of numbers behind a first one of names.
pub(crate) struct Table {
    pub(crate) title: String,
    pub(crate) head: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    /// For people who look at a terminal.
    pub(crate) fn text(&self) -> String {
        let mut text = format!("{}\n\n", self.title);
        for row in self.lines() {
            let cells: Vec<String> = row.iter().zip(self.widths()).enumerate().map(aligned).collect();
            writeln!(text, "  {}", cells.join("  ").trim_end()).expect("a string takes all");
        }
        text
    }

    /// For the book.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!("{}:\n\n", self.title);
        for (number, row) in self.lines().enumerate() {
            writeln!(text, "| {} |", row.join(" | ")).expect("a string takes all");
            if number == 0 {
                let rule: String =
                    row.iter().enumerate().map(|(at, _)| if at == 0 { "---|" } else { "---:|" }).collect();
                writeln!(text, "|{rule}").expect("a string takes all");
            }
        }
        text
    }

    fn lines(&self) -> impl Iterator<Item = &Vec<String>> {
        std::iter::once(&self.head).chain(&self.rows)
    }

    fn widths(&self) -> Vec<usize> {
        let width = |at: usize| self.lines().map(|row| row[at].len()).max().unwrap_or(0);
        (0..self.head.len()).map(width).collect()
    }
}

fn aligned((at, (cell, width)): (usize, (&String, usize))) -> String {
    if at == 0 { format!("{cell:width$}") } else { format!("{cell:>width$}") }
}

/// A number with so many decimals; nothing at all has none.
pub(crate) fn number(value: f64, decimals: usize) -> String {
    if decimals == 0 || value == 0.0 {
        thousands(value.round() as u64)
    } else {
        format!("{value:.decimals$}")
    }
}

/// A whole number, its thousands set apart.
pub(crate) fn thousands(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
