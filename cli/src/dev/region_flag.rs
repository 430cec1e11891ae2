//! `--region NAME=SIZE[,FIELD=VALUE]...`: a Region in one line.

use anyhow::{Result, anyhow, bail};
use pagemesh_crds::{API_VERSION, Object, Region, parse_objects};
use serde_json::{Map, Value, json};

/// Reads the value of a `--region` flag.
///
/// It becomes an object's text first, so that one reader decides what a Region's fields are.
pub(super) fn parse(flag: &str) -> Result<Region> {
    let refused = |reason: String| anyhow!("--region {}: {reason}", flag.escape_debug());
    let Some((name, settings)) = flag.split_once('=') else {
        return Err(refused("has no size; write it as NAME=SIZE, as in table=64Mi".into()));
    };
    let mut settings = settings.split(',');
    let size = settings.next().unwrap_or_default();
    let mut spec = Map::from_iter([("size".to_owned(), Value::from(size))]);
    for setting in settings {
        let Some((field, value)) = setting.split_once('=') else {
            return Err(refused(format!("`{}` is not FIELD=VALUE", setting.escape_debug())));
        };
        if spec.insert(field.into(), value.into()).is_some() {
            return Err(refused(format!("`{}` is there twice", field.escape_debug())));
        }
    }
    let metadata = match name.split_once('/') {
        Some((namespace, name)) => json!({ "namespace": namespace, "name": name }),
        None => json!({ "name": name }),
    };
    let object = json!({ "apiVersion": API_VERSION, "kind": "Region", "metadata": metadata, "spec": spec });
    let objects = parse_objects(&object.to_string()).map_err(|error| match error.field {
        Some(field) => refused(format!("{field}: {}", error.reason)),
        None => refused(error.reason),
    })?;
    match objects.into_iter().next() {
        Some(Object::Region(region)) => Ok(region),
        Some(Object::RegionClass(_) | Object::MountTable(_) | Object::AgentPool(_) | Object::Agent(_))
        | None => {
            bail!("--region {flag}: is not a Region")
        }
    }
}

#[cfg(test)]
mod tests {
    use pagemesh_crds::{Coherence, validate};

    use super::*;

    #[test]
    fn good_flags() {
        let plain = validate(&parse("table=64Mi").expect("readable")).expect("good");
        assert_eq!((plain.namespace.as_str(), plain.name.as_str()), ("default", "table"));
        assert_eq!((plain.size_bytes, plain.page_size_bytes), (64 << 20, 4096));
        let full = "apps/t=1Mi,coherence=WriteUpdate,pageSize=64Ki,consistency=Linearizable";
        let full = validate(&parse(full).expect("readable")).expect("good");
        assert_eq!((full.namespace.as_str(), full.coherence), ("apps", Coherence::WriteUpdate));
        assert_eq!(full.page_size_bytes, 64 << 10);
    }

    #[test]
    fn bad_flags() {
        for (flag, expected) in [
            ("table", "--region table: has no size; write it as NAME=SIZE"),
            ("t=1Mi,x", "--region t=1Mi,x: `x` is not FIELD=VALUE"),
            ("t=1Mi,size=2Mi", "`size` is there twice"),
            ("t=1Mi,colour=red", "spec.colour: unknown field `colour`"),
            ("t=1Mi,coherence=Never", "spec.coherence: unknown variant `Never`"),
        ] {
            let error = parse(flag).expect_err("to be refused").to_string();
            assert!(error.contains(expected), "{flag} gave {error}");
        }
    }
}
