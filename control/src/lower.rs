//! From a validated [`config::Model`] to the dataplane's [`Policy`].

use config::{Idle, Model, Role};
use dataplane::policy::{
    Allow, Filtering, Forward, FragmentLimits, Limits, MssClamp, Net, Policy, Port, Refusal, Route, Sizes, Static,
    StaticNeighbour, Timeouts,
};
use dataplane::types::{Mac, PortId, Proto, Side};
use std::time::Duration;

/// The dataplane's view of a model. `macs` are the ports' Ethernet addresses, in order; `seed` is the secret behind
/// hashes and the choice of ports.
pub(crate) fn policy(model: &Model, macs: &[Mac], seed: u64) -> Policy {
    let nat = model.nat();
    let limits = &nat.limits;
    Policy {
        ports: ports(model, macs),
        routes: model
            .routes()
            .iter()
            .map(|r| Route { net: Net::of(r.network.address(), r.network.prefix()), via: r.via })
            .collect(),
        neighbours: model
            .neighbours()
            .iter()
            .map(|n| StaticNeighbour { port: port_id(n.port.get()), addr: n.address, mac: Mac(n.mac.octets()) })
            .collect(),
        pool: nat.pool.iter().map(|r| r.first()..=r.last()).collect(),
        port_range: nat.ports.clone(),
        filtering: match nat.filtering {
            config::Filtering::AddressAndPortDependent => Filtering::AddressAndPortDependent,
            config::Filtering::AddressDependent => Filtering::AddressDependent,
            config::Filtering::EndpointIndependent => Filtering::EndpointIndependent,
        },
        hairpin: nat.hairpin,
        mss_clamp: match nat.mss_clamp {
            config::MssClamp::Auto => MssClamp::Auto,
            config::MssClamp::Off => MssClamp::Off,
            config::MssClamp::To(mss) => MssClamp::To(mss),
        },
        parity: nat.parity,
        preserve_port: nat.port_preservation,
        other_address: nat.pool_exhausted == config::PoolExhausted::OtherAddress,
        reject_unsolicited_syn: nat.unsolicited_syn == config::UnsolicitedSyn::Reject,
        refusal: match nat.refusal {
            config::Refusal::HostUnreachable => Refusal::HostUnreachable,
            config::Refusal::Prohibited => Refusal::Prohibited,
            config::Refusal::Silent => Refusal::Silent,
        },
        check_reset: nat.tcp_rst_check,
        timeouts: Timeouts {
            udp: millis(nat.timeouts.udp),
            tcp_established: millis(nat.timeouts.tcp_established),
            tcp_transitory: millis(nat.timeouts.tcp_transitory),
            icmp: millis(nat.timeouts.icmp),
            hold_down: millis(nat.hold_down),
            fragments: millis(nat.fragments.timeout),
        },
        limits: Limits {
            sessions: limits.sessions_per_subscriber,
            ports: limits.ports_per_subscriber,
            ports_by_protocol: [
                limits.ports_per_subscriber_tcp,
                limits.ports_per_subscriber_udp,
                limits.ports_per_subscriber_icmp,
            ]
            .map(|n| n.unwrap_or(u32::MAX)),
            rate: limits.new_sessions_per_second,
            burst: limits.new_sessions_burst,
        },
        fragments: FragmentLimits {
            datagrams: nat.fragments.datagrams,
            held: nat.fragments.held,
            per_datagram: nat.fragments.per_datagram,
        },
        forwards: forwards(model),
        statics: nat.statics.iter().map(|s| Static { outside: s.outside, inside: s.inside }).collect(),
        allows: model.firewall().allow.iter().map(|a| allow(a)).collect(),
        sizes: Sizes {
            sessions: nat.sessions.value as usize,
            mappings: nat.mappings.value as usize,
            // Few subscribers have a single mapping; a small table has room for one mapping each.
            subscribers: (nat.mappings.value as usize / 4).max(65_536.min(nat.mappings.value as usize)),
            ..Sizes::default()
        },
        seed,
        ..Policy::default()
    }
}

fn ports(model: &Model, macs: &[Mac]) -> Vec<Port> {
    let macs = macs.iter().copied().chain(std::iter::repeat(Mac::default()));
    model
        .ports()
        .iter()
        .zip(macs)
        .map(|(p, mac)| Port {
            side: match p.role {
                Role::Inside => Side::Inside,
                Role::Outside => Side::Outside,
            },
            mac,
            vlan: p.vlan.as_ref().map(|v| v.value),
            mtu: p.mtu.value,
            addresses: p.addresses.iter().map(|a| (a.address(), Net::of(a.address(), a.prefix()))).collect(),
            gateway: p.gateway.as_ref().map(|g| g.value),
        })
        .collect()
}

fn forwards(model: &Model) -> Vec<Forward> {
    model
        .nat()
        .forwards
        .iter()
        .map(|f| Forward {
            proto: match f.protocol {
                config::Protocol::Tcp => Proto::TCP,
                config::Protocol::Udp => Proto::UDP,
            },
            outside: f.outside_address,
            ports: f.outside_ports.clone(),
            inside: f.inside_address,
            inside_port: *f.inside_ports.start(),
        })
        .collect()
}

fn allow(a: &config::Allow) -> Allow {
    let (proto, ports) = match &a.service {
        config::Service::Tcp(ports) => (Proto::TCP, ports.clone()),
        config::Service::Udp(ports) => (Proto::UDP, ports.clone()),
        config::Service::Icmp => (Proto::ICMP, 0..=u16::MAX),
    };
    Allow { proto, inside: a.inside, ports }
}

fn port_id(index: usize) -> PortId {
    PortId(u8::try_from(index).unwrap_or(u8::MAX))
}

fn millis(d: Duration) -> u32 {
    u32::try_from(d.as_millis()).unwrap_or(u32::MAX)
}

/// Whether workers give their CPU away when they have nothing to do.
pub(crate) fn yields(model: &Model) -> bool {
    model.runtime().idle == Idle::Yield
}
