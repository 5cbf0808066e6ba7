//! `[[nat.forward]]`, `[[nat.static]]`, `[firewall]`: what is reachable from outside.

mod common;

use common::{doubtful, model, wrong_beside_ports};
use config::{Protocol, Service};

fn forward(protocol: &str, outside: &str, inside: &str) -> String {
    format!("[[nat.forward]]\nprotocol = {protocol}\noutside_port = {outside}\ninside = {inside}\n")
}

fn mapping(outside: &str, inside: &str) -> String {
    format!("[[nat.static]]\noutside = {outside}\ninside = {inside}\n")
}

fn allow(protocol: &str, inside: &str, port: &str) -> String {
    format!("[[firewall.allow]]\nprotocol = {protocol}\ninside = {inside}\n{port}\n")
}

const TCP: &str = "\"tcp\"";

#[test]
fn a_forward_leads_ports_to_ports() {
    for (outside, inside, outside_ports, inside_ports) in [
        ("8443", "\"192.168.1.10:443\"", 8443..=8443, 443..=443),
        ("\"8000-8009\"", "\"192.168.1.10:9000\"", 8000..=8009, 9000..=9009),
        ("\"8000-8009\"", "\"192.168.1.10\"", 8000..=8009, 8000..=8009),
        ("\"65534-65535\"", "\"192.168.1.10:65534\"", 65534..=65535, 65534..=65535),
    ] {
        let model = model(&forward(TCP, outside, inside));
        let forward = &model.nat().forwards[0];
        assert_eq!((forward.protocol, forward.outside_address.to_string().as_str()), (Protocol::Tcp, "203.0.113.2"));
        assert_eq!((&forward.outside_ports, &forward.inside_ports), (&outside_ports, &inside_ports));
    }
}

#[test]
fn a_forward_without_an_address_is_on_the_pool_s_first() {
    let text = format!("[nat]\npool = [\"203.0.113.9\", \"203.0.113.8\"]\n{}", forward(TCP, "1", "\"192.168.1.10\""));
    assert_eq!(model(&text).nat().forwards[0].outside_address.to_string(), "203.0.113.9");
}

#[test]
fn a_forward_s_values_are_checked() {
    let host = "\"192.168.1.10:443\"";
    for (text, key, message, remedy) in [
        (forward("‸\"icmpv6\"", "1", host), "protocol", "not one", "\"tcp\" or \"udp\""),
        (
            forward("‸\"dccp\"", "1", host),
            "protocol",
            "not supported by this version (0.1)",
            "remove this [[nat.forward]]",
        ),
        (forward(TCP, "‸0", host), "outside_port", "0 is not between 1 and 65535", ""),
        (forward(TCP, "‸\"http\"", host), "outside_port", "\"http\" is not a port", "8443"),
        (forward(TCP, "1", "‸\"host:443\""), "inside", "\"host\" is not an IPv4 address", "four numbers"),
        (forward(TCP, "1", "‸\"192.168.1.10:0\""), "inside", "\"0\" is not a port", "\"192.168.1.10:443\""),
        (forward(TCP, "1", "‸\"[2001:db8::1]:443\""), "inside", "IPv6", "remove it"),
        (forward(TCP, "\"1-2\"", "‸\"192.168.1.10:5-6\""), "inside", "is a range", "\"192.168.1.10:5\""),
        (forward(TCP, "\"1-9\"", "‸\"192.168.1.10:65528\""), "inside", "9 ports from 65528 on run past 65535", "alone"),
        (forward(TCP, "1", "‸\"192.168.9.10\""), "inside", "a forward to nowhere", "192.168.1.0/24 of \"lan\""),
        (forward(TCP, "1", "‸\"203.0.113.9\""), "inside", "on the outside, on the link of port \"wan\"", ""),
        (forward(TCP, "1", "‸\"192.168.1.1\""), "inside", "our own address (line 6)", ""),
        (forward(TCP, "1", "‸\"192.168.1.255\""), "inside", "network or broadcast", ""),
        (
            forward(TCP, "1", host) + "outside_address = ‸\"203.0.113.7\"\n",
            "outside_address",
            "neither in nat.pool nor an outside port's address",
            "leave it out",
        ),
    ] {
        wrong_beside_ports(&text, &format!("nat.forward[0].{key}"), message, remedy);
    }
    let text = "‸[[nat.forward]]\nprotocol = \"tcp\"\ninside = \"192.168.1.10\"\n";
    wrong_beside_ports(text, "nat.forward[0].outside_port", "no `outside_port`", "outside_port = 8443");
}

#[test]
fn a_host_behind_an_inside_router_can_have_a_forward() {
    let route = |via: &str| format!("[[route]]\nnetwork = \"10.64.0.0/10\"\nvia = \"{via}\"\n");
    model(&(route("192.168.1.254") + &forward(TCP, "1", "\"10.64.0.9\"")));
    let outside = route("203.0.113.9") + &forward(TCP, "1", "‸\"10.64.0.9\"");
    wrong_beside_ports(&outside, "nat.forward[0].inside", "a forward to nowhere", "[[route]]");
}

