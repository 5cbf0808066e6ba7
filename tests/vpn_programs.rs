//! Real VPN programs through `underpass run`: OpenVPN, WireGuard and strongSwan, all in user space, so that a kernel
//! needs no more than TUN. Two clients inside with one source port each, the same for both, and one server outside; the
//! router has one outside address, so that one of the two must get another port (RFC 4787 REQ-1, RFC 3948 for ESP).
//!
//! What is said through a tunnel is checked by hash both ways, and by the address that the far end sees: the tunnel's.
//! Each test has a lab of its own. Keys are made for the run. Not in these: native ESP, and what wants
//! a kernel that has it (tests/guest: PPTP, L2TP), and WireGuard's rekeying, which comes after two minutes.

mod common;

use common::host::{Host, until};
use common::lab::{Claim, ensure, installed, text};
use common::vpn::{Vpn, say};
use std::fs;
use std::process::Command;

/// Whether tunnels can be made here.
fn tun() -> Claim {
    let opened = fs::File::options().read(true).write(true).open("/dev/net/tun");
    opened.map(|_| ()).map_err(|e| format!("no /dev/net/tun: {e}"))
}

// OpenVPN

/// A key with a certificate that vouches for itself, in the scratch folder; the certificate's fingerprint.
fn certificate(vpn: &Vpn, name: &str) -> Result<String, String> {
    let file = |kind: &str| vpn.lab.scratch.path().join(format!("{name}.{kind}"));
    let new = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    let subject = format!("/CN={name}");
    let mut c = Command::new("openssl");
    c.args(new.split(' ')).args(["-subj", &subject]).arg("-keyout").arg(file("key")).arg("-out").arg(file("crt"));
    say(&mut c)?;
    let mut c = Command::new("openssl");
    let said = say(c.args(["x509", "-noout", "-fingerprint", "-sha256", "-in"]).arg(file("crt")))?;
    Ok(said.split_once('=').map(|(_, print)| print.to_owned()).unwrap_or_default())
}

/// What differs between OpenVPN's ways to go.
struct Way {
    at_server: &'static str,
    at_client: &'static str,
    /// Seconds after which the server renews keys; 0 for never.
    rekey: u32,
    /// The clients' port, and that of one that starts again. By its old one the server would take it for the client
    /// that it still remembers.
    ports: [&'static [&'static str]; 2],
}

const OVER_UDP: Way = Way {
    at_server: "proto udp",
    at_client: "proto udp",
    rekey: 4,
    ports: [&["--lport", "1194"], &["--lport", "1195"]],
};

const OVER_TCP: Way =
    Way { at_server: "proto tcp-server", at_client: "proto tcp-client", rekey: 0, ports: [&["--nobind"]; 2] };

const CONNECTED: &str = "Initialization Sequence Completed";

/// Writes the three configurations and starts the three; the clients' files.
fn start_openvpn(vpn: &mut Vpn, way: &Way) -> Result<[String; 2], String> {
    let [server, one, two] = ["server", "client1", "client2"].map(|name| certificate(vpn, name));
    let (server, clients) = (server?, format!("{}\n{}", one?, two?));
    let common = |name: &str, peers: &str| {
        let file = vpn.lab.scratch.path().join(name).display().to_string();
        format!(
            "dev tun0\nkey {file}.key\ncert {file}.crt\nverb 3\nkeepalive 1 8\nhand-window 10\n\
             <peer-fingerprint>\n{peers}\n</peer-fingerprint>\n"
        )
    };
    let Way { at_server, at_client, rekey, ports } = way;
    let at_server = format!(
        "{at_server}\nlocal 203.0.113.1\nserver {}0 255.255.255.0\ntopology subnet\ndh none\nreneg-sec {rekey}\n{}",
        vpn.network,
        common("server", &clients)
    );
    let at_client = |name| {
        let more = common(name, &server);
        let content = format!("client\n{at_client}\nremote 203.0.113.1 1194\nconnect-retry 1\nreneg-sec 0\n{more}");
        vpn.secret(&format!("{name}.conf"), &content)
    };
    let files = ["client1", "client2"].map(at_client);
    let file = vpn.secret("server.conf", &at_server);
    vpn.server.start("openvpn", &["openvpn", "--config", &file]);
    vpn.server.logs("openvpn", CONNECTED, 1)?;
    for (client, file) in vpn.clients.iter_mut().zip(&files) {
        client.start("openvpn", &[&["openvpn", "--config", file], ports[0]].concat());
    }
    for client in &vpn.clients {
        client.logs("openvpn", CONNECTED, 1)?;
    }
    vpn.seen("two clients are connected")?;
    vpn.both_talk()?;
    vpn.seen("both tunnels carry at once")?;
    Ok(files)
}

