//! Real endpoints: the kernel's own TCP, UDP and ICMP on both sides, in network namespaces, with `underpass run` on
//! `net_af_packet` between them. `scripts/lab.sh` makes the lab, so that what a test does can be done by hand there.
//!
//! Fragments go through `net_pcap`: `net_af_packet` has the kernel put them together before it hands them over, and cuts
//! off what is then longer than its `framesz` (2048 bytes), so that of a larger datagram nothing useful arrives.
//!
//! One lab serves many claims, since to make one costs more than to try a claim. Where namespaces are not permitted, a
//! test says so by name and passes.

mod common;

use common::lab::{Claim, Lab, config, ensure, text, told};
use std::fs;
use std::process::Stdio;

/// Bytes that nothing on the way would produce.
fn noise(length: usize) -> Vec<u8> {
    let mut x = 0x2545_f491_4f6c_dd1d_u64;
    let next = |_| {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x.to_le_bytes()[3]
    };
    (0..length).map(next).collect()
}

/// Says who calls and what, to whoever calls.
const UDP_ECHO: &str = r#"
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("203.0.113.1", 7))
print("ready", flush=True)
while True:
    data, peer = s.recvfrom(65536)
    s.sendto(peer[0].encode() + b" " + data, peer)
"#;

/// Asks from many ports at once, with datagrams of up to so many bytes.
const UDP_ASK: &str = r#"
import socket, sys
sizes = [n for n in [1, 100, 500, 1300, 1472, 1473, 4000, 8000] if n <= int(sys.argv[2])]
sockets = []
for n in range(int(sys.argv[1])):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.settimeout(5)
    s.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER: may be fragmented
    s.bind((["192.168.1.2", "192.168.1.3"][n % 2], 0))
    s.connect(("203.0.113.1", 7))
    sockets.append((s, bytes([65 + n % 26]) * sizes[n % len(sizes)]))
# Eight at a time, which the kernels' buffers hold in any case.
for first in range(0, len(sockets), 8):
    some = sockets[first:first + 8]
    for s, data in some:
        s.send(data)
    for s, data in some:
        peer, _, back = s.recv(65536).partition(b" ")
        assert peer in (b"203.0.113.2", b"203.0.113.3"), peer
        assert back == data, (len(back), len(data))
print("all answered")
"#;

/// Answers with the length of all that came, only after the other side has closed its half.
const TCP_COUNT: &str = r#"
import socket
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("203.0.113.1", 9))
s.listen(16)
print("ready", flush=True)
while True:
    c, _ = s.accept()
    n = 0
    while data := c.recv(65536):
        n += len(data)
    c.sendall(str(n).encode())
    c.close()
"#;

const TCP_ASK: &str = r#"
import socket
s = socket.create_connection(("203.0.113.1", 9), 10)
s.sendall(b"x" * 300000)
s.shutdown(socket.SHUT_WR)
answer = b""
while data := s.recv(100):
    answer += data
assert answer == b"300000", answer
"#;

/// An ICMP error by the world's kernel reaches the socket that it is about.
const UDP_REFUSED: &str = r#"
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(3)
s.connect(("203.0.113.1", 4444))
s.send(b"anybody?")
try:
    s.recv(1)
except ConnectionRefusedError:
    print("refused")
"#;

fn pings_are_answered(lab: &Lab) -> Claim {
    let said = lab.inside(&["ping", "-n", "-c", "5", "-i", "0.2", "-W", "3", "203.0.113.1"])?;
    ensure(said.contains("5 received") && said.contains("ttl=63"), || said)
}

fn two_hosts_ping_with_one_identifier(lab: &Lab) -> Claim {
    for host in ["192.168.1.2", "192.168.1.3"] {
        lab.inside(&["ping", "-n", "-c", "2", "-i", "0.2", "-W", "3", "-e", "7", "-I", host, "203.0.113.1"])?;
    }
    Ok(())
}

fn the_box_answers_pings_on_both_sides(lab: &Lab) -> Claim {
    lab.inside(&["ping", "-n", "-c", "1", "-W", "3", "192.168.1.1"])?;
    lab.outside(&["ping", "-n", "-c", "1", "-W", "3", "203.0.113.2"]).map(|_| ())
}

fn the_box_answers_pings_in_pieces(lab: &Lab) -> Claim {
    lab.inside(&["ping", "-n", "-c", "1", "-W", "3", "-s", "4000", "192.168.1.1"])?;
    lab.outside(&["ping", "-n", "-c", "1", "-W", "3", "-s", "4000", "203.0.113.2"]).map(|_| ())
}

fn a_file_arrives_whole(lab: &Lab) -> Claim {
    let whole = noise(3_000_000);
    fs::write(lab.folder.join("out/blob"), &whole).unwrap();
    let got = lab.scratch.path().join("blob");
    lab.inside(&[
        "curl",
        "-sSf",
        "--noproxy",
        "*",
        "-m",
        "25",
        "-o",
        got.to_str().unwrap(),
        "http://203.0.113.1/blob",
    ])?;
    let got = fs::read(got).map_err(|e| e.to_string())?;
    ensure(got == whole, || format!("{} bytes of {} arrived, or others", got.len(), whole.len()))
}

