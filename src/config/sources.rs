//! Merges flags, environment and configuration file into one set of values, each with its origin.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Num, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::error::ConfigError;
use super::keys::{KEYS, Key, ValueKind};
use super::tokens;
use super::{Origin, duration_text};
use crate::telemetry::Level;

/// The configuration file that is read if it exists and no other is named.
const DEFAULT_FILE: &str = "msght.toml";
/// The prefix of msght's own variables; an unknown one is an error, as an unknown key is.
const PREFIX: &str = "MSGHT_";
/// The variable that names a configuration file.
const CONFIG_VARIABLE: &str = "MSGHT_CONFIG";
/// The prefix of test suites' variables, which are ignored.
const TEST_PREFIX: &str = "MSGHT_TEST_";
/// The variables of read tokens, which add up: GHTorrent's name first, then ours.
const TOKEN_VARIABLES: [&str; 3] = ["GHT_READ_TOKEN", "MSGHT_TOKENS", "MSGHT_GITHUB__TOKENS"];
/// The variable of an ambient read token (a CI job, the `gh` tool), used only if no other source has one.
const FALLBACK_TOKEN_VARIABLE: &str = "GITHUB_TOKEN";
/// Alternative variables of keys; the key's own variable takes precedence.
const ALIASES: [(&str, &str); 8] = [
    ("GHT_WEBHOOK_TOKEN", "github.hook_token"),
    ("GHT_WEBHOOK_URL", "webhooks.public_url"),
    ("GHT_WEBHOOK_SECRET", "webhooks.secret"),
    ("AZURE_STORAGE_ACCOUNT", "dump.azure_account"),
    ("AZURE_STORAGE_ACCESS_KEY", "dump.azure_access_key"),
    // The first msght's names, then Microsoft's, which takes precedence.
    ("APPINSIGHTS_INSTRUMENTATIONKEY", "telemetry.connection_string"),
    ("APPLICATION_INSTRUMENTATIONKEY", "telemetry.connection_string"),
    ("APPLICATIONINSIGHTS_CONNECTION_STRING", "telemetry.connection_string"),
];

/// The sources of the settings.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// `--config`.
    pub config: Option<PathBuf>,
    /// `--data-dir`.
    pub data_dir: Option<PathBuf>,
    /// `--log-level`.
    pub log_level: Option<Level>,
    /// `--store-timeout`.
    pub store_timeout: Option<Duration>,
    /// The environment. An empty variable counts as unset.
    pub environment: Vec<(OsString, OsString)>,
    /// The directory of `msght.toml`; `None` for the working directory.
    pub directory: Option<PathBuf>,
}

/// The values of all sources, merged by precedence.
pub(super) struct Layers(Figment);

/// The values of one source.
struct Layer {
    origin: Origin,
    values: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        match self.origin.name() {
            // `Custom` keeps the name as it is; `origin_of` is the way back.
            Some(name) => Metadata::from(self.origin.kind(), figment::Source::Custom(name)),
            None => Metadata::named(self.origin.kind()),
        }
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// Converts figment's metadata back to an origin.
fn origin_of(metadata: &Metadata) -> Origin {
    match (metadata.name.as_ref(), &metadata.source) {
        ("file", Some(figment::Source::Custom(path))) => Origin::File(PathBuf::from(path)),
        ("environment", Some(figment::Source::Custom(name))) => Origin::Environment(name.clone()),
        ("flag", Some(figment::Source::Custom(name))) => Origin::Flag(name.clone()),
        _ => Origin::Default,
    }
}

impl Sources {
    /// Returns this process's environment as the only source, without flags.
    pub fn from_env() -> Self {
        Self { environment: std::env::vars_os().collect(), ..Self::default() }
    }

