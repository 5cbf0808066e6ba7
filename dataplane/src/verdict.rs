//! What became of a packet, and the one place that counts it.
//!
//! Every packet ends exactly once: sent, consumed, handed to its owner, held for later, or dropped with a
//! [`DropReason`]. Each worker writes its own [`Counters`] and nobody else does, so an increment is a plain load and
//! store; readers load relaxed and subtract. Nothing is ever reset.

use crate::census::Census;
use crate::meter::Meter;
use crate::passthrough::notice::Notices;
use crate::types::{MAX_PORTS, Proto};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! drop_reasons {
    ($( $(#[doc = $doc:literal])+ $name:ident = $label:literal, )+) => {
        /// Why a packet was dropped. The text of each variant is what an operator reads in
        /// docs/counters.md; the label is the metric's.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum DropReason { $( $(#[doc = $doc])+ $name, )+ }

        impl DropReason {
            /// All reasons, in the order of their numbers.
            pub const ALL: &'static [Self] = &[ $( Self::$name, )+ ];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Name in metrics and tables.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $( Self::$name => $label, )+ }
            }

            /// What it means and what to do, for the operator.
            #[must_use]
            pub const fn explanation(self) -> &'static str {
                match self { $( Self::$name => concat!($($doc, "\n",)+), )+ }
            }
        }
    };
}

