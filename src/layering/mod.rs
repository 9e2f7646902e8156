//! Checks that modules import downwards only, by the table in `lib.rs`, and that no files import each other in a circle.
//!
//! Imports of tests don't count, and `main.rs` stands above the table.

mod imports;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;

use imports::{Crate, Import};

#[test]
fn every_module_has_its_row_in_the_table() {
    let declared: BTreeSet<String> = lib_rs()
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';').map(str::to_owned))
        .collect();
    let rows = rows();
    let listed: Vec<&String> = rows.iter().flatten().collect();
    let set: BTreeSet<String> = listed.iter().map(|name| (*name).clone()).collect();
    assert_eq!(set, declared, "the table in lib.rs has not exactly the crate's modules");
    assert_eq!(listed.len(), set.len(), "the table in lib.rs has a module twice");
}

#[test]
fn modules_import_only_from_modules_below_them() {
    let rows = rows();
    let floor = |module: &str| rows.iter().position(|row| row.iter().any(|listed| listed == module));
    let mut upward = Vec::new();
    for Import { from, path, .. } in imports() {
        let module = from.split(['/', '.']).next().unwrap_or_default();
        let Some((here, there)) = floor(module).zip(path.first().and_then(|target| floor(target))) else { continue };
        if path[0] != module && there <= here {
            upward.push(format!("{from} imports {}", path.join("::")));
        }
    }
    assert!(upward.is_empty(), "imports that don't point downwards in the table in lib.rs: {upward:#?}");
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut arrows: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for Import { from, to, path, is_facade, .. } in imports() {
        // A module's own items are open to the files below it, as its private fields are.
        let is_from_parent = to.strip_suffix("mod.rs").or(to.strip_suffix(".rs")).is_some_and(|parent| {
            from.strip_prefix(parent).is_some_and(|rest| parent.ends_with('/') || rest.starts_with('/'))
        });
        if !is_facade && !is_from_parent {
            arrows.entry(from.clone()).or_default().entry(to.clone()).or_insert_with(|| path.join("::"));
        }
    }
    let below: BTreeMap<&String, BTreeSet<&String>> =
        arrows.keys().map(|file| (file, reached(&arrows, file))).collect();
    let mut circles = Vec::new();
    for (from, targets) in &arrows {
        for (to, path) in targets {
            if below.get(to).is_some_and(|below| below.contains(from)) {
                circles.push(format!("{from} imports {path} from {to}"));
            }
        }
    }
    assert!(circles.is_empty(), "imports in a circle: {circles:#?}");
}

#[test]
fn no_file_imports_all_names_of_another() {
    let globs: Vec<&Import> = imports().iter().filter(|import| import.is_glob).collect();
    assert!(globs.is_empty(), "name what is imported: {globs:#?}");
}

/// Returns the files that a file imports from, and those that they import from, and so on.
fn reached<'a>(arrows: &'a BTreeMap<String, BTreeMap<String, String>>, file: &String) -> BTreeSet<&'a String> {
    let mut seen = BTreeSet::new();
    let mut next: Vec<&String> = arrows.get(file).into_iter().flat_map(BTreeMap::keys).collect();
    while let Some(file) = next.pop() {
        if seen.insert(file) {
            next.extend(arrows.get(file).into_iter().flat_map(BTreeMap::keys));
        }
    }
    seen
}

/// Returns the crate's source directory.
fn source() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
}

fn lib_rs() -> String {
    std::fs::read_to_string(source().join("lib.rs")).unwrap()
}

/// Returns the modules of the table in `lib.rs`, a row an entry, from the top.
fn rows() -> Vec<Vec<String>> {
    let text = lib_rs();
    let cells = text.lines().filter_map(|line| line.strip_prefix("//! | [`")?.split(" | ").next());
    let names = |cell: &str| cell.split('`').step_by(2).map(str::to_owned).collect();
    cells.map(names).collect()
}

fn imports() -> &'static BTreeSet<Import> {
    static IMPORTS: LazyLock<BTreeSet<Import>> = LazyLock::new(|| Crate::read(source()).imports());
    &IMPORTS
}

/// Tests of the reader, on crates of a few files.
mod reading {
    use super::imports::Crate;

    fn arrows(files: &[(&str, &str)]) -> Vec<String> {
        let texts = files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let imports = Crate::parse(&texts).imports();
        imports.iter().map(|import| format!("{} {} {}", import.from, import.to, import.path.join("::"))).collect()
    }

    #[test]
    fn imports_are_found_in_use_trees_and_in_code() {
        let lib = ("lib.rs", "pub mod a; pub mod b;");
        let b = ("b.rs", "pub struct B; pub fn f() {}");
        for text in [
            "use crate::b::B;",
            "use crate::{b::{B}};",
            "use super::b::B as Other;",
            "fn f() -> crate::b::B { loop {} }",
            "use crate::b; fn f(x: b::B) {}",
            "mod inner { use super::super::b::B; }",
            "fn f() { let c = '\"'; } use crate::b::B; fn g() { let s = \"'\"; }",
        ] {
            assert_eq!(arrows(&[lib, ("a.rs", text), b]), ["a.rs b.rs b::B"], "{text}");
        }
        for text in [
            "// use crate::b::B;",
            "/* /* */ use crate::b::B; */",
            "const S: &str = r#\"use crate::b::B; \" \"#;",
            "#[cfg(test)] mod tests { use crate::b::B; }",
            "/// [`B`](crate::b::B)\nfn f() {}",
            "use std::b::B;",
        ] {
            assert!(arrows(&[lib, ("a.rs", text), b]).is_empty(), "{text}");
        }
    }

    #[test]
    fn a_name_that_is_passed_on_comes_from_its_own_file() {
        let files = [("a/mod.rs", "mod b; mod c; pub use b::B; fn f() { c::g(); }"), ("a/b.rs", "pub struct B;")];
        let c = ("a/c.rs", "use super::B; pub fn g() {}");
        let found = arrows(&[("lib.rs", "mod a;"), files[0], files[1], c]);
        assert_eq!(found, ["a/c.rs a/b.rs a::B", "a/mod.rs a/b.rs a::b::B", "a/mod.rs a/c.rs a::c::g"]);
    }
}