    /// Reads and merges all sources.
    pub(super) fn read(&self) -> Result<Layers, ConfigError> {
        self.reject_unknown_variables()?;
        let mut layers = Figment::new();
        if let Some((path, named_by)) = self.file()? {
            layers = layers.merge(read_file(&path, &named_by)?);
        }
        for (variable, path) in ALIASES {
            if let (Some(text), Some(key)) = (self.variable(variable)?, Key::find(path)) {
                layers = layers.merge(variable_layer(variable, key, text)?);
            }
        }
        for key in KEYS.iter().filter(|key| key.kind != ValueKind::List) {
            let variable = key.variable();
            if let Some(text) = self.variable(&variable)? {
                layers = layers.merge(variable_layer(&variable, key, text)?);
            }
        }
        if let Some(layer) = self.token_layer(&TOKEN_VARIABLES)? {
            layers = layers.merge(layer);
        }
        let gathered = Layers(layers);
        let has_tokens = !gathered.list("github.tokens").is_empty() || gathered.text("github.tokens_file").is_some();
        let mut layers = gathered.0;
        if !has_tokens && let Some(layer) = self.token_layer(&[FALLBACK_TOKEN_VARIABLE])? {
            layers = layers.merge(layer);
        }
        if let Some(data_dir) = &self.data_dir {
            let text =
                data_dir.to_str().ok_or_else(|| not_unicode(Origin::Flag("--data-dir".to_owned()), "data_dir"))?;
            layers = layers.merge(layer(Origin::Flag("--data-dir".to_owned()), "data_dir", text.into()));
        }
        if let Some(level) = self.log_level {
            layers = layers.merge(layer(Origin::Flag("--log-level".to_owned()), "logging.level", level.name().into()));
        }
        if let Some(timeout) = self.store_timeout {
            let flag = Origin::Flag("--store-timeout".to_owned());
            layers = layers.merge(layer(flag, "stores.timeout", duration_text(timeout).into()));
        }
        Ok(Layers(layers))
    }

    /// Returns the configuration file's path, and the source that names it.
    fn file(&self) -> Result<Option<(PathBuf, String)>, ConfigError> {
        if let Some(path) = &self.config {
            return Ok(Some((path.clone(), "--config".to_owned())));
        }
        // A path need not be UTF-8, so this variable is taken as it is.
        if let Some((_, path)) =
            self.environment.iter().find(|(name, path)| name == CONFIG_VARIABLE && !path.is_empty())
        {
            return Ok(Some((PathBuf::from(path), CONFIG_VARIABLE.to_owned())));
        }
        let path = match &self.directory {
            Some(directory) => directory.join(DEFAULT_FILE),
            None => PathBuf::from(DEFAULT_FILE),
        };
        // A file that can't be inspected is reported when it is read, not taken for missing.
        match path.try_exists() {
            Ok(false) => Ok(None),
            _ => Ok(Some((path, "the default place".to_owned()))),
        }
    }

    fn reject_unknown_variables(&self) -> Result<(), ConfigError> {
        let mut names: Vec<_> = self.environment.iter().map(|(name, _)| name.to_string_lossy()).collect();
        names.sort();
        for name in names.iter().filter(|name| name.starts_with(PREFIX)) {
            let known = name == CONFIG_VARIABLE
                || TOKEN_VARIABLES.contains(&name.as_ref())
                || name.starts_with(TEST_PREFIX)
                || KEYS.iter().any(|key| key.variable() == *name);
            if !known {
                let candidates = KEYS.iter().map(Key::variable);
                return Err(ConfigError::Unknown {
                    origin: Origin::Environment(name.escape_debug().to_string()),
                    what: "variable".to_owned(),
                    expected: nearest(name, candidates)
                        .unwrap_or_else(|| "expected MSGHT_<SECTION>__<KEY>; `msght config` lists the keys".to_owned()),
                });
            }
        }
        Ok(())
    }

    /// Returns a variable's text; `None` if it is unset or empty.
    fn variable(&self, name: &str) -> Result<Option<&str>, ConfigError> {
        match self.environment.iter().find(|(found, text)| found == name && !text.is_empty()) {
            None => Ok(None),
            Some((_, text)) => match text.to_str() {
                Some(text) => Ok(Some(text)),
                None => Err(not_unicode(Origin::Environment(name.to_owned()), "value")),
            },
        }
    }

    /// Collects the tokens of several variables into one layer.
    fn token_layer(&self, variables: &[&str]) -> Result<Option<Layer>, ConfigError> {
        let mut names = Vec::new();
        let mut found: Vec<Value> = Vec::new();
        for name in variables {
            let Some(text) = self.variable(name)? else { continue };
            let listed = tokens::split(text).map_err(|problem| ConfigError::Value {
                origin: Origin::Environment((*name).to_owned()),
                key: "github.tokens".to_owned(),
                found: problem,
                expected: tokens::EXPECTED_LIST.to_owned(),
            })?;
            names.push(*name);
            found.extend(listed.into_iter().map(Value::from));
        }
        Ok((!names.is_empty()).then(|| layer(Origin::Environment(names.join(", ")), "github.tokens", found.into())))
    }
}

impl Layers {
    /// Returns the text of a key in the source of highest precedence.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.0.find_value(key).ok().and_then(Value::into_string)
    }

    /// Returns the number of a key.
    pub(super) fn number(&self, key: &str) -> Option<u64> {
        self.0.find_value(key).ok().and_then(|value| as_integer(&value))
    }

    /// Returns whether a key is true.
    pub(super) fn flag(&self, key: &str) -> Option<bool> {
        self.0.find_value(key).ok().and_then(|value| value.to_bool())
    }

