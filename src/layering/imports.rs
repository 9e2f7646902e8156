//! Reads which files of the crate import from which, without compiling them.
//!
//! Comments, string literals and items for tests only are skipped. A name that a module only re-exports (`pub use`) counts
//! as imported from the file that defines it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// A path of names from the crate's root, such as `store`, `relational`, `Stores`.
type Names = Vec<String>;

/// One import: a `use` of something, or a path in the code.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Import {
    /// The importing file, relative to `src/`.
    pub(super) from: String,
    /// The file that defines what is imported.
    pub(super) to: String,
    /// The path of the imported item from the crate's root.
    pub(super) path: Names,
    /// True if a module re-exports an item of a module below it.
    pub(super) is_facade: bool,
    /// True if it imports all names of a module.
    pub(super) is_glob: bool,
}

/// The files of a crate, and the names that they use.
#[derive(Debug, Default)]
pub(super) struct Crate {
    files: BTreeMap<Names, File>,
}

#[derive(Debug, Default)]
struct File {
    /// Relative to `src/`.
    name: String,
    /// The inline modules, each by its path in the file.
    inline: BTreeSet<Names>,
    uses: Vec<Use>,
    paths: Vec<CodePath>,
}

/// A leaf of a `use` declaration.
#[derive(Debug)]
struct Use {
    /// The inline module that contains it.
    scope: Names,
    path: Names,
    /// The name that it introduces; `None` for a glob.
    name: Option<String>,
    is_public: bool,
}

/// A path in the code outside of `use` declarations.
#[derive(Debug)]
struct CodePath {
    scope: Names,
    path: Names,
}

impl Crate {
    /// Reads all files below `src`.
    pub(super) fn read(src: &Path) -> Self {
        let mut texts = BTreeMap::new();
        collect(src, src, &mut texts);
        Self::parse(&texts)
    }

    /// Parses files, given by their names relative to `src/`.
    pub(super) fn parse(texts: &BTreeMap<String, String>) -> Self {
        let mut files = BTreeMap::new();
        let mut only_tests: Vec<Names> = Vec::new();
        for (name, text) in texts.iter().filter(|(name, _)| *name != "main.rs") {
            let module = module_of(name);
            let mut file = File { name: name.clone(), ..File::default() };
            let mut parser = Parser { tokens: tokens(text), at: 0, file: &mut file, only_tests: Vec::new() };
            parser.module(&mut Vec::new());
            let below = parser.only_tests.into_iter();
            only_tests.extend(below.map(|child| module.iter().cloned().chain([child]).collect()));
            files.insert(module, file);
        }
        files.retain(|module, _| !only_tests.iter().any(|tests| module.starts_with(tests)));
        Self { files }
    }

    /// Returns all imports between files.
    pub(super) fn imports(&self) -> BTreeSet<Import> {
        let mut imports = BTreeSet::new();
        for (module, file) in &self.files {
            let uses = file.uses.iter().map(|used| (&used.scope, &used.path, Some(used)));
            let paths = file.paths.iter().map(|found| (&found.scope, &found.path, None));
            for (scope, path, used) in uses.chain(paths) {
                let Some(path) = self.absolute(module, scope, path) else { continue };
                // A module is imported for its items: the paths in the code show which.
                if used.is_some_and(|used| used.name.is_some()) && self.is_module(&path) {
                    continue;
                }
                let Some(owner) = self.definer(&path, 0) else { continue };
                let to = &self.files[&owner];
                if to.name != file.name {
                    imports.insert(Import {
                        from: file.name.clone(),
                        to: to.name.clone(),
                        path,
                        is_facade: used.is_some_and(|used| used.is_public) && owner.starts_with(module),
                        is_glob: used.is_some_and(|used| used.name.is_none()),
                    });
                }
            }
        }
        imports
    }

