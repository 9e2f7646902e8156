//! Reads flags, environment and configuration file into one set of values, each of which knows where it came from.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Num, Value};
use figment::{Figment, Metadata, Profile, Provider};

use super::error::ConfigError;
use super::keys::{KEYS, Key, Kind};
use super::tokens;
use super::{Level, Origin, duration_text};

/// The configuration file that is read when it is there and none is named.
const DEFAULT_FILE: &str = "msght.toml";
/// Names that start so are msght's own; one that it doesn't know is an error, as an unknown key is.
const PREFIX: &str = "MSGHT_";
/// Names a configuration file.
const CONFIG_VARIABLE: &str = "MSGHT_CONFIG";
/// Variables that test-suites use.
const TEST_PREFIX: &str = "MSGHT_TEST_";
/// Read tokens, which add up: GHTorrent's name first, then ours.
const TOKEN_VARIABLES: [&str; 3] = ["GHT_READ_TOKEN", "MSGHT_TOKENS", "MSGHT_GITHUB__TOKENS"];
/// A read token of the surroundings (a CI job, the `gh` tool), taken only when no other source gives one.
const FALLBACK_TOKEN_VARIABLE: &str = "GITHUB_TOKEN";
/// Other names of keys; the key's own variable is stronger.
const ALIASES: [(&str, &str); 8] = [
    ("GHT_WEBHOOK_TOKEN", "github.hook_token"),
    ("GHT_WEBHOOK_URL", "webhooks.public_url"),
    ("GHT_WEBHOOK_SECRET", "webhooks.secret"),
    ("AZURE_STORAGE_ACCOUNT", "dump.azure_account"),
    ("AZURE_STORAGE_ACCESS_KEY", "dump.azure_access_key"),
    // The first msght's names of it, then Microsoft's, which is stronger.
    ("APPINSIGHTS_INSTRUMENTATIONKEY", "telemetry.connection_string"),
    ("APPLICATION_INSTRUMENTATIONKEY", "telemetry.connection_string"),
    ("APPLICATIONINSIGHTS_CONNECTION_STRING", "telemetry.connection_string"),
];

/// What settings are read from.
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
    /// The environment. An empty variable counts as one that is not set.
    pub environment: Vec<(OsString, OsString)>,
    /// Where `msght.toml` is looked for; unset: the working directory.
    pub directory: Option<PathBuf>,
}

/// The values of all sources, by strength.
pub(super) struct Layers(Figment);