    /// Returns the strings of a key.
    pub(super) fn list(&self, key: &str) -> Vec<String> {
        let values = self.0.find_value(key).ok().and_then(Value::into_array).unwrap_or_default();
        values.into_iter().filter_map(Value::into_string).collect()
    }

    /// Returns whether any source has the key.
    pub(super) fn has(&self, key: &str) -> bool {
        self.0.find_value(key).is_ok()
    }

    /// Returns the origin of a key's value.
    pub(super) fn origin(&self, key: &str) -> Origin {
        self.0.find_metadata(key).map_or(Origin::Default, origin_of)
    }
}

/// Creates a layer with one key.
fn layer(origin: Origin, key: &str, value: Value) -> Layer {
    Layer { origin, values: figment::util::nest(key, value).into_dict().unwrap_or_default() }
}

/// Creates a layer from an environment variable.
fn variable_layer(variable: &str, key: &Key, text: &str) -> Result<Layer, ConfigError> {
    let origin = Origin::Environment(variable.to_owned());
    let value = if key.kind == ValueKind::Number {
        let number: u64 = text.trim().parse().map_err(|_| ConfigError::Value {
            origin: origin.clone(),
            key: key.path.to_owned(),
            found: format!("{text:?}"),
            expected: ValueKind::Number.expected().to_owned(),
        })?;
        Value::from(number)
    } else {
        match key.kind {
            ValueKind::Words => Value::from(split_words(text)),
            ValueKind::Secrets => {
                let secrets = text.lines().filter(|line| !line.is_empty());
                Value::from(secrets.map(str::to_owned).collect::<Vec<_>>())
            }
            _ => Value::from(text),
        }
    };
    Ok(layer(origin, key.path, value))
}

