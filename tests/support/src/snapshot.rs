//! Snapshots of what a run prints, without what differs from run to run.

use std::path::Path;

use super::program::{RunOutput, Sandbox};

/// What differs from run to run, and what stands in its place.
const REPLACED: [(&str, &str); 10] = [
    (r"http://127\.0\.0\.1:\d{5}/", "http://[github]/"),
    (r"127\.0\.0\.1:\d{5}", "[address]"),
    (r"SQLite \d+\.\d+\.\d+", "SQLite [version]"),
    (r"msght([/ ])\d+\.\d+\.\d+", "msght${1}[version]"),
    (r"\d{4}-\d{2}-\d{2}[ T]\d{2}:\d{2}(:\d{2})?(\.\d+)?Z?", "[time]"),
    (r"GitHub's clock: -?[01] s", "GitHub's clock: 0 s"),
    (r#""clock_ahead_seconds": -?[01]"#, r#""clock_ahead_seconds": 0"#),
    // A column of durations is as wide as its longest.
    (r"(?m) +\d+\.\d s( *)$", "  [duration]"),
    (r"\d+\.\d s\b", "[duration]"),
    (r"(?m)(requests|free \(304\)) +time *$", "$1  time"),
];

/// A run as text: its command line, its exit code and both outputs.
pub fn render(sandbox: &Sandbox, args: &[&str], output: &RunOutput) -> String {
    let code = output.code.map_or("by a signal".to_owned(), |code| code.to_string());
    let mut text = format!("$ msght {}\nexit code: {code}\n", args.join(" "));
    for (title, output) in [("standard output", &output.out), ("standard error", &output.err)] {
        if !output.is_empty() {
            text += &format!("--- {title} ---\n");
            for line in output.lines() {
                text += line.replace(&sandbox.path().display().to_string(), "[directory]").trim_end();
                text.push('\n');
            }
        }
    }
    text
}

/// Compares with the snapshot of this name below `tests/snapshots`.
#[track_caller]
pub fn assert_snapshot(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(Path::new(env!("CARGO_MANIFEST_DIR")).join("../snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    for (pattern, replacement) in REPLACED {
        settings.add_filter(pattern, replacement);
    }
    settings.bind(|| insta::assert_snapshot!(name, text));
}