drop_reasons! {
    /// The frame is shorter than its headers. A damaged sender or cable.
    FrameTooShort = "frame_too_short",
    /// The frame is longer than one buffer holds. Set the port's `mtu` to what the link really carries.
    FrameTooLong = "frame_too_long",
    /// The frame is addressed to another station. Normal on a shared link or with `promiscuous = true`.
    NotOurMac = "not_our_mac",
    /// The frame carries no VLAN tag where the port has one, or another one. Compare `vlan` with the switch's setting.
    VlanMismatch = "vlan_mismatch",
    /// Neither IPv4 nor ARP. Normal on most links (LLDP, spanning tree, …).
    EtherType = "ethertype",
    /// IPv6, which this version does not forward.
    Ipv6 = "ipv6",
    /// An ARP packet that is malformed, or claims one of our own addresses. In the second case find the other box.
    ArpInvalid = "arp_invalid",
    /// An IP packet to one host inside a frame to all (RFC 1122 §3.3.6). A broken sender, or an attack.
    L2BroadcastIp = "l2_broadcast_ip",
    /// The IP version is not 4 though the frame says so.
    IpVersion = "ip_version",
    /// The IP header claims less than 20 bytes, or more than there are.
    IpHeaderLength = "ip_header_length",
    /// The IP total length is less than the header's, or more than arrived. On `net_af_packet` this is the fate of a
    /// large datagram in fragments: the kernel puts it together, and the device cuts it at its `framesz`.
    IpTotalLength = "ip_total_length",
    /// The IP header checksum is wrong. Damage on the way, or a capture with unfinished offloads.
    IpChecksum = "ip_checksum",
    /// IP options run past the header or have an impossible length.
    IpOptions = "ip_options",
    /// Source routing is refused (RFC 7126 §4.3, §4.4).
    SourceRoute = "source_route",
    /// The packet ends inside its TCP, UDP or ICMP header.
    TransportTooShort = "transport_too_short",
    /// The TCP header length is impossible.
    TcpHeaderLength = "tcp_header_length",
    /// The UDP length is impossible.
    UdpLength = "udp_length",
    /// TCP flags that no sender uses: none, SYN with FIN or RST, FIN without ACK. A port scan.
    TcpFlags = "tcp_flags",
    /// TCP or UDP port 0.
    PortZero = "port_zero",
    /// A first fragment too small for its transport header, or an offset that would rewrite it (RFC 1858).
    TinyFragment = "tiny_fragment",
    /// A fragment that would end beyond 65,535 bytes, or is not a multiple of 8 long though more follow.
    FragmentRange = "fragment_range",
    /// A source address that no host has: 0/8, 127/8, multicast, reserved, broadcast.
    MartianSource = "martian_source",
    /// A destination address that is nowhere: 0/8, 127/8, reserved.
    MartianDestination = "martian_destination",
    /// Source and destination are the same.
    Land = "land",
    /// The source address does not belong to the side that the packet came from. A host with a wrong address, a
    /// network behind a router that no `[[route]]` names, or an attack.
    SpoofedSource = "spoofed_source",
    /// Multicast is not forwarded.
    Multicast = "multicast",
    /// Broadcast is not forwarded, a network's own included (RFC 2644).
    Broadcast = "broadcast",
    /// The destination is on no connected network and no gateway is set. Set `gateway` on the outside port.
    NoRoute = "no_route",
    /// From outside to an address that is not ours. A neighbour routes wrongly, or guesses at inside addresses.
    NotForUs = "not_for_us",
    /// To one of the box's own addresses, for a service that it does not have.
    LocalService = "local_service",
    /// The time to live ran out here; the sender was told. Normal for traceroute.
    TtlExceeded = "ttl_exceeded",
    /// Larger than the next link carries, and DF is set; the sender was told.
    TooBig = "too_big",
    /// The next hop did not answer ARP. Is it up, and is its address right?
    NeighbourUnresolved = "neighbour_unresolved",
    /// Too many packets wait for the next hop's ARP answer already.
    NeighbourQueueFull = "neighbour_queue_full",
    /// More neighbours than the table holds, or more that do not answer than it has room for. Does a host scan a network?
    NeighbourTableFull = "neighbour_table_full",
    /// From outside, and nothing inside asked for it.
    Unsolicited = "unsolicited",
    /// From outside to a live mapping, from somebody whom the inside host did not contact (`nat.filtering`).
    Filtered = "filtered",
    /// To a one-to-one host, and no `[[firewall.allow]]` lets it in.
    FirewallDenied = "firewall_denied",
    /// A TCP segment of no known connection that does not start one.
    TcpNoSession = "tcp_no_session",
    /// A TCP SYN from outside on a connection that has ended, and that outside did not start.
    TcpSynOnClosed = "tcp_syn_on_closed",
    /// A TCP reset outside of the connection's window: forged, or very late (RFC 7857 §2.2).
    TcpBadReset = "tcp_bad_reset",
    /// A protocol that is not translated. `passthrough.other` names more.
    Protocol = "protocol",
    /// A port that only PPTP uses, or its GRE, while `passthrough.pptp` is switched off.
    PptpOff = "pptp_off",
    /// A port that only L2TP uses, or L2TPv3 over IP, while `passthrough.l2tp` is switched off.
    L2tpOff = "l2tp_off",
    /// IKE, UDP 4500, ESP or AH while `passthrough.ipsec` is switched off.
    IpsecOff = "ipsec_off",
    /// PPTP's GRE, ESP or L2TPv3 over IP while the profile is `strict`, which has no ALGs. Use NAT-T, or switch the
    /// protocol on by name.
    AlgOff = "alg_off",
    /// IPsec's AH. It signs the addresses that NAT must change, so it can never pass (RFC 3715 §2.1 a). Use ESP, best in
    /// UDP (NAT-T).
    Ah = "ah",
    /// ESP with an SPI below 256, which no security association has (RFC 4303 §2.1).
    EspReservedSpi = "esp_reserved_spi",
    /// ESP from outside that no inside host waits for.
    EspUnsolicited = "esp_unsolicited",
    /// A GRE header that is neither version 0 nor PPTP's (RFC 2637 §4.1).
    GreHeader = "gre_header",
    /// PPTP's GRE without a call: before its request, after its end, or forged.
    GreNoCall = "gre_no_call",
    /// L2TPv3 over IP of no session that is known. Late, or forged.
    L2tpNoSession = "l2tp_no_session",
    /// An L2TPv3 identifier that another inside host has with the same server already.
    L2tpIdTaken = "l2tp_id_taken",
    /// Another inside host uses this protocol with the same server already, and nothing would tell their answers apart.
    ProtocolTaken = "protocol_taken",
    /// ESP whose owner is not clear yet, and too much of it waits already.
    EspWaitFull = "esp_wait_full",
    /// With `esp_pairing = "strict"`: another inside host is setting up IPsec with the same gateway, and it waited for 3 s.
    /// IKE resends.
    IpsecWaits = "ipsec_waits",
    /// A PPTP control segment that came too early or too late to be translated; TCP resends it.
    PptpOutOfOrder = "pptp_out_of_order",
    /// A PPTP control connection in IP fragments. Lower the MTU of its link, or let path MTU discovery work.
    PptpFragment = "pptp_fragment",
    /// A Call ID in a PPTP segment that came so late that its translation is forgotten.
    PptpForgotten = "pptp_forgotten",
    /// The inside host has as many tunnels as `passthrough.tunnels_per_subscriber` allows.
    TunnelLimit = "tunnel_limit",
    /// More tunnels to one server wait for an answer than `passthrough.pending_per_server` allows.
    TunnelsPending = "tunnels_pending",
    /// The tunnel table is full. Raise `passthrough.tunnels`.
    TunnelTableFull = "tunnel_table_full",
    /// Another session has the same two ends already: one inside endpoint is called by the same client under two
    /// outside endpoints at once, and answers could not be told apart.
    Clash = "clash",
    /// An inside host called an outside address of ours while `nat.hairpin` is off.
    HairpinOff = "hairpin_off",
    /// The subscriber has as many sessions as `nat.limits` allows.
    SubscriberSessions = "subscriber_sessions",
    /// The subscriber has as many ports as `nat.limits` allows.
    SubscriberPorts = "subscriber_ports",
    /// The subscriber opens sessions faster than `nat.limits` allows.
    SubscriberRate = "subscriber_rate",
    /// The subscriber table is full. Raise `nat.mappings`: the table has room for at least a quarter as many subscribers.
    SubscriberTableFull = "subscriber_table_full",
    /// The session table is full. Raise `nat.sessions`.
    SessionTableFull = "session_table_full",
    /// The mapping table is full. Raise `nat.mappings`.
    MappingTableFull = "mapping_table_full",
    /// No port is free at the subscriber's outside address. Add addresses to `nat.pool`.
    PortsExhausted = "ports_exhausted",
    /// An ICMP message with a wrong checksum (RFC 5508 REQ-3).
    IcmpChecksum = "icmp_checksum",
    /// An ICMP type that a NAT does not pass: source quench, redirect, … (RFC 5508 REQ-10).
    IcmpType = "icmp_type",
    /// An ICMP error that quotes too little of a packet to tell whose it is.
    IcmpErrorTruncated = "icmp_error_truncated",
    /// An ICMP error that quotes an IP header with a wrong checksum (RFC 5508 REQ-3a).
    IcmpErrorInner = "icmp_error_inner",
    /// An ICMP error about no session of ours. Late, or forged.
    IcmpErrorNoSession = "icmp_error_no_session",
    /// An ICMP error in fragments, or about a later fragment: nothing says whose it is.
    IcmpErrorFragment = "icmp_error_fragment",
    /// More fragmented datagrams at once than `nat.fragments.datagrams` allows.
    FragmentTableFull = "fragment_table_full",
    /// More fragments wait for their first one than `nat.fragments` allows.
    FragmentHeldFull = "fragment_held_full",
    /// Fragments that overlap (RFC 5722 for the reason why).
    FragmentOverlap = "fragment_overlap",
    /// The first fragment did not come in time.
    FragmentTimeout = "fragment_timeout",
    /// The datagram's first fragment was dropped, so this one is, too.
    FragmentOfDropped = "fragment_of_dropped",
    /// ESP or L2TPv3 from outside under identifiers that the worker which owns them has no leg for, and more of it in a
    /// millisecond than it hands on to the server's home worker. A flood.
    TunnelStrangers = "tunnel_strangers",
    /// The owner's handoff ring is full: that worker is overloaded.
    HandoffFull = "handoff_full",
    /// The port's transmit queue stayed full. The link is slower than the traffic.
    TxRefused = "tx_refused",
    /// No buffer was free for a packet of our own (an answer, a fragment, an ARP request). Raise `runtime.buffers`.
    NoBuffer = "no_buffer",
    /// It was still waiting when the dataplane stopped.
    Shutdown = "shutdown",
}