fn openvpn_starts_again(vpn: &mut Vpn, way: &Way, files: &[String; 2]) -> Claim {
    vpn.while_talking(&[1], |vpn| {
        vpn.clients[0].stop("openvpn")?;
        vpn.clients[0].start("openvpn", &[&["openvpn", "--config", &files[0]], way.ports[1]].concat());
        vpn.clients[0].logs("openvpn", CONNECTED, 2)
    })?;
    ensure(vpn.clients[1].logged("openvpn", CONNECTED) == 1, || "the other client connected again".into())?;
    vpn.both_talk()?;
    vpn.seen("one starts again, the other is not disturbed")
}

fn openvpn_over_udp(vpn: &mut Vpn) -> Claim {
    let files = start_openvpn(vpn, &OVER_UDP)?;
    vpn.while_talking(&[0, 1], |vpn| {
        let handshake = "Control Channel: TLS";
        let before = vpn.clients.each_ref().map(|c| c.logged("openvpn", handshake));
        vpn.clients.iter().zip(before).try_for_each(|(c, n)| c.logs("openvpn", handshake, n + 1))
    })?;
    vpn.seen("keys are renewed while both carry")?;
    openvpn_starts_again(vpn, &OVER_UDP, &files)
}

fn openvpn_over_tcp(vpn: &mut Vpn) -> Claim {
    let files = start_openvpn(vpn, &OVER_TCP)?;
    openvpn_starts_again(vpn, &OVER_TCP, &files)
}

// WireGuard

/// A private key and its public one.
fn wireguard_keys(vpn: &Vpn, name: &str) -> Result<[String; 2], String> {
    let private = say(Command::new("wg").arg("genkey"))?;
    let file = vpn.secret(&format!("{name}.key"), &private);
    let mut c = Command::new("wg");
    let o = c.arg("pubkey").stdin(fs::File::open(file).unwrap()).output().map_err(|e| e.to_string())?;
    Ok([private, text(&o.stdout).trim().to_owned()])
}

/// Starts WireGuard on a host, with its end of the tunnel at the address that ends so.
fn start_wireguard(host: &mut Host, network: &str, end: usize, file: &str) -> Claim {
    host.start("wireguard", &["wireguard-go", "--foreground", "wg0"]);
    // Not asked by `wg`: it removes a socket that is bound and does not listen yet, and wireguard-go ends then. The flag
    // is the one of listening sockets.
    let listening = ["grep", "-q", "00010000 .*wireguard/wg0.sock", "/proc/net/unix"];
    until("wireguard-go listens", || host.say(&listening).is_ok())?;
    host.say(&["wg", "setconf", "wg0", file])?;
    host.say(&["ip", "address", "add", &format!("{network}{end}/24"), "dev", "wg0"])?;
    host.say(&["ip", "link", "set", "wg0", "up"]).map(|_| ())
}

