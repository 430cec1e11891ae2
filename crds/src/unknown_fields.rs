//! Fields of a file that nobody knows: where they are, and what could be meant.

use std::fmt;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_ignored::Path;

use crate::definitions;

/// What Kubernetes adds to an object and we have no use for, so that what `kubectl get -o yaml` prints can be read. Nothing
/// waits for finalizers in a directory: an object is deleted when it is not there.
const OF_KUBERNETES: [&str; 12] = [
    "apiVersion",
    "kind",
    "metadata.creationTimestamp",
    "metadata.deletionGracePeriodSeconds",
    "metadata.deletionTimestamp",
    "metadata.finalizers",
    "metadata.generateName",
    "metadata.generation",
    "metadata.managedFields",
    "metadata.ownerReferences",
    "metadata.resourceVersion",
    "metadata.selfLink",
];

/// A step on the way to a field.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Field(String),
    Entry(usize),
}

/// Where a field is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldPath(Vec<Step>);

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, step) in self.0.iter().enumerate() {
            match step {
                Step::Field(name) if index == 0 => write!(f, "{}", name.escape_debug())?,
                Step::Field(name) => write!(f, ".{}", name.escape_debug())?,
                Step::Entry(number) => write!(f, "[{number}]")?,
            }
        }
        Ok(())
    }
}

/// Where an ignored field is, unless it is one of those that Kubernetes adds.
pub(crate) fn unknown_field(ignored: Path<'_>) -> Option<FieldPath> {
    let mut path = FieldPath::default();
    collect(&ignored, &mut path.0);
    (!OF_KUBERNETES.contains(&path.to_string().as_str())).then_some(path)
}

fn collect(path: &Path<'_>, steps: &mut Vec<Step>) {
    match path {
        Path::Root => {}
        Path::Seq { parent, index } => {
            collect(parent, steps);
            steps.push(Step::Entry(*index));
        }
        Path::Map { parent, key } => {
            collect(parent, steps);
            steps.push(Step::Field(key.clone()));
        }
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => {
            collect(parent, steps);
        }
    }
}

/// Why the field is refused.
pub(crate) fn reason(kind: &str, path: &FieldPath) -> String {
    let name = match path.0.last() {
        Some(Step::Field(name)) => name.escape_debug().to_string(),
        Some(Step::Entry(_)) | None => String::new(),
    };
    match siblings(kind, path) {
        Some(names) => format!("unknown field `{name}`; there are {}", names.join(", ")),
        None => format!("unknown field `{name}`"),
    }
}

/// The names that are known where the field is.
fn siblings(kind: &str, path: &FieldPath) -> Option<Vec<String>> {
    let (_, above) = path.0.split_last()?;
    if above == [Step::Field("metadata".into())] {
        return Some(["annotations", "labels", "name", "namespace"].map(Into::into).into());
    }
    let definitions = definitions();
    let definition = definitions.iter().find(|definition| definition.spec.names.kind == kind)?;
    let mut schema: &JSONSchemaProps =
        definition.spec.versions.first()?.schema.as_ref()?.open_api_v3_schema.as_ref()?;
    for step in above {
        schema = match (step, &schema.items, &schema.additional_properties) {
            (Step::Entry(_), Some(JSONSchemaPropsOrArray::Schema(items)), _) => items,
            (Step::Field(name), ..) if schema.properties.is_some() => {
                schema.properties.as_ref()?.get(name)?
            }
            (Step::Field(_), _, Some(JSONSchemaPropsOrBool::Schema(values))) => values,
            (Step::Entry(_) | Step::Field(_), ..) => return None,
        };
    }
    let mut names: Vec<String> = schema.properties.as_ref()?.keys().cloned().collect();
    if above.is_empty() {
        names.extend(["apiVersion", "kind", "metadata"].map(Into::into));
    }
    names.sort();
    Some(names)
}

impl FieldPath {
    /// Reads up to the field and then fails, so that the reader tells in which line it is.
    pub(crate) fn stop_at(&self) -> StopAt<'_> {
        StopAt(&self.0)
    }
}

/// See [`FieldPath::stop_at`].
pub(crate) struct StopAt<'a>(&'a [Step]);

impl<'de> DeserializeSeed<'de> for StopAt<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for StopAt<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the way to a field")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((Step::Field(wanted), rest)) = self.0.split_first() else { return Ok(()) };
        let last = rest.is_empty();
        while let Some(found) = map.next_key_seed(Key { wanted, last })? {
            if found {
                return map.next_value_seed(StopAt(rest));
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let Some((Step::Entry(wanted), rest)) = self.0.split_first() else { return Ok(()) };
        for _ in 0..*wanted {
            entries.next_element::<IgnoredAny>()?;
        }
        entries.next_element_seed(StopAt(rest)).map(drop)
    }
}

/// Whether a key is the wanted one; fails at that if it is the last on the way.
struct Key<'a> {
    wanted: &'a str,
    last: bool,
}

impl<'de> DeserializeSeed<'de> for Key<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Key<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field's name")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<bool, E> {
        if key == self.wanted && self.last {
            return Err(E::custom("here"));
        }
        Ok(key == self.wanted)
    }
}
