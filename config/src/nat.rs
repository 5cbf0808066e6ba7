//! `[nat]` and its tables of numbers: `[nat.timeouts]`, `[nat.limits]`, `[nat.fragments]`.
//!
//! Defaults are the RFCs'; what is below an RFC's floor is a warning that names the clause: RFC 4787 (UDP), 5382 (TCP),
//! 5508 (ICMP), 6888 (carrier-grade NAT).

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::diagnostic::Located;
use crate::document::Document;
use crate::duration::{WEEK, advised, advised_from, duration};
use crate::forward::{self, Forward, ForwardDraft, StaticDraft, StaticMapping};
use crate::net::{AddressRange, address_range, count_ports, ports};
use crate::table::{List, Table};
use crate::value::{Mistake, Node, boolean, choice, integer, limit, quoted, text, words};

/// How inside addresses are translated to outside ones.
#[derive(Debug, Clone, PartialEq)]
pub struct Nat {
    /// The outside addresses to translate to, in the order of the file: at least one, none twice, each in an outside
    /// port's network and nobody else's.
    pub pool: Vec<Located<AddressRange>>,
    /// The outside ports (and ICMP query identifiers) that mappings take.
    pub ports: RangeInclusive<u16>,
    /// Who may answer an inside host [RFC 4787 §5].
    pub filtering: Filtering,
    /// Whether inside hosts reach each other by outside addresses [RFC 4787 REQ-9].
    pub hairpin: bool,
    /// What becomes of the TCP maximum segment size.
    pub mss_clamp: MssClamp,
    /// Room for so many sessions over all workers: 1024 to 67,108,864.
    pub sessions: Located<u32>,
    /// Room for so many mappings over all workers: 1024 to 67,108,864.
    pub mappings: Located<u32>,
    /// Whether an even UDP port is translated to an even one, and an odd one to an odd [RFC 4787 REQ-4].
    pub parity: bool,
    /// Whether the inside port is kept where it is free outside.
    pub port_preservation: bool,
    /// What happens when a subscriber's outside address has no port left.
    pub pool_exhausted: PoolExhausted,
    /// What becomes of a TCP SYN from outside that nobody asked for.
    pub unsolicited_syn: UnsolicitedSyn,
    /// How an inside host learns that it was refused a session.
    pub refusal: Refusal,
    /// How long a freed outside port is kept from other subscribers [RFC 6888 REQ-8].
    pub hold_down: Duration,
    /// Whether a RST must lie in the window to end a session [RFC 7857 §2].
    pub tcp_rst_check: bool,
    /// How fragments are followed.
    pub fragments: Fragments,
    /// How long an idle session lasts.
    pub timeouts: Timeouts,
    /// What one subscriber may take.
    pub limits: Limits,
    /// The port forwards; no two share an outside or an inside endpoint.
    pub forwards: Vec<Located<Forward>>,
    /// The one-to-one mappings; no two share an address, and none shares one with the pool or a port.
    pub statics: Vec<Located<StaticMapping>>,
}

/// Who may answer an inside host [RFC 4787 §5].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Filtering {
    /// The address and port that the host has sent to.
    AddressAndPortDependent,
    /// Any port of an address that the host has sent to.
    AddressDependent,
    /// Anybody.
    EndpointIndependent,
}

words!(Filtering {
    "address-and-port-dependent" => AddressAndPortDependent,
    "address-dependent" => AddressDependent,
    "endpoint-independent" => EndpointIndependent,
});

/// What becomes of the TCP maximum segment size in a SYN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MssClamp {
    /// Lowered to what the MTU of the outgoing port allows.
    Auto,
    /// Left alone.
    Off,
    /// Lowered to this: 536 to 8960.
    To(u16),
}

/// What happens when a subscriber's outside address has no port left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PoolExhausted {
    /// The session is refused, and the subscriber keeps one outside address [RFC 4787 REQ-2].
    Drop,
    /// It gets a port of another address.
    OtherAddress,
}

words!(PoolExhausted { "drop" => Drop, "other-address" => OtherAddress });

/// What becomes of a TCP SYN from outside that nobody asked for [RFC 5382 REQ-4].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UnsolicitedSyn {
    /// Nothing.
    Drop,
    /// An ICMP port unreachable after 6 seconds, unless the inside host sends its own SYN meanwhile.
    Reject,
}

words!(UnsolicitedSyn { "drop" => Drop, "reject" => Reject });

/// How an inside host learns that it was refused a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// By ICMP host unreachable (type 3, code 1).
    HostUnreachable,
    /// By ICMP communication administratively prohibited (type 3, code 13).
    Prohibited,
    /// Not at all.
    Silent,
}

words!(Refusal { "host-unreachable" => HostUnreachable, "prohibited" => Prohibited, "silent" => Silent });

