//! Objects as people write them: what is read, and what the refusal of the rest says.

use pagemesh_crds::{
    Agent, Coherence, Object, ParseError, Region, SOURCE_BYTES_MAX, parse_objects, validate, validate_agent,
};

const REGION: &str =
    "apiVersion: pagemesh.io/v1alpha1\nkind: Region\nmetadata: {name: t}\nspec: {size: 1Mi}\n";

fn region(text: &str) -> Region {
    let object = parse_objects(text).expect("readable").remove(0);
    let Object::Region(region) = object else { panic!("not a region: {object:?}") };
    region
}

fn agent(text: &str) -> Agent {
    let object = parse_objects(text).expect("readable").remove(0);
    let Object::Agent(agent) = object else { panic!("not an agent: {object:?}") };
    agent
}

fn refusal(text: &str) -> String {
    parse_objects(text).expect_err("to be refused").to_string()
}

/// The example in the book is what we read.
#[test]
fn the_book_is_right() {
    let book = include_str!("../../docs/src/objects.md");
    let example =
        book.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let objects = parse_objects(example).expect("the book's example to be readable");
    let [Object::Region(region), Object::Agent(agent)] = objects.as_slice() else {
        panic!("the book's example is not a Region and an Agent: {objects:?}");
    };
    let region = validate(region).expect("a good region");
    assert_eq!((region.size_bytes, region.page_size_bytes), (64 << 20, 4096));
    assert_eq!(region.placement.expect("placed").homes, ["node-0".into(), "node-1".into(), "node-2".into()]);
    let agent = validate_agent(agent).expect("a good agent");
    assert_eq!((agent.name.as_str(), agent.id), ("node-0", 0));
    assert_eq!(agent.address, Some(([127, 0, 0, 1], 7400).into()));
}

#[test]
fn defaults() {
    let region = validate(&region(REGION)).expect("a good region");
    assert_eq!((region.namespace.as_str(), region.name.as_str()), ("default", "t"));
    assert_eq!((region.page_size_bytes, region.coherence), (4096, Coherence::WriteInvalidate));
    assert_eq!(region.placement, None);
}

#[test]
fn a_size_may_be_a_number() {
    assert_eq!(validate(&region(&REGION.replace("1Mi", "8192"))).expect("good").size_bytes, 8192);
}

#[test]
fn documents_may_be_many_or_empty() {
    let text = format!("# nothing\n---\n# nothing either\n---\n{REGION}---\n{REGION}--- # the end\n");
    assert_eq!(parse_objects(&text).expect("readable").len(), 2);
    assert_eq!(parse_objects("").expect("readable"), []);
    assert_eq!(parse_objects(&REGION.replace('\n', "\r\n")).expect("readable").len(), 1);
}

#[test]
fn what_kubernetes_adds_to_metadata_is_accepted() {
    let metadata = "{name: t, namespace: n, uid: u, resourceVersion: '7', generation: 1, managedFields: [{a: b}], \
                    creationTimestamp: 2026-01-01T00:00:00Z, labels: {a: b}, generateName: t-, selfLink: /t, \
                    deletionTimestamp: 2026-01-01T00:00:00Z, deletionGracePeriodSeconds: 0, \
                    finalizers: [pagemesh.io/region], ownerReferences: [{a: b}]}";
    let region = region(&REGION.replace("{name: t}", metadata));
    assert_eq!(region.metadata.namespace.as_deref(), Some("n"));
    assert_eq!(region.metadata.labels.expect("labels")["a"], "b");
}

#[test]
fn what_is_written_can_be_read() {
    let before = region(&REGION.replace("1Mi}", "1Mi, pageSize: 64Ki, coherence: WriteUpdate}"));
    let json = serde_json::to_string(&before).expect("JSON");
    assert_eq!(region(&json), before);
}