macro_rules! counters {
    ($( $(#[doc = $doc:literal])+ $name:ident = $label:literal, )+) => {
        /// What a worker counts besides drops and ports.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Event { $( $(#[doc = $doc])+ $name, )+ }

        impl Event {
            /// All, in the order of their numbers.
            pub const ALL: &'static [Self] = &[ $( Self::$name, )+ ];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Name in metrics and tables.
            #[must_use]
            pub const fn label(self) -> &'static str {
                match self { $( Self::$name => $label, )+ }
            }

            /// What it means.
            #[must_use]
            pub const fn explanation(self) -> &'static str {
                match self { $( Self::$name => concat!($($doc, "\n",)+), )+ }
            }
        }
    };
}

counters! {
    /// Packets that ended in the box as they should: ARP, an answer received, a message of another worker.
    Consumed = "consumed",
    /// Packets that the box made itself: ARP, ICMP errors, fragments of a larger packet, copies and messages for other
    /// workers.
    Originated = "originated",
    /// Packets given to the worker that owns them.
    HandedOff = "handed_off",
    /// Packets received from other workers.
    HandedIn = "handed_in",
    /// Turns in which a worker left its ports alone because another one had more to do than it could. What a NIC has no room
    /// for meanwhile it counts as missed. Add workers, or see whether one is overloaded.
    HeldBack = "held_back",
    /// Packets looked at to see whether a device that was told whom they belong to brought them there: one of 64 bursts.
    SteeringSampled = "steering_sampled",
    /// Of these, packets that came by another worker's queue, and were handed over. If they are many, compare
    /// `steering_hash_wrong`; lower the port's `steering` if you like, nothing else depends on it.
    SteeringMissed = "steering_missed",
    /// Of these, packets whose hash, as the device tells it, is not the one that its key gives: it hashes other fields, or
    /// did not take the key.
    SteeringHashWrong = "steering_hash_wrong",
    /// Packets put aside until ARP or a first fragment comes.
    Held = "held",
    /// Packets that were put aside and went on, or were dropped.
    Released = "released",
    /// Packets translated from inside to outside.
    TranslatedOut = "translated_out",
    /// Packets translated from outside to inside.
    TranslatedIn = "translated_in",
    /// Packets between two inside hosts by an outside address.
    Hairpinned = "hairpinned",
    /// Packets forwarded without translation (inside to inside).
    Routed = "routed",
    /// Sessions opened.
    SessionsOpened = "sessions_opened",
    /// Sessions ended.
    SessionsClosed = "sessions_closed",
    /// Mappings made.
    MappingsOpened = "mappings_opened",
    /// Mappings ended; a port in hold-down is no mapping any more.
    MappingsClosed = "mappings_closed",
    /// Subscribers seen for the first time, or again after all their mappings ended.
    SubscribersOpened = "subscribers_opened",
    /// Subscribers whose last mapping ended.
    SubscribersClosed = "subscribers_closed",
    /// ICMP errors translated.
    IcmpErrorsTranslated = "icmp_errors_translated",
    /// ICMP errors sent by the box.
    IcmpErrorsSent = "icmp_errors_sent",
    /// ICMP errors that the rate limit kept back.
    IcmpErrorsSuppressed = "icmp_errors_suppressed",
    /// Packets cut into fragments because the next link is smaller.
    Fragmented = "fragmented",
    /// TCP MSS options lowered.
    MssClamped = "mss_clamped",
    /// Echo requests to the box answered.
    EchoAnswered = "echo_answered",
    /// ARP requests sent.
    ArpRequests = "arp_requests",
    /// ARP requests answered.
    ArpAnswered = "arp_answered",
    /// TCP resets that were outside of the connection's window and were dropped.
    BadResets = "bad_resets",
    /// VPN tunnels begun.
    TunnelsOpened = "tunnels_opened",
    /// VPN tunnels ended.
    TunnelsClosed = "tunnels_closed",
    /// VPN tunnels whose both ends have sent.
    TunnelsConfirmed = "tunnels_confirmed",
    /// Packets of IKE on UDP 500.
    IkePackets = "ike_packets",
    /// Packets of IKE on UDP 4500.
    NatTIke = "nat_t_ike",
    /// Keepalives on UDP 4500.
    NatTKeepalives = "nat_t_keepalives",
    /// ESP in UDP 4500.
    NatTEsp = "nat_t_esp",
    /// Packets of L2TPv2 and L2TPv3 on UDP 1701.
    L2tpPackets = "l2tp_packets",
    /// Packets of OpenVPN, by its port.
    OpenvpnPackets = "openvpn_packets",
    /// Packets of WireGuard, by its port.
    WireguardPackets = "wireguard_packets",
    /// Connections that are, by their port, of OpenVPN over TCP or may be SSTP.
    TlsVpnConnections = "tls_vpn_connections",
    /// Control messages of PPTP.
    PptpMessages = "pptp_messages",
    /// PPTP control connections whose content is no PPTP: they pass, nothing is opened for them.
    PptpMalformed = "pptp_malformed",
    /// PPTP calls beyond a limit (64 a connection, `passthrough.tunnels_per_subscriber`, `passthrough.pending_per_server`,
    /// `passthrough.tunnels`), or without a free Call ID: the request passes, and nothing is opened for it.
    PptpCallsRefused = "pptp_calls_refused",
    /// PPTP messages about calls that nobody asked for: they pass, nothing is opened for them.
    PptpUnknownCalls = "pptp_unknown_calls",
    /// PPTP servers that answered "a channel exists already": they allow one client address one connection, and several
    /// of your clients share theirs.
    PptpChannelExists = "pptp_channel_exists",
    /// Inbound SPIs given to one of several inside hosts that waited, by order. A wrong one moves to its host when that host
    /// asks and it answers. If tunnels do not come up, use NAT-T or `esp_pairing = "strict"`.
    EspAmbiguous = "esp_ambiguous",
    /// Inbound SPIs that were given to the wrong inside host, and then to the right one.
    EspRebound = "esp_rebound",
    /// IKE of an unknown exchange that could be for several inside hosts (`ike_port = "preserve"`), given to the one
    /// that was active last.
    IkeAmbiguous = "ike_ambiguous",
    /// Pairs of hosts that tried AH.
    AhPairs = "ah_pairs",
    /// Directions of tunnels that a worker gave to the one that owns their identifier.
    LegsLent = "legs_lent",
    /// Such ones that came to nothing: the other worker had no room, did not know the next hop yet, or waited too long.
    /// Their packets go by two workers.
    LegsDeclined = "legs_declined",
    /// Messages between workers about tunnels.
    Messages = "messages",
    /// Such messages that found no room. They are put again, or missed: a tunnel may be looked at more often.
    MessagesLost = "messages_lost",
}