fn eight_files_arrive_at_once(lab: &Lab) -> Claim {
    let whole = noise(500_000);
    fs::write(lab.folder.join("out/part"), &whole).unwrap();
    let args = ["curl", "-sSf", "--noproxy", "*", "-m", "25", "http://203.0.113.1/part"];
    let pieces: Vec<_> = (0..8).map(|_| lab.command("in", &args).stdout(Stdio::piped()).spawn().unwrap()).collect();
    for child in pieces {
        let o = child.wait_with_output().unwrap();
        ensure(o.stdout == whole, || format!("{} of {} bytes, {}", o.stdout.len(), whole.len(), o.status))?;
    }
    Ok(())
}

fn udp_is_echoed_to_many_ports(lab: &Lab) -> Claim {
    lab.inside(&["python3", "-c", UDP_ASK, "64", "1300"]).map(|_| ())
}

fn udp_is_echoed_in_pieces_too(lab: &Lab) -> Claim {
    lab.inside(&["python3", "-c", UDP_ASK, "64", "8000"]).map(|_| ())
}

fn bulk_data_flows_both_ways(lab: &Lab) -> Claim {
    for direction in [&["-P", "1"][..], &["-R"]] {
        let said = lab.inside(&[&["iperf3", "-J", "-t", "1", "-c", "203.0.113.1"][..], direction].concat())?;
        let told: serde_json::Value = serde_json::from_str(&said).map_err(|e| e.to_string())?;
        let bytes = told["end"]["sum_received"]["bytes"].as_u64().unwrap_or(0);
        println!("    iperf3 {direction:?}: {} Mbit/s", bytes * 8 / 1_000_000);
        ensure(bytes > 1_000_000, || format!("{direction:?}: {bytes} bytes in a second"))?;
    }
    Ok(())
}

fn traceroute_shows_each_hop_once(lab: &Lab) -> Claim {
    let said = lab.inside(&["traceroute", "-n", "-q", "1", "-w", "3", "-m", "4", "203.0.113.1"])?;
    let hop = |l: &str| l.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let hops: Vec<_> = said.lines().skip(1).map(hop).collect();
    ensure(hops == ["192.168.1.1", "203.0.113.1"], || said)
}

fn a_closed_port_refuses_at_once(lab: &Lab) -> Claim {
    // TCP: the reset comes through; UDP: the ICMP error does.
    let o = lab.run("in", &["curl", "-sS", "--noproxy", "*", "-m", "10", "http://203.0.113.1:4444/"]);
    ensure(o.status.code() == Some(7), || told(&o))?;
    let said = lab.inside(&["python3", "-c", UDP_REFUSED])?;
    ensure(said == "refused\n", || said)
}

fn a_half_closed_connection_carries_the_answer(lab: &Lab) -> Claim {
    lab.inside(&["python3", "-c", TCP_ASK]).map(|_| ())
}

fn a_forward_is_reached_from_outside(lab: &Lab) -> Claim {
    let said = lab.outside(&["curl", "-sSf", "--noproxy", "*", "-m", "10", "http://203.0.113.2:8080/"])?;
    ensure(said == "hello from inside\n", || said)
}

fn a_forward_is_reached_from_inside_by_the_outside_address(lab: &Lab) -> Claim {
    let args = ["curl", "-sSf", "--noproxy", "*", "-m", "10", "--interface", "192.168.1.3", "http://203.0.113.2:8080/"];
    let said = lab.inside(&args)?;
    ensure(said == "hello from inside\n", || said)
}

fn what_nobody_asked_for_stays_out(lab: &Lab) -> Claim {
    // Somebody outside who guesses at inside addresses.
    let _ = lab.run("out", &["ip", "route", "replace", "192.168.1.0/24", "via", "203.0.113.2"]);
    for url in ["http://203.0.113.2:80/", "http://203.0.113.3:8080/", "http://192.168.1.2/"] {
        let o = lab.run("out", &["curl", "-sS", "--noproxy", "*", "-m", "1", url]);
        // 28: no answer at all.
        ensure(o.status.code() == Some(28), || format!("{url}: {}", told(&o)))?;
    }
    let o = lab.run("out", &["ping", "-n", "-c", "1", "-W", "1", "192.168.1.2"]);
    ensure(!o.status.success(), || told(&o))
}

fn a_packet_too_big_is_told_what_fits(lab: &Lab) -> Claim {
    let o = lab.run("in", &["ping", "-n", "-M", "do", "-s", "1472", "-c", "1", "-W", "3", "203.0.113.1"]);
    let said = text(&o.stdout);
    // The second time the kernel knows it by itself.
    let told = said.contains("Frag needed and DF set (mtu = 1400)") || text(&o.stderr).contains("mtu=1400");
    ensure(told, || format!("{said}{}", text(&o.stderr)))?;
    lab.inside(&["ping", "-n", "-M", "do", "-s", "1372", "-c", "1", "-W", "3", "203.0.113.1"]).map(|_| ())
}

