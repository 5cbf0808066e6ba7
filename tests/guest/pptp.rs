//! PPTP: pptp-linux and pppd to pptpd, with MS-CHAPv2 and MPPE. MPPE is stateful: what arrives twice or not at all is
//! seen at once.

use crate::common::host::{Host, until};
use crate::common::lab::{Claim, ensure, installed};
use crate::common::vpn::Vpn;
use crate::modules;
use std::fs;

/// What both ends of a link want.
const LINK: &str = "nodetach\nrequire-mppe-128\nnobsdcomp\nnodeflate\nnovj\nmtu 1400\nmru 1400\nnodefaultroute\n\
                    lcp-echo-interval 5\nlcp-echo-failure 12\n";

const SECRETS: &str = "client1 server one *\nclient2 server two *\n";

/// Starts a server with these files.
fn serve(host: &mut Host, [settings, options]: &[String; 2]) -> Claim {
    host.start("pptpd", &["pptpd", "--fg", "--conf", settings, "--option", options]);
    until("pptpd listens", || host.say(&["sh", "-c", "ss -Hltn 'sport = :1723' | grep -q ."]).is_ok())
}

/// A server's files, for tunnels of that network.
fn files(vpn: &Vpn, network: &str) -> [String; 2] {
    let options = format!("{LINK}name server\nauth\nrequire-mschap-v2\n");
    let settings = format!("localip {network}1\nremoteip {network}10-30\nppp /usr/sbin/pppd\n");
    [vpn.secret(&format!("{network}conf"), &settings), vpn.secret(&format!("{network}options"), &options)]
}

/// Dials a server whose tunnels are of that network, and waits until the link is up.
fn dial(host: &mut Host, name: &str, server: &str, network: &str) -> Claim {
    let up = format!("remote IP address {network}1");
    let before = host.logged("pppd", &up);
    let road = format!("pptp {server} --nolaunchpppd");
    let mut args = vec!["pppd", "pty", &road, "name", name, "remotename", "server", "noauth"];
    args.extend(LINK.split_whitespace());
    host.start("pppd", &args);
    host.logs("pppd", &up, before + 1)
}

fn two_clients(vpn: &mut Vpn) -> Claim {
    fs::write("/etc/ppp/chap-secrets", SECRETS).map_err(|e| e.to_string())?;
    let there = files(vpn, vpn.network);
    serve(&mut vpn.server, &there)?;
    for (client, name) in vpn.clients.iter_mut().zip(["client1", "client2"]) {
        dial(client, name, "203.0.113.1", vpn.network)?;
    }
    vpn.seen("two clients are connected")?;
    vpn.both_talk()?;
    vpn.seen("both tunnels carry at once")?;
    vpn.while_talking(&[1], |vpn| {
        vpn.clients[0].stop("pppd")?;
        dial(&mut vpn.clients[0], "client1", "203.0.113.1", vpn.network)
    })?;
    ensure(vpn.clients[1].logged("pppd", "remote IP address") == 1, || "the other client connected again".into())?;
    vpn.both_talk()?;
    vpn.seen("one starts again, the other is not disturbed")
}

#[test]
#[ignore = "make test-guest runs it"]
fn pptp_clients_of_one_server() {
    let possible = modules(&["ppp_async", "ppp_mppe"]).and_then(|()| installed(&["pptp", "pptpd", "pppd", "ss"]));
    let vpn = Vpn::up("pptp_clients_of_one_server", possible, "10.9.0.", &[]).unwrap();
    vpn.prove(two_clients);
}

/// Where the inside server's tunnels begin.
const INNER: &str = "10.9.9.";

/// One server inside, for a client outside; the other client inside uses the server outside meanwhile.
fn server_inside(vpn: &mut Vpn) -> Claim {
    fs::write("/etc/ppp/chap-secrets", SECRETS).map_err(|e| e.to_string())?;
    let [out, inner] = [vpn.network, INNER].map(|network| files(vpn, network));
    serve(&mut vpn.server, &out)?;
    serve(&mut vpn.clients[0], &inner)?;
    dial(&mut vpn.clients[1], "client2", "203.0.113.1", vpn.network)?;
    dial(&mut vpn.server, "client1", "203.0.113.2", INNER)?;
    vpn.seen("a client outside is connected to a server inside, by the router's address")?;
    vpn.while_talking(&[1], |vpn| {
        let target = format!("{INNER}1");
        let said = vpn.server.say(&["ping", "-c", "20", "-i", "0.5", "-s", "1000", "-W", "20", &target])?;
        ensure(said.contains(" 0% packet loss") && !said.contains("wrong data"), || said)
    })?;
    vpn.seen("it carries both ways, while a client inside talks to the server outside")
}

#[test]
#[ignore = "make test-guest runs it"]
fn pptp_server_inside() {
    let possible = modules(&["ppp_async", "ppp_mppe"]).and_then(|()| installed(&["pptp", "pptpd", "pppd", "ss"]));
    let forward = "[[nat.forward]]\nprotocol = \"tcp\"\noutside_port = 1723\ninside = \"192.168.1.11:1723\"\n\n\
                   [[nat.forward]]  ";
    Vpn::up("pptp_server_inside", possible, "10.9.8.", &[("[[nat.forward]]  ", forward)]).unwrap().prove(server_inside);
}