/// A number that one worker writes and anyone reads.
#[derive(Debug, Default)]
pub struct Cell(AtomicU64);

impl Cell {
    /// Adds; only the owning worker may call it.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The value.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Traffic of one port as one worker saw it.
#[derive(Debug, Default)]
pub struct PortCounters {
    /// Packets received.
    pub rx_packets: Cell,
    /// Bytes received, frames without checksum.
    pub rx_bytes: Cell,
    /// Packets sent.
    pub tx_packets: Cell,
    /// Bytes sent.
    pub tx_bytes: Cell,
}

/// All that one worker counts. Aligned to two cache lines, so that no worker's writes slow another's.
#[derive(Debug)]
#[repr(align(128))]
pub struct Counters {
    drops: [Cell; DropReason::COUNT],
    events: [Cell; Event::COUNT],
    ports: [PortCounters; MAX_PORTS],
    /// Sessions and mappings by protocol.
    pub census: Census,
    /// Its time, and its turns.
    pub meter: Meter,
    /// What the operator is to be told in words.
    pub notices: Notices,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            drops: std::array::from_fn(|_| Cell::default()),
            events: std::array::from_fn(|_| Cell::default()),
            ports: std::array::from_fn(|_| PortCounters::default()),
            census: Census::default(),
            meter: Meter::default(),
            notices: Notices::default(),
        }
    }
}

