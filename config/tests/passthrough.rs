//! `[passthrough]`, the timeouts of tunnels, and ways in for protocols without ports.

mod common;

use std::time::Duration;

use common::{doubtful, model, wrong_beside_ports};
use config::{EspPairing, IkePort, Passthrough, Profile, Protocol, Service, Switch};

fn passthrough(lines: &str) -> Passthrough {
    model(&format!("[passthrough]\n{lines}\n")).passthrough().clone()
}

fn switches(lines: &str) -> [Switch; 3] {
    let p = passthrough(lines);
    [p.pptp, p.l2tp, p.ipsec]
}

fn forward(protocol: &str, inside: &str) -> String {
    format!("[[nat.forward]]\nprotocol = {protocol}\ninside = {inside}\n")
}

fn allow(protocol: &str, more: &str) -> String {
    let mapping = "[[nat.static]]\noutside = \"203.0.113.4\"\ninside = \"192.168.1.30\"\n";
    format!("{mapping}[[firewall.allow]]\nprotocol = {protocol}\ninside = \"192.168.1.30\"\n{more}\n")
}

const PORTLESS: [(&str, Protocol, Service); 3] = [
    ("esp", Protocol::Esp, Service::Esp),
    ("gre", Protocol::Gre, Service::Gre),
    ("l2tpv3", Protocol::L2tpv3, Service::L2tpv3),
];

#[test]
fn vpns_pass_unless_told_otherwise() {
    let p = model("").passthrough().clone();
    assert_eq!(p, passthrough(""));
    assert_eq!((p.profile, p.pptp, p.l2tp, p.ipsec), (Profile::Cpe, Switch::On, Switch::On, Switch::On));
    assert_eq!((p.ike_port, p.esp_pairing), (IkePort::Translate, EspPairing::Parallel));
    assert_eq!((p.esp_gate, p.other.as_slice()), (Duration::from_secs(30), [].as_slice()));
    assert_eq!((p.tunnels, p.tunnels_per_subscriber, p.pending_per_server), (16_384, 256, 256));
}

#[test]
fn a_written_switch_counts_under_either_profile() {
    use Switch::{Off, On, Plain};
    for (lines, expected) in [
        ("profile = \"cpe\"", [On, On, On]),
        ("profile = \"strict\"", [Plain, Plain, Plain]),
        ("profile = \"cpe\"\npptp = false\nl2tp = true", [Off, On, On]),
        ("profile = \"strict\"\npptp = true\nipsec = false", [On, Plain, Off]),
        ("l2tp = false\nprofile = \"strict\"\nipsec = true", [Plain, Off, On]),
    ] {
        assert_eq!(switches(lines), expected, "{lines}");
    }
}

#[test]
fn every_other_value_is_taken() {
    let p = passthrough(
        "ike_port = \"preserve\"\nesp_pairing = \"strict\"\nesp_gate = \"20m\"\ntunnels = 64\n\
         tunnels_per_subscriber = 64\npending_per_server = 4096\n",
    );
    assert_eq!((p.ike_port, p.esp_pairing), (IkePort::Preserve, EspPairing::Strict));
    assert_eq!((p.esp_gate, p.tunnels), (Duration::from_secs(1200), 64));
    assert_eq!((p.tunnels_per_subscriber, p.pending_per_server), (64, 4096));
    assert_eq!(passthrough("esp_gate = \"3s\"").esp_gate, Duration::from_secs(3));
    assert_eq!(passthrough("tunnels = 100").tunnels_per_subscriber, 100, "a subscriber takes no more than all");
}

