//! L2TPv2 by xl2tpd, with the kernel's L2TP and with its own, and L2TPv3 over IP by the kernel alone.

use crate::common::host::Host;
use crate::common::lab::{Claim, ensure, installed};
use crate::common::vpn::Vpn;
use crate::modules;

/// What both ends of a link want.
const LINK: &str = "noauth\nnobsdcomp\nnodeflate\nnovj\nnoccp\nmtu 1400\nmru 1400\nnodefaultroute\nnodetach\n\
                    lcp-echo-interval 5\nlcp-echo-failure 12\n";

/// What xl2tpd says once a call is there, and how its packets go.
const CALLED: &str = "Call established";

fn daemon(host: &mut Host, file: &str) {
    // What pppd says goes to its own log, which a host's `/run` keeps apart.
    let run = ["-D", "-c", file, "-p", "/run/xl2tpd.pid", "-C", "/run/l2tp-control"];
    host.start("xl2tpd", &[&["xl2tpd"][..], &run].concat());
}

fn two_clients(vpn: &mut Vpn, global: &str) -> Claim {
    let network = vpn.network;
    let link = vpn.secret("ppp.options", LINK);
    let server = format!(
        "[global]\nport = 1701\naccess control = no\nlisten-addr = 203.0.113.1\n{global}\n\
         [lns default]\nip range = {network}10-{network}30\nlocal ip = {network}1\n\
         require authentication = no\nlength bit = yes\nname = server\npppoptfile = {link}\n"
    );
    let file = vpn.secret("server.conf", &server);
    daemon(&mut vpn.server, &file);
    vpn.server.logs("xl2tpd", "Listening on IP address", 1)?;
    let client = format!(
        "[global]\nport = 1701\n{global}\n[lac road]\nlns = 203.0.113.1\nautodial = yes\nredial = yes\n\
         redial timeout = 2\nrequire authentication = no\nlength bit = yes\npppoptfile = {link}\n"
    );
    let file = vpn.secret("client.conf", &client);
    for n in [0, 1] {
        daemon(&mut vpn.clients[n], &file);
        connected(vpn, n, 1)?;
    }
    vpn.seen("two clients from port 1701 are connected")?;
    vpn.both_talk()?;
    vpn.seen("both tunnels carry at once")?;
    vpn.while_talking(&[1], |vpn| {
        vpn.clients[0].stop("xl2tpd")?;
        daemon(&mut vpn.clients[0], &file);
        connected(vpn, 0, 2)
    })?;
    ensure(vpn.clients[1].logged("xl2tpd", CALLED) == 1, || "the other client called again".into())?;
    vpn.both_talk()?;
    vpn.seen("one starts again, the other is not disturbed")
}

/// Waits for a client's call, so many since the beginning, and its link.
fn connected(vpn: &Vpn, n: usize, times: usize) -> Claim {
    let client = &vpn.clients[n];
    client.logs("xl2tpd", CALLED, times)?;
    let link = format!("ip -4 -o address show up | grep -q 'inet {}'", vpn.network);
    crate::common::host::until("the link is up", || client.say(&["sh", "-c", &link]).is_ok())
}

fn by_the_kernel(vpn: &mut Vpn) -> Claim {
    two_clients(vpn, "")?;
    let said = vpn.server.say(&["ip", "l2tp", "show", "tunnel"])?;
    ensure(said.matches("encap UDP").count() >= 2, || format!("the kernel has not both tunnels: {said}"))?;
    vpn.seen("the tunnels were the kernel's")
}

fn by_the_daemon(vpn: &mut Vpn) -> Claim {
    two_clients(vpn, "force userspace = yes")?;
    let said = vpn.server.say(&["ip", "l2tp", "show", "tunnel"]).unwrap_or_default();
    ensure(!said.contains("encap UDP"), || format!("the kernel has tunnels: {said}"))?;
    vpn.seen("the tunnels were the daemon's")
}

/// A tunnel of the kernel's without a control connection, with a session over it; numbers are this end's and that one's.
fn tunnel(host: &Host, ends: [&str; 2], numbers: [u32; 2]) -> Claim {
    let [mine, theirs] = numbers.map(|n| n.to_string());
    let name = format!("l2tp{mine}");
    let tunnel = ["tunnel_id", &mine, "peer_tunnel_id", &theirs, "encap", "ip", "local", ends[0], "remote", ends[1]];
    host.say(&[&["ip", "l2tp", "add", "tunnel"][..], &tunnel].concat())?;
    let session = ["name", &name, "tunnel_id", &mine, "session_id", &mine, "peer_session_id", &theirs];
    host.say(&[&["ip", "l2tp", "add", "session"][..], &session].concat())?;
    host.say(&["ip", "link", "set", &name, "mtu", "1400", "up"]).map(|_| ())
}

fn over_ip(vpn: &mut Vpn) -> Claim {
    let network = vpn.network;
    vpn.server.say(&["ip", "link", "add", "join", "type", "bridge"])?;
    vpn.server.say(&["ip", "address", "add", &format!("{network}1/24"), "dev", "join"])?;
    vpn.server.say(&["ip", "link", "set", "join", "up"])?;
    for (n, mine) in [(0, 101), (1, 102)] {
        // Numbers that the two ends choose apart from one another; the server has one network for all.
        let theirs = 2000 + mine;
        let local = format!("192.168.1.1{}", n + 1);
        tunnel(&vpn.server, ["203.0.113.1", "203.0.113.2"], [theirs, mine])?;
        vpn.server.say(&["ip", "link", "set", &format!("l2tp{theirs}"), "master", "join"])?;
        tunnel(&vpn.clients[n], [&local, "203.0.113.1"], [mine, theirs])?;
        let (address, device) = (format!("{network}{}/24", n + 2), format!("l2tp{mine}"));
        vpn.clients[n].say(&["ip", "address", "add", &address, "dev", &device])?;
        // A static tunnel is known to the router by its first packets, there and back.
        vpn.clients[n].say(&["ping", "-c", "1", "-W", "60", &format!("{network}1")])?;
    }
    vpn.seen("two static tunnels to one server answer")?;
    vpn.both_talk()?;
    vpn.seen("both carry at once")
}

#[test]
#[ignore = "make test-guest runs it"]
fn l2tp_clients_with_the_kernels_l2tp() {
    let possible = modules(&["l2tp_ppp"]).and_then(|()| installed(&["xl2tpd", "pppd"]));
    Vpn::up("l2tp_clients_with_the_kernels_l2tp", possible, "10.9.1.", &[]).unwrap().prove(by_the_kernel);
}

#[test]
#[ignore = "make test-guest runs it"]
fn l2tp_clients_with_the_daemons_l2tp() {
    let possible = modules(&["ppp_async"]).and_then(|()| installed(&["xl2tpd", "pppd"]));
    Vpn::up("l2tp_clients_with_the_daemons_l2tp", possible, "10.9.4.", &[]).unwrap().prove(by_the_daemon);
}

#[test]
#[ignore = "make test-guest runs it"]
fn l2tpv3_over_ip_static() {
    let possible = modules(&["l2tp_ip", "l2tp_eth", "l2tp_netlink", "bridge"]);
    Vpn::up("l2tpv3_over_ip_static", possible, "10.9.5.", &[]).unwrap().prove(over_ip);
}
