//! The objects of a mesh: what the user wants of Regions, and what the planner, which is us, adds.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use pagemesh_crds::{
    Agent, AgentSpec, AgentStatus, FieldError, MountTable, NAMESPACE_DEFAULT, Object, Placement, Region,
    RegionStatus, ValidRegion, parse_objects, quantity, validate, validate_mount_table,
};

use super::region_flag;
use crate::agent_api::AgentInfo;
use crate::mesh;
use crate::output::yaml;

/// All Regions of a mesh, placed, and its MountTables.
#[derive(Debug)]
pub(super) struct Objects {
    regions: Vec<(Region, ValidRegion)>,
    /// By namespace and name.
    tables: BTreeMap<(String, String), MountTable>,
}

impl Objects {
    /// Reads what flags and files ask for, and places Regions that are not placed: every node is a home.
    pub(super) fn plan(nodes: u16, flags: &[String], files: &[PathBuf]) -> Result<Objects> {
        let homes: Vec<String> = (0..nodes).map(mesh::node_name).collect();
        let mut asked = Vec::new();
        for flag in flags {
            asked.push((format!("--region {}", flag.escape_debug()), region_flag::parse(flag)?));
        }
        let mut tables = BTreeMap::new();
        for file in files {
            let source = file.display().to_string();
            let (regions, mount_tables) = read(file)?;
            asked.extend(regions.into_iter().map(|region| (source.clone(), region)));
            for table in mount_tables {
                validate_mount_table(&table).map_err(|findings| refused(&source, &findings))?;
                let namespace = table.metadata.namespace.as_deref().unwrap_or(NAMESPACE_DEFAULT);
                let name = (namespace.to_owned(), table.metadata.name.clone().unwrap_or_default());
                if let Some(twice) = tables.insert(name, table) {
                    let described = Object::MountTable(twice).describe();
                    bail!("{source}: there are two of {described}; name one otherwise");
                }
            }
        }

        let mut regions = Vec::new();
        let mut names = BTreeSet::new();
        for (source, mut region) in asked {
            let status = region.status.get_or_insert_with(RegionStatus::default);
            let placement =
                status.placement.get_or_insert_with(|| Placement::first(homes.iter().map(String::as_str)));
            if let Some(home) = placement.homes.iter().find(|home| !homes.contains(&home.agent)) {
                bail!("{source}: the home `{}` is not one of the {nodes} nodes", home.agent.escape_debug());
            }
            let valid = validate(&region).map_err(|findings| refused(&source, &findings))?;
            if !names.insert((valid.namespace.clone(), valid.name.clone())) {
                bail!(
                    "{source}: there are two regions {}/{}; name one otherwise",
                    valid.namespace,
                    valid.name
                );
            }
            regions.push((region, valid));
        }
        Ok(Objects { regions, tables })
    }

    /// How many Regions there are.
    pub(super) fn regions(&self) -> usize {
        self.regions.len()
    }

    /// Writes the Regions and MountTables, and an Agent for each of `agents`, for the agents to read.
    pub(super) fn write(&self, dir: &Path, agents: &[AgentInfo]) -> Result<()> {
        let objects: Vec<Agent> = agents.iter().map(agent).collect();
        put(dir, "agents.yaml", &serde_yaml::to_string_multiple(&objects)?)?;
        for (region, valid) in &self.regions {
            let name = format!("region-{}.{}.yaml", valid.namespace, valid.name);
            put(dir, &name, &yaml(region)?)?;
        }
        for ((namespace, name), table) in &self.tables {
            put(dir, &format!("mount-table-{namespace}.{name}.yaml"), &yaml(table)?)?;
        }
        Ok(())
    }

    /// The Regions in a few words, a line each.
    pub(super) fn describe(&self) -> String {
        let line = |valid: &ValidRegion| {
            format!(
                "  region {}/{}: {} in pages of {}, {}, {}\n",
                valid.namespace,
                valid.name,
                quantity::format(valid.size_bytes),
                quantity::format(valid.page_size_bytes),
                valid.consistency.name(),
                valid.coherence.name()
            )
        };
        match self.regions.as_slice() {
            [] => "  no region; declare one with --region NAME=SIZE\n".into(),
            regions => regions.iter().map(|(_, valid)| line(valid)).collect(),
        }
    }
}