/// How fragments are followed [RFC 4787 REQ-14].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fragments {
    /// Datagrams followed at once by a worker: 1 to 1,048,576.
    pub datagrams: u32,
    /// Fragments held by a worker until their first one comes: 0 (none) to 1,048,576.
    pub held: u32,
    /// Fragments of one datagram: 2 to 8192.
    pub per_datagram: u16,
    /// How long a datagram may take.
    pub timeout: Duration,
}

/// How long an idle session lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timeouts {
    /// UDP [RFC 4787 REQ-5].
    pub udp: Duration,
    /// TCP when open in both directions [RFC 5382 REQ-5].
    pub tcp_established: Duration,
    /// TCP when opening or closing [RFC 5382 REQ-5].
    pub tcp_transitory: Duration,
    /// ICMP queries [RFC 5508 REQ-2].
    pub icmp: Duration,
    /// A PPTP call whose GRE and control connection are both silent.
    pub gre: Duration,
    /// ESP that has been answered.
    pub esp: Duration,
    /// ESP and L2TPv3 that wait for their first answer.
    pub esp_pending: Duration,
    /// L2TPv3 over IP.
    pub l2tpv3: Duration,
    /// The protocols of `passthrough.other`.
    pub other: Duration,
}

/// What one subscriber, one inside address, may take [RFC 6888 REQ-4].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Sessions at once.
    pub sessions_per_subscriber: u32,
    /// Outside ports at once, over all protocols.
    pub ports_per_subscriber: u32,
    /// Of these, for TCP.
    pub ports_per_subscriber_tcp: Option<u32>,
    /// Of these, for UDP.
    pub ports_per_subscriber_udp: Option<u32>,
    /// Of these, query identifiers for ICMP.
    pub ports_per_subscriber_icmp: Option<u32>,
    /// New sessions a second, on average.
    pub new_sessions_per_second: u32,
    /// New sessions at once, after a quiet time: twice `new_sessions_per_second` if not given.
    pub new_sessions_burst: u32,
}

/// `[nat]` as far as it could be read.
pub(crate) struct Draft {
    pub(crate) nat: Nat,
    pub(crate) pool: List<AddressRange>,
    pub(crate) forwards: Vec<ForwardDraft>,
    pub(crate) forwards_complete: bool,
    pub(crate) statics: Vec<StaticDraft>,
    pub(crate) statics_complete: bool,
}

const TABLE: RangeInclusive<u32> = 1024..=67_108_864;

pub(crate) fn read(document: &Document<'_>, mut table: Table<'_>) -> Draft {
    let seconds = Duration::from_secs;
    let pool = table.list("pool", "\"203.0.113.2\"", address_range);
    if pool.present && pool.complete && pool.items.is_empty() {
        let remedy = "leave it out for the first outside port's address, or name addresses: [\"203.0.113.2\"]";
        document.error(&pool.location, "an empty pool has nothing to translate to", remedy);
    }
    let ports = table.read("ports", nat_ports).or(1024..=65535).value;
    let filtering = table.read("filtering", filtering).or(Filtering::AddressAndPortDependent).value;
    let hairpin = table.read("hairpin", boolean).or(true).value;
    let mss_clamp = table.read("mss_clamp", mss_clamp).or(MssClamp::Auto).value;
    let sessions = table.read("sessions", integer(TABLE)).or(262_144);
    let mappings = table.read("mappings", integer(TABLE)).or(sessions.value);
    let parity = table.read("parity", boolean).or(true).value;
    let port_preservation = table.read("port_preservation", boolean).or(true).value;
    let pool_exhausted = table.read("pool_exhausted", choice).or(PoolExhausted::Drop).value;
    let unsolicited_syn = table.read("unsolicited_syn", choice).or(UnsolicitedSyn::Drop).value;
    let refusal = table.read("refusal", choice).or(Refusal::HostUnreachable).value;
    let hold_down = advised_from(Duration::ZERO, seconds(120), "RFC 6888 REQ-8");
    let hold_down = table.read("hold_down", hold_down).or(seconds(120)).value;
    let tcp_rst_check = table.read("tcp_rst_check", boolean).or(true).value;
    let fragments = fragments(table.table("fragments"));
    let timeouts = timeouts(table.table("timeouts"));
    let limits = limits(document, table.table("limits"));
    let (forwards, forwards_complete) = forward::read_forwards(&mut table);
    let (statics, statics_complete) = forward::read_statics(&mut table);
    table.finish();
    let nat = Nat {
        pool: Vec::new(),
        ports,
        filtering,
        hairpin,
        mss_clamp,
        sessions,
        mappings,
        parity,
        port_preservation,
        pool_exhausted,
        unsolicited_syn,
        refusal,
        hold_down,
        tcp_rst_check,
        fragments,
        timeouts,
        limits,
        forwards: Vec::new(),
        statics: Vec::new(),
    };
    Draft { nat, pool, forwards, forwards_complete, statics, statics_complete }
}

