//! `[nat]` but for what it opens: values, timeouts, limits, the pool.

mod common;

use std::time::Duration;

use common::{LAN, WAN, doubtful, model, wrong, wrong_beside_ports};
use config::{Filtering, MssClamp, PoolExhausted, Refusal, UnsolicitedSyn};

#[test]
fn nat_has_the_rfcs_defaults() {
    let model = model("");
    let nat = model.nat();
    let seconds = Duration::from_secs;
    assert_eq!(nat.pool[0].to_string(), "203.0.113.2");
    assert_eq!((nat.pool.len(), nat.ports.clone()), (1, 1024..=65535));
    assert_eq!((nat.filtering, nat.mss_clamp), (Filtering::AddressAndPortDependent, MssClamp::Auto));
    assert!(nat.hairpin && nat.parity && nat.port_preservation && nat.tcp_rst_check);
    assert_eq!((*nat.sessions, *nat.mappings), (262_144, 262_144));
    assert_eq!((nat.pool_exhausted, nat.unsolicited_syn), (PoolExhausted::Drop, UnsolicitedSyn::Drop));
    assert_eq!((nat.refusal, nat.hold_down), (Refusal::HostUnreachable, seconds(120)));
    let timeouts = &nat.timeouts;
    assert_eq!((timeouts.udp, timeouts.icmp), (seconds(300), seconds(60)));
    assert_eq!((timeouts.tcp_established, timeouts.tcp_transitory), (seconds(7440), seconds(240)));
    let fragments = &nat.fragments;
    assert_eq!((fragments.datagrams, fragments.held, fragments.per_datagram), (4096, 1024, 64));
    assert_eq!(fragments.timeout, seconds(2));
    let limits = &nat.limits;
    assert_eq!((limits.sessions_per_subscriber, limits.ports_per_subscriber), (4096, 2048));
    assert_eq!((limits.new_sessions_per_second, limits.new_sessions_burst), (1000, 2000));
}

#[test]
fn mappings_follow_sessions_and_the_burst_follows_the_rate() {
    let model = model("[nat]\nsessions = 4096\n[nat.limits]\nnew_sessions_per_second = 5\n");
    assert_eq!((*model.nat().mappings, model.nat().limits.new_sessions_burst), (4096, 10));
}

#[test]
fn values_out_of_range_are_refused() {
    for (line, key, message, remedy) in [
        ("ports = ‸\"0-65535\"", "ports", "not a port or a range", "\"8000-8009\""),
        ("ports = ‸\"65535-1024\"", "ports", "ends before it begins", "\"1024-65535\""),
        ("ports = ‸[1024]", "ports", "a list is not a string", ""),
        ("filtering = ‸\"endpoint\"", "filtering", "\"endpoint\" is not one", "\"address-dependent\""),
        ("filtering = ‸\"adress-dependent\"", "filtering", "not one", "did you mean \"address-dependent\"?"),
        ("hairpin = ‸1", "hairpin", "1 is not a boolean", "true or false"),
        ("mss_clamp = ‸535", "mss_clamp", "535 is not between 536 and 8960", ""),
        ("mss_clamp = ‸\"on\"", "mss_clamp", "\"on\" is not an MSS clamp", "\"auto\""),
        ("sessions = ‸1000", "sessions", "1000 is not between 1024 and 67108864", ""),
        ("mappings = ‸67_108_865", "mappings", "67108865 is not between", ""),
        ("pool_exhausted = ‸\"other\"", "pool_exhausted", "\"other\" is not one", "\"drop\" or \"other-address\""),
        ("unsolicited_syn = ‸\"rejct\"", "unsolicited_syn", "not one", "did you mean \"reject\"?"),
        ("refusal = ‸\"none\"", "refusal", "not one", "\"silent\""),
        ("hold_down = ‸\"8d\"", "hold_down", "not between 0s and 7d", ""),
        ("fragments.datagrams = ‸0", "fragments.datagrams", "0 is not between 1", ""),
        ("fragments.per_datagram = ‸1", "fragments.per_datagram", "1 is not between 2", ""),
        ("fragments.timeout = ‸\"2 s\"", "fragments.timeout", "\"2 s\" is not a duration", "\"2h4m\""),
        ("fragments.timeout = ‸2.5", "fragments.timeout", "2.5 is not a string", "\"300s\""),
        ("timeouts.udp = ‸300", "timeouts.udp", "300 has no unit", "write: \"300s\""),
        ("timeouts.udp = ‸\"300\"", "timeouts.udp", "\"300\" has no unit", "write: \"300s\""),
        ("timeouts.icmp = ‸\"999ms\"", "timeouts.icmp", "not between 1s and 7d", "\"1s\" to \"7d\""),
        ("limits.ports_per_subscriber = ‸0", "limits.ports_per_subscriber", "not \"no limit\"", "leave it out"),
        ("limits.sessions_per_subscriber = ‸-1", "limits.sessions_per_subscriber", "-1 is not between 1", ""),
    ] {
        wrong_beside_ports(&format!("[nat]\n{line}\n"), &format!("nat.{key}"), message, remedy);
    }
}

