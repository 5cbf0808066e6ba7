//! `[runtime]`, `[[port]]`, `[[neighbour]]`, `[[route]]`.

mod common;

use std::time::Duration;

use common::{LAN, WAN, doubtful, model, wrong, wrong_beside_ports};
use config::{Device, Idle, Memory, Role, Steering, Workers};

/// The ordinary inside port with one line replaced, and the outside one.
#[track_caller]
fn wrong_port(key: &str, line: &str, message: &str, remedy: &str) {
    let name = line.split('=').next().unwrap_or_default();
    let port: String = LAN.lines().filter(|old| !old.starts_with(name)).map(|old| format!("{old}\n")).collect();
    wrong(&format!("{port}{line}\n{WAN}"), key, message, remedy);
}

#[test]
fn runtime_has_defaults() {
    let model = model("");
    let runtime = model.runtime();
    assert_eq!(*runtime.workers, Workers::Auto);
    assert_eq!(*runtime.memory, Memory::Auto);
    assert_eq!((runtime.eal.len(), runtime.link_wait, runtime.idle), (0, Duration::from_secs(10), Idle::Poll));
}

#[test]
fn workers_are_auto_a_number_or_cpus() {
    for (text, workers) in
        [("\"auto\"", Workers::Auto), ("3", Workers::Count(3)), ("[4, 1]", Workers::Cpus(vec![4, 1]))]
    {
        assert_eq!(*model(&format!("[runtime]\nworkers = {text}\n")).runtime().workers, workers);
    }
    for (text, key, message, remedy) in [
        ("‸[]", "", "no CPU", "[1, 2]"),
        ("[1, 2, ‸1]", "[2]", "CPU 1 is already", "once"),
        ("[‸-1]", "[0]", "-1 is not between 0 and 1023", "0 to 1023"),
        ("[‸\"1\"]", "[0]", "\"1\" is not an integer", "0 to 1023"),
        ("‸0", "", "0 is not between 1 and 64", "1 to 64"),
        ("‸\"all\"", "", "\"all\" is not \"auto\"", "[1, 2]"),
        ("‸true", "", "true is neither", "\"auto\""),
    ] {
        let text = format!("[runtime]\nworkers = {text}\n");
        wrong_beside_ports(&text, &format!("runtime.workers{key}"), message, remedy);
    }
    let many = (0..65).map(|cpu| cpu.to_string()).collect::<Vec<_>>().join(", ");
    wrong_beside_ports(&format!("[runtime]\nworkers = ‸[{many}]"), "runtime.workers", "65 CPUs are more than 64", "64");
}

#[test]
fn the_other_runtime_keys_are_checked() {
    for (line, key, message, remedy) in [
        ("memory = ‸\"hugepage\"", "memory", "\"hugepage\" is not one", "did you mean \"hugepages\"?"),
        ("idle = ‸1", "idle", "1 is not a string", "\"poll\" or \"yield\""),
        ("link_wait = ‸10", "link_wait", "10 has no unit", "write: \"10s\""),
        ("link_wait = ‸\"2h\"", "link_wait", "not between 0s and 3600s", "\"3600s\""),
        ("eal = ‸\"-l 1\"", "eal", "\"-l 1\" is not a list", "[\"--log"),
        ("eal = [‸\"\"]", "eal[0]", "empty", "one argument a string"),
    ] {
        wrong_beside_ports(&format!("[runtime]\n{line}\n"), &format!("runtime.{key}"), message, remedy);
    }
    assert_eq!(model("[runtime]\nlink_wait = \"0s\"\n").runtime().link_wait, Duration::ZERO);
}

#[test]
fn a_port_has_defaults() {
    let model = model("");
    let (index, lan) = model.ports_facing(Role::Inside).next().unwrap();
    assert_eq!((index.get(), lan.name.as_str(), *lan.mtu), (0, "lan", 1500));
    assert_eq!((*lan.rx_descriptors, *lan.tx_descriptors, *lan.promiscuous), (1024, 1024, true));
    assert_eq!(*lan.steering, Steering::Auto);
    assert!(lan.vlan.is_none() && lan.mac.is_none() && lan.queues.is_none() && lan.gateway.is_none());
    assert_eq!(lan.device.value, Device::Virtual("net_null0".to_owned()));
    assert_eq!(lan.addresses[0].to_string(), "192.168.1.1/24");
}