fn agent(info: &AgentInfo) -> Agent {
    let mut agent = Agent::new(&info.name, AgentSpec { id: Some(info.id), ..AgentSpec::default() });
    agent.status = Some(AgentStatus { address: Some(info.listen.to_string()), ..AgentStatus::default() });
    agent
}

/// Writes a file so that a reader sees all of it or nothing.
fn put(dir: &Path, name: &str, text: &str) -> Result<()> {
    let temporary = dir.join(format!(".{name}.new"));
    let place = dir.join(name);
    fs::write(&temporary, text)
        .and_then(|()| fs::rename(&temporary, &place))
        .with_context(|| format!("{} cannot be written", place.display()))
}

fn read(file: &Path) -> Result<(Vec<Region>, Vec<MountTable>)> {
    let shown = file.display();
    let text = fs::read_to_string(file).with_context(|| format!("{shown} cannot be read"))?;
    let objects = parse_objects(&text).map_err(|error| anyhow!("{shown}: {error}"))?;
    let (mut regions, mut tables) = (Vec::new(), Vec::new());
    for object in objects {
        match object {
            Object::Region(region) => regions.push(region),
            Object::MountTable(table) => tables.push(table),
            Object::Agent(_) => {
                bail!("{shown}: has an Agent; leave it out, `pagemesh dev` makes the agents itself")
            }
            Object::RegionClass(_) | Object::AgentPool(_) => {
                bail!(
                    "{shown}: has {}, which does nothing without Kubernetes; leave it out",
                    object.describe()
                )
            }
        }
    }
    Ok((regions, tables))
}

fn refused(source: &str, findings: &[FieldError]) -> anyhow::Error {
    let reasons: Vec<String> = findings.iter().map(FieldError::to_string).collect();
    anyhow!("{source}: {}", reasons.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(flags: &[&str]) -> Result<Objects> {
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
        Objects::plan(2, &flags, &[])
    }

    #[test]
    fn every_node_is_a_home() {
        let objects = plan(&["t=1Mi"]).expect("good");
        let placement = objects.regions[0].1.placement.clone().expect("placed");
        assert_eq!((placement.epoch, placement.homes), (1, vec!["node-0".into(), "node-1".into()]));
    }

    #[test]
    fn what_is_written_can_be_read() {
        let objects = plan(&["t=1Mi,coherence=WriteUpdate", "n/t=64Ki,pageSize=64Ki"]).expect("good");
        for (region, valid) in &objects.regions {
            let text = yaml(region).expect("YAML");
            let [Object::Region(read)] = &parse_objects(&text).expect("readable")[..] else {
                panic!("{text}")
            };
            assert_eq!(validate(read).as_ref(), Ok(valid));
        }
        let infos = [0_u16, 1].map(|id| AgentInfo {
            pid: 1,
            name: mesh::node_name(id),
            id,
            listen: ([127, 0, 0, 1], 7400 + id).into(),
            http: ([127, 0, 0, 1], 1).into(),
            socket: "/x".into(),
        });
        let agents: Vec<Agent> = infos.iter().map(agent).collect();
        let text = serde_yaml::to_string_multiple(&agents).expect("YAML");
        assert_eq!(parse_objects(&text).expect("readable").len(), 2, "{text}");
    }

    #[test]
    fn refusals() {
        for (flags, expected) in [
            (&["t=5000"][..], "--region t=5000: spec.size: `5000` is not a multiple of the page size"),
            (&["T=1Mi"], "--region T=1Mi: metadata.name: "),
            (&["t=1Mi", "default/t=2Mi"], "there are two regions default/t"),
        ] {
            let error = plan(flags).expect_err("to be refused").to_string();
            assert!(error.contains(expected), "{flags:?} gave {error}");
        }
    }
}