#[test]
fn refusals_name_document_line_and_field() {
    let table = [
        (
            REGION.replace("size:", "sise:"),
            "document 1, line 4, field spec.sise: unknown field `sise`; there are access, agentPoolName, coherence, ",
        ),
        (
            format!(
                "{REGION}status:\n  placement:\n    epoch: 1\n    homes:\n    - agent: a\n    - agent: b\n      x:\n        y: 1\n"
            ),
            "line 11, field status.placement.homes[1].x: unknown field `x`; there are agent, incarnation",
        ),
        (
            REGION.replace("kind: Region", "kind: Pod"),
            "document 1, field kind: is `Pod`; write Region, RegionClass, MountTable, AgentPool or Agent",
        ),
        (REGION.replace("kind: Region\n", ""), "document 1, field kind: is absent; write Region, "),
        (
            REGION.replace("v1alpha1", "v2"),
            "field apiVersion: is `pagemesh.io/v2`; write pagemesh.io/v1alpha1",
        ),
        (
            REGION.replace("name: t", "name: t, nmaespace: x"),
            "line 3, field metadata.nmaespace: unknown field `nmaespace`; there are annotations, ",
        ),
        (REGION.replace("name: t", ""), "line 3, field metadata: missing field `name`"),
        (
            REGION.replace("spec:", "sepc:"),
            "line 4, field sepc: unknown field `sepc`; there are apiVersion, kind, metadata, spec, status",
        ),
        (REGION.replace("1Mi", "1Mi, coherence: Never"), "field spec.coherence: "),
        (
            REGION.replace("1Mi", "[1]"),
            "field spec.size: invalid type: sequence, expected a quantity such as `64Mi`",
        ),
        (REGION.replace("spec: {size: 1Mi}", "spec: {size: 1Mi"), "document 1, line "),
        (format!("{REGION}spec: {{size: 2Mi}}\n"), "duplicate mapping key `spec` is not allowed here"),
        (REGION.replace("name: t", "name: null"), "line 3, field metadata.name: null is not allowed here"),
        (format!("{REGION}...\nx: 1\n"), "line 6: only single YAML document expected but multiple found"),
        (
            format!("{REGION}status: {{placement: {{epoch: -1, homes: [{{agent: a}}]}}}}"),
            "field status.placement.epoch: ",
        ),
        (
            format!("# first\n{REGION}---\n---\n{REGION}\n---\n\n{REGION}x: 1\n"),
            "document 4, line 19, field x: ",
        ),
        ("just words".into(), "document 1, line 1: "),
        ("- 1\n- 2\n".into(), "document 1, line 1: "),
    ];
    for (text, expected) in table {
        let got = refusal(&text);
        assert!(got.contains(expected), "{text}\ngave     {got}\nnot with {expected}");
        assert!(!got.contains('\n'), "not one line: {got}");
    }
}

#[test]
fn hostile_texts_are_refused_cheaply() {
    let bomb: String = (1..40).map(|i| format!("a{i}: &a{i} [*a{j}, *a{j}]\n", j = i - 1)).collect();
    let deep = "[".repeat(100_000);
    for text in
        [&format!("a0: &a0 x\n{bomb}"), &deep, "\0", "\u{feff}", "%YAML 9.9\n---\n", "? : : ?", "!!binary x"]
    {
        let _: Result<Vec<Object>, ParseError> = parse_objects(text);
    }
    assert!(refusal(&"#".repeat(SOURCE_BYTES_MAX + 1)).contains("split it"));
}

#[test]
fn values_that_types_allow_but_we_do_not() {
    let placed = |placement: &str| format!("{REGION}status: {{placement: {placement}}}\n");
    let table = [
        (REGION.replace("name: t", "name: T"), "metadata.name: `T` is not a DNS label"),
        (
            REGION.replace("name: t", "name: t, namespace: a/b"),
            "metadata.namespace: `a/b` is not a DNS label",
        ),
        (REGION.replace("1Mi", "0"), "spec.size: `0` is nothing"),
        (REGION.replace("1Mi", "1Zi"), "spec.size: `1Zi` has the unknown suffix `Zi`"),
        (
            REGION.replace("1Mi", "5000"),
            "spec.size: `5000` is not a multiple of the page size; the next one is 8Ki",
        ),
        (REGION.replace("1Mi", "17Ti"), "spec.size: `17Ti` is more than 16Ti"),
        (
            REGION.replace("1Mi", "1Mi, pageSize: 2Ki"),
            "spec.pageSize: `2Ki` is not a power of two from 4Ki to 2Mi",
        ),
        (REGION.replace("1Mi", "1Mi, pageSize: 12Ki"), "spec.pageSize: `12Ki` is not a power of two"),
        (REGION.replace("1Mi", "8Mi, pageSize: 4Mi"), "spec.pageSize: `4Mi` is not a power of two"),
        (placed("{epoch: 0, homes: [{agent: a}]}"), "status.placement.epoch: is 0"),
        (placed("{epoch: 1, homes: []}"), "status.placement.homes: is empty"),
        (
            placed("{epoch: 1, homes: [{agent: a}, {agent: B}]}"),
            "status.placement.homes[1].agent: `B` is not a DNS name",
        ),
    ];
    for (text, expected) in table {
        let findings = validate(&region(&text)).expect_err("to be refused");
        let [finding] = findings.as_slice() else { panic!("{text}\ngave {findings:?}") };
        assert!(finding.to_string().starts_with(expected), "{text}\ngave {finding}");
    }
    let all =
        validate(&region(&REGION.replace("name: t", "name: T").replace("1Mi", "-1"))).expect_err("refused");
    assert_eq!(all.len(), 2, "every finding is reported: {all:?}");
}