impl Counters {
    /// Counts one drop.
    #[inline]
    pub fn count_drop(&self, reason: DropReason) {
        self.drop_many(reason, 1);
    }

    /// Counts `n` drops.
    #[inline]
    pub fn drop_many(&self, reason: DropReason, n: u64) {
        if let Some(c) = self.drops.get(reason as usize) {
            c.add(n);
        }
    }

    /// Counts `n` of an event.
    #[inline]
    pub fn count(&self, event: Event, n: u64) {
        if let Some(c) = self.events.get(event as usize) {
            c.add(n);
        }
    }

    /// A session begins.
    pub fn session_begins(&self, proto: Proto) {
        self.count(Event::SessionsOpened, 1);
        self.census.session_begins(proto);
    }

    /// A session ends.
    pub fn session_ends(&self, proto: Proto) {
        self.count(Event::SessionsClosed, 1);
        self.census.session_ends(proto);
    }

    /// A mapping begins.
    pub fn mapping_begins(&self, proto: Proto) {
        self.count(Event::MappingsOpened, 1);
        self.census.mapping_begins(proto);
    }

    /// A mapping ends.
    pub fn mapping_ends(&self, proto: Proto) {
        self.count(Event::MappingsClosed, 1);
        self.census.mapping_ends(proto);
    }

