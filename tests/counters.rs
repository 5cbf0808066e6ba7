//! `docs/counters.md` is made of the counters themselves: `UPDATE_DOCS=1 cargo test -p underpass --test counters` writes
//! it anew. What is decided here is only where on a packet's path a reason stands.

use dataplane::verdict::DropReason::{self, *};
use dataplane::verdict::Event;
use std::fmt::Write;
use std::fs;
use std::path::Path;

/// A stage of the path with the reasons that a packet can end with there.
struct Stage {
    title: &'static str,
    about: &'static str,
    reasons: &'static [DropReason],
}

const STAGES: &[Stage] = &[
    Stage { title: "receive", about: "What a port's queue gave, before anything is read.", reasons: &[FrameTooLong] },
    Stage {
        title: "parse",
        about: "One pass over the frame. No table is asked, so none of these depends on who sent the packet, or on what \
                went before. A broken packet ends here whatever session it claims to be of.",
        reasons: &[
            FrameTooShort,
            NotOurMac,
            VlanMismatch,
            EtherType,
            Ipv6,
            L2BroadcastIp,
            IpVersion,
            IpHeaderLength,
            IpTotalLength,
            IpChecksum,
            IpOptions,
            SourceRoute,
            TransportTooShort,
            TcpHeaderLength,
            UdpLength,
            TcpFlags,
            PortZero,
            TinyFragment,
            FragmentRange,
            IcmpType,
            GreHeader,
            EspReservedSpi,
        ],
    },
    Stage {
        title: "steer",
        about: "To the worker that owns the packet's session. Only with several workers.",
        reasons: &[TunnelStrangers, HandoffFull],
    },
    Stage {
        title: "addresses",
        about: "Where a packet may come from and go to. A packet of an established session was judged when that opened.",
        reasons: &[
            MartianSource,
            MartianDestination,
            Land,
            SpoofedSource,
            Multicast,
            Broadcast,
            NoRoute,
            NotForUs,
            LocalService,
            HairpinOff,
            Protocol,
        ],
    },
    Stage {
        title: "fragments",
        about: "Pieces of a datagram meet, and wait for the first one, which alone has ports.",
        reasons: &[FragmentTableFull, FragmentHeldFull, FragmentOverlap, FragmentTimeout, FragmentOfDropped],
    },
    Stage {
        title: "session",
        about: "A packet of no session from inside opens one, if it may; from outside it needs a mapping, a forward or a \
                one-to-one address that lets it in.",
        reasons: &[
            Unsolicited,
            Filtered,
            FirewallDenied,
            TcpNoSession,
            TcpSynOnClosed,
            TcpBadReset,
            Clash,
            SubscriberSessions,
            SubscriberPorts,
            SubscriberRate,
            SubscriberTableFull,
            SessionTableFull,
            MappingTableFull,
            PortsExhausted,
        ],
    },
    Stage {
        title: "VPN",
        about: "What has no ports goes by its tunnel's identifiers, and control traffic of VPNs is followed, as far as \
                `[passthrough]` has it so.",
        reasons: &[
            PptpOff,
            L2tpOff,
            IpsecOff,
            AlgOff,
            Ah,
            EspUnsolicited,
            EspWaitFull,
            IpsecWaits,
            GreNoCall,
            PptpOutOfOrder,
            PptpForgotten,
            PptpFragment,
            L2tpNoSession,
            L2tpIdTaken,
            ProtocolTaken,
            TunnelLimit,
            TunnelsPending,
            TunnelTableFull,
        ],
    },
    Stage {
        title: "ICMP errors",
        about: "An error belongs to the session of the packet that it quotes.",
        reasons: &[IcmpChecksum, IcmpErrorTruncated, IcmpErrorInner, IcmpErrorNoSession, IcmpErrorFragment],
    },
    Stage {
        title: "forward",
        about: "Time to live, size, and the next hop's Ethernet address.",
        reasons: &[TtlExceeded, TooBig, ArpInvalid, NeighbourUnresolved, NeighbourQueueFull, NeighbourTableFull],
    },
    Stage { title: "send", about: "Into the port's transmit queue.", reasons: &[TxRefused, NoBuffer] },
    Stage { title: "end", about: "When the dataplane stops.", reasons: &[Shutdown] },
];

/// A text of one or several lines as one.
fn line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

fn page() -> String {
    let mut p = String::from(
        "<!-- Made by tests/counters.rs from dataplane/src/verdict.rs; `UPDATE_DOCS=1 cargo test -p underpass --test counters` \
         writes it anew. -->\n\n\
         # Counters\n\n\
         Every packet ends exactly once: sent, consumed, or dropped with a reason. So\n\n\
         ```text\n\
         received + originated = sent + consumed + dropped\n\
         ```\n\n\
         summed over workers at the end of a run. While it runs, packets may also be on their way between workers \
         (`handed_off` less `handed_in`) or held (`held` less `released`). What is missing in the sum would be called \
         UNACCOUNTED, and is a bug; please report it.\n\n\
         ## Where a packet can end\n\n\
         ```text\n",
    );
    for (n, s) in STAGES.iter().enumerate() {
        let labels: Vec<_> = s.reasons.iter().map(|r| r.label()).collect();
        let mut lines = wrap(&labels, 84).into_iter();
        let joint = if n == 0 { ' ' } else { '▼' };
        writeln!(p, "{joint} {:<12} ─► {}", s.title, lines.next().unwrap_or_default()).unwrap();
        for more in lines {
            writeln!(p, "│ {:<12}    {more}", "").unwrap();
        }
    }
    p.push_str("```\n");
    for s in STAGES {
        writeln!(p, "\n### {}\n\n{}\n\n| dropped | meaning |\n|---|---|", s.title, line(s.about)).unwrap();
        for r in s.reasons {
            writeln!(p, "| `{}` | {} |", r.label(), line(r.explanation())).unwrap();
        }
    }
    p.push_str("\n## Events\n\nWhat else is counted; a packet may count in several of these.\n\n| event | meaning |\n|---|---|\n");
    for e in Event::ALL {
        writeln!(p, "| `{}` | {} |", e.label(), line(e.explanation())).unwrap();
    }
    p
}

/// Words in lines of at most `width`.
fn wrap(words: &[&str], width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in words {
        let last = lines.last_mut().unwrap();
        if last.is_empty() {
            last.push_str(word);
        } else if last.len() + 1 + word.len() <= width {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push((*word).to_owned());
        }
    }
    lines
}

#[test]
fn every_reason_has_its_place_on_the_path() {
    for r in DropReason::ALL {
        let places: Vec<_> = STAGES.iter().filter(|s| s.reasons.contains(r)).map(|s| s.title).collect();
        assert_eq!(places.len(), 1, "{r:?} stands at {places:?}: give it one stage in tests/counters.rs");
    }
}

#[test]
fn the_page_of_counters_is_what_the_counters_say() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/counters.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, page()).unwrap();
    }
    let found = fs::read_to_string(&file).unwrap_or_default();
    assert!(found == page(), "docs/counters.md is stale: UPDATE_DOCS=1 cargo test -p underpass --test counters");
}
