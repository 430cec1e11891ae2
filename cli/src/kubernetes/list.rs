//! Reads all objects of a kind. What a newer or older pagemesh has written may not be readable; that is no reason not to
//! show the rest.

use kube::api::{ApiResource, DynamicObject, ListParams, TypeMeta};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;

use super::access::Cluster;
use super::trouble::{Trouble, explain};

/// Objects that the API server is asked for at a time.
const CHUNK: u32 = 500;
/// Objects of one kind that are read at most.
const OBJECTS_MAX: usize = 20_000;

/// Where to look.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Within<'a> {
    /// In one namespace.
    Namespace(&'a str),
    /// In all of them, or the kind has none.
    Cluster,
}

/// Objects of a kind.
#[derive(Clone, Debug)]
pub(crate) struct Listing<T> {
    /// Those that could be read.
    pub(crate) items: Vec<T>,
    /// Those that could not: a sentence for each.
    pub(crate) unreadable: Vec<String>,
}

/// Objects of a kind, or why they are not known.
pub(crate) type Look<T> = Result<Listing<T>, Trouble>;

impl<T> From<Vec<T>> for Listing<T> {
    fn from(items: Vec<T>) -> Listing<T> {
        Listing { items, unreadable: Vec::new() }
    }
}

impl Cluster {
    /// All objects of a kind, as this pagemesh understands them.
    pub(crate) async fn list<K>(&self, within: Within<'_>, params: &ListParams) -> Look<K>
    where
        K: Resource<DynamicType = ()> + DeserializeOwned,
    {
        self.list_raw(&ApiResource::erase::<K>(&()), within, params).await.map(listing)
    }

    /// All objects of a kind, as they are.
    pub(crate) async fn list_raw(
        &self,
        kind: &ApiResource,
        within: Within<'_>,
        params: &ListParams,
    ) -> Result<Vec<DynamicObject>, Trouble> {
        let api: Api<DynamicObject> = match within {
            Within::Namespace(namespace) => Api::namespaced_with(self.client.clone(), namespace, kind),
            Within::Cluster => Api::all_with(self.client.clone(), kind),
        };
        let mut params = params.clone().limit(CHUNK);
        let mut objects = Vec::new();
        loop {
            let chunk = api.list(&params).await;
            let chunk = chunk.map_err(|error| explain(&error, &self.url).about(kind))?;
            // The items of a list of Kubernetes' own kinds do not say of which kind they are.
            objects.extend(chunk.items.into_iter().map(|mut object| {
                object.types.get_or_insert_with(|| TypeMeta {
                    api_version: kind.api_version.clone(),
                    kind: kind.kind.clone(),
                });
                object
            }));
            match chunk.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) if objects.len() < OBJECTS_MAX => params.continue_token = Some(token),
                Some(_) | None => return Ok(objects),
            }
        }
    }
}

/// Reads each object by itself.
pub(crate) fn listing<T: DeserializeOwned>(objects: Vec<DynamicObject>) -> Listing<T> {
    let mut listing = Listing { items: Vec::with_capacity(objects.len()), unreadable: Vec::new() };
    for object in objects {
        let kind = object.types.as_ref().map_or("object", |types| types.kind.as_str()).to_owned();
        let name = match (&object.metadata.namespace, &object.metadata.name) {
            (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
            (None, name) => name.clone().unwrap_or_default(),
            (Some(namespace), None) => namespace.clone(),
        };
        match serde_json::to_value(object).and_then(serde_json::from_value) {
            Ok(item) => listing.items.push(item),
            Err(error) => listing.unreadable.push(format!(
                "{kind} {name} is not readable for pagemesh {} ({error}): use the version that is installed",
                env!("CARGO_PKG_VERSION")
            )),
        }
    }
    listing
}

#[cfg(test)]
mod tests {
    use pagemesh_crds::Region;
    use serde_json::json;

    use super::*;

    #[test]
    fn one_that_is_not_readable_does_not_hide_the_others() {
        let object = |name: &str, homes: serde_json::Value| -> DynamicObject {
            let object = json!({
                "apiVersion": "pagemesh.io/v1alpha1", "kind": "Region",
                "metadata": {"namespace": "default", "name": name}, "spec": {"size": "4Ki", "homes": homes},
            });
            serde_json::from_value(object).expect("an object")
        };
        let listing: Listing<Region> = listing(vec![object("new", "auto".into()), object("good", 1.into())]);
        assert_eq!(listing.items.len(), 1);
        assert!(listing.unreadable[0].starts_with("Region default/new is not readable"), "{listing:?}");
        assert!(listing.unreadable[0].contains("auto"), "{listing:?}");
    }
}