#[test]
fn a_value_that_cannot_be_is_refused() {
    for (line, key, message, remedy) in [
        ("profile = ‸\"home\"", "profile", "\"home\" is not one", "\"cpe\" or \"strict\""),
        ("profile = ‸\"strct\"", "profile", "not one", "did you mean \"strict\"?"),
        ("pptp = ‸\"on\"", "pptp", "\"on\" is not a boolean", "true or false"),
        ("l2tp = ‸1", "l2tp", "1 is not a boolean", "true or false"),
        ("ipsec = ‸\"strict\"", "ipsec", "not a boolean", "true or false"),
        ("ike_port = ‸500", "ike_port", "500 is not a string", "\"translate\" or \"preserve\""),
        ("ike_port = ‸\"keep\"", "ike_port", "\"keep\" is not one", "\"preserve\""),
        ("esp_pairing = ‸\"serial\"", "esp_pairing", "not one", "\"parallel\" or \"strict\""),
        ("esp_gate = ‸\"2999ms\"", "esp_gate", "not between 3s and 1200s", "\"3s\" to \"1200s\""),
        ("esp_gate = ‸\"21m\"", "esp_gate", "not between 3s and 1200s", ""),
        ("esp_gate = ‸30", "esp_gate", "30 has no unit", "write: \"30s\""),
        ("tunnels = ‸63", "tunnels", "63 is not between 64 and 4194304", ""),
        ("tunnels = ‸4_194_305", "tunnels", "4194305 is not between", ""),
        ("tunnels_per_subscriber = ‸0", "tunnels_per_subscriber", "not \"no limit\"", "leave it out"),
        ("pending_per_server = ‸0", "pending_per_server", "0 is not between 1 and 4096", ""),
        ("pending_per_server = ‸4097", "pending_per_server", "4097 is not between", ""),
        ("‸gre = true", "gre", "unknown key in [passthrough]", "[passthrough] takes: profile, pptp, l2tp, ipsec"),
        ("‸esp_gates = \"30s\"", "esp_gates", "unknown key", "`esp_gate`?"),
    ] {
        wrong_beside_ports(&format!("[passthrough]\n{line}\n"), &format!("passthrough.{key}"), message, remedy);
    }
    let never = "[passthrough]\ntunnels_per_subscriber = ‸65\ntunnels = 64\n";
    doubtful(never, "passthrough.tunnels_per_subscriber", "65 is never reached: tunnels is 64", "raise tunnels");
}

#[test]
fn other_protocols_go_by_number_or_name() {
    assert_eq!(passthrough("other = [47, 41]").other, [47, 41]);
    assert_eq!(passthrough("other = [\"sctp\", \"ipip\", \"gre\", \"6in4\"]").other, [132, 4, 47, 41]);
    assert_eq!(passthrough("other = [254, 2]").other, [254, 2]);
    assert_eq!(passthrough("other = []").other, []);
}

#[test]
fn a_protocol_that_nat_cannot_carry_or_carries_already_is_refused() {
    for (list, index, message, remedy) in [
        ("[‸0]", 0, "protocol 0 is IPv6's hop-by-hop options", "remove it"),
        ("[‸1]", 0, "protocol 1 is always translated", "remove it"),
        ("[‸6]", 0, "protocol 6 is always translated", "remove it"),
        ("[47, ‸17]", 1, "protocol 17 is always translated", "remove it"),
        ("[‸\"udp\"]", 0, "\"udp\" (protocol 17) is always translated", "remove it"),
        ("[‸50]", 0, "protocol 50 has a switch of its own", "ipsec = true"),
        ("[‸\"esp\"]", 0, "\"esp\" (protocol 50) has a switch of its own", "ipsec = true"),
        ("[‸51]", 0, "can never pass (RFC 3715 §2.1)", "NAT-T"),
        ("[‸\"ah\"]", 0, "\"ah\" (protocol 51) authenticates the addresses", "NAT-T"),
        ("[‸58]", 0, "protocol 58 belongs to IPv6", "remove it"),
        ("[‸115]", 0, "protocol 115 has a switch of its own", "l2tp = true"),
        ("[‸255]", 0, "protocol 255 is reserved", "remove it"),
        ("[‸256]", 0, "256 is not between 0 and 255", "a number from 1 to 254"),
        ("[‸-1]", 0, "-1 is not between 0 and 255", "a number from 1 to 254"),
        ("[‸4.5]", 0, "4.5 is not an integer", "a number from 1 to 254"),
        ("[‸\"47\"]", 0, "\"47\" is not a protocol known by name", "47, without quotes"),
        ("[‸\"sctpp\"]", 0, "\"sctpp\" is not a protocol known by name", "did you mean \"sctp\"?"),
        ("[‸\"wireguard\"]", 0, "\"wireguard\" is not a protocol known by name", "such as \"gre\""),
        ("[41, ‸41]", 1, "protocol 41 is in the list already (line 15)", "once"),
        ("[47, ‸\"gre\"]", 1, "\"gre\" (protocol 47) is in the list already (line 15)", "once"),
    ] {
        let text = format!("[passthrough]\nother = {list}\n");
        wrong_beside_ports(&text, &format!("passthrough.other[{index}]"), message, remedy);
    }
    wrong_beside_ports("[passthrough]\nother = ‸47\n", "passthrough.other", "47 is not a list", "[47, \"6in4\"]");
}