/// Splits a list of words that is one string.
fn split_words(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn not_unicode(origin: Origin, key: &str) -> ConfigError {
    ConfigError::Value {
        origin,
        key: key.to_owned(),
        found: "bytes that are not UTF-8".to_owned(),
        expected: "UTF-8 text".to_owned(),
    }
}

/// Reads a configuration file and checks its keys.
fn read_file(path: &Path, named_by: &str) -> Result<Layer, ConfigError> {
    let bytes = std::fs::read(path).map_err(|reason| ConfigError::Unreadable {
        what: format!("the configuration file (named by {named_by})"),
        path: path.to_owned(),
        reason,
        expected: "expected a readable TOML file".to_owned(),
    })?;
    let text = std::str::from_utf8(&bytes).map_err(|error| ConfigError::Malformed {
        path: path.to_owned(),
        line: line_at(&bytes, error.valid_up_to()),
        problem: "found bytes that are not UTF-8, expected TOML".to_owned(),
    })?;
    // The parser's own message quotes the line, which may hold a secret: only its summary is used.
    let values: Dict = Toml::from_str(text).map_err(|error| ConfigError::Malformed {
        path: path.to_owned(),
        line: line_at(&bytes, error.span().map_or(0, |span| span.start)),
        problem: format!("not TOML: {}", error.message().replace('\n', ", ")),
    })?;
    let origin = Origin::File(path.to_owned());
    let values = check_keys(&origin, values)?;
    Ok(Layer { origin, values })
}

/// Returns the number of the line with the byte at an offset, counted from 1.
fn line_at(text: &[u8], offset: usize) -> usize {
    1 + text.iter().take(offset).filter(|byte| **byte == b'\n').count()
}

/// Checks that every key of a file is known and has a value of its type; lists become arrays.
fn check_keys(origin: &Origin, values: Dict) -> Result<Dict, ConfigError> {
    let mut sections = Dict::new();
    for (name, value) in values {
        if let Some(key) = Key::find(&name) {
            sections.insert(name, normalize(origin, key, value)?);
            continue;
        }
        let prefix = format!("{name}.");
        if !KEYS.iter().any(|key| key.path.starts_with(&prefix)) {
            return Err(unknown_key_error(origin, &name));
        }
        let Value::Dict(_, inner) = value else {
            return Err(ConfigError::Value {
                origin: origin.clone(),
                key: name,
                found: describe(&value, true),
                expected: "a section of keys".to_owned(),
            });
        };
        let mut section = Dict::new();
        for (inner_name, value) in inner {
            let path = format!("{prefix}{inner_name}");
            let key = Key::find(&path).ok_or_else(|| unknown_key_error(origin, &path))?;
            section.insert(inner_name, normalize(origin, key, value)?);
        }
        sections.insert(name, section.into());
    }
    Ok(sections)
}

fn unknown_key_error(origin: &Origin, name: &str) -> ConfigError {
    ConfigError::Unknown {
        origin: origin.clone(),
        what: format!("key {}", name.escape_debug()),
        expected: nearest(name, KEYS.iter().map(|key| key.path.to_owned()))
            .unwrap_or_else(|| "`msght config` lists the keys".to_owned()),
    }
}

/// Converts a value to its key's type.
fn normalize(origin: &Origin, key: &Key, value: Value) -> Result<Value, ConfigError> {
    let fail = |found: String, expected: &str| ConfigError::Value {
        origin: origin.clone(),
        key: key.path.to_owned(),
        found,
        expected: expected.to_owned(),
    };
    match (key.kind, value) {
        (ValueKind::Text | ValueKind::TextOrNumber, value @ Value::String(..)) => Ok(value),
        (ValueKind::Number | ValueKind::TextOrNumber, value @ Value::Num(..)) => match as_integer(&value) {
            Some(number) if key.kind == ValueKind::TextOrNumber => Ok(number.to_string().into()),
            Some(number) => Ok(number.into()),
            None => Err(fail(describe(&value, key.secret), key.kind.expected())),
        },
        (ValueKind::Flag, value @ Value::Bool(..)) => Ok(value),
        (ValueKind::Flag, Value::String(_, text)) => match text.parse::<bool>() {
            Ok(flag) => Ok(flag.into()),
            Err(_) => Err(fail(format!("{text:?}"), key.kind.expected())),
        },
        (ValueKind::List, Value::String(_, text)) => match tokens::split(&text) {
            Ok(listed) => Ok(listed.into_iter().map(Value::from).collect::<Vec<_>>().into()),
            Err(problem) => Err(fail(problem, tokens::EXPECTED_LIST)),
        },
        (ValueKind::List, Value::Array(_, entries)) => {
            for (index, entry) in entries.iter().enumerate() {
                let problem = match entry {
                    Value::String(_, text) => tokens::problem(text),
                    _ => Some("something that is not a string"),
                };
                if let Some(problem) = problem {
                    return Err(fail(format!("{problem} as entry {}", index + 1), tokens::EXPECTED_LIST));
                }
            }
            Ok(entries.into())
        }
        (ValueKind::Words, Value::String(_, text)) => Ok(split_words(&text).into()),
        (ValueKind::Secrets, Value::String(_, text)) => Ok(vec![text].into()),
        (ValueKind::Words | ValueKind::Secrets, Value::Array(_, entries)) => {
            match entries.iter().position(|entry| !matches!(entry, Value::String(..))) {
                Some(index) => {
                    Err(fail(format!("something that is not a string as entry {}", index + 1), key.kind.expected()))
                }
                None => Ok(entries.into()),
            }
        }
        (_, value) => Err(fail(describe(&value, key.secret), key.kind.expected())),
    }
}

/// Converts a number that is a non-negative integer.
fn as_integer(value: &Value) -> Option<u64> {
    let signed = value.to_i128().and_then(|number| u64::try_from(number).ok());
    signed.or_else(|| value.to_u128().and_then(|number| u64::try_from(number).ok()))
}

/// Describes a value for an error message; with `hide`, by its type only.
fn describe(value: &Value, hide: bool) -> String {
    match value {
        Value::String(_, _) if hide => "a string".to_owned(),
        Value::String(_, text) => format!("{text:?}"),
        Value::Num(_, _) if hide => "a number".to_owned(),
        Value::Num(_, Num::F32(number)) => number.to_string(),
        Value::Num(_, Num::F64(number)) => number.to_string(),
        Value::Num(_, number) => match (number.to_i128(), number.to_u128()) {
            (Some(number), _) => number.to_string(),
            (_, Some(number)) => number.to_string(),
            _ => "a number".to_owned(),
        },
        Value::Bool(_, truth) => truth.to_string(),
        Value::Array(..) => "an array".to_owned(),
        Value::Dict(..) => "a section".to_owned(),
        Value::Char(..) | Value::Empty(..) => "nothing".to_owned(),
    }
}

/// Returns "did you mean …?" for the candidate that differs from a name in a few letters only.
pub fn nearest(name: &str, candidates: impl Iterator<Item = String>) -> Option<String> {
    /// A candidate with more differences is another word, not a typing error.
    const MAX_DISTANCE: usize = 3;
    /// In bytes; the comparison takes quadratic time.
    const MAX_NAME_LEN: usize = 64;
    if name.len() > MAX_NAME_LEN {
        return None;
    }
    candidates
        .map(|candidate| (strsim::levenshtein(name, &candidate), candidate))
        .filter(|(distance, _)| *distance <= MAX_DISTANCE)
        .min()
        .map(|(_, candidate)| format!("did you mean {candidate}?"))
}
