//! `[passthrough]`: VPNs through NAT, and what else passes by address alone.
//!
//! A profile says what an ALG's switch means when it is left out: home routers have them on, RFC 4787 REQ-10 and RFC 5382
//! REQ-6 want them off. A switch that is written counts under either.

use std::time::Duration;

use crate::document::Document;
use crate::duration::duration;
use crate::table::{Slot, Table, nearest};
use crate::value::{Mistake, Node, boolean, choice, integer, limit, quoted, text, words};

/// What passes of VPNs, and of IP protocols without ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Passthrough {
    /// What the switches are that are left out.
    pub profile: Profile,
    /// PPTP: TCP 1723, and GRE version 1.
    pub pptp: Switch,
    /// L2TP: UDP 1701, and L2TPv3 over IP.
    pub l2tp: Switch,
    /// IPsec: IKE and ESP.
    pub ipsec: Switch,
    /// What becomes of IKE's source port 500.
    pub ike_port: IkePort,
    /// How clients that set up ESP with one gateway at the same time are kept apart.
    pub esp_pairing: EspPairing,
    /// How long an IKE exchange counts as evidence of whose ESP is to come: 3 seconds to 20 minutes.
    pub esp_gate: Duration,
    /// Further IP protocols, by number, that pass by address alone; none twice, none that is handled otherwise. 47 is GRE
    /// version 0.
    pub other: Vec<u8>,
    /// Room for so many tunnels over all workers: 64 to 4,194,304.
    pub tunnels: u32,
    /// Tunnels of one subscriber at once, a worker.
    pub tunnels_per_subscriber: u32,
    /// Tunnels with one server that it has not answered yet, a worker: 1 to 4096. The last quarter of them, as of
    /// `tunnels`, is for subscribers with fewer than 8 tunnels.
    pub pending_per_server: u32,
}

/// What the switches are that are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// On, as home routers ship them.
    Cpe,
    /// Plain [RFC 4787 REQ-10, RFC 5382 REQ-6].
    Strict,
}

words!(Profile { "cpe" => Cpe, "strict" => Strict });

/// What is done with a VPN protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Switch {
    /// Followed and translated.
    On,
    /// Not followed: its TCP and UDP pass as any does, and its tunnels over IP do not.
    Plain,
    /// Dropped, both ways.
    Off,
}

impl Switch {
    /// As messages name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Switch::On => "on",
            Switch::Plain => "plain",
            Switch::Off => "off",
        }
    }
}

impl std::fmt::Display for Switch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What becomes of IKE's source port 500.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IkePort {
    /// Translated where two clients clash [RFC 3947 §4, RFC 7296 §2.23].
    Translate,
    /// Kept for every client, for gateways that insist on it.
    Preserve,
}

words!(IkePort { "translate" => Translate, "preserve" => Preserve });

/// How clients that set up ESP with one gateway at the same time are kept apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EspPairing {
    /// All at once; who an unseen SPI belongs to is told by evidence, then by order.
    Parallel,
    /// One after the other: the rest wait until the first has its answer, or the gate is over.
    Strict,
}

words!(EspPairing { "parallel" => Parallel, "strict" => Strict });

/// IP protocols by the names that IANA and people have for them.
const NAMES: &[(&str, u8)] = &[
    ("icmp", 1),
    ("igmp", 2),
    ("ipip", 4),
    ("tcp", 6),
    ("egp", 8),
    ("udp", 17),
    ("dccp", 33),
    ("6in4", 41),
    ("ipv6", 41),
    ("rsvp", 46),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmpv6", 58),
    ("eigrp", 88),
    ("ospf", 89),
    ("etherip", 97),
    ("pim", 103),
    ("ipcomp", 108),
    ("vrrp", 112),
    ("l2tp", 115),
    ("l2tpv3", 115),
    ("sctp", 132),
    ("udplite", 136),
];