#[test]
fn tunnels_have_timeouts_of_their_own() {
    let seconds = Duration::from_secs;
    let timeouts = &model("").nat().timeouts.clone();
    assert_eq!((timeouts.gre, timeouts.esp, timeouts.esp_pending), (seconds(7440), seconds(3600), seconds(30)));
    assert_eq!((timeouts.l2tpv3, timeouts.other), (seconds(3600), seconds(600)));
    for key in ["gre", "esp", "esp_pending", "l2tpv3", "other"] {
        for (value, message, remedy) in [
            ("30", "30 has no unit", "write: \"30s\""),
            ("\"999ms\"", "not between 1s and 7d", "\"1s\" to \"7d\""),
            ("\"8d\"", "not between 1s and 7d", ""),
        ] {
            let text = format!("[nat.timeouts]\n{key} = ‸{value}\n");
            wrong_beside_ports(&text, &format!("nat.timeouts.{key}"), message, remedy);
        }
    }
    let short = "[nat.timeouts]\ngre = ‸\"119s\"\n";
    doubtful(short, "nat.timeouts.gre", "119s is shorter than the 120s of RFC 2637", "\"120s\" or more");
}

#[test]
fn a_protocol_without_ports_leads_to_one_host() {
    for (name, protocol, service) in PORTLESS {
        let quoted = format!("\"{name}\"");
        let forwarded = model(&forward(&quoted, "\"192.168.1.10\""));
        let forward = &forwarded.nat().forwards[0];
        assert_eq!((forward.protocol, forward.outside_address), (protocol, [203, 0, 113, 2].into()));
        assert_eq!((&forward.outside_ports, &forward.inside_ports), (&(0..=0), &(0..=0)));
        assert_eq!(model(&allow(&quoted, "")).firewall().allow[0].service, service);
    }
}

#[test]
fn a_port_of_a_protocol_without_ports_is_refused() {
    for (name, ..) in PORTLESS {
        let quoted = format!("\"{name}\"");
        let message = format!("{name} has no ports");
        let outside = forward(&quoted, "\"192.168.1.10\"") + "outside_port = ‸4500\n";
        wrong_beside_ports(&outside, "nat.forward[0].outside_port", &message, "remove it");
        let inside = forward(&quoted, "‸\"192.168.1.10:4500\"");
        wrong_beside_ports(&inside, "nat.forward[0].inside", &message, "write: \"192.168.1.10\"");
        wrong_beside_ports(&allow(&quoted, "port = ‸4500"), "firewall.allow[0].port", &message, "remove it");
    }
    let without = forward("\"udp\"", "\"192.168.1.10\"").replace("[[", "‸[[");
    wrong_beside_ports(&without, "nat.forward[0].outside_port", "no `outside_port`", "outside_port = 8443");
    let nobody = "‸[[nat.forward]]\nprotocol = \"esp\"\n";
    wrong_beside_ports(nobody, "nat.forward[0].inside", "no `inside`", "inside = \"192.168.1.10\"");
}