    /// The counters of a port.
    #[inline]
    #[must_use]
    pub fn port(&self, port: crate::types::PortId) -> Option<&PortCounters> {
        self.ports.get(port.index())
    }

    /// Drops for a reason.
    #[must_use]
    pub fn drops(&self, reason: DropReason) -> u64 {
        self.drops.get(reason as usize).map_or(0, Cell::get)
    }

    /// Occurrences of an event.
    #[must_use]
    pub fn events(&self, event: Event) -> u64 {
        self.events.get(event as usize).map_or(0, Cell::get)
    }

    /// Where every packet of this worker went. See [`Account`].
    #[must_use]
    pub fn account(&self) -> Account {
        let mut a = Account::default();
        for p in &self.ports {
            a.received += p.rx_packets.get();
            a.sent += p.tx_packets.get();
        }
        a.originated = self.events(Event::Originated);
        a.consumed = self.events(Event::Consumed);
        a.handed_off = self.events(Event::HandedOff);
        a.handed_in = self.events(Event::HandedIn);
        a.held = self.events(Event::Held).wrapping_sub(self.events(Event::Released));
        a.dropped = self.drops.iter().map(Cell::get).sum();
        a
    }
}

/// Where packets went: `received + originated + handed_in = sent + consumed + dropped + handed_off + held`. Summed
/// over workers at rest, handed_in = handed_off; after the end, held = 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// From ports.
    pub received: u64,
    /// Made here.
    pub originated: u64,
    /// To ports.
    pub sent: u64,
    /// Ended here as they should.
    pub consumed: u64,
    /// Ended with a reason.
    pub dropped: u64,
    /// To other workers.
    pub handed_off: u64,
    /// From other workers.
    pub handed_in: u64,
    /// Waiting now.
    pub held: u64,
}

impl Account {
    /// Both together.
    #[must_use]
    pub const fn plus(self, o: Self) -> Self {
        Self {
            received: self.received + o.received,
            originated: self.originated + o.originated,
            sent: self.sent + o.sent,
            consumed: self.consumed + o.consumed,
            dropped: self.dropped + o.dropped,
            handed_off: self.handed_off + o.handed_off,
            handed_in: self.handed_in + o.handed_in,
            held: self.held + o.held,
        }
    }

    /// What came in minus what is accounted for: packets on their way between workers, otherwise zero.
    #[must_use]
    pub const fn unaccounted(self) -> i64 {
        let came = self.received + self.originated + self.handed_in;
        let went = self.sent + self.consumed + self.dropped + self.handed_off + self.held;
        came.wrapping_sub(went).cast_signed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_reason_has_its_own_label_and_a_text() {
        let labels: HashSet<_> = DropReason::ALL.iter().map(|r| r.label()).collect();
        assert_eq!(labels.len(), DropReason::COUNT);
        assert!(
            DropReason::ALL
                .iter()
                .all(|r| r.explanation().trim().ends_with('.') || r.explanation().trim().ends_with('?'))
        );
        let labels: HashSet<_> = Event::ALL.iter().map(|r| r.label()).collect();
        assert_eq!(labels.len(), Event::COUNT);
    }

    #[test]
    fn an_account_balances_only_when_everything_ended_once() {
        let c = Counters::default();
        c.port(crate::types::PortId(0)).unwrap().rx_packets.add(3);
        c.count_drop(DropReason::Land);
        c.count(Event::Consumed, 1);
        assert_eq!(c.account().unaccounted(), 1);
        c.port(crate::types::PortId(1)).unwrap().tx_packets.add(1);
        assert_eq!(c.account().unaccounted(), 0);
    }
}
