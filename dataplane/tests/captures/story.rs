//! What each capture is about: who is inside, and what must not pass.

use dataplane::policy::{Filtering, Policy};
use dataplane::verdict::DropReason::{self, *};

/// A capture and the claims about it.
pub(crate) struct Story {
    pub(crate) file: &'static str,
    /// Who is behind the box.
    pub(crate) clients: &'static [[u8; 4]],
    /// Packets that are dropped, by reason, and no others.
    pub(crate) drops: &'static [(DropReason, u64)],
    pub(crate) policy: fn(&mut Policy),
}

const fn plain(_: &mut Policy) {}

const fn passes(file: &'static str, clients: &'static [[u8; 4]]) -> Story {
    Story { file, clients, drops: &[], policy: plain }
}

const fn but(story: Story, drops: &'static [(DropReason, u64)]) -> Story {
    Story { drops, ..story }
}

const fn with(story: Story, policy: fn(&mut Policy)) -> Story {
    Story { policy, ..story }
}

/// Captures of VPNs, and those of fragments and ICMP errors.
pub(crate) const TUNNELS: &[Story] = &[
    passes("pptp-session-mschapv2-mppe.pcap", &[[192, 168, 1, 102]]),
    passes("pptp-control-setlinkinfo.pcap", &[[10, 1, 1, 11]]),
    // No control connection, no call.
    but(passes("gre1-pptp-mppe-data.pcap", &[[172, 16, 30, 107]]), &[(GreNoCall, 402)]),
    passes("ikev1-main-esp.pcap", &[[192, 168, 140, 205]]),
    passes("ikev1-aggressive-modecfg-ipfrag-esp.pcap", &[[202, 1, 3, 1]]),
    passes("ikev1-natt-keepalive-esp.pcap", &[[192, 1, 2, 254]]),
    passes("ikev2-child-rekey-null.pcap", &[[192, 168, 1, 2]]),
    passes("ikev2-natt-esp-reconnect.pcap", &[[192, 168, 245, 131]]),
    passes("ikev2-natt-inside.pcap", &[[192, 168, 254, 1]]),
    passes("ikev2-natt-outside.pcap", &[[202, 1, 2, 1]]),
    passes("ikev2-vowifi-multipeer-natt.pcap", &[[192, 168, 2, 100]]),
    passes("ikev2-auth-ipfrag-natt.pcap", &[[192, 168, 0, 10]]),
    passes("ikev2-esp-icmp-unreach-ike.pcap", &[[202, 1, 2, 1]]),
    // The gateway's message on an IKE flow that is older than the capture.
    but(passes("esp-gre-transport-spi-change.pcap", &[[202, 1, 2, 1]]), &[(Unsolicited, 1)]),
    passes("esp-icmp-proto-unreach.pcap", &[[10, 0, 0, 1]]),
    // AH signs the addresses: it cannot pass, IKE does.
    but(passes("ah-tunnel-ikev2.pcap", &[[202, 1, 1, 1]]), &[(Ah, 8)]),
    but(passes("ah-ipfrag.pcap", &[[10, 1, 48, 19]]), &[(Ah, 4)]),
    passes("l2tpv2-two-sessions.pcap", &[[192, 168, 101, 233]]),
    passes("l2tpv2-lac-lns-highport.pcap", &[[202, 1, 1, 1]]),
    // Both call; the one outside called first, which nobody inside knew of, and lost the tie.
    but(passes("l2tpv3-ip-control.pcap", &[[192, 168, 12, 2]]), &[(L2tpNoSession, 1)]),
    passes("l2tpv3-ip-data.pcap", &[[3, 3, 3, 3]]),
    passes("l2tpv3-udp-data.pcap", &[[192, 168, 1, 1]]),
    passes("l2tp-over-ipsec-esp.pcap", &[[202, 1, 1, 1]]),
    passes("l2tp-over-ipsec-natt.pcap", &[[192, 168, 5, 8]]),
    passes("openvpn-udp-tlsauth-two-clients.pcap", &[[192, 168, 56, 103], [192, 168, 56, 104]]),
    passes("openvpn-tcp.pcap", &[[192, 168, 56, 103]]),
    // The peer outside roams: its new ports pass where filtering is by address.
    with(passes("wireguard-rekey-portchange.pcap", &[[147, 32, 111, 101], [10, 0, 2, 15]]), |p| {
        p.filtering = Filtering::AddressDependent;
    }),
    passes("sslvpn-anyconnect-tls-dtls.pcap", &[[10, 0, 0, 227]]),
    with(passes("gre0-keepalive-key-icmp-unreach.pcap", &[[202, 1, 1, 1]]), |p| p.passthrough.other = vec![47]),
    passes("icmp-pmtud-unreach-ttl.pcap", &[[192, 168, 0, 2]]),
    passes("ipfrag-icmp-bidir.pcap", &[[192, 168, 12, 1]]),
];

/// Captures of other things, by their clients: whatever passes is translated rightly.
pub(crate) const OTHERS: &[Story] = &[
    passes("sip-private-client-nat.pcap", &[[192, 168, 1, 2]]),
    passes("sip-rtp-call.pcap", &[[83, 166, 68, 46]]),
    passes("sip-udp-ipfrag.pcap", &[[10, 226, 40, 56]]),
    passes("ftp-active-passive.pcap", &[[141, 142, 220, 235]]),
    passes("icmp-errors-v4-v6.pcap", &[[10, 0, 0, 2]]),
    passes("ikev2-ipv6-esp-rekey.pcap", &[]),
    passes("ip6frag-icmp6-bidir.pcap", &[]),
];

/// Damaged packets: nothing is claimed of them but that they do no harm.
pub(crate) const MALFORMED: &[&str] =
    &["malformed-ike.pcap", "malformed-esp-l2tp-gre-icmp-frag.pcap", "malformed-sip-ftp-dns-fuzz.pcap"];