#[test]
fn a_vpn_s_other_name_says_what_to_forward() {
    for (name, message, remedy) in [
        ("ah", "can never pass (RFC 3715 §2.1)", "udp 500 and 4500"),
        ("l2tp", "\"l2tp\" runs over UDP", "\"udp\" with outside_port = 1701, or \"l2tpv3\""),
        ("pptp", "GRE follows by itself", "\"tcp\" with outside_port = 1723"),
        ("sctp", "not supported by this version (0.1)", "remove this [[nat.forward]]"),
    ] {
        let text = forward(&format!("‸\"{name}\""), "\"192.168.1.10\"");
        wrong_beside_ports(&text, "nat.forward[0].protocol", message, remedy);
    }
    wrong_beside_ports(&allow("‸\"ah\"", ""), "firewall.allow[0].protocol", "\"ah\" is not one", "\"l2tpv3\"");
}

#[test]
fn two_hosts_cannot_have_one_protocol_of_an_address() {
    for (name, ..) in PORTLESS {
        let quoted = format!("\"{name}\"");
        let first = forward(&quoted, "\"192.168.1.10\"");
        let outside = first.clone() + &forward(&format!("‸{quoted}"), "\"192.168.1.11\"");
        let message = format!("{name} 203.0.113.2 is already forwarded (line 15)");
        wrong_beside_ports(&outside, "nat.forward[1].protocol", &message, "no other forward of the protocol takes");
        let pool = "[nat]\npool = [\"203.0.113.8\", \"203.0.113.9\"]\n";
        let elsewhere = |inside: &str| forward(&quoted, inside) + "outside_address = \"203.0.113.9\"\n";
        let inside = format!("{pool}{first}{}", elsewhere("‸\"192.168.1.10\""));
        let message = format!("{name} 192.168.1.10 already has a forward (line 18)");
        wrong_beside_ports(&inside, "nat.forward[1].inside", &message, "keep one of the two");
        model(&format!("{pool}{first}{}", elsewhere("\"192.168.1.11\"")));
    }
    model(&(forward("\"esp\"", "\"192.168.1.10\"") + &forward("\"gre\"", "\"192.168.1.10\"")));
    let with_static = forward("\"esp\"", "\"192.168.1.30\"").replace("[[", "‸[[") + &allow("\"gre\"", "");
    wrong_beside_ports(&with_static, "nat.forward[0]", "192.168.1.30 has a static mapping", "[[firewall.allow]]");
}

#[test]
fn a_way_in_for_what_does_not_pass_is_doubtful() {
    let off = "[passthrough]\nipsec = false\nl2tp = false\n";
    let strict = "[passthrough]\nprofile = \"strict\"\n";
    for (head, why) in [(off, "switched off in [passthrough]"), (strict, "passthrough.profile is \"strict\"")] {
        for (name, key) in [("esp", "ipsec = true"), ("l2tpv3", "l2tp = true")] {
            let into = head.to_owned() + &forward(&format!("‸\"{name}\""), "\"192.168.1.10\"");
            doubtful(&into, "nat.forward[0].protocol", why, key);
            let exception = allow(&format!("\"{name}\""), "").replace("[[firewall", "‸[[firewall");
            doubtful(&(head.to_owned() + &exception), "firewall.allow[0]", why, key);
        }
        model(&(head.to_owned() + &forward("\"gre\"", "\"192.168.1.10\"")));
        model(&(head.to_owned() + &allow("\"gre\"", "")));
    }
    model(&(strict.to_owned() + "ipsec = true\n" + &forward("\"esp\"", "\"192.168.1.10\"")));
}

#[test]
fn an_exception_for_another_protocol_than_the_forward_s_is_doubtful() {
    for (name, ..) in PORTLESS {
        let into = forward(&format!("\"{name}\""), "\"192.168.1.10\"");
        let exception = |name: &str| format!("[[firewall.allow]]\nprotocol = \"{name}\"\ninside = \"192.168.1.10\"\n");
        model(&(into.clone() + &exception(name)));
        let other = into + "‸" + &exception("icmp");
        doubtful(&other, "firewall.allow[0]", "no forward to 192.168.1.10 leads to this service", "remove it");
    }
}

#[test]
fn two_configurations_differ_when_their_passthrough_does() {
    assert_eq!(model(""), model("[passthrough]\nprofile = \"cpe\"\n"));
    assert_ne!(model(""), model("[passthrough]\npptp = false\n"));
    assert_ne!(model(""), model("[nat.timeouts]\nesp = \"61m\"\n"));
}
