//! Results on standard output: tables for people, JSON for programs.

use std::io::{self, Write};

use comfy_table::{Table, presets};
use serde::Serialize;

use super::CommandOutcome;

/// Writes a result to standard output. A reader that went away (`msght config | head -1`) is no error.
pub(super) fn print(text: &str) -> anyhow::Result<CommandOutcome> {
    print_bytes(text.as_bytes())
}

/// Writes bytes to standard output, as [`print`] writes a text.
pub(super) fn print_bytes(bytes: &[u8]) -> anyhow::Result<CommandOutcome> {
    let mut out = io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("can't write to standard output"))
        }
        _ => Ok(CommandOutcome::Complete),
    }
}

/// Formats a value as indented JSON with a line end.
pub(super) fn pretty_json(value: &impl Serialize) -> anyhow::Result<String> {
    Ok(format!("{}\n", serde_json::to_string_pretty(value)?))
}

/// Formats a table without borders, one line per row.
pub(super) fn plain_table<const N: usize>(header: [&str; N], rows: Vec<[String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(header);
    for row in rows {
        table.add_row(row.map(|cell| one_line(&cell)));
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim().to_owned()).collect();
    format!("{}\n", lines.join("\n"))
}

/// Escapes the control characters of a text, so that it stays on one line.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// Formats a number with its noun, such as `1 repository` or `2 repositories`.
pub(super) fn counted(number: u64, singular: &str, plural: &str) -> String {
    format!("{number} {}", if number == 1 { singular } else { plural })
}
