//! What becomes of manifests. The table of pods is that of the tests on a cluster, too.

use serde::Deserialize;
use serde_json::{Value, json};

use super::*;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    namespace: Option<String>,
    pod: Value,
    becomes: Option<String>,
    refused: Option<String>,
}

fn cases() -> Vec<Case> {
    serde_yaml::from_str(include_str!("../../tests/injection.yaml")).expect("a table")
}

fn settings() -> Settings {
    Settings {
        keeper: keeper::container(None).expect("good files"),
        left_out: vec!["kube-system".into(), "pagemesh-system".into()],
    }
}

/// What is printed for a text, and the notes; or the first error.
fn printed(text: &str) -> Result<(String, Vec<String>), String> {
    let parts =
        documents(text, &settings()).map(|part| part.map(Part::owned)).collect::<Result<Vec<_>, _>>()?;
    let notes = parts.iter().flat_map(|part| part.findings.notes.clone()).collect();
    Ok((yaml(&parts).expect("YAML"), notes))
}

fn good(text: &str) -> String {
    printed(text).unwrap_or_else(|error| panic!("{error}\n{text}")).0
}

fn value(text: &str) -> Value {
    document::read(text).expect("YAML").expect("an object")
}

#[test]
fn every_pod_of_the_table() {
    let cases = cases();
    assert!(cases.len() > 40, "{}", cases.len());
    for Case { name, namespace, pod, becomes, refused } in cases {
        let mut pod = pod;
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        pod["metadata"]["name"] = json!("t");
        pod["metadata"]["namespace"] = json!(namespace.unwrap_or_else(|| "default".into()));
        let before = output::yaml(&pod).expect("YAML");
        match (printed(&before), becomes.as_deref(), refused) {
            (Ok((after, _)), Some("as it is"), None) => assert_eq!(after, before, "{name}"),
            (Ok((after, _)), Some("attached"), None) => {
                assert_ne!(after, before, "{name}");
                assert_eq!(good(&after), after, "{name}: once more changes it again");
                assert_only_added(&value(&before), &value(&after), &name);
            }
            (Err(error), None, Some(refused)) => {
                assert!(error.contains(refused.trim()), "{name}: {error}");
                assert!(!error.contains('\n'), "{name}: {error}");
            }
            (result, _, _) => panic!("{name}: {result:?}"),
        }
    }
}

/// All that was there is there, but for what is told to change: a value of `LD_PRELOAD`, and our own volume.
fn assert_only_added(before: &Value, after: &Value, name: &str) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let is_ours = before.get("name").is_some_and(|name| name == "LD_PRELOAD" || name == "pagemesh");
            for (key, value) in before.iter().filter(|_| !is_ours) {
                assert_only_added(value, after.get(key).unwrap_or(&Value::Null), name);
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            // In their order, with ours in between.
            let mut rest = after.iter();
            for item in before {
                let same = |other: &&Value| item.get("name").is_none() || item["name"] == other["name"];
                let found = rest.find(same).unwrap_or_else(|| panic!("{name}: {item} is gone"));
                assert_only_added(item, found, name);
            }
        }
        (before, after) => assert_eq!(before, after, "{name}"),
    }
}

#[test]
fn a_pod_gets_all_of_it() {
    let pod = value(&good(
        "{kind: Pod, metadata: {annotations: {pagemesh.io/attach: 'table, b/w:ro'}}, spec: {containers: [{name: a}]}}",
    ));
    assert_eq!(
        pod["spec"]["volumes"],
        json!([{"name": "pagemesh", "csi": {
            "driver": "csi.pagemesh.io", "readOnly": true, "volumeAttributes": {"regions": "table,b/w:ro"}}}])
    );
    assert_eq!(
        pod["spec"]["containers"],
        json!([{
            "name": "a",
            "env": [
                {"name": "PAGEMESH_SOCKET", "value": "/run/pagemesh/agent.sock"},
                {"name": "LD_PRELOAD", "value": "/run/pagemesh/libpagemesh_preload.so"},
            ],
            "volumeMounts": [{"name": "pagemesh", "mountPath": "/run/pagemesh", "readOnly": true}],
        }])
    );
    assert_eq!(pod["spec"]["initContainers"], json!([keeper::container(None).expect("good files")]));
}