/// One source's values.
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

    pub(super) fn read(&self) -> Result<Layers, ConfigError> {
        self.refuse_unknown_variables()?;
        let mut layers = Figment::new();
        if let Some((path, named_by)) = self.file()? {
            layers = layers.merge(read_file(&path, &named_by)?);
        }
        for (variable, path) in ALIASES {
            if let (Some(text), Some(key)) = (self.variable(variable)?, Key::find(path)) {
                layers = layers.merge(variable_layer(variable, key, text)?);
            }
        }
        for key in KEYS.iter().filter(|key| key.kind != Kind::List) {
            let variable = key.variable();
            if let Some(text) = self.variable(&variable)? {
                layers = layers.merge(variable_layer(&variable, key, text)?);
            }
        }
        if let Some(layer) = self.tokens(&TOKEN_VARIABLES)? {
            layers = layers.merge(layer);
        }
        let gathered = Layers(layers);
        let has_tokens = !gathered.list("github.tokens").is_empty() || gathered.text("github.tokens_file").is_some();
        let mut layers = gathered.0;
        if !has_tokens && let Some(layer) = self.tokens(&[FALLBACK_TOKEN_VARIABLE])? {
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

    /// The configuration file and who named it.
    fn file(&self) -> Result<Option<(PathBuf, String)>, ConfigError> {
        if let Some(path) = &self.config {
            return Ok(Some((path.clone(), "--config".to_owned())));
        }
        // A path may be what text can't hold, so this one variable is taken as it is.
        if let Some((_, path)) =
            self.environment.iter().find(|(name, path)| name == CONFIG_VARIABLE && !path.is_empty())
        {
            return Ok(Some((PathBuf::from(path), CONFIG_VARIABLE.to_owned())));
        }
        let path = match &self.directory {
            Some(directory) => directory.join(DEFAULT_FILE),
            None => PathBuf::from(DEFAULT_FILE),
        };
        // A file that is there and can't be looked at is an error when it is read, not a file that is missing.
        match path.try_exists() {
            Ok(false) => Ok(None),
            _ => Ok(Some((path, "the default place".to_owned()))),
        }
    }

    fn refuse_unknown_variables(&self) -> Result<(), ConfigError> {
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

    /// A variable's text; an empty one is as one that is not set.
    fn variable(&self, name: &str) -> Result<Option<&str>, ConfigError> {
        match self.environment.iter().find(|(found, text)| found == name && !text.is_empty()) {
            None => Ok(None),
            Some((_, text)) => match text.to_str() {
                Some(text) => Ok(Some(text)),
                None => Err(not_unicode(Origin::Environment(name.to_owned()), "value")),
            },
        }
    }

    /// The tokens of all these variables together.
    fn tokens(&self, variables: &[&str]) -> Result<Option<Layer>, ConfigError> {
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
    /// The text that a key has in the strongest source that sets it.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.0.find_value(key).ok().and_then(Value::into_string)
    }

    pub(super) fn number(&self, key: &str) -> Option<u64> {
        self.0.find_value(key).ok().and_then(|value| whole(&value))
    }

    pub(super) fn list(&self, key: &str) -> Vec<String> {
        let values = self.0.find_value(key).ok().and_then(Value::into_array).unwrap_or_default();
        values.into_iter().filter_map(Value::into_string).collect()
    }

    /// Where a key's value came from.
    pub(super) fn origin(&self, key: &str) -> Origin {
        self.0.find_metadata(key).map_or(Origin::Default, origin_of)
    }
}

fn layer(origin: Origin, key: &str, value: Value) -> Layer {
    Layer { origin, values: figment::util::nest(key, value).into_dict().unwrap_or_default() }
}

fn variable_layer(variable: &str, key: &Key, text: &str) -> Result<Layer, ConfigError> {
    let origin = Origin::Environment(variable.to_owned());
    let value = if key.kind == Kind::Number {
        let number: u64 = text.trim().parse().map_err(|_| ConfigError::Value {
            origin: origin.clone(),
            key: key.path.to_owned(),
            found: format!("{text:?}"),
            expected: Kind::Number.expected().to_owned(),
        })?;
        Value::from(number)
    } else {
        Value::from(text)
    };
    Ok(layer(origin, key.path, value))
}

fn not_unicode(origin: Origin, key: &str) -> ConfigError {
    ConfigError::Value {
        origin,
        key: key.to_owned(),
        found: "bytes that are not UTF-8".to_owned(),
        expected: "a text in UTF-8".to_owned(),
    }
}

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
    let values = checked(&origin, values)?;
    Ok(Layer { origin, values })
}

/// The line, counted from 1, that holds the byte at an offset.
fn line_at(text: &[u8], offset: usize) -> usize {
    1 + text.iter().take(offset).filter(|byte| **byte == b'\n').count()
}

/// Checks that every key of a file is known and has a value of its kind; lists become arrays.
fn checked(origin: &Origin, values: Dict) -> Result<Dict, ConfigError> {
    let mut sections = Dict::new();
    for (name, value) in values {
        if let Some(key) = Key::find(&name) {
            sections.insert(name, normal(origin, key, value)?);
            continue;
        }
        let prefix = format!("{name}.");
        if !KEYS.iter().any(|key| key.path.starts_with(&prefix)) {
            return Err(unknown_key(origin, &name));
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
            let key = Key::find(&path).ok_or_else(|| unknown_key(origin, &path))?;
            section.insert(inner_name, normal(origin, key, value)?);
        }
        sections.insert(name, section.into());
    }
    Ok(sections)
}

fn unknown_key(origin: &Origin, name: &str) -> ConfigError {
    ConfigError::Unknown {
        origin: origin.clone(),
        what: format!("key {}", name.escape_debug()),
        expected: nearest(name, KEYS.iter().map(|key| key.path.to_owned()))
            .unwrap_or_else(|| "`msght config` lists the keys".to_owned()),
    }
}

/// A value in the form that its kind of key has, or why it can't be.
fn normal(origin: &Origin, key: &Key, value: Value) -> Result<Value, ConfigError> {
    let fail = |found: String, expected: &str| ConfigError::Value {
        origin: origin.clone(),
        key: key.path.to_owned(),
        found,
        expected: expected.to_owned(),
    };
    match (key.kind, value) {
        (Kind::Text | Kind::TextOrNumber, value @ Value::String(..)) => Ok(value),
        (Kind::Number | Kind::TextOrNumber, value @ Value::Num(..)) => match whole(&value) {
            Some(number) if key.kind == Kind::TextOrNumber => Ok(number.to_string().into()),
            Some(number) => Ok(number.into()),
            None => Err(fail(describe(&value, key.secret), key.kind.expected())),
        },
        (Kind::List, Value::String(_, text)) => match tokens::split(&text) {
            Ok(listed) => Ok(listed.into_iter().map(Value::from).collect::<Vec<_>>().into()),
            Err(problem) => Err(fail(problem, tokens::EXPECTED_LIST)),
        },
        (Kind::List, Value::Array(_, entries)) => {
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
        (_, value) => Err(fail(describe(&value, key.secret), key.kind.expected())),
    }
}

/// A number that is whole and not negative.
fn whole(value: &Value) -> Option<u64> {
    let signed = value.to_i128().and_then(|number| u64::try_from(number).ok());
    signed.or_else(|| value.to_u128().and_then(|number| u64::try_from(number).ok()))
}

/// What a value is, in words; a text is shown only where it can't be a secret.
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

/// "did you mean" for a name that differs from a known one in a few letters.
fn nearest(name: &str, candidates: impl Iterator<Item = String>) -> Option<String> {
    /// More differences than this are another word, not a slip.
    const SLIPS: usize = 3;
    // A name of absurd length is no slip either, and the comparison takes its length squared.
    const LONGEST: usize = 64;
    if name.len() > LONGEST {
        return None;
    }
    candidates
        .map(|candidate| (strsim::levenshtein(name, &candidate), candidate))
        .filter(|(distance, _)| *distance <= SLIPS)
        .min()
        .map(|(_, candidate)| format!("did you mean {candidate}?"))
}