fn a_packet_too_big_that_may_be_cut_is(lab: &Lab) -> Claim {
    // The cache of path MTUs would cut it here already.
    let _ = lab.run("in", &["ip", "route", "flush", "cache"]);
    lab.inside(&["ping", "-n", "-M", "dont", "-s", "1472", "-c", "2", "-i", "0.2", "-W", "3", "203.0.113.1"])?;
    lab.inside(&["ping", "-n", "-M", "dont", "-s", "5000", "-c", "2", "-i", "0.2", "-W", "3", "203.0.113.1"])
        .map(|_| ())
}

#[test]
fn real_hosts_meet_through_one_worker() {
    let Some(mut lab) = Lab::up("real_hosts_meet_through_one_worker", &config(&[])) else { return };
    lab.serve("out", UDP_ECHO);
    lab.serve("out", TCP_COUNT);
    let account = lab.claims(&[
        ("pings are answered", pings_are_answered),
        ("two hosts ping with one identifier", two_hosts_ping_with_one_identifier),
        ("the box answers pings on both sides", the_box_answers_pings_on_both_sides),
        ("a file arrives whole", a_file_arrives_whole),
        ("UDP is echoed to many ports", udp_is_echoed_to_many_ports),
        ("bulk data flows both ways", bulk_data_flows_both_ways),
        ("traceroute shows each hop once", traceroute_shows_each_hop_once),
        ("a closed port refuses at once", a_closed_port_refuses_at_once),
        ("a half-closed connection carries the answer", a_half_closed_connection_carries_the_answer),
        ("a forward is reached from outside", a_forward_is_reached_from_outside),
        ("a forward is reached from inside", a_forward_is_reached_from_inside_by_the_outside_address),
        ("what nobody asked for stays out", what_nobody_asked_for_stays_out),
    ]);
    assert!(account.count("translated_out") > 1000 && account.count("translated_in") > 1000, "{account:?}");
    assert!(account.count("unsolicited") > 0 && account.count("not_for_us") > 0, "{account:?}");
    assert!(account.count("hairpinned") > 0, "{account:?}");
    assert_eq!(account.count("ip_checksum"), 0, "{account:?}");
}

#[test]
fn real_hosts_meet_through_two_workers_over_a_smaller_link() {
    let config = config(&[
        ("workers = 1 ", "workers = 2 "),
        ("iface=lan0", "iface=lan0,qpairs=2"),
        ("iface=wan0\"", "iface=wan0,qpairs=2\"\nmtu = 1400"),
        // So that TCP must learn from the errors.
        ("sessions = 65_536", "sessions = 65_536\nmss_clamp = \"off\""),
    ]);
    let Some(mut lab) = Lab::up("real_hosts_meet_through_two_workers_over_a_smaller_link", &config) else { return };
    lab.outside(&["ip", "link", "set", "out0", "mtu", "1400"]).unwrap();
    lab.serve("out", UDP_ECHO);
    lab.serve("out", TCP_COUNT);
    let account = lab.claims(&[
        ("pings are answered", pings_are_answered),
        ("a packet too big is told what fits", a_packet_too_big_is_told_what_fits),
        ("the box answers pings on both sides", the_box_answers_pings_on_both_sides),
        ("eight files arrive at once", eight_files_arrive_at_once),
        ("bulk data flows both ways", bulk_data_flows_both_ways),
        ("UDP is echoed to many ports", udp_is_echoed_to_many_ports),
        ("a half-closed connection carries the answer", a_half_closed_connection_carries_the_answer),
        ("a forward is reached from outside", a_forward_is_reached_from_outside),
        ("a forward is reached from inside", a_forward_is_reached_from_inside_by_the_outside_address),
    ]);
    assert!(account.count("too_big") > 0, "{account:?}");
    assert!(account.count("handed_off") > 0, "both workers took part: {account:?}");
    assert_eq!(account.count("handed_off"), account.count("handed_in"), "{account:?}");
}

#[test]
fn fragments_of_real_hosts_go_both_ways() {
    let config = config(&[
        ("net_af_packet0,iface=lan0", "net_pcap0,iface=lan0"),
        ("net_af_packet1,iface=wan0\"", "net_pcap1,iface=wan0\"\nmtu = 1400"),
    ]);
    let Some(mut lab) = Lab::up("fragments_of_real_hosts_go_both_ways", &config) else { return };
    lab.outside(&["ip", "link", "set", "out0", "mtu", "1400"]).unwrap();
    lab.serve("out", UDP_ECHO);
    let account = lab.claims(&[
        ("pings are answered", pings_are_answered),
        ("two hosts ping with one identifier", two_hosts_ping_with_one_identifier),
        ("UDP is echoed, in pieces too", udp_is_echoed_in_pieces_too),
        ("a packet too big that may be cut is", a_packet_too_big_that_may_be_cut_is),
        ("the box answers pings in pieces", the_box_answers_pings_in_pieces),
        ("a file arrives whole", a_file_arrives_whole),
    ]);
    assert!(account.count("fragmented") > 0, "{account:?}");
    for label in ["fragment_overlap", "fragment_timeout", "fragment_held_full", "ip_total_length"] {
        assert_eq!(account.count(label), 0, "{account:?}");
    }
}
