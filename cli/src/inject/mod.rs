//! `pagemesh inject`: gives pods in manifests what the chart's admission policy gives them on a cluster.

mod document;
mod keeper;
mod pod;
mod problem;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Read};
use std::process::ExitCode;

use anyhow::{Context, Result, anyhow, bail};
use clap::builder::NonEmptyStringValueParser;
use pagemesh_crds::split_documents;
use serde_json::{Value, json};

use crate::output;
use document::{Findings, Settings};

/// Longest input.
const INPUT_BYTES_MAX: u64 = 16 << 20;

/// Print manifests with their pods attached to regions.
///
/// Pods and pod templates with the annotation `pagemesh.io/attach` or `pagemesh.io/mount-table` get the volume, the environment and the keeper with which
/// they see their regions; all else is printed as it is. The Helm chart does the same on Kubernetes 1.36 or later when pods
/// are created. A pod that has it all is not changed again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  pagemesh inject -f deployment.yaml | kubectl apply -f -
  kustomize build . | pagemesh inject -f -
  pagemesh inject -f pod.yaml -o json")]
pub(crate) struct Args {
    /// A file of YAML or JSON, or - for standard input; more than once for more of them.
    #[arg(short, long, value_name = "FILE", required = true)]
    filename: Vec<String>,
    /// How to print.
    #[arg(short, long, value_name = "FORMAT", default_value = "yaml")]
    output: Format,
    /// The keeper's image [default: that of this version's chart]
    #[arg(long, value_name = "IMAGE", value_parser = NonEmptyStringValueParser::new())]
    keeper_image: Option<String>,
    /// Where pagemesh is installed: pods there, and in kube-system, are left as they are.
    #[arg(long, value_name = "NAMESPACE", default_value = "pagemesh-system")]
    install_namespace: String,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Format {
    /// One document for each that was read.
    Yaml,
    /// The object, or a List of them.
    Json,
}

/// Prints what the files have, attached.
pub(crate) fn inject(args: &Args) -> Result<ExitCode> {
    if args.filename.iter().filter(|name| *name == "-").count() > 1 {
        bail!("standard input can be read once; leave one `-f -`");
    }
    let settings = Settings {
        keeper: keeper::container(args.keeper_image.as_deref())?,
        left_out: vec!["kube-system".into(), args.install_namespace.clone()],
    };
    let mut all = Vec::new();
    let mut asked = false;
    for name in &args.filename {
        let text = read(name)?;
        for (index, part) in documents(&text, &settings).enumerate() {
            let place = || format!("{}, document {}", source(name), index + 1);
            let part = part.map_err(|reason| anyhow!("{}: {reason}", place()))?;
            for note in &part.findings.notes {
                eprintln!("pagemesh: {}: {note}", place());
            }
            asked |= part.findings.asked;
            all.push(part.owned());
        }
    }
    if !asked {
        eprintln!("pagemesh: no pod has the annotation {}", pod::ASKING.join(" or "));
    }
    output::print(&match args.output {
        Format::Yaml => yaml(&all)?,
        Format::Json => json(all)?,
    })?;
    Ok(ExitCode::SUCCESS)
}

fn source(name: &str) -> &str {
    if name == "-" { "standard input" } else { name }
}

fn read(name: &str) -> Result<String> {
    let input: Box<dyn Read> = match name {
        "-" => Box::new(io::stdin().lock()),
        _ => Box::new(File::open(name).with_context(|| format!("{name} cannot be read"))?),
    };
    let mut text = String::new();
    let length = input
        .take(INPUT_BYTES_MAX + 1)
        .read_to_string(&mut text)
        .with_context(|| format!("{} cannot be read as text", source(name)))?;
    if length as u64 > INPUT_BYTES_MAX {
        bail!("{} has more than {INPUT_BYTES_MAX} bytes; split it", source(name));
    }
    Ok(text)
}

/// A document of a text.
struct Part<Text> {
    /// As it was.
    text: Text,
    /// As it is to be; `None` if it has nothing but comments.
    object: Option<Value>,
    findings: Findings,
}

impl Part<&str> {
    fn owned(self) -> Part<String> {
        Part { text: self.text.to_owned(), object: self.object, findings: self.findings }
    }
}

/// The documents of a text, attached, or why one cannot be.
fn documents<'a>(text: &'a str, settings: &Settings) -> impl Iterator<Item = Result<Part<&'a str>, String>> {
    split_documents(text).map(|text| {
        let Some(mut object) = document::read(text)? else {
            return Ok(Part { text, object: None, findings: Findings::default() });
        };
        let findings = document::attach(&mut object, settings)?;
        Ok(Part { text, object: Some(object), findings })
    })
}

/// Documents as YAML: those in which nothing changed letter by letter.
fn yaml(parts: &[Part<String>]) -> Result<String> {
    let mut text = String::new();
    for part in parts {
        let changed = match &part.object {
            Some(object) if part.findings.changed => Some(output::yaml(object)?),
            Some(_) | None => None,
        };
        let next = changed.as_deref().unwrap_or(&part.text);
        if !text.is_empty() && !starts_document(next) {
            text.push_str("---\n");
        }
        text.push_str(next);
        if !text.ends_with('\n') {
            text.push('\n');
        }
    }
    Ok(text)
}

/// Whether a text has its own `---` line before anything but comments.
fn starts_document(text: &str) -> bool {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines.next().is_some_and(|line| line.starts_with("---") || line.starts_with('%'))
}

/// Documents as JSON, which has room for one.
fn json(parts: Vec<Part<String>>) -> Result<String> {
    let mut objects: Vec<Value> = parts.into_iter().filter_map(|part| part.object).collect();
    match objects.len() {
        1 => output::json(&objects.remove(0)),
        _ => output::json(&json!({"apiVersion": "v1", "kind": "List", "items": objects})),
    }
}
