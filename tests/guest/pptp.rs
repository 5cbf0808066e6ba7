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

/// Starts a server on a host; `at` is its own address in the tunnels.
fn serve(vpn: &mut Vpn, network: &str) -> Claim {
    let options = format!("{LINK}name server\nauth\nrequire-mschap-v2\n");
    let options = vpn.secret("pptpd.options", &options);
    let settings = format!("localip {network}1\nremoteip {network}10-30\nppp /usr/sbin/pppd\n");
    let settings = vpn.secret("pptpd.conf", &settings);
    let host = &mut vpn.server;
    host.start("pptpd", &["pptpd", "--fg", "--conf", &settings, "--option", &options]);
    until("pptpd listens", || host.say(&["sh", "-c", "ss -Hltn 'sport = :1723' | grep -q ."]).is_ok())
}

/// Dials, and waits until the link is up.
fn dial(host: &mut Host, client: usize, network: &str) -> Claim {
    let name = format!("client{}", client + 1);
    let before = host.logged("pppd", "remote IP address");
    let mut args =
        vec!["pppd", "pty", "pptp 203.0.113.1 --nolaunchpppd", "name", &name, "remotename", "server", "noauth"];
    args.extend(LINK.split_whitespace());
    host.start("pppd", &args);
    host.logs("pppd", &format!("remote IP address {network}1"), before + 1)
}

fn two_clients(vpn: &mut Vpn) -> Claim {
    fs::write("/etc/ppp/chap-secrets", SECRETS).map_err(|e| e.to_string())?;
    serve(vpn, vpn.network)?;
    for (n, client) in vpn.clients.iter_mut().enumerate() {
        dial(client, n, vpn.network)?;
    }
    vpn.seen("two clients are connected")?;
    vpn.both_talk()?;
    vpn.seen("both tunnels carry at once")?;
    vpn.while_talking(&[1], |vpn| {
        vpn.clients[0].stop("pppd")?;
        dial(&mut vpn.clients[0], 0, vpn.network)
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