    /// Converts a path as it is written in a module to one from the crate's root; `None` for other crates' items.
    fn absolute(&self, module: &Names, scope: &Names, path: &[String]) -> Option<Names> {
        let mut here: Names = module.iter().chain(scope).cloned().collect();
        let mut rest = path;
        match rest.first()?.as_str() {
            "crate" => {
                here.clear();
                rest = &rest[1..];
            }
            "self" => rest = &rest[1..],
            "super" => {}
            first => {
                // The name of a module below, or one that a `use` introduces.
                let child: Names = here.iter().cloned().chain([first.to_owned()]).collect();
                if !self.is_module(&child) {
                    let file = self.files.get(module)?;
                    let known =
                        file.uses.iter().find(|used| used.scope == *scope && used.name.as_deref() == Some(first))?;
                    if known.path.first().is_some_and(|other| other == first) {
                        return None;
                    }
                    let known = self.absolute(module, scope, &known.path)?;
                    // An item of an imported type (`Type::new`) came with it.
                    if !self.is_module(&known) {
                        return None;
                    }
                    return Some(known.into_iter().chain(rest[1..].iter().cloned()).collect());
                }
            }
        }
        while rest.first().is_some_and(|name| name == "super") {
            here.pop()?;
            rest = &rest[1..];
        }
        here.extend_from_slice(rest);
        Some(here)
    }

    fn is_module(&self, path: &Names) -> bool {
        self.files.contains_key(path)
            || (1..=path.len()).any(|cut| {
                let (module, inline) = path.split_at(path.len() - cut);
                self.files.get(module).is_some_and(|file| file.inline.contains(inline))
            })
    }

    /// Finds the module of the file that defines a path's item, through re-exports on the way.
    fn definer(&self, path: &Names, depth: usize) -> Option<Names> {
        let known = (0..=path.len()).rev().find(|cut| self.files.contains_key(&path[..*cut]))?;
        let (module, rest) = path.split_at(known);
        let module = module.to_vec();
        if let Some(name) = rest.first()
            && depth < 16
            && let Some(used) =
                self.files[&module].uses.iter().find(|used| used.scope.is_empty() && used.name.as_ref() == Some(name))
            && let Some(reexported) = self.absolute(&module, &used.scope, &used.path)
            && let Some(definer) =
                self.definer(&reexported.into_iter().chain(rest[1..].iter().cloned()).collect(), depth + 1)
        {
            return Some(definer);
        }
        Some(module)
    }
}

fn collect(root: &Path, folder: &Path, texts: &mut BTreeMap<String, String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(root, &path, texts);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
            texts.insert(name, std::fs::read_to_string(&path).unwrap());
        }
    }
}

/// Returns the module of a file: `a::b` for `a/b.rs` and `a/b/mod.rs`.
fn module_of(file: &str) -> Names {
    let stem = file.strip_suffix(".rs").unwrap_or(file);
    let stem = stem.strip_suffix("/mod").unwrap_or(stem);
    stem.split('/').filter(|part| *part != "lib").map(str::to_owned).collect()
}

/// Splits a text into identifiers, `::` and other single characters, without comments and literals of text.
fn tokens(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    let peek = |at: usize| chars.get(at).copied().unwrap_or('\0');
    while at < chars.len() {
        let c = chars[at];
        if c.is_whitespace() {
            at += 1;
        } else if c == '/' && peek(at + 1) == '/' {
            while at < chars.len() && chars[at] != '\n' {
                at += 1;
            }
        } else if c == '/' && peek(at + 1) == '*' {
            let mut depth = 0;
            while at < chars.len() {
                match (chars[at], peek(at + 1)) {
                    ('/', '*') => (depth, at) = (depth + 1, at + 2),
                    ('*', '/') => (depth, at) = (depth - 1, at + 2),
                    _ => at += 1,
                }
                if depth == 0 {
                    break;
                }
            }
        } else if c == '"' {
            at += 1;
            while at < chars.len() && chars[at] != '"' {
                at += if chars[at] == '\\' { 2 } else { 1 };
            }
            at += 1;
        } else if c == '\'' {
            // A character, or a lifetime, which has no quote after its first character.
            if peek(at + 1) == '\\' {
                at += 3;
                while at < chars.len() && chars[at] != '\'' {
                    at += 1;
                }
                at += 1;
            } else {
                at += if peek(at + 2) == '\'' { 3 } else { 1 };
            }
        } else if c.is_alphanumeric() || c == '_' {
            let start = at;
            while peek(at).is_alphanumeric() || peek(at) == '_' {
                at += 1;
            }
            let word: String = chars[start..at].iter().collect();
            let hashes = (at..).take_while(|place| peek(*place) == '#').count();
            if matches!(word.as_str(), "r" | "br" | "cr") && peek(at + hashes) == '"' {
                at += hashes + 1;
                while at < chars.len() && !(chars[at] == '"' && (1..=hashes).all(|more| peek(at + more) == '#')) {
                    at += 1;
                }
                at += 1 + hashes;
            } else {
                tokens.push(word);
            }
        } else if c == ':' && peek(at + 1) == ':' {
            tokens.push("::".to_owned());
            at += 2;
        } else {
            tokens.push(c.to_string());
            at += 1;
        }
    }
    tokens
}

