//! A model as a list of keys and values: for showing what runs, and for telling how two models differ.
//!
//! Entries of a list are settings of their own, so that one more forward is one difference. What is compared is what was
//! meant: a value that is left out equals its default written down.

use std::collections::BTreeMap;
use std::fmt::Display;

use serde::Serialize;

use crate::duration::show;
use crate::firewall::Service;
use crate::forward::{Forward, Protocol};
use crate::model::Model;
use crate::nat::MssClamp;
use crate::net::show_ports;
use crate::runtime::Workers;

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setting {
    /// Its key, such as `nat.timeouts.udp`; an entry of a list has its first words in brackets:
    /// `nat.forward[tcp 203.0.113.2:8443]`.
    pub key: String,
    /// Its value, as the file would have it without quotes.
    pub value: String,
    /// Whether it can change while the process runs.
    pub live: bool,
}

/// How a setting differs between two models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The setting's key.
    pub key: String,
    /// Its value before; `None` where the entry is new.
    pub before: Option<String>,
    /// Its value after; `None` where the entry is gone.
    pub after: Option<String>,
    /// Whether it can change while the process runs.
    pub live: bool,
}

impl Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => write!(f, "{}: {before} -> {after}", self.key),
            (None, Some(after)) => write!(f, "{}: new: {after}", self.key),
            (Some(before), None) => write!(f, "{}: gone: {before}", self.key),
            (None, None) => f.write_str(&self.key),
        }
    }
}

impl Model {
    /// All settings, in the order of the file's sections.
    pub fn settings(&self) -> Vec<Setting> {
        let mut list = List(Vec::new());
        self.list_runtime(&mut list);
        self.list_ports(&mut list);
        for r in self.routes() {
            list.live(format!("route[{}]", r.network), format!("via {}", r.via));
        }
        for n in self.neighbours() {
            let port = self.port(n.port).map_or("", |p| p.name.as_str());
            list.live(format!("neighbour[{port} {}]", n.address), n.mac);
        }
        self.list_nat(&mut list);
        self.list_passthrough(&mut list);
        for a in &self.firewall().allow {
            let service = match &a.service {
                Service::Tcp(ports) => format!("tcp {}", show_ports(ports)),
                Service::Udp(ports) => format!("udp {}", show_ports(ports)),
                Service::Icmp => "icmp".to_owned(),
                Service::Esp => "esp".to_owned(),
                Service::Gre => "gre".to_owned(),
                Service::L2tpv3 => "l2tpv3".to_owned(),
            };
            list.live(format!("firewall.allow[{} {service}]", a.inside), "allow");
        }
        let c = self.control();
        list.fixed("control.socket", c.socket.as_ref().map_or("off".to_owned(), |s| s.value.display().to_string()));
        list.fixed("control.mode", format!("{:04o}", c.mode));
        list.fixed("control.group", c.group.as_ref().map_or("-", |g| g.value.as_str()));
        list.fixed("control.metrics", c.metrics.as_ref().map_or("off".to_owned(), |m| m.value.to_string()));
        list.live("control.log", c.log);
        list.0
    }

    fn list_runtime(&self, list: &mut List) {
        let r = self.runtime();
        let workers = match &r.workers.value {
            Workers::Auto => "auto".to_owned(),
            Workers::Count(n) => n.to_string(),
            Workers::Cpus(cpus) => joined(cpus),
        };
        list.fixed("runtime.workers", workers);
        list.fixed("runtime.memory", r.memory.value);
        list.fixed("runtime.eal", joined(r.eal.iter().map(|e| &e.value)));
        list.fixed("runtime.buffers", r.buffers.as_ref().map_or("as needed".to_owned(), |b| b.value.to_string()));
        list.fixed("runtime.link_wait", show(r.link_wait));
        list.fixed("runtime.idle", r.idle);
    }

    fn list_ports(&self, list: &mut List) {
        for (n, p) in self.ports().iter().enumerate() {
            // Their order counts, so the number is part of the key.
            let key = |field: &str| format!("port[{n} {}].{field}", p.name);
            let or = |value: Option<String>, absent: &str| value.unwrap_or_else(|| absent.to_owned());
            list.fixed(key("role"), p.role);
            list.fixed(key("device"), &p.device.value);
            list.fixed(key("addresses"), joined(p.addresses.iter().map(|a| a.value)));
            list.live(key("gateway"), or(p.gateway.as_ref().map(|g| g.value.to_string()), "-"));
            list.fixed(key("mtu"), p.mtu.value);
            list.fixed(key("vlan"), or(p.vlan.as_ref().map(|v| v.value.to_string()), "-"));
            list.fixed(key("mac"), or(p.mac.as_ref().map(|m| m.value.to_string()), "the device's"));
            list.fixed(key("queues"), or(p.queues.as_ref().map(|q| q.value.to_string()), "one a worker"));
            list.fixed(key("steering"), p.steering.value);
            list.fixed(key("rx_descriptors"), p.rx_descriptors.value);
            list.fixed(key("tx_descriptors"), p.tx_descriptors.value);
            list.fixed(key("promiscuous"), p.promiscuous.value);
        }
    }