#[test]
fn a_port_needs_its_name_role_device_and_addresses() {
    for key in ["name", "role", "device", "addresses"] {
        let port: String = WAN.lines().filter(|line| !line.starts_with(key)).map(|line| format!("{line}\n")).collect();
        let port = port.replacen("[[port]]", "‸[[port]]", 1);
        wrong(&format!("{LAN}{port}"), &format!("port[1].{key}"), &format!("no `{key}`"), &format!("write: {key} = "));
    }
}

#[test]
fn a_port_s_values_are_checked() {
    for (line, key, message, remedy) in [
        ("name = ‸\"LAN 1\"", "name", "\"LAN 1\" is not a port's name", "\"lan\""),
        ("role = ‸\"insid\"", "role", "\"insid\" is not one", "did you mean \"inside\"?"),
        ("device = ‸\"eth0\"", "device", "\"eth0\" is neither", "\"net_af_packet0,iface=eth0\""),
        ("device = ‸\"0000:03:00.9\"", "device", "neither a PCI", "\"0000:03:00.0\""),
        ("device = ‸\"03:00.0,x=1\"", "device", "arguments after a PCI", "\"0000:03:00.0\" alone"),
        ("device = ‸\"net_null0,\"", "device", "empty arguments", "iface=eth1"),
        ("device = ‸\"crypto_null0\"", "device", "neither", ""),
        ("addresses = ‸\"192.168.1.1/24\"", "addresses", "is not a list", "[\"192.168.1.1/24\"]"),
        ("addresses = ‸[]", "addresses", "has no address", "addresses = ["),
        ("addresses = [‸\"192.168.1.1\"]", "addresses[0]", "no prefix length", "write: \"192.168.1.1/24\""),
        ("addresses = [‸\"192.168.1.1/33\"]", "addresses[0]", "\"33\" is not a prefix", "1 to 32"),
        ("addresses = [‸\"192.168.1.1/0\"]", "addresses[0]", "whole Internet", "/24"),
        ("addresses = [‸\"192.168.1.0/24\"]", "addresses[0]", "the network's own address", "\"192.168.1.1/24\""),
        ("addresses = [‸\"192.168.1.255/24\"]", "addresses[0]", "the broadcast address", "\"192.168.1.1/24\""),
        ("addresses = [‸\"224.0.0.1/24\"]", "addresses[0]", "a multicast address", "unicast"),
        ("addresses = [‸\"127.0.0.1/8\"]", "addresses[0]", "a loopback address", "unicast"),
        ("addresses = [‸\"2001:db8::1/64\"]", "addresses[0]", "not supported by this version (0.1)", "remove it"),
        ("mtu = ‸9001", "mtu", "9001 is not between 576 and 9000", "576 to 9000"),
        ("vlan = ‸4095", "vlan", "4095 is not between 1 and 4094", "1 to 4094"),
        ("vlan = ‸-1", "vlan", "-1 is not between", "1 to 4094"),
        ("mac = ‸\"02:00:00:00:01\"", "mac", "not a MAC address", "\"02:00:00:00:00:01\""),
        ("mac = ‸\"33:33:00:00:00:01\"", "mac", "group address", "unicast"),
        ("mac = ‸\"00:00:00:00:00:00\"", "mac", "nobody's", "six bytes"),
        ("queues = ‸0", "queues", "0 is not between 1 and 64", "1 to 64"),
        ("rx_descriptors = ‸1000", "rx_descriptors", "1000 is not a power of two", "512 or 1024"),
        ("tx_descriptors = ‸32", "tx_descriptors", "32 is not between 64 and 32768", ""),
        ("tx_descriptors = ‸99999999999999999999", "tx_descriptors", "is not between 64 and 32768", ""),
        ("promiscuous = ‸\"yes\"", "promiscuous", "\"yes\" is not a boolean", "true or false"),
        (
            "steering = ‸\"hardware\"",
            "steering",
            "\"hardware\" is not one",
            "\"auto\" or \"software\" or \"rss\" or \"flow\"",
        ),
        ("gateway = ‸\"192.168.1.254\"", "gateway", "an inside port has no gateway", "[[route]]"),
    ] {
        wrong_port(&format!("port[0].{key}"), line, message, remedy);
    }
}