struct Parser<'a> {
    tokens: Vec<String>,
    at: usize,
    file: &'a mut File,
    /// Modules in files of their own that are for tests only.
    only_tests: Vec<String>,
}

impl Parser<'_> {
    fn peek(&self, ahead: usize) -> &str {
        self.tokens.get(self.at + ahead).map_or("", String::as_str)
    }

    fn previous(&self) -> &str {
        self.at.checked_sub(1).map_or("", |before| &self.tokens[before])
    }

    /// Reads a module's content, up to its closing brace.
    fn module(&mut self, scope: &mut Names) {
        let mut depth = 0_usize;
        while self.at < self.tokens.len() {
            match self.peek(0) {
                "#" if (1..=6).map(|ahead| self.peek(ahead)).eq(["[", "cfg", "(", "test", ")", "]"]) => {
                    self.at += 7;
                    self.skip_item();
                }
                "mod" if self.peek(2) == "{" => {
                    scope.push(self.peek(1).to_owned());
                    self.file.inline.insert(scope.clone());
                    self.at += 3;
                    self.module(scope);
                    scope.pop();
                }
                // `+ use<>` in a type captures lifetimes and imports nothing.
                "use" if self.peek(1) != "<" => {
                    let is_public = matches!(self.previous(), "pub" | ")");
                    self.at += 1;
                    self.use_tree(scope, &[], is_public);
                }
                "{" => {
                    depth += 1;
                    self.at += 1;
                }
                "}" => {
                    self.at += 1;
                    if depth == 0 {
                        return;
                    }
                    depth -= 1;
                }
                _ if is_name(self.peek(0)) && !matches!(self.previous(), "::" | "." | "$") && self.peek(1) == "::" => {
                    self.code_path(scope);
                }
                _ => self.at += 1,
            }
        }
    }

    /// Skips an item, past its semicolon or closing brace.
    fn skip_item(&mut self) {
        if self.peek(0) == "mod" && self.peek(2) == ";" {
            self.only_tests.push(self.peek(1).to_owned());
        }
        let mut depth = 0_usize;
        while self.at < self.tokens.len() {
            let token = self.peek(0).to_owned();
            self.at += 1;
            match token.as_str() {
                "{" => depth += 1,
                "}" if depth == 1 => return,
                "}" => depth = depth.saturating_sub(1),
                ";" if depth == 0 => return,
                _ => {}
            }
        }
    }

    fn code_path(&mut self, scope: &Names) {
        let mut path = vec![self.peek(0).to_owned()];
        self.at += 1;
        while self.peek(0) == "::" && is_name(self.peek(1)) {
            path.push(self.peek(1).to_owned());
            self.at += 2;
        }
        self.file.paths.push(CodePath { scope: scope.clone(), path });
    }

    /// Reads a tree of a `use` declaration, up to its comma, brace or semicolon.
    fn use_tree(&mut self, scope: &Names, prefix: &[String], is_public: bool) {
        let mut path = prefix.to_vec();
        let mut alias = None;
        loop {
            match self.peek(0) {
                "" | "," | "}" | ";" => break,
                "{" => {
                    self.at += 1;
                    while !matches!(self.peek(0), "}" | "") {
                        self.use_tree(scope, &path, is_public);
                        if self.peek(0) == "," {
                            self.at += 1;
                        }
                    }
                    self.at += 1;
                    return;
                }
                "*" => {
                    self.file.uses.push(Use { scope: scope.clone(), path: path.clone(), name: None, is_public });
                    self.at += 1;
                    return;
                }
                "as" => {
                    alias = Some(self.peek(1).to_owned());
                    self.at += 2;
                }
                "self" if !path.is_empty() => self.at += 1,
                "::" => self.at += 1,
                name => {
                    path.push(name.to_owned());
                    self.at += 1;
                }
            }
        }
        let name = alias.or_else(|| path.last().cloned());
        self.file.uses.push(Use { scope: scope.clone(), path, name, is_public });
    }
}

fn is_name(token: &str) -> bool {
    token.starts_with(|c: char| c.is_alphabetic() || c == '_')
}
