//! Memory nodes: a port, the worker that polls it, packet buffers and tables belong on one.

use crate::machine::Place;
use std::path::Path;

/// Where Linux describes its CPUs and nodes.
const SYSTEM: &str = "/sys/devices/system";

/// The node of a CPU, on a machine that has several.
fn node_of(system: &Path, cpu: usize) -> Option<u32> {
    let nodes = |dir: &Path| -> Vec<u32> {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        entries.filter_map(|e| e.file_name().to_str()?.strip_prefix("node")?.parse().ok()).collect()
    };
    if nodes(&system.join("node")).len() < 2 {
        return None;
    }
    nodes(&system.join(format!("cpu/cpu{cpu}"))).first().copied()
}

/// The node that all workers are on, if that is one of several: packet buffers go there.
pub(crate) fn of_workers(places: &[Place]) -> Option<u32> {
    common(Path::new(SYSTEM), places)
}

fn common(system: &Path, places: &[Place]) -> Option<u32> {
    let mut nodes = places.iter().map(|p| node_of(system, p.cpu?));
    let first = nodes.next()??;
    nodes.all(|node| node == Some(first)).then_some(first)
}

/// What an operator should know of ports (name and node) and workers that are far apart.
pub(crate) fn distances(ports: &[(String, Option<u32>)], places: &[Place]) -> Vec<String> {
    far_apart(Path::new(SYSTEM), ports, places)
}

fn far_apart(system: &Path, ports: &[(String, Option<u32>)], places: &[Place]) -> Vec<String> {
    let nodes: Vec<_> = places.iter().filter_map(|p| Some((p.cpu?, node_of(system, p.cpu?)?))).collect();
    let far = |(name, node): &(String, Option<u32>)| {
        let node = (*node)?;
        let cpus: Vec<_> = nodes.iter().filter(|(_, at)| *at != node).map(|(cpu, _)| cpu.to_string()).collect();
        (!cpus.is_empty()).then(|| {
            format!(
                "port {name} is on memory node {node}, the workers on CPU {} are not: every packet crosses between nodes; \
                 name CPUs of node {node} in runtime.workers (`lscpu` lists them)",
                cpus.join(", ")
            )
        })
    };
    ports.iter().filter_map(far).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CPUs 0 and 1 on node 0, 2 and 3 on node 1.
    fn two_nodes(name: &str) -> std::path::PathBuf {
        let system = std::env::temp_dir().join(format!("underpass-nodes-{name}-{}", std::process::id()));
        for cpu in 0..4 {
            std::fs::create_dir_all(system.join(format!("cpu/cpu{cpu}/node{}", cpu / 2))).unwrap();
            std::fs::create_dir_all(system.join(format!("node/node{}", cpu / 2))).unwrap();
        }
        system
    }

    #[test]
    fn a_port_far_from_a_worker_is_told_and_buffers_go_where_all_workers_are() {
        let system = two_nodes("far");
        let at = |cpus: &[usize]| cpus.iter().map(|&c| Place { cpu: Some(c) }).collect::<Vec<_>>();
        let ports = [("lan".to_owned(), Some(1)), ("wan".to_owned(), None)];
        let [warning] = &far_apart(&system, &ports, &at(&[1, 2]))[..] else { panic!() };
        assert!(warning.contains("port lan is on memory node 1, the workers on CPU 1 are not"), "{warning}");
        assert!(far_apart(&system, &ports, &at(&[2, 3])).is_empty());
        assert_eq!(common(&system, &at(&[2, 3])), Some(1));
        assert_eq!(common(&system, &at(&[1, 2])), None);
        assert_eq!(common(&system, &[Place { cpu: None }]), None);
        std::fs::remove_dir_all(&system).unwrap();
    }

    #[test]
    fn on_one_node_nothing_is_far() {
        let system = two_nodes("near");
        std::fs::remove_dir_all(system.join("node/node1")).unwrap();
        assert_eq!(common(&system, &[Place { cpu: Some(0) }]), None);
        assert!(far_apart(&system, &[("lan".to_owned(), Some(1))], &[Place { cpu: Some(0) }]).is_empty());
        std::fs::remove_dir_all(&system).unwrap();
    }
}