#[test]
fn slash_31_and_slash_32_have_only_hosts() {
    let lan = LAN.replace("192.168.1.1/24", "192.168.1.0/31\", \"10.0.0.0/32");
    assert!(config::parse("u.toml", &format!("{lan}{WAN}")).is_ok());
}

#[test]
fn both_sides_need_a_port() {
    wrong(&format!("‸{LAN}"), "port", "there is no outside port", "role = \"outside\"");
    wrong(&format!("‸{WAN}"), "port", "there is no inside port", "role = \"inside\"");
}

#[test]
fn more_than_sixteen_ports_are_refused() {
    let mut text = format!("{LAN}{WAN}");
    for index in 2..17 {
        let mark = if index == 16 { "‸" } else { "" };
        text += &format!(
            "{mark}[[port]]\nname = \"p{index}\"\nrole = \"inside\"\ndevice = \"net_null{index}\"\naddresses = [\"10.{index}.0.1/16\"]\n"
        );
    }
    wrong(&text, "port[16]", "more than 16 ports", "all but 16");
}

#[test]
fn ports_share_nothing() {
    for (from, to, key, message) in [
        ("name = \"wan\"", "name = ‸\"lan\"", "name", "\"lan\" is already a port's name (line 3)"),
        ("\"net_null1\"", "‸\"net_null0,copy=1\"", "device", "net_null0 is already a port's device (line 5)"),
    ] {
        wrong(&format!("{LAN}{}", WAN.replace(from, to)), &format!("port[1].{key}"), message, "write: ");
    }
    let pci = |text: &str, device: &str| text.replace("\"net_null1\"", device).replace("\"net_null0\"", device);
    let text = format!("{}{}", pci(LAN, "\"03:00.0\""), pci(WAN, "‸\"0000:03:00.0\""));
    wrong(&text, "port[1].device", "0000:03:00.0 is already a port's device (line 5)", "its own for each port");
}

#[test]
fn networks_of_two_ports_do_not_overlap() {
    let wan = WAN.replace("[\"203.0.113.2/24\"]", "[\"203.0.113.2/24\", ‸\"192.168.0.1/16\"]");
    let message = "192.168.0.0/16 overlaps 192.168.1.0/24 of port \"lan\" (line 6)";
    wrong(&format!("{LAN}{wan}"), "port[1].addresses[1]", message, "no address in common");
    let lan = LAN.replace("[\"192.168.1.1/24\"]", "[\"192.168.1.1/24\", ‸\"192.168.1.1/24\"]");
    wrong(&format!("{lan}{WAN}"), "port[0].addresses[1]", "already a port's address (line 6)", "no other port");
}

#[test]
fn a_gateway_is_somebody_on_the_link() {
    for (gateway, message) in [
        ("203.0.114.1", "not on the link of port \"wan\" (203.0.113.0/24)"),
        ("192.168.1.9", "not on the link"),
        ("203.0.113.2", "our own address (line 12)"),
        ("203.0.113.255", "network or broadcast address of 203.0.113.0/24"),
    ] {
        let wan = WAN.replace("\"203.0.113.1\"", &format!("‸\"{gateway}\""));
        wrong(&format!("{LAN}{wan}"), "port[1].gateway", message, "in 203.0.113.0/24");
    }
}

#[test]
fn no_gateway_at_all_is_doubtful() {
    let wan = WAN.replace("gateway = \"203.0.113.1\"\n", "");
    let checked = config::parse("u.toml", &format!("{LAN}{wan}")).unwrap();
    let [one] = checked.warnings.as_slice() else { panic!("{:?}", checked.warnings) };
    assert_eq!((one.line, one.key.as_str()), (8, "port[1].gateway"));
    assert!(one.message.contains("only on-link destinations"), "{one}");
}

