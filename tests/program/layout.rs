//! Every file of tests is part of a test program: a file that no `mod` names would prove nothing, and nobody would notice.

use std::path::Path;

/// The files below a folder that no module beside or above them names.
fn forgotten(folder: &Path) -> Vec<String> {
    let roots = ["main.rs", "mod.rs", "lib.rs"].map(|name| folder.join(name));
    let root: String = roots.iter().flat_map(std::fs::read_to_string).collect();
    assert!(!root.is_empty(), "{} has no root", folder.display());
    let mut forgotten = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        let is_module = path.extension().is_some_and(|extension| extension == "rs") || path.join("mod.rs").exists();
        let is_named = root.lines().any(|line| line.trim_start_matches("pub ") == format!("mod {name};"));
        if is_module && !is_named && !["main", "mod", "lib"].contains(&name) {
            forgotten.push(path.display().to_string());
        }
        if path.join("mod.rs").exists() {
            forgotten.extend(self::forgotten(&path));
        }
    }
    forgotten
}

#[test]
fn every_test_file_is_reached_by_a_module() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let folders = ["program", "servers", "support/src", "fake-github/src", "fake-github/tests/answers"];
    let forgotten: Vec<String> = folders.iter().flat_map(|folder| forgotten(&tests.join(folder))).collect();
    assert!(forgotten.is_empty(), "no `mod` names {forgotten:?}");
    let beside: Vec<String> = std::fs::read_dir(&tests)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".rs") && name != "plans.rs")
        .collect();
    assert!(beside.is_empty(), "{beside:?} would be a test program of its own: move it into one of {folders:?}");
}