fn wireguard(vpn: &mut Vpn) -> Claim {
    let keys = [wireguard_keys(vpn, "server")?, wireguard_keys(vpn, "client1")?, wireguard_keys(vpn, "client2")?];
    // All three listen at the same port.
    let me = |n: usize| format!("[Interface]\nPrivateKey = {}\nListenPort = 51820\n", keys[n][0]);
    let peer = |n: usize, net: &str| format!("[Peer]\nPublicKey = {}\nAllowedIPs = {net}\n", keys[n][1]);
    let network = vpn.network;
    let peers = [1, 2].map(|n| peer(n, &format!("{network}{}/32", n + 1)));
    let file = vpn.secret("server.conf", &format!("{}{}{}", me(0), peers[0], peers[1]));
    start_wireguard(&mut vpn.server, network, 1, &file)?;
    let mut files = Vec::new();
    for n in [1, 2] {
        let far = peer(0, &format!("{network}0/24"));
        let file = vpn.secret(&format!("client{n}.conf"), &format!("{}{far}Endpoint = 203.0.113.1:51820\n", me(n)));
        start_wireguard(&mut vpn.clients[n - 1], network, n + 1, &file)?;
        files.push(file);
    }
    vpn.both_talk()?;
    let before = wireguard_ports(vpn, &keys)?;
    ensure(before[0] != before[1], || format!("two clients at {before:?}"))?;
    vpn.seen("both tunnels carry at once")?;

    vpn.while_talking(&[0, 1], |vpn| {
        vpn.clients[0].say(&["wg", "set", "wg0", "listen-port", "51999"])?;
        until("the server sees another port", || wireguard_ports(vpn, &keys).is_ok_and(|after| after[0] != before[0]))
    })?;
    let after = wireguard_ports(vpn, &keys)?;
    ensure(after[0] != before[0] && after[1] == before[1], || format!("{before:?} became {after:?}"))?;
    vpn.seen("one moves to another port, and both carry all the while")?;

    vpn.while_talking(&[1], |vpn| {
        vpn.clients[0].stop("wireguard-go")?;
        start_wireguard(&mut vpn.clients[0], network, 2, &files[0])
    })?;
    vpn.both_talk()?;
    vpn.seen("one starts again, the other is not disturbed")
}

/// Where the server sees the two clients.
fn wireguard_ports(vpn: &Vpn, keys: &[[String; 2]; 3]) -> Result<[String; 2], String> {
    let said = vpn.server.say(&["wg", "show", "wg0", "endpoints"])?;
    let of = |key: &str| said.lines().find_map(|l| l.strip_prefix(key)).unwrap_or_default().trim().to_owned();
    let ports = [of(&keys[1][1]), of(&keys[2][1])];
    ensure(ports.iter().all(|p| p.starts_with("203.0.113.2:")), || said).map(|()| ports)
}

// IPsec

const SWANCTL: &str = "/run/swanctl";

/// ESP in the daemon itself and a TUN device, so that the kernel needs no IPsec; it always goes in UDP then.
const STRONGSWAN: &str = r#"
charon-systemd {
  load = random nonce openssl kdf aes sha1 sha2 hmac kernel-libipsec kernel-netlink socket-default vici
  filelog {
    stderr {
      default = 1
      flush_line = yes
    }
  }
}
swanctl {
  load = random openssl
}
"#;

fn ike_connection(me: &str, peer: &str, whereto: &str, selectors: &str, secret: &str) -> String {
    format!(
        "connections {{ road {{\n version = 2\n {whereto}\n local {{\n auth = psk\n id = {me}\n }}\n \
         remote {{\n auth = psk\n id = {peer}\n }}\n \
         children {{ net {{\n {selectors}\n }} }}\n }} }}\n\
         secrets {{ ike {{\n secret = 0x{secret}\n }} }}\n"
    )
}