#[test]
fn forwards_do_not_share_an_end() {
    let first = forward(TCP, "\"8000-8009\"", "\"192.168.1.10\"");
    let outside = first.clone() + &forward(TCP, "‸8009", "\"192.168.1.11\"");
    let message = "tcp 203.0.113.2:8009 is already forwarded (line 16)";
    wrong_beside_ports(&outside, "nat.forward[1].outside_port", message, "no other forward");
    let inside = first.clone() + &forward(TCP, "9000", "‸\"192.168.1.10:8005\"");
    let message = "tcp 192.168.1.10:8005 already has a forward (line 17)";
    wrong_beside_ports(&inside, "nat.forward[1].inside", message, "second port");
    model(&(first.clone() + &forward("\"udp\"", "8000", "\"192.168.1.10\"")));
    let other = forward(TCP, "8000", "\"192.168.1.11\"") + "outside_address = \"203.0.113.2\"\n";
    model(&("[nat]\npool = [\"203.0.113.8\", \"203.0.113.9\"]\n".to_owned() + &first + &other));
}

#[test]
fn a_forward_of_very_many_ports_is_doubtful() {
    let text = forward(TCP, "‸\"1-1001\"", "\"192.168.1.10\"");
    doubtful(&text, "nat.forward[0].outside_port", "1001 ports of an inside host are open", "[[nat.static]]");
    model(&forward(TCP, "\"1-1000\"", "\"192.168.1.10\""));
}

#[test]
fn a_static_mapping_has_an_address_to_itself() {
    let host = "\"192.168.1.30\"";
    assert_eq!(model(&mapping("\"203.0.113.4\"", host)).nat().statics[0].outside.to_string(), "203.0.113.4");
    for (outside, message, remedy) in [
        ("198.51.100.4", "in no outside port's network (203.0.113.0/24 of \"wan\")", "one of these"),
        ("203.0.113.2", "a port's own address (line 12)", "nothing else uses"),
        ("203.0.113.1", "a port's gateway (line 13)", "nothing else uses"),
        ("203.0.113.0", "the network address", "nothing else uses"),
        ("203.0.113.9", "in the pool (line 15)", "take it out of nat.pool"),
    ] {
        let text = "[nat]\npool = [\"203.0.113.8/29\"]\n".to_owned() + &mapping(&format!("‸\"{outside}\""), host);
        wrong_beside_ports(&text, "nat.static[0].outside", message, remedy);
    }
    let nowhere = mapping("\"203.0.113.4\"", "‸\"10.9.9.9\"");
    wrong_beside_ports(&nowhere, "nat.static[0].inside", "a mapping to nowhere", "[[route]]");
}

#[test]
fn static_mappings_are_one_to_one() {
    let first = mapping("\"203.0.113.4\"", "\"192.168.1.30\"");
    let outside = first.clone() + &mapping("‸\"203.0.113.4\"", "\"192.168.1.31\"");
    wrong_beside_ports(&outside, "nat.static[1].outside", "already has a static mapping (line 15)", "one to one");
    let inside = first.clone() + &mapping("\"203.0.113.5\"", "‸\"192.168.1.30\"");
    wrong_beside_ports(&inside, "nat.static[1].inside", "already has a static mapping (line 16)", "one to one");
    let both = first + &forward(TCP, "1", "\"192.168.1.30\"").replace("[[", "‸[[");
    wrong_beside_ports(&both, "nat.forward[0]", "192.168.1.30 has a static mapping (line 14)", "[[firewall.allow]]");
}

#[test]
fn the_firewall_denies_what_is_not_allowed() {
    let host = "\"192.168.1.30\"";
    let with = |more: &str| mapping("\"203.0.113.4\"", host) + more;
    let services = [
        (allow(TCP, host, "port = 443"), Service::Tcp(443..=443)),
        (allow("\"udp\"", host, "port = \"500-600\""), Service::Udp(500..=600)),
        (allow("\"icmp\"", host, ""), Service::Icmp),
    ];
    for (text, service) in services {
        assert_eq!(model(&with(&text)).firewall().allow[0].service, service);
    }
    wrong_beside_ports("[firewall]\ndefault = ‸\"allow\"\n", "firewall.default", "let the Internet in", "\"deny\"");
    wrong_beside_ports("[firewall]\ndefault = ‸\"drop\"\n", "firewall.default", "\"drop\" is not a policy", "\"deny\"");
    for (text, key, message, remedy) in [
        (allow("‸\"sctp\"", host, "port = 1"), ".protocol", "\"sctp\" is not one", "\"icmp\""),
        (allow("\"icmp\"", host, "port = ‸1"), ".port", "icmp has no ports", "remove it"),
        (allow(TCP, host, "").replace("[[", "‸[["), ".port", "no `port`", "\"1-65535\" for every port"),
        (allow(TCP, "‸\"192.168.1.31\"", "port = 1"), ".inside", "leads to 192.168.1.31", "add a [[nat.static]]"),
    ] {
        wrong_beside_ports(&with(&text), &format!("firewall.allow[0]{key}"), message, remedy);
    }
}

#[test]
fn an_exception_that_no_forward_leads_to_is_doubtful() {
    let host = "\"192.168.1.10\"";
    let with = |more: &str| forward(TCP, "8080", "\"192.168.1.10:80\"") + more;
    model(&with(&allow(TCP, host, "port = \"1-100\"")));
    let other = with(&allow(TCP, host, "port = 8080")).replace("[[firewall", "‸[[firewall");
    doubtful(&other, "firewall.allow[0]", "no forward to 192.168.1.10 leads to this service", "remove it");
}