#[test]
fn values_below_an_rfc_s_floor_are_doubtful() {
    for (line, key, message) in [
        ("timeouts.udp = ‸\"119s\"", "timeouts.udp", "RFC 4787 REQ-5"),
        ("timeouts.tcp_established = ‸\"2h3m\"", "timeouts.tcp_established", "RFC 5382 REQ-5"),
        ("timeouts.tcp_transitory = ‸\"239999ms\"", "timeouts.tcp_transitory", "RFC 5382 REQ-5"),
        ("timeouts.icmp = ‸\"59s\"", "timeouts.icmp", "RFC 5508 REQ-2"),
        ("hold_down = ‸\"0s\"", "hold_down", "RFC 6888 REQ-8"),
        ("ports = ‸\"1000-65535\"", "ports", "RFC 4787 REQ-3a"),
        ("ports = ‸\"2000-3022\"", "ports", "1023 ports an outside address are few"),
        ("filtering = ‸\"endpoint-independent\"", "filtering", "anybody on the Internet can reach"),
        ("limits.ports_per_subscriber_udp = ‸4096", "limits.ports_per_subscriber_udp", "never reached"),
    ] {
        doubtful(&format!("[nat]\n{line}\n"), &format!("nat.{key}"), message, "");
    }
}

#[test]
fn the_pool_keeps_its_order_and_expands_lazily() {
    let model = model("[nat]\npool = [\"203.0.113.64/26\", \"203.0.113.2\", \"203.0.113.8-203.0.113.15\"]\n");
    let shown: Vec<_> = model.nat().pool.iter().map(|range| range.to_string()).collect();
    assert_eq!(shown, ["203.0.113.64-203.0.113.127", "203.0.113.2", "203.0.113.8-203.0.113.15"]);
}

#[test]
fn the_pool_is_ours_and_nobody_else_s() {
    for (pool, key, message, remedy) in [
        ("‸[]", "", "nothing to translate to", "leave it out"),
        ("‸\"203.0.113.2\"", "", "is not a list", "[\"203.0.113.2\"]"),
        ("[‸5]", "[0]", "5 is not a string", "\"203.0.113.2\""),
        ("[‸\"203.0.113.300\"]", "[0]", "not an IPv4 address", "\"203.0.113.2\""),
        ("[‸\"203.0.113.9-203.0.113.8\"]", "[0]", "ends before it begins", "\"203.0.113.8-203.0.113.9\""),
        ("[‸\"203.0.113.9/28\"]", "[0]", "host bits", "\"203.0.113.0/28\""),
        ("[‸\"198.51.100.1\"]", "[0]", "in no outside port's network (203.0.113.0/24 of \"wan\")", "one of these"),
        ("[‸\"192.168.1.7\"]", "[0]", "in no outside port's network", ""),
        ("[‸\"203.0.113.1\"]", "[0]", "a port's gateway (line 13)", "remove it"),
        (
            "[‸\"203.0.113.0/30\"]",
            "[0]",
            "the network address of 203.0.113.0/24 (and 1 more such)",
            "write: \"203.0.113.2-203.0.113.3\"",
        ),
        ("[‸\"203.0.113.254/31\"]", "[0]", "the broadcast address of 203.0.113.0/24", "write: \"203.0.113.254\""),
        (
            "[\"203.0.113.8/29\", \"203.0.113.3\", ‸\"203.0.113.9\"]",
            "[2]",
            "203.0.113.9 overlaps 203.0.113.8-203.0.113.15 (line 15)",
            "once",
        ),
    ] {
        wrong_beside_ports(&format!("[nat]\npool = {pool}\n"), &format!("nat.pool{key}"), message, remedy);
    }
    let neighbour = "[[neighbour]]\nport = \"wan\"\naddress = \"203.0.113.9\"\nmac = \"02:00:00:00:00:01\"\n";
    let text = format!("[nat]\npool = [‸\"203.0.113.8/29\"]\n{neighbour}");
    wrong_beside_ports(
        &text,
        "nat.pool[0]",
        "203.0.113.9 is a static neighbour (line 16)",
        "\"203.0.113.8\", \"203.0.113.10-203.0.113.15\"",
    );
}

#[test]
fn a_pool_may_cross_from_one_outside_network_into_the_next() {
    let wan = WAN.replace("\"203.0.113.2/24\"", "\"203.0.113.2/24\", \"198.18.0.1/16\", \"198.19.0.1/16\"");
    let parse = |pool: &str| config::parse("u.toml", &format!("{LAN}{wan}[nat]\npool = [\"{pool}\"]\n"));
    assert!(parse("198.18.1.0/24").is_ok());
    let report = parse("198.18.255.0-198.19.0.9").unwrap_err().to_string();
    assert!(report.contains("198.18.255.255 is the broadcast address of 198.18.0.0/16 (and 1 more such)"), "{report}");
    assert!(report.contains("\"198.18.255.0-198.18.255.254\", \"198.19.0.1-198.19.0.9\""), "{report}");
}

#[test]
fn a_pool_has_a_limit() {
    let wan = WAN.replace("203.0.113.2/24", "20.0.0.2/8").replace("203.0.113.1", "20.0.0.1");
    let text = format!("{LAN}{wan}[nat]\npool = ‸[\"20.1.0.0/16\", \"20.2.0.0\"]\n");
    wrong(&text, "nat.pool", "65537 addresses are more than 65536", "at most 65536");
}