fn nat_ports(node: &Node<'_>) -> Result<RangeInclusive<u16>, Mistake> {
    let ports = ports(node)?;
    if *ports.end() < 1024 {
        let message = "inside ports from 1024 on get outside ports from 1024 on (RFC 4787 REQ-3a), and there are none";
        return Err(Mistake::write(message, "\"1024-65535\""));
    }
    if *ports.start() < 1024 {
        let message = "ports below 1024 serve inside ports below 1024 whatever is written here (RFC 4787 REQ-3a)";
        node.warn(message, "write: \"1024-65535\"");
    }
    let count = count_ports(&ports);
    if count < 1024 {
        let message = format!("{count} ports an outside address are few: each session to one server needs its own");
        node.warn(message, "write: at least 1024 ports, such as \"1024-65535\"");
    }
    Ok(ports)
}

fn filtering(node: &Node<'_>) -> Result<Filtering, Mistake> {
    let filtering = choice(node)?;
    if filtering == Filtering::EndpointIndependent {
        let message = "anybody on the Internet can reach an inside host on any port that it has a mapping for";
        node.warn(message, "write: \"address-dependent\", or \"address-and-port-dependent\", unless that is wanted");
    }
    Ok(filtering)
}

fn mss_clamp(node: &Node<'_>) -> Result<MssClamp, Mistake> {
    let example = "\"auto\", \"off\" or a number from 536 to 8960";
    if node.value.get_ref().is_integer() {
        return integer(536..=8960)(node).map(MssClamp::To);
    }
    match text(node, example)?.as_str() {
        "auto" => Ok(MssClamp::Auto),
        "off" => Ok(MssClamp::Off),
        other => Err(Mistake::write(format!("{} is not an MSS clamp", quoted(other)), example)),
    }
}

fn fragments(mut table: Table<'_>) -> Fragments {
    let most = 1_048_576;
    let fragments = Fragments {
        datagrams: table.read("datagrams", integer(1..=most)).or(4096).value,
        held: table.read("held", integer(0..=most)).or(1024).value,
        per_datagram: table.read("per_datagram", integer(2..=8192)).or(64).value,
        timeout: table
            .read("timeout", duration(Duration::from_millis(100)..=Duration::from_secs(60)))
            .or(Duration::from_secs(2))
            .value,
    };
    table.finish();
    fragments
}

fn timeouts(mut table: Table<'_>) -> Timeouts {
    let seconds = Duration::from_secs;
    let any = || duration(seconds(1)..=WEEK);
    let timeouts = Timeouts {
        udp: table.read("udp", advised(seconds(120), "RFC 4787 REQ-5")).or(seconds(300)).value,
        tcp_established: table
            .read("tcp_established", advised(seconds(7440), "RFC 5382 REQ-5"))
            .or(seconds(7440))
            .value,
        tcp_transitory: table.read("tcp_transitory", advised(seconds(240), "RFC 5382 REQ-5")).or(seconds(240)).value,
        icmp: table.read("icmp", advised(seconds(60), "RFC 5508 REQ-2")).or(seconds(60)).value,
        // A minute of silence before an echo is asked for, and one to wait for it.
        gre: table.read("gre", advised(seconds(120), "RFC 2637 §3.1.4")).or(seconds(7440)).value,
        esp: table.read("esp", any()).or(seconds(3600)).value,
        esp_pending: table.read("esp_pending", any()).or(seconds(30)).value,
        l2tpv3: table.read("l2tpv3", any()).or(seconds(3600)).value,
        other: table.read("other", any()).or(seconds(600)).value,
    };
    table.finish();
    timeouts
}

fn limits(document: &Document<'_>, mut table: Table<'_>) -> Limits {
    let sessions_per_subscriber = table.read("sessions_per_subscriber", limit).or(4096).value;
    let ports_per_subscriber = table.read("ports_per_subscriber", limit).or(2048).value;
    let mut of_these = |key| {
        let ports = table.read(key, limit).optional()?;
        if ports.value > ports_per_subscriber {
            let message = format!("{} is never reached: ports_per_subscriber is {ports_per_subscriber}", ports.value);
            document.warning(&ports.location, message, "leave it out, or raise ports_per_subscriber");
        }
        Some(ports.value)
    };
    let ports_per_subscriber_tcp = of_these("ports_per_subscriber_tcp");
    let ports_per_subscriber_udp = of_these("ports_per_subscriber_udp");
    let ports_per_subscriber_icmp = of_these("ports_per_subscriber_icmp");
    let new_sessions_per_second = table.read("new_sessions_per_second", limit).or(1000).value;
    let twice = new_sessions_per_second.saturating_mul(2);
    let new_sessions_burst = table.read("new_sessions_burst", limit).or(twice).value;
    table.finish();
    Limits {
        sessions_per_subscriber,
        ports_per_subscriber,
        ports_per_subscriber_tcp,
        ports_per_subscriber_udp,
        ports_per_subscriber_icmp,
        new_sessions_per_second,
        new_sessions_burst,
    }
}
