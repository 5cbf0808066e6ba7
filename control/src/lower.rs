//! From a validated [`config::Model`] to the dataplane's [`Policy`].

use config::{Idle, Model, Role};
use dataplane::policy::{
    Allow, Filtering, Forward, FragmentLimits, IkePort, Limits, MssClamp, Net, Pairing, Passthrough, Policy, Port,
    Refusal, Route, Sizes, Static, StaticNeighbour, Switch, Timeouts,
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
        timeouts: timeouts(nat),
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
        passthrough: passthrough(model.passthrough()),
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

fn timeouts(nat: &config::Nat) -> Timeouts {
    Timeouts {
        udp: millis(nat.timeouts.udp),
        tcp_established: millis(nat.timeouts.tcp_established),
        tcp_transitory: millis(nat.timeouts.tcp_transitory),
        icmp: millis(nat.timeouts.icmp),
        hold_down: millis(nat.hold_down),
        fragments: millis(nat.fragments.timeout),
        gre: millis(nat.timeouts.gre),
        esp: millis(nat.timeouts.esp),
        esp_pending: millis(nat.timeouts.esp_pending),
        l2tpv3: millis(nat.timeouts.l2tpv3),
        other: millis(nat.timeouts.other),
    }
}

fn passthrough(p: &config::Passthrough) -> Passthrough {
    let switch = |s| match s {
        config::Switch::On => Switch::On,
        config::Switch::Plain => Switch::Plain,
        config::Switch::Off => Switch::Off,
    };
    Passthrough {
        pptp: switch(p.pptp),
        l2tp: switch(p.l2tp),
        ipsec: switch(p.ipsec),
        ike_port: match p.ike_port {
            config::IkePort::Translate => IkePort::Translate,
            config::IkePort::Preserve => IkePort::Preserve,
        },
        pairing: match p.esp_pairing {
            config::EspPairing::Parallel => Pairing::Parallel,
            config::EspPairing::Strict => Pairing::Strict,
        },
        gate: millis(p.esp_gate),
        other: p.other.clone(),
        tunnels: p.tunnels as usize,
        tunnels_per_subscriber: p.tunnels_per_subscriber,
        pending_per_server: p.pending_per_server,
    }
}

fn ports(model: &Model, macs: &[Mac]) -> Vec<Port> {
    let macs = macs.iter().copied().chain(std::iter::repeat(Mac::default()));
    model
        .ports()
        .iter()
        .zip(macs)
        .map(|(p, mac)| Port {
            side: side(p.role),
            mac,
            vlan: p.vlan.as_ref().map(|v| v.value),
            mtu: p.mtu.value,
            addresses: p.addresses.iter().map(|a| (a.address(), Net::of(a.address(), a.prefix()))).collect(),
            gateway: p.gateway.as_ref().map(|g| g.value),
        })
        .collect()
}

/// The side of a role.
pub(crate) const fn side(role: Role) -> Side {
    match role {
        Role::Inside => Side::Inside,
        Role::Outside => Side::Outside,
    }
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
                config::Protocol::Esp => Proto::ESP,
                config::Protocol::Gre => Proto::GRE,
                config::Protocol::L2tpv3 => Proto::L2TP,
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
        config::Service::Esp => (Proto::ESP, 0..=u16::MAX),
        config::Service::Gre => (Proto::GRE, 0..=u16::MAX),
        config::Service::L2tpv3 => (Proto::L2TP, 0..=u16::MAX),
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

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: &str = r#"
        [[port]]
        name = "lan"
        role = "inside"
        device = "net_null0"
        addresses = ["192.168.1.1/24"]
        [[port]]
        name = "wan"
        role = "outside"
        device = "net_null1"
        addresses = ["203.0.113.2/24"]
        gateway = "203.0.113.1"
    "#;

    fn lowered(more: &str) -> Policy {
        let checked = config::parse("t", &format!("{PORTS}{more}")).unwrap_or_else(|report| panic!("{report}"));
        policy(&checked.model, &[], 0)
    }

    #[test]
    fn what_the_file_leaves_out_is_the_dataplane_s_default() {
        let policy = lowered("");
        assert_eq!(format!("{:?}", policy.passthrough), format!("{:?}", Passthrough::default()));
        assert_eq!(format!("{:?}", policy.timeouts), format!("{:?}", Timeouts::default()));
    }

    #[test]
    fn every_setting_of_passthrough_arrives() {
        let policy = lowered(
            r#"
            [passthrough]
            profile = "strict"
            pptp = true
            ipsec = false
            ike_port = "preserve"
            esp_pairing = "strict"
            esp_gate = "5s"
            other = ["6in4", 47]
            tunnels = 1000
            tunnels_per_subscriber = 7
            pending_per_server = 8
            [nat.timeouts]
            gre = "1h"
            esp = "2h"
            esp_pending = "3s"
            l2tpv3 = "4h"
            other = "5m"
            "#,
        );
        let p = &policy.passthrough;
        assert_eq!((p.pptp, p.l2tp, p.ipsec), (Switch::On, Switch::Plain, Switch::Off));
        assert_eq!((p.ike_port, p.pairing, p.gate), (IkePort::Preserve, Pairing::Strict, 5000));
        assert_eq!(p.other, [41, 47]);
        assert_eq!((p.tunnels, p.tunnels_per_subscriber, p.pending_per_server), (1000, 7, 8));
        let t = &policy.timeouts;
        assert_eq!((t.gre, t.esp, t.esp_pending, t.l2tpv3, t.other), (3_600_000, 7_200_000, 3000, 14_400_000, 300_000));
    }

    #[test]
    fn protocols_without_ports_lead_in_at_port_zero() {
        for (name, proto) in [("esp", Proto::ESP), ("gre", Proto::GRE), ("l2tpv3", Proto::L2TP)] {
            let policy = lowered(&format!(
                r#"
                [[nat.forward]]
                protocol = "{name}"
                inside = "192.168.1.10"
                [[nat.static]]
                outside = "203.0.113.4"
                inside = "192.168.1.30"
                [[firewall.allow]]
                protocol = "{name}"
                inside = "192.168.1.30"
                "#
            ));
            let forward = &policy.forwards[0];
            assert_eq!((forward.proto, forward.ports.clone(), forward.inside_port), (proto, 0..=0, 0));
            assert_eq!((policy.allows[0].proto, policy.allows[0].ports.contains(&0)), (proto, true));
        }
    }
}