fn ipsec(vpn: &mut Vpn) -> Claim {
    let secret = say(Command::new("openssl").args(["rand", "-hex", "32"]))?;
    let network = vpn.network;
    let settings = vpn.secret("strongswan.conf", STRONGSWAN);
    let environment = format!("STRONGSWAN_CONF={settings}");
    let at_server = "local_addrs = 203.0.113.1\n pools = inner";
    let inner = format!("local_ts = {network}1/32");
    let pools = format!("pools {{ inner {{\n addrs = {network}16/28\n }} }}\n");
    let at_server = ike_connection("server", "%any", at_server, &inner, &secret) + &pools;
    let file = vpn.secret("server.conf", &at_server);
    vpn.server.say(&["ip", "address", "add", &format!("{network}1/32"), "dev", "lo"])?;
    start_charon(&mut vpn.server, &environment, &file)?;
    for n in [0, 1] {
        let me = format!("client{}", n + 1);
        let at_client = "remote_addrs = 203.0.113.1\n vips = 0.0.0.0";
        let far = format!("remote_ts = {network}1/32");
        let file = vpn.secret(&format!("{me}.conf"), &ike_connection(&me, "server", at_client, &far, &secret));
        start_charon(&mut vpn.clients[n], &environment, &file)?;
        vpn.clients[n].say(&[SWANCTL, "--initiate", "--child", "net"])?;
    }
    vpn.seen("two clients are connected")?;
    vpn.both_talk()?;
    for (client, address) in vpn.clients.iter().zip(["192.168.1.11", "192.168.1.12"]) {
        // From the same ports, and ESP in UDP.
        for port in [500, 4500] {
            client.logs("charon", &format!("from {address}[{port}] to 203.0.113.1[{port}]"), 1)?;
        }
        let said = client.say(&[SWANCTL, "--list-sas"])?;
        ensure(said.contains("TUNNEL-in-UDP"), || said)?;
    }
    let said = vpn.server.say(&[SWANCTL, "--list-sas"])?;
    let mut ports: Vec<_> = said.split("@ 203.0.113.2[").skip(1).filter_map(|s| s.split(']').next()).collect();
    ports.sort_unstable();
    ports.dedup();
    ensure(ports.len() == 2, || format!("two clients at {ports:?}: {said}"))?;
    vpn.seen("both tunnels carry at once")?;

    vpn.while_talking(&[0, 1], |vpn| {
        vpn.clients[0].say(&[SWANCTL, "--rekey", "--child", "net"])?;
        vpn.clients[0].logs("charon", "CHILD_SA net{2} established", 1)
    })?;
    vpn.seen("the keys of ESP are renewed while both carry")?;
    vpn.while_talking(&[0, 1], |vpn| {
        vpn.clients[0].say(&[SWANCTL, "--rekey", "--ike", "road"])?;
        vpn.clients[0].logs("charon", "IKE_SA road[2] rekeyed", 1)
    })?;
    vpn.seen("the keys of IKE are renewed while both carry")?;

    vpn.while_talking(&[1], |vpn| {
        vpn.clients[0].say(&[SWANCTL, "--terminate", "--ike", "road"])?;
        vpn.clients[0].say(&[SWANCTL, "--initiate", "--child", "net"]).map(|_| ())
    })?;
    vpn.both_talk()?;
    vpn.seen("one connects again, the other is not disturbed")
}

/// Starts strongSwan on a host with these connections. By copies: where Debian has AppArmor, it keeps the programs at
/// their own places from files that are not in /etc.
fn start_charon(host: &mut Host, environment: &str, file: &str) -> Claim {
    host.say(&["sh", "-c", r#"cp "$(command -v charon-systemd)" "$(command -v swanctl)" /run/"#])?;
    host.start("charon", &["env", environment, "/run/charon-systemd"]);
    until("charon listens", || host.say(&["test", "-S", "/run/charon.vici"]).is_ok())?;
    for plugin in ["kernel-libipsec", "openssl"] {
        ensure(host.logged("charon", &format!("plugin '{plugin}': failed to load")) == 0, || {
            format!("strongSwan has no plugin {plugin}; scripts/setup.sh test installs it")
        })?;
    }
    host.say(&["env", environment, SWANCTL, "--load-all", "--file", file]).map(|_| ())
}

#[test]
fn openvpn_over_udp_lasts_through_rekeying_and_reconnecting() {
    let test = "openvpn_over_udp_lasts_through_rekeying_and_reconnecting";
    let Some(vpn) = Vpn::up(test, installed(&["openvpn", "openssl"]).and_then(|()| tun()), "10.8.0.", &[]) else {
        return;
    };
    vpn.prove(openvpn_over_udp);
}

#[test]
fn openvpn_over_tcp_lasts_through_reconnecting() {
    let test = "openvpn_over_tcp_lasts_through_reconnecting";
    let Some(vpn) = Vpn::up(test, installed(&["openvpn", "openssl"]).and_then(|()| tun()), "10.8.1.", &[]) else {
        return;
    };
    vpn.prove(openvpn_over_tcp);
}

#[test]
fn wireguard_from_one_port_lasts_through_roaming_and_reconnecting() {
    let test = "wireguard_from_one_port_lasts_through_roaming_and_reconnecting";
    let Some(vpn) = Vpn::up(test, installed(&["wireguard-go", "wg"]).and_then(|()| tun()), "10.8.2.", &[]) else {
        return;
    };
    vpn.prove(wireguard);
}

#[test]
fn esp_in_udp_from_one_port_lasts_through_rekeying_and_reconnecting() {
    let test = "esp_in_udp_from_one_port_lasts_through_rekeying_and_reconnecting";
    let Some(vpn) =
        Vpn::up(test, installed(&["charon-systemd", "swanctl", "openssl"]).and_then(|()| tun()), "10.8.3.", &[])
    else {
        return;
    };
    vpn.prove(ipsec);
}