#[test]
fn whatever_makes_pods() {
    let template = "metadata: {annotations: {pagemesh.io/attach: table}}, spec: {containers: [{name: a}]}";
    let kinds = ["Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "Rollout"];
    let mut manifests: Vec<(String, &str)> = kinds
        .iter()
        .map(|kind| (format!("{{kind: {kind}, spec: {{template: {{{template}}}}}}}"), "/spec/template"))
        .collect();
    let cron = format!("{{kind: CronJob, spec: {{jobTemplate: {{spec: {{template: {{{template}}}}}}}}}}}");
    manifests.push((cron, "/spec/jobTemplate/spec/template"));
    manifests.push((format!("{{kind: PodTemplate, template: {{{template}}}}}"), "/template"));
    manifests.push((format!("{{kind: Pod, {template}}}"), ""));
    let list = format!("{{kind: List, items: [{{kind: ConfigMap}}, {{kind: Pod, {template}}}]}}");
    manifests.push((list, "/items/1"));
    manifests.push((format!("{{kind: PodList, items: [{{{template}}}]}}"), "/items/0"));
    for (manifest, path) in manifests {
        let after = value(&good(&manifest));
        let pod = after.pointer(path).unwrap_or_else(|| panic!("{path} in {after}"));
        assert_eq!(pod["spec"]["initContainers"][0]["name"], "pagemesh-keeper", "{manifest}");
    }
}

#[test]
fn what_is_not_annotated_is_printed_letter_by_letter() {
    let text = "# A comment.\n\nkind: ConfigMap   # another\ndata: {mode: 0644, 'y': yes}\n--- # the second\nkind: Pod\nspec:\n  \
                containers: [ {name: a} ]\n---\n# nothing\n";
    assert_eq!(good(text), text);
    let attached = "---\nkind: Pod\nmetadata: {annotations: {pagemesh.io/attach: table}}\nspec: {containers: [{name: a}]}\n";
    let both = good(&format!("{text}{attached}---\nkind: Secret\n"));
    assert!(both.starts_with(text), "{both}");
    assert!(both.ends_with("\n---\nkind: Secret\n"), "{both}");
    assert_eq!(good(&both), both);
}

#[test]
fn values_survive_that_readers_of_yaml_1_1_and_1_2_take_for_different_things() {
    let text = r##"
kind: Pod
metadata: {annotations: {pagemesh.io/attach: table, a: "0644", b: "yes", c: "1e3", d: "null", e: "1:30", f: "2001-01-01"}}
spec:
  terminationGracePeriodSeconds: 10
  volumes: [{name: v, secret: {secretName: s, defaultMode: 0644}}]
  containers:
    - name: a
      tty: yes
      command: [sh, -c, "a\n  b\n\tc\n\n", "off", "~", " x ", "", "0x1f", "- a", "a: b", "#", "\u001b", "ä"]
      args:
        - |
          set -e
          echo "a    very    long    line    that    has    more    than    eighty    characters    and    many    blanks    "
"##;
    let (before, after) = (value(text), value(&good(text)));
    assert_only_added(&before, &after, "values");
    assert_eq!(after["spec"]["volumes"][1]["secret"]["defaultMode"], 0o644);
    assert_eq!(after["spec"]["containers"][0]["tty"], true);
    assert_eq!(after["metadata"], before["metadata"]);
    let printed = good(text);
    for quoted in ["0644", "yes", "1e3", "null", "1:30", "2001-01-01", "off", "~"] {
        assert!(!printed.contains(&format!(" {quoted}\n")), "{quoted} has lost its quotes: {printed}");
    }
}

#[test]
fn what_cannot_be_read_is_refused_with_a_sentence() {
    for (text, saying) in [
        ("a: [", "line 1"),
        ("kind: Pod\nkind: Pod", "line 2"),
        ("- kind: Pod", "it is no object"),
        ("x", "it is no object"),
        (
            "{kind: Pod, metadata: {annotations: {pagemesh.io/attach: 5}}, spec: {containers: [{name: a}]}}",
            "Pod without a name: the annotation pagemesh.io/attach is not a text; put it in quotes",
        ),
        (
            "{kind: Pod, metadata: {name: x, annotations: {pagemesh.io/attach: a}}, spec: {containers: 5}}",
            "Pod x: its spec is not that of a pod",
        ),
        ("{kind: Pod, metadata: {name: x, annotations: {pagemesh.io/attach: a}}}", "Pod x: its spec is not"),
        (
            "{kind: Pod, metadata: {namespace: ns, generateName: x-, annotations: {pagemesh.io/attach: A}}, spec: {containers: []}}",
            "Pod ns/x-...: the annotation pagemesh.io/attach has \"A\"",
        ),
    ] {
        let error = printed(text).expect_err(text);
        assert!(error.contains(saying), "{text}: {error}");
    }
}

#[test]
fn people_are_told_what_they_may_have_missed() {
    let pod = "metadata: {annotations: {pagemesh.io/attach: table}}, spec: {containers: [{name: a}]}";
    let notes = |text: &str| printed(text).expect(text).1;
    let left_out = "{kind: Pod, metadata: {name: x, namespace: kube-system, annotations: {pagemesh.io/attach: t}}, \
                    spec: {containers: [{name: a}]}}";
    let [note] = notes(left_out).try_into().expect("one note");
    assert!(note.contains("nothing is attached in the namespace kube-system"), "{note}");
    let wrong_place = "{kind: Deployment, metadata: {name: x, annotations: {pagemesh.io/attach: t}}, \
                       spec: {template: {spec: {containers: [{name: a}]}}}}";
    let [note] = notes(wrong_place).try_into().expect("one note");
    assert!(note.starts_with("Deployment x: the annotation pagemesh.io/attach is on it"), "{note}");
    assert_eq!(notes(&format!("{{kind: Deployment, spec: {{template: {{{pod}}}}}}}")), Vec::<String>::new());
}

#[test]
fn as_json_several_objects_are_a_list() {
    let parts =
        |text: &str| documents(text, &settings()).map(|part| part.expect("good").owned()).collect::<Vec<_>>();
    let one: Value =
        serde_json::from_str(&json(parts("kind: A\n---\n# nothing\n")).expect("JSON")).expect("JSON");
    assert_eq!(one, json!({"kind": "A"}));
    let two: Value =
        serde_json::from_str(&json(parts("kind: A\n---\nkind: B\n")).expect("JSON")).expect("JSON");
    assert_eq!(two, json!({"apiVersion": "v1", "kind": "List", "items": [{"kind": "A"}, {"kind": "B"}]}));
}