#[test]
fn a_neighbour_is_on_its_port_s_link() {
    let entry = |port: &str, address: &str, mac: &str| {
        format!("[[neighbour]]\nport = {port}\naddress = {address}\nmac = {mac}\n")
    };
    let (wan, router, mac) = ("\"wan\"", "\"203.0.113.1\"", "\"02:00:00:00:00:01\"");
    assert_eq!(model(&entry(wan, router, mac)).neighbours()[0].port.get(), 1);
    for (text, key, message, remedy) in [
        (entry("‸\"wam\"", router, mac), "port", "there is no port \"wam\"", "did you mean \"wan\"?"),
        (entry("‸\"dmz\"", router, mac), "port", "there is no port \"dmz\"", "\"lan\" or \"wan\""),
        (entry(wan, "‸\"192.168.1.9\"", mac), "address", "not on the link of port \"wan\"", "203.0.113.0/24"),
        (entry(wan, "‸\"203.0.113.2\"", mac), "address", "our own address (line 12)", "203.0.113.0/24"),
        (entry(wan, "‸\"203.0.113.0\"", mac), "address", "network or broadcast", "203.0.113.0/24"),
        (entry(wan, router, "‸\"01:00:5e:00:00:01\""), "mac", "group address", "unicast"),
    ] {
        wrong_beside_ports(&text, &format!("neighbour[0].{key}"), message, remedy);
    }
    let twice = entry(wan, router, mac) + &entry(wan, "‸\"203.0.113.1\"", mac);
    wrong_beside_ports(&twice, "neighbour[1].address", "already a neighbour (line 16)", "keep one");
}

#[test]
fn a_route_goes_via_a_router_on_a_link() {
    let route = |network: &str, via: &str| format!("[[route]]\nnetwork = {network}\nvia = {via}\n");
    let (network, via) = ("\"10.64.0.0/10\"", "\"192.168.1.254\"");
    assert_eq!(model(&route(network, via)).routes()[0].port.get(), 0);
    for (text, key, message, remedy) in [
        (route("‸\"10.64.0.1/10\"", via), "network", "host bits", "write: \"10.64.0.0/10\""),
        (route("‸\"10.64.0.0\"", via), "network", "no prefix length", "write: \"10.64.0.0/24\""),
        (route("‸\"0.0.0.0/0\"", via), "network", "gateway only", "write gateway in the outside [[port]]"),
        (
            route("‸\"192.168.0.0/16\"", via),
            "network",
            "overlaps 192.168.1.0/24 on the link of port \"lan\" (line 6)",
            "",
        ),
        (route(network, "‸\"172.16.0.1\""), "via", "on no port's link", "192.168.1.0/24 or 203.0.113.0/24"),
        (route(network, "‸\"192.168.1.1\""), "via", "our own address (line 6)", "in 192.168.1.0/24"),
        (route(network, "‸\"192.168.1.255\""), "via", "network or broadcast", "in 192.168.1.0/24"),
    ] {
        wrong_beside_ports(&text, &format!("route[0].{key}"), message, remedy);
    }
    let twice = route(network, via) + &route("‸\"10.64.0.0/10\"", via);
    wrong_beside_ports(&twice, "route[1].network", "has a route already (line 15)", "keep one");
}

#[test]
fn a_broken_port_causes_no_echo_elsewhere() {
    // The inside network is not known, so neither is whether the forward leads to it.
    let lan = LAN.replace("\"192.168.1.1/24\"", "‸\"192.168.1.1\"");
    let forward = "[[nat.forward]]\nprotocol = \"tcp\"\noutside_port = 80\ninside = \"192.168.1.9:80\"\n";
    let route = "[[route]]\nnetwork = \"10.0.0.0/8\"\nvia = \"192.168.1.254\"\n";
    wrong(&format!("{lan}{WAN}{forward}{route}"), "port[0].addresses[0]", "no prefix", "/24");
    doubtful("[nat]\nhold_down = ‸\"1s\"\n", "nat.hold_down", "RFC 6888 REQ-8", "\"120s\" or more");
}