pub(crate) fn read(document: &Document<'_>, mut table: Table<'_>) -> Passthrough {
    let seconds = Duration::from_secs;
    let profile = table.read("profile", choice).or(Profile::Cpe).value;
    let mut switch = |key| match table.read(key, boolean) {
        Slot::Good(on) if on.value => Switch::On,
        Slot::Good(_) => Switch::Off,
        Slot::Absent(_) | Slot::Bad(_) => match profile {
            Profile::Cpe => Switch::On,
            Profile::Strict => Switch::Plain,
        },
    };
    let (pptp, l2tp, ipsec) = (switch("pptp"), switch("l2tp"), switch("ipsec"));
    let ike_port = table.read("ike_port", choice).or(IkePort::Translate).value;
    let esp_pairing = table.read("esp_pairing", choice).or(EspPairing::Parallel).value;
    let esp_gate = table.read("esp_gate", duration(seconds(3)..=seconds(1200))).or(seconds(30)).value;
    let mut seen = Vec::new();
    let other = table.list("other", "47, \"6in4\"", |node| {
        let number = other(node)?;
        if let Some((_, line)) = seen.iter().find(|(known, _)| *known == number) {
            let message = format!("{} is in the list already (line {line})", shown(node, number));
            return Err(Mistake::new(message, "name each protocol once"));
        }
        seen.push((number, node.location.line()));
        Ok(number)
    });
    let tunnels = table.read("tunnels", integer(64..=4_194_304_u32)).or(16_384).value;
    let each = table.read("tunnels_per_subscriber", limit);
    if let Slot::Good(each) = &each
        && each.value > tunnels
    {
        let message = format!("{} is never reached: tunnels is {tunnels}", each.value);
        document.warning(&each.location, message, "write: a smaller number, or raise tunnels");
    }
    let tunnels_per_subscriber = each.or(256.min(tunnels)).value;
    let pending_per_server = table.read("pending_per_server", integer(1..=4096_u32)).or(256).value;
    table.finish();
    Passthrough {
        profile,
        pptp,
        l2tp,
        ipsec,
        ike_port,
        esp_pairing,
        esp_gate,
        other: other.items.into_iter().map(|number| number.value).collect(),
        tunnels,
        tunnels_per_subscriber,
        pending_per_server,
    }
}

/// What `node` says, and the number where it says a name.
fn shown(node: &Node<'_>, number: u8) -> String {
    if node.is_string() { format!("{} (protocol {number})", node.describe()) } else { format!("protocol {number}") }
}

/// An IP protocol that NAT carries by address alone.
fn other(node: &Node<'_>) -> Result<u8, Mistake> {
    let number = protocol(node)?;
    let (why, remedy) = match number {
        0 => ("is IPv6's hop-by-hop options, and no protocol over IPv4", "remove it"),
        1 | 6 | 17 => ("is always translated", "remove it"),
        50 => ("has a switch of its own", "remove it, and write: ipsec = true"),
        51 => (
            "authenticates the addresses that NAT changes, so it can never pass (RFC 3715 §2.1)",
            "remove it, and let both ends use ESP with NAT traversal (NAT-T, UDP 4500)",
        ),
        58 => ("belongs to IPv6, and never comes over IPv4", "remove it; ICMP over IPv4 is always translated"),
        115 => ("has a switch of its own", "remove it, and write: l2tp = true"),
        255 => ("is reserved, and no protocol", "remove it"),
        _ => return Ok(number),
    };
    Err(Mistake::new(format!("{} {why}", shown(node, number)), remedy))
}

/// The number of an IP protocol that is named or numbered.
fn protocol(node: &Node<'_>) -> Result<u8, Mistake> {
    let example = "a number from 1 to 254, or a name such as \"gre\", \"6in4\", \"ipip\" or \"sctp\"";
    if !node.is_string() {
        return integer(0..=u8::MAX)(node).map_err(|Mistake { message, .. }| Mistake::write(message, example));
    }
    let name = text(node, example)?;
    if let Some(&(_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Ok(number);
    }
    let message = format!("{} is not a protocol known by name", quoted(&name));
    if let Ok(number) = name.parse::<u8>() {
        return Err(Mistake::write(message, format!("{number}, without quotes")));
    }
    Err(match nearest(&name, NAMES.iter().map(|(known, _)| *known)) {
        Some(known) => Mistake::new(message, format!("did you mean \"{known}\"?")),
        None => Mistake::write(message, example),
    })
}