#[test]
fn agents() {
    let text =
        |spec: &str| format!("apiVersion: pagemesh.io/v1alpha1\nkind: Agent\nmetadata: {{name: n}}\n{spec}");
    let good =
        validate_agent(&agent(&text("spec: {id: 1023}\nstatus: {address: '[fd00::1]:7400'}"))).expect("good");
    assert_eq!((good.id, good.address.map(|address| address.port())), (1023, Some(7400)));
    let starting = validate_agent(&agent(&text("spec: {id: 0}"))).expect("good");
    assert_eq!(starting.address, None);
    for (spec, expected) in [
        ("spec: {id: 1024}", "spec.id: 1024 is not below 1024"),
        (
            "spec: {id: 1}\nstatus: {address: 'host:1'}",
            "status.address: `host:1` is not an IP address and port",
        ),
        ("spec: {id: 1}\nstatus: {address: '10.0.0.1:0'}", "status.address: `10.0.0.1:0`"),
    ] {
        let findings = validate_agent(&agent(&text(spec))).expect_err("to be refused");
        assert!(findings[0].to_string().starts_with(expected), "{spec}\ngave {findings:?}");
    }
}

/// The same files serve with and without Kubernetes: what only Kubernetes knows is right or refused, and said to be ignored.
#[test]
fn what_only_kubernetes_knows() {
    let text = "apiVersion: pagemesh.io/v1alpha1\nkind: RegionClass\nmetadata: {name: gold}\nspec: {limits: {homes: 4}}\n---\n\
                apiVersion: pagemesh.io/v1alpha1\nkind: MountTable\nmetadata: {name: m}\nspec: {mounts: [{path: a, region: b}]}\n---\n\
                apiVersion: pagemesh.io/v1alpha1\nkind: AgentPool\nmetadata: {name: p}\nspec: {memory: 1Gi}\nstatus: {ready: 1}\n---\n\
                apiVersion: pagemesh.io/v1alpha1\nkind: Region\nmetadata: {name: t, namespace: n}\n\
                spec: {size: 1Mi, homes: 2, regionClassName: gold, agentPoolName: p, access: []}\n";
    let said: Vec<String> = parse_objects(text)
        .expect("readable")
        .iter()
        .map(|object| {
            assert_eq!(object.check(), Ok(()), "{object:?}");
            let fields = object.ignored_without_kubernetes().into_iter().map(|ignored| ignored.field);
            format!("{}: {}", object.describe(), fields.collect::<Vec<_>>().join(" "))
        })
        .collect();
    assert_eq!(
        said,
        [
            "RegionClass gold: kind",
            "MountTable default/m: ",
            "AgentPool p: kind",
            "Region n/t: spec.regionClassName spec.agentPoolName spec.homes spec.access",
        ]
    );
    assert_eq!(parse_objects(REGION).expect("readable")[0].ignored_without_kubernetes(), []);
    let status = text.replacen("spec: {limits: {homes: 4}}", "spec: {}\nstatus: {}", 1);
    assert!(
        refusal(&status).contains("field status: this kind has no status; leave it out"),
        "{}",
        refusal(&status)
    );
}

/// An agent of this release goes on while the operator is of the next one already, which writes more.
#[test]
fn the_api_server_may_say_more_than_we_know() {
    let object = serde_json::json!({
        "metadata": {"name": "t"},
        "spec": {"size": "1Mi", "new": 1},
        "status": {"placement": {"epoch": 1, "homes": [{"agent": "a", "new": 1}], "new": {}}, "new": []},
        "new": true,
    });
    let region: Region = serde_json::from_value(object).expect("readable");
    assert_eq!(validate(&region).expect("good").placement.expect("placed").homes, ["a".into()]);
}