    fn list_nat(&self, list: &mut List) {
        let n = self.nat();
        list.live("nat.pool", joined(n.pool.iter().map(|r| r.value)));
        list.fixed("nat.ports", show_ports(&n.ports));
        list.live("nat.filtering", n.filtering);
        list.live("nat.hairpin", n.hairpin);
        let mss = match n.mss_clamp {
            MssClamp::Auto => "auto".to_owned(),
            MssClamp::Off => "off".to_owned(),
            MssClamp::To(mss) => mss.to_string(),
        };
        list.live("nat.mss_clamp", mss);
        list.fixed("nat.sessions", n.sessions.value);
        list.fixed("nat.mappings", n.mappings.value);
        list.live("nat.parity", n.parity);
        list.live("nat.port_preservation", n.port_preservation);
        list.live("nat.pool_exhausted", n.pool_exhausted);
        list.live("nat.unsolicited_syn", n.unsolicited_syn);
        list.live("nat.refusal", n.refusal);
        list.live("nat.hold_down", show(n.hold_down));
        list.live("nat.tcp_rst_check", n.tcp_rst_check);
        list.fixed("nat.fragments.datagrams", n.fragments.datagrams);
        list.fixed("nat.fragments.held", n.fragments.held);
        list.fixed("nat.fragments.per_datagram", n.fragments.per_datagram);
        list.fixed("nat.fragments.timeout", show(n.fragments.timeout));
        let t = &n.timeouts;
        let timeouts = [
            ("udp", t.udp),
            ("tcp_established", t.tcp_established),
            ("tcp_transitory", t.tcp_transitory),
            ("icmp", t.icmp),
            ("gre", t.gre),
            ("esp", t.esp),
            ("esp_pending", t.esp_pending),
            ("l2tpv3", t.l2tpv3),
            ("other", t.other),
        ];
        for (name, value) in timeouts {
            list.live(format!("nat.timeouts.{name}"), show(value));
        }
        let l = &n.limits;
        list.live("nat.limits.sessions_per_subscriber", l.sessions_per_subscriber);
        list.live("nat.limits.ports_per_subscriber", l.ports_per_subscriber);
        let by_protocol = [
            ("tcp", l.ports_per_subscriber_tcp),
            ("udp", l.ports_per_subscriber_udp),
            ("icmp", l.ports_per_subscriber_icmp),
        ];
        for (name, value) in by_protocol {
            let value = value.map_or("all".to_owned(), |v| v.to_string());
            list.live(format!("nat.limits.ports_per_subscriber_{name}"), value);
        }
        list.live("nat.limits.new_sessions_per_second", l.new_sessions_per_second);
        list.live("nat.limits.new_sessions_burst", l.new_sessions_burst);
        for f in &n.forwards {
            list.live(forward_key(f), forward_value(f));
        }
        for s in &n.statics {
            list.live(format!("nat.static[{}]", s.outside), format!("to {}", s.inside));
        }
    }

    fn list_passthrough(&self, list: &mut List) {
        let p = self.passthrough();
        list.live("passthrough.profile", p.profile);
        list.live("passthrough.pptp", p.pptp);
        list.live("passthrough.l2tp", p.l2tp);
        list.live("passthrough.ipsec", p.ipsec);
        list.fixed("passthrough.ike_port", p.ike_port);
        list.live("passthrough.esp_pairing", p.esp_pairing);
        list.live("passthrough.esp_gate", show(p.esp_gate));
        list.live("passthrough.other", joined(&p.other));
        list.fixed("passthrough.tunnels", p.tunnels);
        list.live("passthrough.tunnels_per_subscriber", p.tunnels_per_subscriber);
        list.live("passthrough.pending_per_server", p.pending_per_server);
    }

    /// What must change in this model to make it `after`, in the order of keys.
    pub fn differences(&self, after: &Model) -> Vec<Difference> {
        let by_key = |model: &Model| -> BTreeMap<String, (String, bool)> {
            model.settings().into_iter().map(|s| (s.key, (s.value, s.live))).collect()
        };
        let (old, new) = (by_key(self), by_key(after));
        let mut found: Vec<Difference> = old
            .iter()
            .filter(|(key, (value, _))| new.get(*key).is_none_or(|(now, _)| now != value))
            .map(|(key, (value, live))| Difference {
                key: key.clone(),
                before: Some(value.clone()),
                after: new.get(key).map(|(now, _)| now.clone()),
                live: *live,
            })
            .collect();
        found.extend(new.iter().filter(|(key, _)| !old.contains_key(*key)).map(|(key, (value, live))| Difference {
            key: key.clone(),
            before: None,
            after: Some(value.clone()),
            live: *live,
        }));
        found.sort_by(|a, b| a.key.cmp(&b.key));
        found
    }
}

struct List(Vec<Setting>);

impl List {
    fn live(&mut self, key: impl Into<String>, value: impl Display) {
        self.0.push(Setting { key: key.into(), value: value.to_string(), live: true });
    }

    fn fixed(&mut self, key: impl Into<String>, value: impl Display) {
        self.0.push(Setting { key: key.into(), value: value.to_string(), live: false });
    }
}

fn joined<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|i| i.to_string()).collect();
    if items.is_empty() { "-".to_owned() } else { items.join(", ") }
}

fn forward_key(f: &Forward) -> String {
    if f.protocol.has_ports() {
        format!("nat.forward[{} {}:{}]", f.protocol, f.outside_address, show_ports(&f.outside_ports))
    } else {
        format!("nat.forward[{} {}]", f.protocol, f.outside_address)
    }
}

fn forward_value(f: &Forward) -> String {
    match f.protocol {
        Protocol::Tcp | Protocol::Udp => format!("to {}:{}", f.inside_address, show_ports(&f.inside_ports)),
        Protocol::Esp | Protocol::Gre | Protocol::L2tpv3 => format!("to {}", f.inside_address),
    }
}
