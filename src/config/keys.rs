//! The keys of the settings.

/// The type of a key's value in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueKind {
    /// A string.
    Text,
    /// A non-negative integer.
    Number,
    /// A string or an integer, kept as text.
    TextOrNumber,
    /// True or false.
    Flag,
    /// An array of tokens, or one string that is split at commas.
    List,
    /// An array of words, or one string that is split at commas.
    Words,
    /// A string, or an array of strings; a variable has one per line.
    Secrets,
}

impl ValueKind {
    /// Returns the expected form, for error messages.
    pub(super) fn expected(self) -> &'static str {
        match self {
            ValueKind::Text => "a string",
            ValueKind::Number => "a whole number",
            ValueKind::Flag => "true or false",
            ValueKind::TextOrNumber => "a string or a whole number",
            ValueKind::List | ValueKind::Words => "an array of strings, or one string with commas between",
            ValueKind::Secrets => "a string, or an array of strings",
        }
    }
}

/// A key of the settings.
#[derive(Debug)]
pub struct Key {
    /// The full name, `section.key`.
    pub path: &'static str,
    /// The type of the value.
    pub(super) kind: ValueKind,
    /// True if the value must be redacted.
    pub secret: bool,
}

impl Key {
    /// Returns the key's environment variable, such as `MSGHT_QUEUE__URL`.
    pub fn variable(&self) -> String {
        format!("MSGHT_{}", self.path.replace('.', "__").to_ascii_uppercase())
    }

    /// Finds a key by its full name.
    pub fn find(path: &str) -> Option<&'static Key> {
        KEYS.iter().find(|key| key.path == path)
    }
}

const fn text(path: &'static str) -> Key {
    Key { path, kind: ValueKind::Text, secret: false }
}

const fn number(path: &'static str) -> Key {
    Key { path, kind: ValueKind::Number, secret: false }
}

const fn words(path: &'static str) -> Key {
    Key { path, kind: ValueKind::Words, secret: false }
}

const fn secret(path: &'static str, kind: ValueKind) -> Key {
    Key { path, kind, secret: true }
}

/// All keys, in the order of `msght config`.
pub const KEYS: &[Key] = &[
    text("data_dir"),
    text("documents.url"),
    text("sql.url"),
    text("queue.url"),
    text("queue.exchange"),
    number("queue.prefetch"),
    number("queue.attempts"),
    text("queue.retry_after"),
    text("stores.timeout"),
    text("dump.target"),
    text("dump.azure_account"),
    secret("dump.azure_access_key", ValueKind::Text),
    text("dump.azure_endpoint"),
    text("github.api_url"),
    text("github.public_url"),
    secret("github.tokens", ValueKind::List),
    text("github.tokens_file"),
    secret("github.hook_token", ValueKind::Text),
    Key { path: "github.app_id", kind: ValueKind::TextOrNumber, secret: false },
    text("github.app_private_key_file"),
    number("github.concurrency"),
    number("github.reserve"),
    text("github.user_agent"),
    text("mirror.fork_commits"),
    text("events.publish"),
    text("webhooks.listen"),
    text("webhooks.public_url"),
    secret("webhooks.secret", ValueKind::Secrets),
    text("webhooks.admin_listen"),
    secret("webhooks.admin_token", ValueKind::Text),
    words("webhooks.admin_hosts"),
    words("webhooks.ignore"),
    number("webhooks.keep_days"),
    secret("telemetry.connection_string", ValueKind::Text),
    Key { path: "telemetry.via_queue", kind: ValueKind::Flag, secret: false },
    text("logging.file"),
    text("logging.level"),
    number("logging.keep_days"),
];
