//! Prints results: as a table like kubectl's, as JSON or as YAML.

use std::io::{self, Write};

use anyhow::{Context, Result};
use serde::Serialize;

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Table,
    /// For programs.
    Json,
    /// For both.
    Yaml,
}

/// Rows under headings.
pub(crate) struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings and no rows.
    pub(crate) fn new(headings: &[&str]) -> Table {
        Table { rows: vec![headings.iter().map(|heading| (*heading).to_owned()).collect()] }
    }

    /// Appends a row, one cell for each heading.
    ///
    /// # Panics
    /// If there are more or fewer cells than headings.
    pub(crate) fn row<const N: usize>(&mut self, cells: [String; N]) {
        assert_eq!(N, self.rows[0].len(), "a row must have a cell for each heading");
        self.rows.push(cells.iter().map(|cell| escape(cell)).collect());
    }

    /// Whether there is nothing under the headings.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// The table as text, columns three blanks apart.
    pub(crate) fn render(&self) -> String {
        let width =
            |column: usize| self.rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..self.rows[0].len()).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            text.push_str(cells.collect::<Vec<_>>().join("   ").trim_end());
            text.push('\n');
        }
        text
    }
}

/// Text from elsewhere for a terminal, which must not obey it: a process's name, say, may contain anything.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        // Quotes mean nothing to a terminal, and sentences have them.
        if matches!(character, '"' | '\'') {
            escaped.push(character);
        } else {
            escaped.extend(character.escape_debug());
        }
    }
    escaped
}

/// `value` as JSON or YAML, or `table` when that is the format. A table without rows is a note for people instead.
pub(crate) fn render<T: Serialize>(format: Format, value: &T, table: &Table, none: &str) -> Result<String> {
    match format {
        Format::Table if table.is_empty() => {
            eprintln!("pagemesh: {none}");
            Ok(String::new())
        }
        Format::Table => Ok(table.render()),
        Format::Json => json(value),
        Format::Yaml => yaml(value),
    }
}

/// `value` as JSON.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<String> {
    Ok(serde_json::to_string_pretty(value).context("this is not expressible as JSON")? + "\n")
}

/// `value` as YAML.
pub(crate) fn yaml<T: Serialize>(value: &T) -> Result<String> {
    serde_yaml::to_string(value).context("this is not expressible as YAML")
}

/// Writes to standard output. A reader that went away, as `head` does, is no failure.
pub(crate) fn print(text: &str) -> Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("standard output cannot be written")
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables() {
        let mut table = Table::new(&["NAME", "ID"]);
        table.row(["node-10".into(), "1".into()]);
        table.row(["ä\u{1b}[2J".into(), "12".into()]);
        assert_eq!(table.render(), "NAME         ID\nnode-10      1\nä\\u{1b}[2J   12\n");
    }
}
