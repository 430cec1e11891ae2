//! The bundle itself: files in memory, bounded, and then a tar.gz.

use std::io::Write;
use std::time::SystemTime;

use anyhow::Result;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use super::anonymous::Names;
use super::redact;
use crate::output;

/// Longest file; what is more is cut off.
const FILE_BYTES_MAX: usize = 4 << 20;
/// Longest bundle before compression; files beyond it are left out.
const BUNDLE_BYTES_MAX: usize = 64 << 20;

/// Files, and what they came from.
#[derive(Default)]
pub(super) struct Bundle {
    files: Vec<(String, String)>,
    bytes: usize,
    names: Names,
    /// What there should be and is not, each with why.
    missing: Vec<String>,
    anonymous: bool,
}

impl Bundle {
    /// Adds objects of one kind, without what nobody else may see.
    pub(super) fn add_objects(&mut self, path: &str, mut objects: Vec<Value>) {
        for object in &mut objects {
            redact::object(object);
            self.names.learn(object);
        }
        if objects.is_empty() {
            self.add(path, "# none\n".into());
            return;
        }
        let text: Result<Vec<String>> = objects.iter().map(output::yaml).collect();
        match text {
            Ok(documents) => self.add(path, documents.join("---\n")),
            Err(error) => self.missing(format!("{path}: {error:#}")),
        }
    }

    /// Adds text, without what looks like a secret.
    pub(super) fn add_text(&mut self, path: &str, text: &str) {
        self.add(path, redact::text(text));
    }

    fn add(&mut self, path: &str, mut text: String) {
        if text.len() > FILE_BYTES_MAX {
            let end = (0..=FILE_BYTES_MAX).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            text.truncate(end);
            text.push_str("\n(cut off here)\n");
        }
        if self.bytes + text.len() > BUNDLE_BYTES_MAX {
            self.missing(format!("{path}: the bundle is full"));
            return;
        }
        self.bytes += text.len();
        self.files.push((path.into(), text));
    }

    /// Learns a name that is in no object.
    pub(super) fn learn(&mut self, kind: &'static str, name: &str) {
        self.names.add(kind, name);
    }

    /// Notes what could not be had.
    pub(super) fn missing(&mut self, what: String) {
        self.missing.push(redact::text(&what));
    }

    /// Puts other names in place of all that were learnt.
    pub(super) fn make_anonymous(&mut self) {
        for (path, text) in &mut self.files {
            *path = self.names.replace(path);
            *text = self.names.replace(text);
        }
        for what in &mut self.missing {
            *what = self.names.replace(what);
        }
        self.anonymous = true;
    }

    /// What is inside, a line for each file.
    pub(super) fn listing(&self) -> String {
        let mut listing: String =
            self.files.iter().map(|(path, text)| format!("{:>9}  {path}\n", text.len())).collect();
        for what in &self.missing {
            listing.push_str(&format!("  missing  {}\n", output::escape(what)));
        }
        listing
    }

    /// Writes all of it below a directory `name`.
    pub(super) fn write(&self, name: &str, into: impl Write) -> Result<()> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let written_at = now.map_or(0, |now| now.as_secs());
        let mut archive = tar::Builder::new(GzEncoder::new(into, Compression::default()));
        let readme = ("README.txt".to_owned(), self.readme());
        for (path, text) in std::iter::once(&readme).chain(&self.files) {
            let mut header = tar::Header::new_ustar();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(written_at);
            archive.append_data(&mut header, format!("{name}/{path}"), text.as_bytes())?;
        }
        archive.into_inner()?.finish()?.flush()?;
        Ok(())
    }

    fn readme(&self) -> String {
        let names = if self.anonymous {
            "Names of objects, namespaces and nodes are replaced by numbered ones, and IP addresses by numbers, the same \
             one by the same one everywhere. A name that occurs in messages and logs alone is not known to be one and \
             stays."
        } else {
            "Names and addresses are as they are; `pagemesh report --anonymous` replaces them."
        };
        format!(
            "pagemesh {} wrote this for a bug report.\n\n\
             Left out: Secrets, values of environment variables, annotations of others, and what looks like a token or a \
             password.\n{names}\n\nInside, with sizes in bytes:\n\n{}",
            env!("CARGO_PKG_VERSION"),
            self.listing()
        )
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io::Read;

    use serde_json::json;

    use super::*;

    fn unpacked(bundle: &Bundle) -> BTreeMap<String, String> {
        let mut packed = Vec::new();
        bundle.write("report", &mut packed).expect("written");
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(packed.as_slice()));
        let files = archive.entries().expect("entries").map(|entry| {
            let mut entry = entry.expect("an entry");
            let mut text = String::new();
            entry.read_to_string(&mut text).expect("text");
            (entry.path().expect("a path").display().to_string(), text)
        });
        files.collect()
    }

    #[test]
    fn what_goes_in_comes_out_without_secrets() {
        let mut bundle = Bundle::default();
        bundle.add_objects("pods.yaml", vec![json!({"metadata": {"name": "customer"}, "token": "s3cr3t"})]);
        bundle.add_text("logs/customer.log", "customer at 10.9.8.7 says password=s3cr3t");
        bundle.missing("events.yaml: forbidden for customer".into());
        let plain = unpacked(&bundle);
        bundle.make_anonymous();
        let anonymous = unpacked(&bundle);
        for (files, name, address) in [(&plain, "customer", "10.9.8.7"), (&anonymous, "name-1", "address-1")]
        {
            let all: String = files.iter().map(|(path, text)| format!("{path}\n{text}\n")).collect();
            assert!(!all.contains("s3cr3t"), "{all}");
            let log = &files[&format!("report/logs/{name}.log")];
            assert_eq!(*log, format!("{name} at {address} says password=(removed)"));
            assert!(
                files["report/README.txt"].contains(&format!("missing  events.yaml: forbidden for {name}"))
            );
        }
        assert!(!anonymous.values().any(|text| text.contains("customer")), "{anonymous:?}");
    }

    #[test]
    fn it_is_bounded() {
        let mut bundle = Bundle::default();
        for file in 0..20 {
            bundle.add(&format!("{file}"), "ä".repeat(FILE_BYTES_MAX));
        }
        assert!(bundle.files.iter().all(|(_, text)| text.len() <= FILE_BYTES_MAX + 20));
        assert!(bundle.bytes <= BUNDLE_BYTES_MAX);
        assert!(bundle.missing.iter().all(|what| what.contains("the bundle is full")));
        assert_eq!(bundle.files.len() + bundle.missing.len(), 20);
    }
}
