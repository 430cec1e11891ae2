//! Files that are written from the types: what is committed is what the types say.

mod reference;

use std::path::{Path, PathBuf};
use std::{env, fs};

use pagemesh_crds::{definition_yaml, definitions};

const UPDATE: &str = "UPDATE_GOLDENS=1 cargo test -p pagemesh-crds --test goldens";

/// The workspace's folder.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("a workspace").to_owned()
}

/// Writes `text` to the file, or compares it with what the file holds.
fn golden(path: &str, text: &str) {
    let file = root().join(path);
    if env::var_os("UPDATE_GOLDENS").is_some() {
        fs::create_dir_all(file.parent().expect("a folder")).expect("a folder that can be made");
        fs::write(&file, text).unwrap_or_else(|error| panic!("{path}: {error}"));
        return;
    }
    let held = fs::read_to_string(&file).unwrap_or_default();
    if held != text {
        let line = held.lines().zip(text.lines()).take_while(|(held, text)| held == text).count() + 1;
        panic!("{path} is not what the types say, from line {line} on; write it anew: {UPDATE}");
    }
}

#[test]
fn definitions_are_written() {
    for definition in definitions() {
        let plural = &definition.spec.names.plural;
        let text = format!(
            "# Written from the types of pagemesh-crds; do not edit. Anew: {UPDATE}\n{}",
            definition_yaml(&definition)
        );
        golden(&format!("crds/{plural}.yaml"), &text);
        golden(&format!("charts/pagemesh/files/crds/{plural}.yaml"), &text);
    }
}

#[test]
fn the_reference_is_written() {
    golden("docs/src/reference.md", &reference::reference(&definitions(), UPDATE));
}
