//! WireGuard of the kernel, from one port by two clients.

use crate::common::host::Host;
use crate::common::lab::{Claim, ensure, installed, text};
use crate::common::vpn::{Vpn, say};
use crate::modules;
use std::fs;
use std::process::Command;

/// A private key and its public one.
fn keys(vpn: &Vpn, name: &str) -> Result<[String; 2], String> {
    let private = say(Command::new("wg").arg("genkey"))?;
    let file = vpn.secret(&format!("{name}.key"), &private);
    let mut c = Command::new("wg");
    let o = c.arg("pubkey").stdin(fs::File::open(file).unwrap()).output().map_err(|e| e.to_string())?;
    Ok([private, text(&o.stdout).trim().to_owned()])
}

/// Makes a host's end of the tunnel, with the address that ends so.
fn begin(host: &Host, network: &str, end: usize, file: &str) -> Claim {
    host.say(&["ip", "link", "add", "wg0", "mtu", "1400", "type", "wireguard"])?;
    host.say(&["wg", "setconf", "wg0", file])?;
    host.say(&["ip", "address", "add", &format!("{network}{end}/24"), "dev", "wg0"])?;
    host.say(&["ip", "link", "set", "wg0", "up"]).map(|_| ())
}

fn story(vpn: &mut Vpn) -> Claim {
    let keys = [keys(vpn, "server")?, keys(vpn, "client1")?, keys(vpn, "client2")?];
    let network = vpn.network;
    // All three listen at the same port.
    let me = |n: usize| format!("[Interface]\nPrivateKey = {}\nListenPort = 51820\n", keys[n][0]);
    let peer = |n: usize, net: &str| format!("[Peer]\nPublicKey = {}\nAllowedIPs = {net}\n", keys[n][1]);
    let peers = [1, 2].map(|n| peer(n, &format!("{network}{}/32", n + 1)));
    let file = vpn.secret("server.conf", &format!("{}{}{}", me(0), peers[0], peers[1]));
    begin(&vpn.server, network, 1, &file)?;
    let files = [1, 2].map(|n| {
        let far = peer(0, &format!("{network}0/24"));
        vpn.secret(&format!("client{n}.conf"), &format!("{}{far}Endpoint = 203.0.113.1:51820\n", me(n)))
    });
    for (n, file) in files.iter().enumerate() {
        begin(&vpn.clients[n], network, n + 2, file)?;
    }
    vpn.both_talk()?;
    let said = vpn.server.say(&["wg", "show", "wg0", "endpoints"])?;
    let ends: Vec<_> = said.split_whitespace().filter(|w| w.starts_with("203.0.113.2:")).collect();
    ensure(ends.len() == 2 && ends[0] != ends[1], || format!("two clients at {ends:?}"))?;
    vpn.seen("two clients from one port carry at once")?;

    vpn.while_talking(&[1], |vpn| {
        vpn.clients[0].say(&["ip", "link", "del", "wg0"])?;
        begin(&vpn.clients[0], network, 2, &files[0])
    })?;
    vpn.both_talk()?;
    vpn.seen("one starts again, the other is not disturbed")
}

#[test]
#[ignore = "make test-guest runs it"]
fn wireguard_of_the_kernel() {
    let possible = modules(&["wireguard"]).and_then(|()| installed(&["wg"]));
    Vpn::up("wireguard_of_the_kernel", possible, "10.9.3.", &[]).unwrap().prove(story);
}
