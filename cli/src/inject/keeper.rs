//! The keeper's container, out of the chart's own files, so that `pagemesh inject` and the chart cannot differ.

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// All of it but its image and its resources.
const CONTAINER: &str = include_str!("../../../charts/pagemesh/files/keeper.yaml");
/// The chart's values, which have the rest.
const VALUES: &str = include_str!("../../../charts/pagemesh/values.yaml");

/// The container with the chart's defaults, and with another image where one is named.
pub(super) fn container(image: Option<&str>) -> Result<Value> {
    let mut container: Value = serde_yaml::from_str(CONTAINER).context("this program is built wrong")?;
    let values: Value = serde_yaml::from_str(VALUES).context("this program is built wrong")?;
    let ours = &values["injection"]["keeper"];
    let repository = ours["image"]["repository"].as_str().context("the chart's values name no keeper")?;
    container["image"] = match image {
        Some(image) => json!(image),
        None => json!(format!("{repository}:{}", env!("CARGO_PKG_VERSION"))),
    };
    container["imagePullPolicy"] = ours["image"]["pullPolicy"].clone();
    container["resources"] = ours["resources"].clone();
    Ok(container)
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Container;
    use pagemesh_crds::{
        ENV_SOCKET, KEEPER_CONTAINER, KEEPER_PATH, KEEPER_PORT, MOUNT_PATH, SOCKET_PATH, VOLUME,
    };

    use super::*;

    const CHART: &str = include_str!("../../../charts/pagemesh/Chart.yaml");

    #[test]
    fn it_is_what_everybody_takes_it_for() {
        let value = container(None).expect("good files");
        let keeper: Container = serde_json::from_value(value.clone()).expect("a container");
        // Nothing that Kubernetes does not know, such as a misspelt field.
        assert_eq!(serde_json::to_value(&keeper).expect("JSON"), value);
        assert_eq!(keeper.name, KEEPER_CONTAINER);
        assert_eq!(keeper.restart_policy.as_deref(), Some("Always"));
        let [mount] = keeper.volume_mounts.as_deref().unwrap_or_default() else { panic!("one mount") };
        assert_eq!((mount.name.as_str(), mount.mount_path.as_str()), (VOLUME, MOUNT_PATH));
        let [variable] = keeper.env.as_deref().unwrap_or_default() else { panic!("one variable") };
        assert_eq!((variable.name.as_str(), variable.value.as_deref()), (ENV_SOCKET, Some(SOCKET_PATH)));
        let [port] = keeper.ports.as_deref().unwrap_or_default() else { panic!("one port") };
        assert_eq!(port.container_port, i32::from(KEEPER_PORT));
        for probe in [&keeper.startup_probe, &keeper.readiness_probe] {
            let command = probe.as_ref().and_then(|probe| probe.exec.as_ref()?.command.as_ref());
            assert_eq!(command.and_then(|command| command.first()).map(String::as_str), Some(KEEPER_PATH));
        }
    }

    #[test]
    fn its_image_is_the_charts_unless_another_is_named() {
        let chart: Value = serde_yaml::from_str(CHART).expect("YAML");
        let image = |image| container(image).expect("good files")["image"].clone();
        assert_eq!(image(None), format!("pagemesh/keeper:{}", chart["appVersion"].as_str().expect("a text")));
        assert_eq!(image(Some("a/b@sha256:c")), "a/b@sha256:c");
    }
}
